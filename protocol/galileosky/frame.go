package galileosky

import (
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

// Head bytes.
const (
	headTags       = 0x01
	headConfirm    = 0x02 // from the server
	headFMI        = 0x06
	headPhoto      = 0x07
	headCompressed = 0x08
)

const (
	headBytes = 3
	crcBytes  = 2
	maxLength = 0x7FFF // bit 15 says that the device has more stored
	maxFrame  = headBytes + maxLength + crcBytes
)

// cut implements Protocol.Frame. A head byte that is none says that framing is lost: a device that
// connects again sends everything that was not confirmed.
func cut(buf []byte, _ int) (n, next int, err error) {
	if len(buf) == 0 {
		return 0, 0, nil
	}
	switch buf[0] {
	case headTags, headFMI, headPhoto, headCompressed:
	default:
		return 0, 0, fmt.Errorf("%w: %#02x begins no packet", protocol.ErrFraming, buf[0])
	}
	if len(buf) < headBytes {
		return 0, 0, nil
	}
	n = headBytes + int(binary.LittleEndian.Uint16(buf[1:])&maxLength) + crcBytes
	if len(buf) < n {
		return 0, 0, nil
	}
	return n, 0, nil
}

// inner checks a packet as cut returns it, and returns what is in it and its CRC.
func inner(frame []byte) (body []byte, crc uint16, err error) {
	if len(frame) < headBytes+crcBytes ||
		headBytes+int(binary.LittleEndian.Uint16(frame[1:])&maxLength)+crcBytes != len(frame) {
		return nil, 0, fmt.Errorf("%w: packet of %d bytes", protocol.ErrMalformed, len(frame))
	}
	end := len(frame) - crcBytes
	crc = binary.LittleEndian.Uint16(frame[end:])
	if have := protocol.CRC16(0xFFFF, frame[:end]); have != crc {
		return nil, 0, fmt.Errorf("%w: %04x instead of %04x", protocol.ErrChecksum, crc, have)
	}
	return frame[headBytes:end], crc, nil
}

// begin appends the head of a packet.
func begin(dst []byte, head byte) []byte { return append(dst, head, 0, 0) }

// finish completes the packet that began at start.
func finish(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint16(dst[start+1:], uint16(len(dst)-start-headBytes))
	return binary.LittleEndian.AppendUint16(dst, protocol.CRC16(0xFFFF, dst[start:]))
}

// tunnel carries FMI frames.
type tunnel struct{}

func (tunnel) Begin(dst []byte) []byte { return begin(dst, headFMI) }

func (tunnel) End(dst []byte, start int) []byte { return finish(dst, start) }
