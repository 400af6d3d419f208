package watch

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

const (
	prefixLength = 2
	maxID        = 20
	hexLength    = 4
	// maxGarbage bounds what is skipped at once, so that a stranger is told from a device soon.
	maxGarbage = 256
	// maxLineEnds bounds the CR and LF between two frames, so that looking behind them again costs
	// next to nothing.
	maxLineEnds = 16
)

// What builds that are bound to a vendor's cloud begin with: binary frames, or 32 hexadecimal
// digits in front of the prefix.
const (
	cloudMark   = "\xffAQSH"
	cloudDigest = 32
)

// header is what stands before the content of a frame:
//
//	[MM*ID*LEN*  or  [MM*ID*NNNN*LEN*
type header struct {
	prefix   []byte
	id       []byte
	numbered bool
	number   uint32 // its digits as they are written, the first one highest
	length   int    // of the content, as declared
	content  int    // where it begins
}

// match says how bytes compare with what they may begin.
type match uint8

const (
	matchNone match = iota
	matchPart       // they end too early to say
	matchWhole
)

// parseHeader reads the header that b begins with. The form is numbered where two fields of four
// hexadecimal digits stand behind the id.
func parseHeader(b []byte) (h header, m match) {
	if m = beginsFrame(b); m != matchWhole {
		return h, m
	}
	h.prefix = b[1 : 1+prefixLength]
	rest := b[prefixLength+2:]
	n := 0
	for n < len(rest) && n <= maxID && isWord(rest[n]) {
		n++
	}
	switch {
	case n > maxID:
		return h, matchNone
	case n == len(rest):
		return h, matchPart
	case n == 0 || rest[n] != '*':
		return h, matchNone
	}
	h.id, rest = rest[:n], rest[n+1:]
	first, m := parseHex(rest)
	if m != matchWhole {
		return h, m
	}
	digits := rest
	rest = rest[hexLength+1:]
	second, m := parseHex(rest)
	switch m {
	case matchPart:
		return h, m
	case matchWhole:
		h.numbered, h.number, h.length = true, binary.BigEndian.Uint32(digits), int(second)
		rest = rest[hexLength+1:]
	case matchNone:
		h.length = int(first)
	}
	h.content = len(b) - len(rest)
	return h, matchWhole
}

// beginsFrame compares b with [, two letters or digits, *.
func beginsFrame(b []byte) match {
	for i := range prefixLength + 2 {
		switch {
		case i == len(b):
			return matchPart
		case i == 0 && b[i] != '[', i == prefixLength+1 && b[i] != '*',
			i > 0 && i <= prefixLength && !isWord(b[i]):
			return matchNone
		}
	}
	return matchWhole
}

// parseHex reads four hexadecimal digits and a *.
func parseHex(b []byte) (n uint16, m match) {
	for i := range hexLength {
		if i == len(b) {
			return 0, matchPart
		}
		digit, ok := protocol.HexDigit(b[i])
		if !ok {
			return 0, matchNone
		}
		n = n<<4 | uint16(digit)
	}
	switch {
	case len(b) == hexLength:
		return 0, matchPart
	case b[hexLength] != '*':
		return 0, matchNone
	}
	return n, matchWhole
}

// isWord reports whether c is a letter or a digit.
func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// cut implements Protocol.Frame. Declared lengths lie, and names of networks hold brackets, so a
// frame ends at the first of: the bracket that balances those before it, the one that the declared
// length points at, and one that another frame's begin follows, perhaps behind CR and LF.
func cut(buf []byte, scanned int) (n, next int, err error) {
	if len(buf) == 0 {
		return 0, 0, nil
	}
	h, m := parseHeader(buf)
	switch m {
	case matchPart:
		return 0, 0, nil
	case matchNone:
		n, next = cutGarbage(buf, scanned)
		return n, next, nil
	case matchWhole:
	}
	view := buf[:min(len(buf), maxFrame)]
	from := min(max(scanned, h.content), len(view))
	seen := view[h.content:from]
	open := 1 + bytes.Count(seen, []byte{'['}) - bytes.Count(seen, []byte{']'})
	for i := from; i < len(view); i++ {
		switch view[i] {
		case '[':
			open++
			continue
		case ']':
			open--
		default:
			continue
		}
		if open == 0 || i == h.content+h.length {
			return i + 1, 0, nil
		}
		switch beginsFrame(skipLineEnds(view[i+1:])) {
		case matchWhole:
			return i + 1, 0, nil
		case matchPart:
			if len(view) < maxFrame {
				return 0, i, nil
			}
		case matchNone:
		}
	}
	if len(view) == maxFrame {
		return 0, 0, fmt.Errorf("%w: no end after %d bytes", protocol.ErrTooLong, maxFrame)
	}
	return 0, len(buf), nil
}

// skipLineEnds removes CR and LF.
func skipLineEnds(b []byte) []byte {
	n := 0
	for n < min(len(b), maxLineEnds) && (b[n] == '\r' || b[n] == '\n') {
		n++
	}
	return b[n:]
}

// cutGarbage cuts off what is no frame, up to the next [ or with a line's end.
func cutGarbage(buf []byte, scanned int) (n, next int) {
	switch n, m := cloud(buf); m {
	case matchPart:
		return 0, 0
	case matchWhole:
		return n, 0
	case matchNone:
	}
	view := buf[:min(len(buf), maxGarbage)]
	for i := min(scanned, len(view)); i < len(view); i++ {
		switch {
		case view[i] == '\n':
			return i + 1, 0
		case view[i] == '[' && i > 0:
			return i, 0
		}
	}
	if len(view) == maxGarbage {
		return maxGarbage, 0
	}
	return 0, len(buf)
}

// cloud compares b with what builds begin with that are bound to a vendor's cloud; n is how long
// that is.
func cloud(b []byte) (n int, m match) {
	if b[0] != '[' {
		n = min(len(b), len(cloudMark))
		switch {
		case string(b[:n]) != cloudMark[:n]:
			return 0, matchNone
		case n < len(cloudMark):
			return 0, matchPart
		}
		return n, matchWhole
	}
	n = 1 + cloudDigest + prefixLength + 1
	for i := 1; i < n; i++ {
		if i == len(b) {
			return 0, matchPart
		}
		_, isHex := protocol.HexDigit(b[i])
		switch {
		case i <= cloudDigest && !isHex, i > cloudDigest && i < n-1 && !isWord(b[i]),
			i == n-1 && b[i] != '*':
			return 0, matchNone
		}
	}
	return n, matchWhole
}
