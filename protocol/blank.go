package protocol

import (
	"strings"
	"unicode"
)

// Blank reports whether a text has nothing to show: white space, control characters and byte order
// marks alone.
func Blank(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsSpace(r) && !unicode.IsControl(r) && r != '\uFEFF'
	})
}
