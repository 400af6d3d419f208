package teltonika

import (
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

const (
	keepAlive = 0xFF

	head     = 8 // 00000000, length u32
	tail     = 4 // CRC u32
	maxData  = 64 << 10
	maxFrame = head + maxData + tail

	loginHead = 2
	maxID     = 32
)

// Codec ids.
const (
	codecGH   = 0x07 // GH3000
	codec8    = 0x08
	codec8E   = 0x8E
	codec16   = 0x10
	codec12   = 0x0C
	codec13   = 0x0D
	codec14   = 0x0E
	codec15   = 0x0F
	minData   = 3 // codec id, count, count
	imeiBytes = 8 // BCD, in codecs 14 and 15
	timeBytes = 4 // in codecs 13 and 15
)

// cut implements Protocol.Frame: a keep-alive, a login or a packet. Bytes that begin none of them
// say that framing is lost: there is no mark to look for, and a device that connects again sends
// everything that was not acknowledged.
func cut(buf []byte, _ int) (n, next int, err error) {
	switch {
	case len(buf) == 0:
		return 0, 0, nil
	case buf[0] == keepAlive:
		return 1, 0, nil
	case buf[0] != 0:
		return 0, 0, fmt.Errorf("%w: %#02x begins no packet", protocol.ErrFraming, buf[0])
	case len(buf) < loginHead:
		return 0, 0, nil
	case buf[1] > maxID:
		return 0, 0, fmt.Errorf("%w: login of %d bytes", protocol.ErrFraming, buf[1])
	case buf[1] != 0:
		n = loginHead + int(buf[1])
	case len(buf) < head:
		for _, b := range buf[2:min(len(buf), 4)] {
			if b != 0 {
				return 0, 0, fmt.Errorf("%w: no preamble", protocol.ErrFraming)
			}
		}
		return 0, 0, nil
	case buf[2]|buf[3] != 0:
		return 0, 0, fmt.Errorf("%w: no preamble", protocol.ErrFraming)
	default:
		size := binary.BigEndian.Uint32(buf[4:])
		if size > maxData {
			return 0, 0, fmt.Errorf("%w: %d bytes of data", protocol.ErrTooLong, size)
		}
		n = head + int(size) + tail
	}
	if len(buf) < n {
		return 0, 0, nil
	}
	return n, 0, nil
}

// inner checks a packet as cut returns it and returns its data.
func inner(frame []byte) ([]byte, error) {
	if len(frame) < head+minData+tail ||
		int(binary.BigEndian.Uint32(frame[4:])) != len(frame)-head-tail {
		return nil, fmt.Errorf("%w: packet of %d bytes", protocol.ErrMalformed, len(frame))
	}
	data := frame[head : len(frame)-tail]
	want := binary.BigEndian.Uint32(frame[len(frame)-tail:])
	if have := uint32(protocol.CRC16(0, data)); have != want {
		return nil, fmt.Errorf("%w: %08x instead of %08x", protocol.ErrChecksum, want, have)
	}
	if first, last := data[1], data[len(data)-1]; first != last {
		return nil, fmt.Errorf("%w: counts %d and %d", protocol.ErrMalformed, first, last)
	}
	return data, nil
}

// leastRecord is how many bytes a record of a codec for positions takes at least, 0 for other
// codecs.
func leastRecord(codec byte) int {
	switch codec {
	case codecGH: // time, mask
		return 5
	case codec8: // time, priority, fix, event u8, six counts u8
		return 24 + 6
	case codec8E: // the same in u16, and one more
		return 24 + 14
	case codec16: // event u16, generation, five counts u8
		return 24 + 8
	default:
		return 0
	}
}

// command is one item of codecs 12 to 15.
type command struct {
	typ     byte
	time    uint32 // 0: none
	payload []byte
}

// nextCommand takes the first item off b: type u8, size u32, then time u32 in codecs 13 and 15,
// IMEI BCD[8] in 14 and 15, payload; all of these count in size.
func nextCommand(codec byte, b []byte) (c command, rest []byte, err error) {
	if len(b) < 5 {
		return c, nil, fmt.Errorf("%w: %d bytes of a command", protocol.ErrMalformed, len(b))
	}
	size := binary.BigEndian.Uint32(b[1:])
	if uint64(size) > uint64(len(b)-5) {
		return c, nil, fmt.Errorf("%w: command of %d bytes in %d", protocol.ErrMalformed, size,
			len(b)-5)
	}
	c.typ, c.payload, rest = b[0], b[5:5+size], b[5+size:]
	apart := 0
	if codec == codec13 || codec == codec15 {
		apart = timeBytes
	}
	if codec == codec14 || codec == codec15 {
		apart += imeiBytes
	}
	if len(c.payload) < apart {
		return c, nil, fmt.Errorf("%w: command of %d bytes", protocol.ErrMalformed, size)
	}
	if codec == codec13 || codec == codec15 {
		c.time = binary.BigEndian.Uint32(c.payload)
	}
	c.payload = c.payload[apart:]
	return c, rest, nil
}

// envelope writes packets of codecs 12 and 14.
type envelope struct {
	codec byte
	typ   byte
	imei  [imeiBytes]byte
}

// commandHead is codec id, count, type and size.
const commandHead = 2 + 1 + 4

func (v *envelope) Begin(dst []byte) []byte {
	dst = append(dst, make([]byte, head)...)
	dst = append(dst, v.codec, 1, v.typ, 0, 0, 0, 0)
	if v.codec == codec14 {
		dst = append(dst, v.imei[:]...)
	}
	return dst
}

func (v *envelope) End(dst []byte, start int) []byte {
	data := dst[start+head:]
	binary.BigEndian.PutUint32(data[3:], uint32(len(data)-commandHead))
	dst = append(dst, 1)
	return finish(dst, start)
}

// finish fills in the length of the packet that began at start, and appends its CRC.
func finish(dst []byte, start int) []byte {
	data := dst[start+head:]
	binary.BigEndian.PutUint32(dst[start+4:], uint32(len(data)))
	return binary.BigEndian.AppendUint32(dst, uint32(protocol.CRC16(0, data)))
}

// bcd packs the last sixteen digits of an IMEI.
func bcd(id []byte) (imei [imeiBytes]byte) {
	for i := range min(len(id), 2*imeiBytes) {
		digit := (id[len(id)-1-i] - '0') & 0x0F
		imei[imeiBytes-1-i/2] |= digit << (4 * (i % 2))
	}
	return imei
}
