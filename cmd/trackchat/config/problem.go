package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error says everything that is wrong with a configuration or a directory file, one problem a
// line.
type Error struct{ Problems []string }

func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0]
	}
	return fmt.Sprintf("%d problems:\n  %s", len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// maxProblems bounds what one report says: a file of 100,000 trackers can be wrong in every line.
const maxProblems = 100

// problems collects what is wrong.
type problems struct {
	list []string
	more int // those past maxProblems
}

func (p *problems) add(text string) {
	if len(p.list) == maxProblems {
		p.more++
		return
	}
	p.list = append(p.list, text)
}

// err returns a *ConfigError, nil if there is no problem.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	list := p.list
	if p.more > 0 {
		list = append(slices.Clip(list), fmt.Sprintf("and %d more", p.more))
	}
	return &Error{Problems: list}
}

// keyPath is where a value stands, such as gateway.listeners[2].protocol. It becomes text only when
// there is something to say; nil is the top.
type keyPath struct {
	parent *keyPath
	name   string
	index  int // of a list element, else -1
}

func (p *keyPath) key(name string) *keyPath { return &keyPath{parent: p, name: name, index: -1} }

func (p *keyPath) element(i int) *keyPath { return &keyPath{parent: p, index: i} }

// String gives the path as problems name it.
func (p *keyPath) String() string {
	switch {
	case p == nil:
		return ""
	case p.index >= 0:
		return p.parent.String() + "[" + strconv.Itoa(p.index) + "]"
	case p.parent == nil:
		return p.name
	default:
		return p.parent.String() + "." + p.name
	}
}

// origin is where a value came from; the zero value is a default.
type origin struct {
	line     int    // of the file
	variable string // of the environment
	raw      string // the text before ${NAME} was replaced; it is what may be shown
	expanded bool
}

// at names a place: the key, and where its value came from as far as that is known.
func (o origin) at(path string) string {
	switch {
	case o.variable != "" && path == "":
		return o.variable
	case o.variable != "":
		return fmt.Sprintf("%s (%s)", path, o.variable)
	case o.line > 0 && path == "":
		return fmt.Sprintf("line %d", o.line)
	case o.line > 0:
		return fmt.Sprintf("%s (line %d)", path, o.line)
	case path == "":
		return "file"
	default:
		return path
	}
}

// suggest returns the word that was probably meant, empty if none is close.
func suggest(wrong string, words []string) string {
	best, found := 3, "" // more than two slips are a different word
	for _, w := range words {
		if d := distance(wrong, w); d < best && d < len(w) {
			best, found = d, w
		}
	}
	return found
}

// distance is the number of bytes to insert, remove or replace (Levenshtein); words much longer
// than names of keys are far from everything.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
