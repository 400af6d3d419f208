package protocol

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// Charset is how text becomes bytes on the wire and back. Each has at least ASCII; what it lacks is
// replaced as Fold says. Values are stateless and shared.
type Charset interface {
	// String is the charset's name in settings and answers.
	String() string
	// RuneLen returns how many bytes r takes, at least 1. What the charset lacks is folded before.
	RuneLen(r rune) int
	// Append appends text, folded; it never fails.
	Append(dst []byte, text string) []byte
	// Lossy reports whether the charset lacks r.
	Lossy(r rune) bool
	// Decode returns valid UTF-8; an error where b is not text in this charset.
	Decode(b []byte) (string, error)
}

// UTF8 is the charset of the API itself.
func UTF8() Charset { return utf8Charset{} }

// GBK encodes Chinese for JT/T 808 and decodes its superset GB 18030.
func GBK() Charset {
	encoder := simplifiedchinese.GBK.NewEncoder() // of a stateless encoding: safe to share
	encode := func(r rune) (code [2]byte, n int) {
		var b [utf8.UTFMax + len(code)]byte
		in, out := b[:utf8.EncodeRune(b[:], r)], b[utf8.UTFMax:]
		n, _, err := encoder.Transform(out, in, true)
		if err != nil {
			return code, 0
		}
		return [2]byte(out), n
	}
	return &tableCharset{"gbk", encode, simplifiedchinese.GB18030}
}

// Windows1251 is Cyrillic in one byte a character.
func Windows1251() Charset {
	encode := func(r rune) (code [2]byte, n int) {
		b, ok := charmap.Windows1251.EncodeRune(r)
		if !ok {
			return code, 0
		}
		return [2]byte{b}, 1
	}
	return &tableCharset{"cp1251", encode, charmap.Windows1251}
}

// UTF16 is two bytes a character (UCS2); it lacks what lies outside the basic plane.
func UTF16(bigEndian bool) Charset { return utf16Charset{bigEndian} }

type utf8Charset struct{}

func (utf8Charset) String() string                     { return "utf8" }
func (utf8Charset) RuneLen(r rune) int                 { return max(utf8.RuneLen(r), 1) }
func (utf8Charset) Append(dst []byte, t string) []byte { return append(dst, t...) }
func (utf8Charset) Lossy(rune) bool                    { return false }

func (utf8Charset) Decode(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%w: invalid UTF-8", ErrMalformed)
	}
	return string(b), nil
}

// tableCharset has one or two bytes for a character.
type tableCharset struct {
	name    string
	encode  func(r rune) (code [2]byte, n int) // n = 0: the table lacks r
	decoder encoding.Encoding
}

func (c *tableCharset) String() string { return c.name }

func (c *tableCharset) RuneLen(r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	_, n := c.encode(r)
	return max(n, 1)
}

func (c *tableCharset) Lossy(r rune) bool {
	if r < utf8.RuneSelf {
		return false
	}
	_, n := c.encode(r)
	return n == 0
}

func (c *tableCharset) Append(dst []byte, text string) []byte {
	start := len(dst)
	for _, r := range text {
		if r < utf8.RuneSelf {
			dst = append(dst, byte(r))
			continue
		}
		code, n := c.encode(r)
		if n == 0 {
			folded, _ := Fold(c, text)
			return c.Append(dst[:start], folded)
		}
		dst = append(dst, code[:n]...)
	}
	return dst
}

func (c *tableCharset) Decode(b []byte) (string, error) {
	out, err := c.decoder.NewDecoder().Bytes(b)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if bytes.ContainsRune(out, utf8.RuneError) {
		return "", fmt.Errorf("%w: bytes that are no text", ErrMalformed)
	}
	return string(out), nil
}

type utf16Charset struct{ bigEndian bool }

func (utf16Charset) String() string    { return "ucs2" }
func (utf16Charset) RuneLen(rune) int  { return 2 }
func (utf16Charset) Lossy(r rune) bool { return r > 0xFFFF || utf16.IsSurrogate(r) }

func (c utf16Charset) Append(dst []byte, text string) []byte {
	text, _ = Fold(c, text)
	for _, r := range text {
		if c.bigEndian {
			dst = append(dst, byte(r>>8), byte(r))
		} else {
			dst = append(dst, byte(r), byte(r>>8))
		}
	}
	return dst
}

func (c utf16Charset) Decode(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", fmt.Errorf("%w: odd number of bytes in UTF-16", ErrMalformed)
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		if !c.bigEndian {
			units[i] = units[i]>>8 | units[i]<<8
		}
	}
	runes := utf16.Decode(units)
	if slices.Contains(runes, utf8.RuneError) {
		return "", fmt.Errorf("%w: unpaired surrogate in UTF-16", ErrMalformed)
	}
	return string(runes), nil
}
