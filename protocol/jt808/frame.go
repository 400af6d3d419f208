package jt808

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"trackchat/protocol"
)

// Framing (4.4.1).
const (
	flag       = 0x7E
	escape     = 0x7D
	escapeFlag = 0x02 // 7D 02 is 7E
	escapeSelf = 0x01 // 7D 01 is 7D

	// bytes with escapes; a legal frame takes at most 2092.
	maxFrame   = 4096
	maxBody    = 1<<10 - 1                    // ten bits of length
	maxPayload = longHeader + 4 + maxBody + 1 // header of 2019, subpackage item, body, XOR
)

// cut is Protocol.Frame. It never gives up: a flag always shows where to go on, so what is no frame
// is cut off as garbage, and a session survives it.
//   - A frame is a run of flags, bytes, a flag: empty frames and doubled flags belong to the frame
//     that follows them.
//   - Bytes before the first flag are garbage, unless they make a valid frame with that flag: then
//     the flag before them ended the last frame, because two frames
//     shared it or because that one had lost its end.
//   - A frame of a dialect that we know but do not speak is garbage up to its own end, so that it
//     is seen, and told, at once.
//   - Where no frame ends within maxFrame bytes, so many bytes are garbage. ErrTooLong would close
//     the session of a terminal that has damaged one flag.
func cut(buf []byte, scanned int) (n, next int, err error) {
	if len(buf) == 0 {
		return 0, 0, nil
	}
	window := buf[:min(len(buf), maxFrame)]
	at := min(max(scanned, 0), len(window))
	if window[0] == flag && (at == 0 || window[at-1] == flag) {
		// Everything looked at so far is flags: a flag after something else would have ended a
		// frame.
		for at < len(window) && window[at] == flag {
			at++
		}
	}
	end := bytes.IndexByte(window[at:], flag)
	if last := foreignEnd(window[0]); last != 0 {
		from := max(at, 1)
		until := len(window)
		if end >= 0 {
			until = at + end
		}
		if i := bytes.IndexByte(window[from:max(until, from)], last); i >= 0 {
			return from + i + 1, 0, nil
		}
	}
	switch {
	case end < 0 && len(window) == maxFrame:
		return maxFrame, 0, nil
	case end < 0:
		return 0, len(window), nil
	}
	end += at
	if window[0] == flag || plausible(window[:end]) {
		return end + 1, 0, nil
	}
	return end, 0, nil
}

var errDialect = errors.New(
	"a dialect of JT/T 808 that is not spoken here (E7 or parentheses around a frame, or serial numbers of one byte)")

// foreignEnd returns what ends a frame that begins with b in another dialect (E7, with the escapes
// E6 and 3E; text in parentheses), 0 where none does.
func foreignEnd(b byte) byte {
	switch b {
	case 0xE7:
		return 0xE7
	case '(':
		return ')'
	}
	return 0
}

// oneByteSerial is the high byte of the message ids of a dialect whose serial numbers have one
// byte.
const oneByteSerial = 0x55

// plausible reports whether escaped bytes between two flags are a valid frame.
func plausible(escaped []byte) bool {
	var room [maxPayload]byte
	payload, err := unescape(room[:0], escaped)
	if err != nil {
		return false
	}
	_, _, err = parse(payload, false)
	return err == nil
}

// inner returns what lies between the flags of a frame as cut returns it, still escaped.
func inner(frame []byte) ([]byte, error) {
	if len(frame) > 0 && foreignEnd(frame[0]) != 0 {
		return nil, fmt.Errorf("%w: %w", protocol.ErrGarbage, errDialect)
	}
	if len(frame) == 0 || frame[len(frame)-1] != flag {
		return nil, fmt.Errorf("%w: %d bytes without a closing flag", protocol.ErrGarbage,
			len(frame))
	}
	escaped := bytes.TrimLeft(frame[:len(frame)-1], "\x7E")
	if len(escaped) == 0 {
		return nil, fmt.Errorf("%w: only flags", protocol.ErrGarbage)
	}
	return escaped, nil
}

// unescape appends the payload of escaped to dst, which must have room for maxPayload bytes.
func unescape(dst, escaped []byte) ([]byte, error) {
	for len(escaped) > 0 {
		i := bytes.IndexByte(escaped, escape)
		if i < 0 {
			i = len(escaped)
		}
		if len(dst)+i > maxPayload {
			return nil, fmt.Errorf("%w: longer than a message can be", protocol.ErrMalformed)
		}
		dst = append(dst, escaped[:i]...)
		if escaped = escaped[i:]; len(escaped) == 0 {
			break
		}
		if len(escaped) < 2 || (escaped[1] != escapeFlag && escaped[1] != escapeSelf) ||
			len(dst) == maxPayload {
			return nil, fmt.Errorf("%w: bad escape", protocol.ErrMalformed)
		}
		dst = append(dst, escape+escaped[1]-escapeSelf)
		escaped = escaped[2:]
	}
	return dst, nil
}

// Message attributes (4.4.3).
const (
	attrLength     = maxBody
	attrEncryption = 7 << 10
	attrSubpackage = 1 << 13
	attrVersion    = 1 << 14

	shortHeader = 12 // 2011, 2013
	longHeader  = 17 // 2019
	shortPhone  = 6
	longPhone   = 10
)

// address is what every header of one terminal has in common; answers mirror it byte by byte.
type address struct {
	phone   [longPhone]byte // right-aligned: the short form has the last six
	version byte            // protocol version, only in the long form
	long    bool            // the header of 2019
}

