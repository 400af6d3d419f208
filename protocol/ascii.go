package protocol

import (
	"fmt"
	"unicode/utf8"
)

// ASCII is what every device shows.
func ASCII() Charset { return asciiCharset{} }

type asciiCharset struct{}

func (asciiCharset) String() string    { return "ascii" }
func (asciiCharset) RuneLen(rune) int  { return 1 }
func (asciiCharset) Lossy(r rune) bool { return r >= utf8.RuneSelf }

func (c asciiCharset) Append(dst []byte, text string) []byte {
	folded, _ := Fold(c, text)
	return append(dst, folded...)
}

func (asciiCharset) Decode(b []byte) (string, error) {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return "", fmt.Errorf("%w: byte %02x in ASCII", ErrMalformed, c)
		}
	}
	return string(b), nil
}
