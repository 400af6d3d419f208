package main

import (
	"bytes"
	"slices"
)

// pieceBytes is about how much text is parsed at once.
const pieceBytes = 128 << 10

// piece is some entries of one section as text: a YAML list of its own.
type piece struct {
	section string
	lines   int // of the file before it
	text    []byte
}

// eachPiece cuts a directory file whose sections are block lists (an entry begins with "- ") between entries. A YAML parser keeps about 4 KiB for every tracker until the
// whole text is read; cut like this a file of a million trackers needs hardly more than its result. A file in any other form is errOtherForm, perhaps after some pieces.
func eachPiece(data []byte, f func(piece) error) error {
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
		c.keep(line)
		return nil
	case indent == 0 && !entry:
		return c.section(content)
	case c.open.section == "", !entry && indent <= c.indent, entry && indent < c.indent, c.indent < 0 && !entry:
		return errOtherForm
	case entry && indent == c.indent && len(c.open.text) >= pieceBytes:
		if err := c.flush(); err != nil {
			return err
		}
		c.open.lines = c.lines - 1
	case c.indent < 0:
		c.indent = indent
		c.open.lines = c.lines - 1
	}
	c.open.text = append(c.open.text, line...)
	return nil
}

// keep takes a line without content, so that the lines after it keep their numbers.
func (c *cutter) keep(line []byte) {
	if c.indent >= 0 {
		c.open.text = append(c.open.text, line...)
	}
}

// section begins accounts or trackers.
func (c *cutter) section(content []byte) error {
	name, rest, ok := bytes.Cut(content, []byte(":"))
	rest = bytes.TrimLeft(rest, " ")
	s := string(name)
	if !ok || s != sectionAccounts && s != sectionTrackers || slices.Contains(c.done, s) || len(rest) > 0 && rest[0] != '#' {
		return errOtherForm
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.done = append(c.done, s)
	c.open.section, c.indent = s, -1
	return nil
}

func (c *cutter) flush() error {
	if len(c.open.text) == 0 {
		return nil
	}
	err := c.emit(c.open)
	c.open.text = c.open.text[:0]
	return err
}
