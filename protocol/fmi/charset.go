package fmi

import (
	"unicode/utf8"

	"trackchat/protocol"

	"golang.org/x/text/encoding/charmap"
)

// untilAsked is the charset of a client that has not asked for Unicode (0004): A602 knows only the
// code page of the client's language. ASCII is in all of them.
type untilAsked struct{ protocol.Charset }

// Decode: without an error: what is no UTF-8 is read in the commonest code page, so that a driver's
// text stays readable.
func (untilAsked) Decode(b []byte) (string, error) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	text := make([]rune, len(b))
	for i, c := range b {
		if text[i] = charmap.Windows1252.DecodeByte(c); text[i] == utf8.RuneError {
			text[i] = '?'
		}
	}
	return string(text), nil
}

// waitsForUnicode reports whether the client may still ask for Unicode, and has not yet.
func (s *Session) waitsForUnicode() bool { return s.charset == s.shared.narrow }

// asked takes note that the client has asked for Unicode.
func (s *Session) asked() {
	if s.waitsForUnicode() {
		s.charset = s.shared.utf8
	}
}
