package fmi

import (
	"bytes"
	"fmt"

	"trackchat/protocol"
)

// A frame is 10, packet id, size, payload, checksum, 10 03. The checksum makes the sum of id, size,
// payload and itself a multiple of 256. In size, payload and checksum every 10 is doubled; the
// doubles count neither in the size nor in the checksum.
const (
	dle = 0x10
	etx = 0x03

	linkACK   = 0x06 // payload: id of the packet, 0
	linkNAK   = 0x15
	linkFleet = 0xA1 // payload: fleet packet id u16, data

	maxPayload = 255
	maxBody    = 1 + maxPayload + 1 // size, payload, checksum
	keptRest   = 1024               // a larger buffer of an unfinished frame is not kept
)

// appendFrame appends a frame; payload has at most maxPayload bytes.
func appendFrame(dst []byte, id byte, payload []byte) []byte {
	size := byte(len(payload))
	dst = append(dst, dle, id)
	dst = stuff(dst, size)
	sum := id + size
	for _, b := range payload {
		dst = stuff(dst, b)
		sum += b
	}
	dst = stuff(dst, -sum)
	return append(dst, dle, etx)
}

func stuff(dst []byte, b byte) []byte {
	if b == dle {
		dst = append(dst, dle)
	}
	return append(dst, b)
}

// read takes the next bytes of a stream that carriers cut anywhere, calls frame for every frame
// that is whole now, good or damaged, and returns the bytes of an unfinished one, at most
// 2+2*maxBody+1. Bytes between frames are skipped. The payload is valid until frame returns.
func (h *Shared) read(rest, chunk []byte, frame func(id byte, payload []byte, err error)) []byte {
	buf := chunk
	if len(rest) > 0 {
		rest = append(rest, chunk...)
		buf = rest
	}
	body, ok := h.bodies.Get().(*[maxBody]byte)
	if !ok {
		body = new([maxBody]byte)
	}
	for {
		start := bytes.IndexByte(buf, dle)
		if start < 0 {
			buf = nil
			break
		}
		buf = buf[start:]
		id, n, count, err := unstuff(buf, body)
		if n == 0 {
			break
		}
		buf = buf[n:]
		switch {
		case err != nil:
			frame(id, nil, err)
		case count > 0:
			frame(id, body[1:count-1], nil)
		}
	}
	h.bodies.Put(body)
	switch {
	case len(buf) == 0:
		return nil
	case len(rest) > 0 && cap(rest) <= keptRest:
		return append(rest[:0], buf...)
	}
	return bytes.Clone(buf)
}

// unstuff reads the frame at the start of buf into body. n is how many bytes to go on by, 0 if more
// are needed; count is 0 where no frame begins here.
func unstuff(buf []byte, body *[maxBody]byte) (id byte, n, count int, err error) {
	if len(buf) < 2 {
		return 0, 0, 0, nil
	}
	id = buf[1]
	if id == dle || id == etx { // no id: inside or at the end of a frame whose beginning is lost
		return 0, 1, 0, nil
	}
	sum := id
	for i := 2; i < len(buf); {
		b, width := buf[i], 1
		if b == dle {
			if i+1 == len(buf) {
				break
			}
			switch buf[i+1] {
			case dle:
				width = 2
			case etx:
				return id, i + 2, count, check(body[:count], sum)
			default:
				return id, i, 0, fmt.Errorf("%w: a frame begins within a frame",
					protocol.ErrMalformed)
			}
		}
		if count == maxBody {
			return id, i, 0, fmt.Errorf("%w: more than %d bytes of payload", protocol.ErrMalformed,
				maxPayload)
		}
		body[count] = b
		sum += b
		count++
		i += width
	}
	return id, 0, 0, nil
}

// check compares size and checksum; sum is that of the whole frame.
func check(body []byte, sum byte) error {
	if len(body) < 2 || int(body[0]) != len(body)-2 {
		return fmt.Errorf("%w: size differs from the %d bytes between the ends",
			protocol.ErrMalformed, len(body))
	}
	if sum != 0 {
		return fmt.Errorf("%w: sum of a frame is %02x", protocol.ErrChecksum, sum)
	}
	return nil
}

// wrap appends one frame as a packet of the carrier.
func wrap(dst []byte, c Carrier, id byte, payload []byte) []byte {
	start := len(dst)
	return c.End(appendFrame(c.Begin(dst), id, payload), start)
}
