package egts

import (
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

// Offsets and sizes of a packet (5.1).
const (
	version = 1

	offsetFlags = 2
	offsetHL    = 3
	offsetFDL   = 5
	offsetPID   = 7
	offsetPT    = 9
	offsetPRA   = 10
	offsetRCA   = 12

	shortHeader = 11
	longHeader  = 16 // with RTE
	checksum    = 2
	maxFrame    = 65_535 // the most that BS can say

	flagPrefix     = 3 << 6
	flagRoute      = 1 << 5
	flagEncrypted  = 3 << 3
	flagCompressed = 1 << 2

	timeToLive = 16 // hops left to a routed packet of ours
)

// Packet types.
const (
	typeResponse = 0
	typeAppData  = 1
	typeSigned   = 2
)

// size returns how many bytes the packet at the head of buf takes, 0 while its header is
// incomplete. Where the header says nothing that can be relied on, lost says why, and n is that
// header's length: where the next packet begins is unknown.
func size(buf []byte) (n int, lost code) {
	if len(buf) < shortHeader {
		return 0, codeOK
	}
	head := int(buf[offsetHL])
	switch {
	case head != shortHeader && head != longHeader:
		return shortHeader, codeHeaderForm
	case len(buf) < head:
		return 0, codeOK
	case crc8(buf[:head-1]) != buf[head-1]:
		return head, codeHeaderCRC
	}
	n = head
	if data := int(binary.LittleEndian.Uint16(buf[offsetFDL:])); data > 0 {
		n += data + checksum
	}
	if n > maxFrame {
		return head, codeLength
	}
	return n, codeOK
}

// cut is Protocol.Frame. What does not begin with the protocol's version is not EGTS at all; a
// header that is damaged in another way is cut off alone, so that Decode can answer it before the
// session ends.
func cut(buf []byte, _ int) (n, next int, err error) {
	if len(buf) == 0 {
		return 0, 0, nil
	}
	if buf[0] != version {
		return 0, 0, fmt.Errorf("%w: protocol version %d", protocol.ErrFraming, buf[0])
	}
	if n, _ = size(buf); n == 0 || n > len(buf) {
		return 0, len(buf), nil
	}
	return n, 0, nil
}

// route is the addresses of a packet that came through routers; answers go back with them swapped.
type route struct {
	peer, recipient uint16 // PRA, RCA
	on              bool
}

func (r route) back() route { return route{r.recipient, r.peer, r.on} }

func (r route) header() int {
	if r.on {
		return longHeader
	}
	return shortHeader
}

// packet is a packet as it came.
type packet struct {
	pid  uint16
	kind byte
	via  route
	data []byte
}

// response reports whether p answers a packet, so that it must not be answered itself.
func (p *packet) response() bool { return p.kind == typeResponse }

// parse reads a frame as cut returns it. Where err is not nil, problem is what the packet is
// answered with, 0 if that cannot be done, and p.pid and p.kind are as they were read.
func parse(frame []byte) (p packet, problem code, err error) {
	n, lost := size(frame)
	if n == 0 || frame[0] != version {
		return p, codeOK, fmt.Errorf("%w: %d bytes are no packet", protocol.ErrFraming, len(frame))
	}
	p.pid, p.kind = binary.LittleEndian.Uint16(frame[offsetPID:]), frame[offsetPT]
	switch lost {
	case codeOK:
	case codeHeaderCRC:
		return p, lost, fmt.Errorf("%w: %w of the header", protocol.ErrFraming,
			protocol.ErrChecksum)
	default:
		return p, lost, fmt.Errorf("%w: header of %d bytes, data of %d", protocol.ErrFraming,
			frame[offsetHL], binary.LittleEndian.Uint16(frame[offsetFDL:]))
	}
	if n != len(frame) {
		return p, codeLength, fmt.Errorf("%w: %d bytes, the header says %d", protocol.ErrMalformed,
			len(frame), n)
	}
	flags, head := frame[offsetFlags], int(frame[offsetHL])
	switch routed := flags&flagRoute != 0; {
	case flags&(flagPrefix|flagCompressed) != 0, routed != (head == longHeader):
		return p, codeHeaderForm, fmt.Errorf("%w: flags %02x with a header of %d bytes",
			protocol.ErrMalformed, flags, head)
	case flags&flagEncrypted != 0:
		return p, codeEncrypted, fmt.Errorf("%w: encrypted", protocol.ErrMalformed)
	case routed:
		p.via = route{
			binary.LittleEndian.Uint16(frame[offsetPRA:]),
			binary.LittleEndian.Uint16(frame[offsetRCA:]), true,
		}
	}
	if n > head {
		p.data = frame[head : n-checksum]
		if want := binary.LittleEndian.Uint16(frame[n-checksum:]); crc16(p.data) != want {
			return p, codeDataCRC, fmt.Errorf("%w: CRC %04x of the data, it says %04x",
				protocol.ErrChecksum, crc16(p.data), want)
		}
	}
	return p, codeOK, nil
}

// begin appends the header of a packet; finish completes it after its data. start is where it
// began.
func begin(dst []byte, via route, pid uint16, kind byte) (out []byte, start int) {
	start = len(dst)
	flags := byte(0)
	if via.on {
		flags = flagRoute
	}
	dst = append(dst, version, 0, flags, byte(via.header()), 0, 0, 0)
	dst = append(binary.LittleEndian.AppendUint16(dst, pid), kind)
	if via.on {
		dst = binary.LittleEndian.AppendUint16(dst, via.peer)
		dst = binary.LittleEndian.AppendUint16(dst, via.recipient)
		dst = append(dst, timeToLive)
	}
	return append(dst, 0), start
}

// finish sets FDL and the checksums of the packet begun at start, which takes at most maxFrame
// bytes.
func finish(dst []byte, start int) []byte {
	head := int(dst[start+offsetHL])
	data := dst[start+head:]
	binary.LittleEndian.PutUint16(dst[start+offsetFDL:], uint16(len(data)))
	dst[start+head-1] = crc8(dst[start : start+head-1])
	if len(data) == 0 {
		return dst
	}
	return binary.LittleEndian.AppendUint16(dst, crc16(data))
}

// responseHead is RPID and PR, before the records of a RESPONSE.
const responseHead = 3

// beginResponse appends the header, RPID and PR of a RESPONSE.
func beginResponse(dst []byte, via route, pid, answered uint16, result code) (out []byte,
	start int,
) {
	dst, start = begin(dst, via, pid, typeResponse)
	return append(binary.LittleEndian.AppendUint16(dst, answered), byte(result)), start
}
