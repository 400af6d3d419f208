package config

import (
	"bytes"
	"slices"
)

// pieceBytes is about how much text is parsed at once.
const pieceBytes = 128 << 10

// piece is some entries of one section as text: a YAML list of its own, or nothing but comments.
type piece struct {
	section string // empty before the first
	lines   int    // of the file before it
	text    []byte
}

// eachPiece cuts a directory file whose sections are block lists (an entry begins with "- ")
// between entries. A YAML parser keeps about 4 KiB for every tracker until the whole text is read;
// cut like this a file of a million trackers needs hardly more than its result. A file in any other
// form is errOtherForm, perhaps after some pieces.
func eachPiece(data []byte, f func(piece) error) error {
	if hasOddBreaks(data) {
		return errOtherForm
	}
	c := cutter{emit: f, indent: -1}
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n') + 1
		if end == 0 {
			end = len(data)
		}
		if err := c.line(data[:end]); err != nil {
			return err
		}
		data = data[end:]
	}
	return c.flush()
}

// hasOddBreaks reports line breaks of YAML other than LF and CR LF: CR, NEL, LS, PS. Lines are not
// counted right with them.
func hasOddBreaks(data []byte) bool {
	for _, b := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(data, []byte(b)) {
			return true
		}
	}
	return bytes.Count(data, []byte("\r")) != bytes.Count(data, []byte("\r\n"))
}

// cutter goes through the lines of a file.
type cutter struct {
	emit   func(piece) error
	lines  int      // seen
	open   piece    // entries that are not yet emitted
	indent int      // of the section's entries, -1 before the first
	done   []string // sections that have begun
}

func (c *cutter) line(line []byte) error {
	c.lines++
	content := bytes.TrimLeft(line, " ")
	indent := len(line) - len(content)
	content = bytes.TrimRight(content, " \r\n")
	entry := bytes.HasPrefix(content, []byte("- ")) || len(content) == 1 && content[0] == '-'
	switch {
	case len(content) == 0 || content[0] == '#':
	case indent == 0 && !entry:
		return c.section(line)
	case c.open.section == "", !entry && indent <= c.indent, entry &&
		indent < c.indent, c.indent < 0 && !entry:
		return errOtherForm
	case c.indent < 0:
		c.indent = indent
	case entry && indent == c.indent && len(c.open.text) >= pieceBytes:
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.open.text = append(c.open.text, line...)
	return nil
}

// section begins accounts or trackers. What follows the colon is a comment, which stays, so that
// every byte of the file is parsed and lines keep their numbers.
func (c *cutter) section(line []byte) error {
	name, rest, ok := bytes.Cut(line, []byte(":"))
	s := string(name)
	content := bytes.TrimRight(rest, " \r\n")
	bare := len(content) == 0 || content[0] == ' ' && bytes.HasPrefix(bytes.TrimLeft(content, " "),
		[]byte("#"))
	if !ok || !bare || s != sectionAccounts && s != sectionTrackers || slices.Contains(c.done, s) {
		return errOtherForm
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.done = append(c.done, s)
	c.open.section, c.indent = s, -1
	c.open.text = append(c.open.text, rest...)
	return nil
}

// flush emits what came before the current line.
func (c *cutter) flush() error {
	err := c.emit(c.open)
	c.open.text = c.open.text[:0]
	c.open.lines = c.lines - 1
	return err
}
