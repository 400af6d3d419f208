package wialon

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

const (
	// FF, length of what follows (u16, little-endian), zlib data: Wialon IPS 2.0, "Data
	// compression".
	containerMark   = 0xFF
	containerHeader = 3
	zlibHeader      = 2
	// maxBlockHead bounds the line before a block of raw bytes, so that looking at it again costs
	// next to nothing.
	maxBlockHead = 512
)

// cut implements Protocol.Frame: a container, or a line with the raw bytes that it announces. A
// line longer than a frame may be is cut off there: that piece and the rest of the line are
// garbage, and the next line is whole again.
func cut(buf []byte, scanned int) (n, next int, err error) {
	if len(buf) == 0 {
		return 0, 0, nil
	}
	if n, wait := cutContainer(buf); n > 0 || wait {
		return n, 0, nil
	}
	seen := min(len(buf), maxFrame)
	lf := bytes.IndexByte(buf[min(scanned, seen):seen], '\n')
	if lf < 0 {
		if seen == maxFrame {
			return maxFrame, 0, nil
		}
		return 0, len(buf), nil
	}
	lf += min(scanned, seen)
	size, sure := blockSize(trimEnd(buf[:lf+1]))
	if behind := buf[lf+1:]; !sure {
		look := min(size, maxTypeLetters+2)
		if len(behind) < look {
			return 0, lf, nil
		}
		if beginsPacket(behind[:look]) {
			size = 0
		}
	}
	if n = lf + 1 + size; n > maxFrame {
		return 0, 0, fmt.Errorf("%w: a block of %d bytes", protocol.ErrTooLong, size)
	}
	if len(buf) < n {
		return 0, lf, nil
	}
	return n, 0, nil
}

// cutContainer returns the length of the container at the start of buf, 0 where there is none; wait
// says that more bytes are needed.
func cutContainer(buf []byte) (n int, wait bool) {
	if buf[0] != containerMark {
		return 0, false
	}
	if len(buf) < containerHeader+zlibHeader {
		return 0, true
	}
	if n = containerSize(buf); len(buf) < n {
		return 0, true
	}
	return n, false
}

// isContainer reports whether a frame is one.
func isContainer(frame []byte) bool {
	return len(frame) >= containerHeader+zlibHeader && frame[0] == containerMark &&
		containerSize(frame) == len(frame)
}

// containerSize returns how long the container at the start of b is, 0 where that is none: a stray
// FF must not swallow the lines behind it.
func containerSize(b []byte) int {
	size := int(binary.LittleEndian.Uint16(b[1:]))
	deflate := b[3]&0x0F == 8 && binary.BigEndian.Uint16(b[3:])%31 == 0 // RFC 1950, 2.2
	if size <= zlibHeader || !deflate {
		return 0
	}
	return containerHeader + size
}

// trimEnd removes LF or CR LF.
func trimEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

// blockSize returns how many raw bytes a line announces: the first field of #I#, #US#, #UC# and of
// the video packets of 2.1 (#LV#, #PB#, #VF#), the second of #T#; 0 for every other line and where
// that field is no number. A size past maxFrame is some number past maxFrame. sure is false where a
// device may leave the bytes out: this package does not speak those packets, it steps over them.
func blockSize(line []byte) (size int, sure bool) {
	if len(line) > maxBlockHead {
		return 0, true
	}
	p, ok := parsePacket(line)
	if !ok {
		return 0, true
	}
	field, rest, _ := bytes.Cut(p.msg, []byte{';'})
	switch p.typ {
	case typeT:
		field, _, _ = bytes.Cut(rest, []byte{';'})
		sure = true
	case typeI:
		sure = true
	case typeUS, typeUC, typeLV, typePB, typeVF:
	default:
		return 0, true
	}
	n, _ := parseUint(field, maxFrame+1)
	return int(n), sure
}

// beginsPacket reports whether b can be the first bytes of a packet: #, letters, #.
func beginsPacket(b []byte) bool {
	if len(b) == 0 || b[0] != '#' {
		return false
	}
	for _, c := range b[1:] {
		if c < 'A' || c > 'Z' {
			return c == '#'
		}
	}
	return true
}

// parseUint reads decimal digits; a number past most becomes most.
func parseUint(b []byte, most uint32) (uint32, bool) {
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+uint64(c-'0'), uint64(most))
	}
	return uint32(n), len(b) > 0
}