// digits returns the phone as it is on the wire.
func (a *address) digits() []byte {
	if a.long {
		return a.phone[:]
	}
	return a.phone[longPhone-shortPhone:]
}

type header struct {
	address
	id, attributes, serial uint16
	total, number          uint16 // of a subpackage, number from 1; both 0 otherwise
	first                  uint16 // serial of the message, which in parts is that of part 1
	contrary               bool   // the version flag names the other form
}

func (h *header) encrypted() bool { return h.attributes&attrEncryption != 0 }

// oneShort reports whether a header whose length is one less than that of the body is right all the
// same: some firmwares do not count the byte that names the encoding of a text.
func (h *header) oneShort(length int) bool {
	return h.id == msgText && h.number <= 1 && length == int(h.attributes&attrLength)+1
}

// parse reads a payload (header, body, XOR). The version flag names the form of the header, unless
// only the other form fits the length of the body: there are terminals of 2013 that set the flag,
// and such that send the form of 2019 without it. contrary says that this terminal has done so
// before. Where the length alone is wrong, h is filled in.
func parse(payload []byte, contrary bool) (h header, body []byte, err error) {
	if len(payload) < shortHeader+1 {
		return h, nil, fmt.Errorf("%w: %d bytes are no header", protocol.ErrMalformed, len(payload))
	}
	sum := byte(0)
	for _, b := range payload {
		sum ^= b
	}
	if sum != 0 {
		return h, nil, fmt.Errorf("%w: XOR is off by %02x", protocol.ErrChecksum, sum)
	}
	payload = payload[:len(payload)-1]
	flagged := payload[2]&(attrVersion>>8) != 0
	h, body = split(payload, flagged != contrary)
	if !h.fits(body) {
		if other, rest := split(payload, flagged == contrary); other.fits(rest) {
			h, body, contrary = other, rest, !contrary
		}
	}
	h.contrary = contrary
	switch {
	case body == nil:
		err = fmt.Errorf("%w: %d bytes are no header", protocol.ErrMalformed, len(payload))
		return header{}, nil, err
	case !h.fits(body):
		return h, nil, fmt.Errorf("%w: %d bytes of body, the header says %d",
			protocol.ErrMalformed, len(body), h.attributes&attrLength)
	case h.attributes&attrSubpackage != 0 && (h.number == 0 || h.number > h.total):
		return h, nil, fmt.Errorf("%w: subpackage %d of %d", protocol.ErrMalformed, h.number,
			h.total)
	}
	return h, body, nil
}

// split takes a message apart by one form of the header; body is nil where there is not even that.
func split(message []byte, long bool) (h header, body []byte) {
	size := shortHeader
	if long {
		size = longHeader
	}
	attributes := binary.BigEndian.Uint16(message[2:])
	whole := size
	if attributes&attrSubpackage != 0 {
		whole += 4
	}
	if len(message) < whole {
		return h, nil
	}
	h.long, h.attributes, h.id = long, attributes, binary.BigEndian.Uint16(message)
	if long {
		h.version = message[4]
	}
	copy(h.phone[longPhone-len(h.digits()):], message[size-2-len(h.digits()):])
	h.serial = binary.BigEndian.Uint16(message[size-2:])
	h.first = h.serial
	if whole > size {
		h.total = binary.BigEndian.Uint16(message[size:])
		h.number = binary.BigEndian.Uint16(message[size+2:])
	}
	return h, message[whole:]
}

// fits reports whether body has the length that the header says.
func (h *header) fits(body []byte) bool {
	return body != nil && (len(body) == int(h.attributes&attrLength) || h.oneShort(len(body)))
}

// begin appends a flag and the header of a message; finish completes it after its body. start is
// where it began.
func begin(dst []byte, a *address, id, serial uint16) (out []byte, start int) {
	start = len(dst)
	dst = append(dst, flag)
	dst = binary.BigEndian.AppendUint16(dst, id)
	if a.long {
		dst = append(dst, attrVersion>>8, 0, a.version)
	} else {
		dst = append(dst, 0, 0)
	}
	dst = append(dst, a.digits()...)
	return binary.BigEndian.AppendUint16(dst, serial), start
}

// finish sets the length of the body that was appended since begin (at most maxBody bytes), escapes
// and closes the frame.
func finish(dst []byte, start int) []byte {
	message := dst[start+1:]
	size := shortHeader
	if message[2]&(attrVersion>>8) != 0 {
		size = longHeader
	}
	if message[2]&(attrSubpackage>>8) != 0 {
		size += 4
	}
	length := len(message) - size
	message[2] |= byte(length >> 8 & (attrLength >> 8))
	message[3] = byte(length)
	sum, special := byte(0), 0
	for _, b := range message {
		sum ^= b
		if b == flag || b == escape {
			special++
		}
	}
	if sum == flag || sum == escape {
		special++
	}
	dst = append(dst, sum)
	from := len(dst) - 1
	for range special {
		dst = append(dst, 0)
	}
	// Move the bytes up from the end until every escape has its room.
	for to := len(dst) - 1; to > from; from-- {
		b := dst[from]
		if b == flag || b == escape {
			dst[to], dst[to-1] = escapeSelf+(b-escape), escape
			to -= 2
			continue
		}
		dst[to] = b
		to--
	}
	return append(dst, flag)
}
