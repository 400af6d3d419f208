package egts

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"trackchat/protocol"

	"golang.org/x/text/encoding/charmap"
)

// Values of CHS, those of data_coding in SMPP. Without CHS a text is in Windows-1251.
const (
	chs1251   = 0
	chsASCII  = 1
	chsLatin1 = 3
	chs8859x5 = 6
	chs8859x8 = 7
	chsUCS2   = 8
)

// Flags before a text in COMMAND_DATA.
const (
	flagCHS = 1 << 0 // CHS 1 follows
	flagAC  = 1 << 1 // ACL 1 and an authorisation code of that length follow
)

var (
	_ protocol.Charset = (*charset)(nil)
	_ protocol.Fitter  = (*charset)(nil)
)

// charset is how COMMAND_DATA carries text: flags, CHS where it is not Windows-1251, and the text
// in the narrower of Windows-1251 and UCS2 that can carry it; the choice is made for each part.
// Append writes all of that, up to two bytes more than RuneLen and Fit count. Values are shared and
// safe for concurrent use.
type charset struct {
	narrow protocol.Charset
	wide   protocol.Charset
}

func newCharset(bigEndian bool) charset {
	return charset{protocol.Windows1251(), protocol.UTF16(bigEndian)}
}

// width is the room that a text takes as it grows.
type width struct {
	narrow, wide int
	widened      bool // a character needs UCS2; what that lacks too is folded before
}

func (w *width) bytes() int {
	if w.widened {
		return w.wide
	}
	return w.narrow
}

func (c *charset) grow(w *width, r rune) {
	w.wide += c.wide.RuneLen(r)
	if r < utf8.RuneSelf {
		w.narrow++
		return
	}
	if _, ok := charmap.Windows1251.EncodeRune(r); ok {
		w.narrow++
		return
	}
	w.widened = true
}

// RuneLen: UCS2, so that a part is never too long; Fit does better.
func (c *charset) RuneLen(r rune) int { return max(c.wide.RuneLen(r), c.narrow.RuneLen(r)) }

func (c *charset) Lossy(r rune) bool { return c.wide.Lossy(r) && c.narrow.Lossy(r) }

func (c *charset) String() string { return c.narrow.String() + "/" + c.wide.String() }

// fold brings text to characters that one of the two has.
func (c *charset) fold(text string) string {
	folded, _ := protocol.Fold(c, text)
	return folded
}

func (c *charset) Fit(text string, room int) int {
	var w width
	for i, r := range text {
		if c.grow(&w, r); w.bytes() > room {
			return i
		}
	}
	return len(text)
}

// length returns how many bytes folded text takes after its flags and CHS.
func (c *charset) length(text string) (n int, wide bool) {
	var w width
	for _, r := range text {
		c.grow(&w, r)
	}
	return w.bytes(), w.widened
}

func (c *charset) Append(dst []byte, text string) []byte {
	text = c.fold(text)
	_, wide := c.length(text)
	return c.appendText(appendCharset(dst, wide), text, wide)
}

// appendCharset appends flags and CHS.
func appendCharset(dst []byte, wide bool) []byte {
	if wide {
		return append(dst, flagCHS, chsUCS2)
	}
	return append(dst, 0)
}

// appendText appends folded text alone.
func (c *charset) appendText(dst []byte, text string, wide bool) []byte {
	if wide {
		return c.wide.Append(dst, text)
	}
	for _, r := range text {
		b, ok := byte(r), true
		if r >= utf8.RuneSelf {
			b, ok = charmap.Windows1251.EncodeRune(r)
		}
		if !ok {
			b = '?'
		}
		dst = append(dst, b)
	}
	return dst
}

// appendUTF16 appends text in UTF-16 with flags and CHS: what a terminal writes that is not bound
// to the basic plane.
func appendUTF16(dst []byte, text string, bigEndian bool) []byte {
	dst = appendCharset(dst, true)
	for _, unit := range utf16.Encode([]rune(text)) {
		if bigEndian {
			dst = append(dst, byte(unit>>8), byte(unit))
		} else {
			dst = append(dst, byte(unit), byte(unit>>8))
		}
	}
	return dst
}

// Decode: b begins with the flags.
func (c *charset) Decode(b []byte) (string, error) {
	chs, text, err := body(b)
	if err != nil {
		return "", err
	}
	text = append([]byte(nil), text...) // so that the caller's bytes can stay on its stack
	switch chs {
	case chs1251:
		return c.narrow.Decode(text)
	case chsUCS2:
		return c.wide.Decode(text)
	case chsASCII:
		return protocol.ASCII().Decode(text)
	case chsLatin1:
		return table(charmap.ISO8859_1, text)
	case chs8859x5:
		return table(charmap.ISO8859_5, text)
	case chs8859x8:
		return table(charmap.ISO8859_8, text)
	}
	return "", fmt.Errorf("%w: charset %d", protocol.ErrMalformed, chs)
}

// body reads flags, CHS and the authorisation code, and returns what follows: CD.
func body(b []byte) (chs byte, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, fmt.Errorf("%w: text without flags", protocol.ErrMalformed)
	}
	flags, b := b[0], b[1:]
	chs = chs1251
	if flags&flagCHS != 0 {
		if len(b) == 0 {
			return 0, nil, fmt.Errorf("%w: text without its charset", protocol.ErrMalformed)
		}
		chs, b = b[0], b[1:]
	}
	if flags&flagAC != 0 {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return 0, nil, fmt.Errorf("%w: authorisation code cut short", protocol.ErrMalformed)
		}
		b = b[1+int(b[0]):]
	}
	return chs, b, nil
}

func table(m *charmap.Charmap, b []byte) (string, error) {
	out := make([]rune, len(b))
	for i, c := range b {
		if out[i] = m.DecodeByte(c); out[i] == utf8.RuneError {
			return "", fmt.Errorf("%w: byte %02x in %s", protocol.ErrMalformed, c, m)
		}
	}
	return string(out), nil
}
