package watch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"trackchat/protocol"
)

// encoding is how a text is written in a MESSAGE.
type encoding uint8

const (
	encodingAuto encoding = iota // as the device's INIT says
	encodingHex
	encodingHexLE
	encodingUTF8
)

func encodingOf(setting string) encoding {
	switch setting {
	case textHex:
		return encodingHex
	case textHexLE:
		return encodingHexLE
	case textUTF8:
		return encodingUTF8
	}
	return encodingAuto
}

// with decides what auto is.
func (e encoding) with(m mode) encoding {
	switch {
	case e != encodingAuto:
		return e
	case m == modeBytes:
		return encodingUTF8
	case m == modeHexLE:
		return encodingHexLE
	}
	return encodingHex
}

func (e encoding) charset() protocol.Charset {
	switch e {
	case encodingUTF8:
		return rawCharset{}
	case encodingHexLE:
		return hexCharset{little: true}
	case encodingAuto, encodingHex:
	}
	return hexCharset{}
}

// partBytes is the room of a part of so many UTF-16 units.
func (e encoding) partBytes(units int) int {
	if e == encodingUTF8 {
		return 3 * units // as many as a unit of UTF-16 can take
	}
	return unitDigits * units
}

// unitDigits are the hexadecimal digits of a unit of UTF-16.
const unitDigits = 4

// blanked is what a text's line ends and tabs become, which a screen of one line may not show.
func blanked(r rune) rune {
	if r == '\r' || r == '\n' || r == '\t' {
		return ' '
	}
	return r
}

// hexCharset is UTF-16 as hexadecimal digits, without a byte order mark.
type hexCharset struct{ little bool }

func (c hexCharset) String() string {
	if c.little {
		return "utf16le"
	}
	return "utf16be"
}

func (hexCharset) Lossy(rune) bool { return false }

func (hexCharset) RuneLen(r rune) int { return unitDigits * max(utf16.RuneLen(r), 1) }

func (c hexCharset) Append(dst []byte, text string) []byte {
	for _, r := range text {
		if a, b := utf16.EncodeRune(r); a != utf8.RuneError {
			dst = c.appendUnit(c.appendUnit(dst, uint16(a)), uint16(b))
			continue
		}
		dst = c.appendUnit(dst, uint16(blanked(r)))
	}
	return dst
}

func (c hexCharset) appendUnit(dst []byte, unit uint16) []byte {
	if c.little {
		unit = unit>>8 | unit<<8
	}
	return appendHex(dst, unit)
}

func (c hexCharset) Decode(b []byte) (string, error) {
	if len(b)%unitDigits != 0 {
		return "", fmt.Errorf("%w: %d hexadecimal digits of UTF-16", protocol.ErrMalformed, len(b))
	}
	units := make([]uint16, 0, len(b)/unitDigits)
	for digits := range slices.Chunk(b, unitDigits) {
		unit := uint16(0)
		for _, c := range digits {
			digit, ok := protocol.HexDigit(c)
			if !ok {
				return "", fmt.Errorf("%w: %q is no hexadecimal digit", protocol.ErrMalformed, c)
			}
			unit = unit<<4 | uint16(digit)
		}
		if c.little {
			unit = unit>>8 | unit<<8
		}
		units = append(units, unit)
	}
	text := utf16.Decode(units)
	if slices.Contains(text, utf8.RuneError) {
		return "", fmt.Errorf("%w: half a character of UTF-16", protocol.ErrMalformed)
	}
	return string(text), nil
}

// rawCharset is UTF-8 without what a frame is made of.
type rawCharset struct{}

func (rawCharset) String() string { return protocol.UTF8().String() }

func (rawCharset) Lossy(rune) bool { return false }

func (rawCharset) RuneLen(r rune) int { return protocol.UTF8().RuneLen(r) }

func (rawCharset) Append(dst []byte, text string) []byte {
	for _, r := range text {
		switch r {
		case '[':
			r = '('
		case ']', '}':
			r = ')'
		}
		dst = utf8.AppendRune(dst, blanked(r))
	}
	return dst
}

func (rawCharset) Decode(b []byte) (string, error) { return protocol.UTF8().Decode(b) }

// appendHex appends four digits in lower case, as the devices' own server writes them.
func appendHex(dst []byte, n uint16) []byte {
	const digits = "0123456789abcdef"
	return append(dst, digits[n>>12], digits[n>>8&0xF], digits[n>>4&0xF], digits[n&0xF])
}

// digitsOf writes a number of ours as those of devices are kept.
func digitsOf(number uint16) uint32 {
	var room [hexLength]byte
	return binary.BigEndian.Uint32(appendHex(room[:0], number))
}

// begin appends a frame's header; end completes the frame. The digits of a number stand in it where
// the device's last frame had one.
func (p *peer) begin(dst []byte, digits uint32) []byte {
	dst = append(dst, '[', p.prefix[0], p.prefix[1], '*')
	dst = append(append(dst, p.id[:p.idLength]...), '*')
	if p.numbered {
		dst = append(binary.BigEndian.AppendUint32(dst, digits), '*')
	}
	return append(dst, "0000*"...) // the length, see end
}

// end fills in the length of the content that begins at start.
func end(dst []byte, start int) []byte {
	appendHex(dst[:start-hexLength-1], uint16(len(dst)-start))
	return append(dst, ']')
}

const message = "MESSAGE"

// AppendText: MESSAGE and the text. The number stays the same until the part has its echo.
func (c *codec) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	if c.peer.idLength == 0 {
		return dst, fmt.Errorf("%w: the device has not named itself", protocol.ErrNotText)
	}
	part := hash(hashSeed, t.Body)
	for _, n := range [...]uint64{uint64(t.Part), uint64(t.AtMs)} {
		part = (part ^ n) * hashPrime
	}
	if part = max(part, 1); part != c.part {
		c.part = part
		c.count++
	}
	to := c.peer
	if c.prefix[0] != 0 {
		to.prefix = c.prefix
	}
	dst = to.begin(dst, digitsOf(c.count))
	start := len(dst)
	dst = append(dst, message...)
	dst = append(dst, ',')
	text := len(dst)
	dst = c.text.with(c.mode).charset().Append(dst, t.Body)
	c.sent = hashLower(dst[text:])
	return end(dst, start), nil
}

// echoed says what a MESSAGE of the device means. Some send the text back with it, some a status;
// what else stands there means nothing.
func (c *codec) echoed(params []byte, given bool) (protocol.Outcome, bool) {
	outcome := protocol.AckDelivered
	switch {
	case !given, string(params) == "1":
	case string(params) == "0": // also where the text itself was "0": rather refused than not there
		outcome = protocol.AckRejected
	case c.sent == 0 || hashLower(params) != c.sent:
		return 0, false
	}
	c.part = 0
	return outcome, true
}

// The hash is FNV-1a of 64 bits: the same on every node and after every restart.
const (
	hashSeed  = 14695981039346656037
	hashPrime = 1099511628211
)

func hash[T string | []byte](h uint64, b T) uint64 {
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * hashPrime
	}
	return max(h, 1)
}

// hashLower is that of b in lower case: devices write hexadecimal digits in either.
func hashLower(b []byte) uint64 {
	h := uint64(hashSeed)
	for _, c := range b {
		h = (h ^ uint64(lower(c))) * hashPrime
	}
	return max(h, 1)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
