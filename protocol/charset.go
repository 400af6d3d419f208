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
	"golang.org/x/text/unicode/norm"
)

// Charset is how text becomes bytes on the wire and back. What it cannot carry is brought to its base letters (é to e) or becomes '?'. Values are stateless and shared.
type Charset interface {
	// RuneLen returns how many bytes r takes, at least 1.
	RuneLen(r rune) int
	// Append appends text; it never fails.
	Append(dst []byte, text string) []byte
	// Lossy reports whether r would be replaced.
	Lossy(r rune) bool
	// Decode returns valid UTF-8; an error where b is not text in this charset.
	Decode(b []byte) (string, error)
}

// UTF8 is the charset of the API itself.
func UTF8() Charset { return utf8Charset{} }

// GBK encodes Chinese for JT/T 808 and decodes its superset GB 18030.
func GBK() Charset {
	return tableCharset{simplifiedchinese.GBK.NewEncoder(), simplifiedchinese.GB18030}
}

// Windows1251 is Cyrillic in one byte a character.
func Windows1251() Charset {
	return tableCharset{charmap.Windows1251.NewEncoder(), charmap.Windows1251}
}

// UTF16 is two bytes a character (UCS2); what lies outside the basic plane becomes '?'.
func UTF16(bigEndian bool) Charset { return utf16Charset{bigEndian} }

type utf8Charset struct{}

func (utf8Charset) RuneLen(r rune) int                 { return max(utf8.RuneLen(r), 1) }
func (utf8Charset) Append(dst []byte, t string) []byte { return append(dst, t...) }
func (utf8Charset) Lossy(rune) bool                    { return false }

func (utf8Charset) Decode(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%w: invalid UTF-8", ErrMalformed)
	}
	return string(b), nil
}

type tableCharset struct {
	encoder *encoding.Encoder // of a stateless encoding: safe to share
	decoder encoding.Encoding
}

func (c tableCharset) RuneLen(r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	var out [16]byte
	return len(c.appendRune(out[:0], r))
}

func (c tableCharset) Append(dst []byte, text string) []byte {
	for _, r := range text {
		if r < utf8.RuneSelf {
			dst = append(dst, byte(r))
			continue
		}
		dst = c.appendRune(dst, r)
	}
	return dst
}

func (c tableCharset) Lossy(r rune) bool {
	if r < utf8.RuneSelf {
		return false
	}
	var out [8]byte
	_, ok := c.encode(out[:], r)
	return !ok
}

func (c tableCharset) encode(out []byte, r rune) (int, bool) {
	var in [utf8.UTFMax]byte
	n, _, err := c.encoder.Transform(out, in[:utf8.EncodeRune(in[:], r)], true)
	return n, err == nil && n > 0
}

// appendRune appends r, else its decomposed base letters, else '?'.
func (c tableCharset) appendRune(dst []byte, r rune) []byte {
	var out [8]byte
	if n, ok := c.encode(out[:], r); ok {
		return append(dst, out[:n]...)
	}
	before := len(dst)
	var in [utf8.UTFMax]byte
	var room [32]byte
	for _, base := range string(norm.NFKD.Append(room[:0], in[:utf8.EncodeRune(in[:], r)]...)) {
		if base == r {
			break
		}
		if n, ok := c.encode(out[:], base); ok {
			dst = append(dst, out[:n]...)
		}
	}
	if len(dst) == before {
		dst = append(dst, '?')
	}
	return dst
}

func (c tableCharset) Decode(b []byte) (string, error) {
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

func (utf16Charset) RuneLen(rune) int  { return 2 }
func (utf16Charset) Lossy(r rune) bool { return r > 0xFFFF || utf16.IsSurrogate(r) }

func (c utf16Charset) Append(dst []byte, text string) []byte {
	for _, r := range text {
		if c.Lossy(r) {
			r = '?'
		}
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
