package egts_test

import (
	"encoding/binary"
	"testing"

	"trackchat/protocol/egts"

	"pgregory.net/rapid"
)

// packet is a packet taken apart by the test itself, so that it does not trust the code under test.
type packet struct {
	pid      uint16
	kind     byte
	route    string // PRA, RCA, TTL
	answered uint16 // of a RESPONSE
	result   byte
	records  []record
}

type record struct {
	number  uint16
	flags   byte
	oid     uint32
	service byte
	subs    []sub
}

type sub struct {
	kind byte
	data string
}

// crc computes a CRC bit by bit.
func crc(b []byte, width int, poly, value uint) uint {
	for _, c := range b {
		value ^= uint(c) << (width - 8)
		for range 8 {
			value <<= 1
			if value>>width != 0 {
				value ^= 1<<width | poly
			}
		}
	}
	return value
}

func crc8(b []byte) byte { return byte(crc(b, 8, 0x31, 0xFF)) }

func crc16(b []byte) uint16 { return uint16(crc(b, 16, 0x1021, 0xFFFF)) }

func TestChecksums(t *testing.T) {
	const check = "123456789"
	if a, b := crc8([]byte(check)), crc16([]byte(check)); a != 0xF7 || b != 0x29B1 {
		t.Fatalf("the test's own checksums are %02x and %04x", a, b)
	}
}

// unframe takes the packets of b apart; a damaged one fails the test.
func unframe(tb rapid.TB, b []byte) (packets []packet) {
	tb.Helper()
	for len(b) > 0 {
		if len(b) < 11 || b[0] != 1 || len(b) < int(b[3]) || (b[3] != 11 && b[3] != 16) ||
			crc8(b[:b[3]-1]) != b[b[3]-1] {
			tb.Fatalf("% x is no header", b)
		}
		head, n := int(b[3]), int(binary.LittleEndian.Uint16(b[5:]))
		p := packet{
			pid: binary.LittleEndian.Uint16(b[7:]), kind: b[9],
			route: string(b[10 : head-1]),
		}
		if (b[2]&0x20 != 0) != (head == 16) {
			tb.Fatalf("% x: flags %02x", b, b[2])
		}
		data, rest := b[head:], b[head:]
		if n > 0 {
			if len(data) < n+2 || crc16(data[:n]) != binary.LittleEndian.Uint16(data[n:]) {
				tb.Fatalf("% x: wrong CRC", data)
			}
			rest = data[n+2:]
		}
		b, data = rest, data[:n]
		switch p.kind {
		case 0:
			p.answered, p.result, data = binary.LittleEndian.Uint16(data), data[2], data[3:]
		case 2:
			data = data[2+binary.LittleEndian.Uint16(data):]
		}
		p.records = records(tb, data)
		packets = append(packets, p)
	}
	return packets
}

func records(tb rapid.TB, data []byte) (all []record) {
	tb.Helper()
	for len(data) > 0 {
		r := record{number: binary.LittleEndian.Uint16(data[2:]), flags: data[4]}
		n, at := int(binary.LittleEndian.Uint16(data)), 5
		if r.flags&1 != 0 {
			r.oid = binary.LittleEndian.Uint32(data[at:])
			at += 4
		}
		at += 4 * int(r.flags>>1&1+r.flags>>2&1)
		r.service = data[at]
		for rest := data[at+2 : at+2+n]; len(rest) > 0; {
			size := 3 + int(binary.LittleEndian.Uint16(rest[1:]))
			r.subs = append(r.subs, sub{rest[0], string(rest[3:size])})
			rest = rest[size:]
		}
		data = data[at+2+n:]
		all = append(all, r)
	}
	return all
}

// frame writes a packet; data is what lies between the header and its CRC.
func frame(kind byte, pid uint16, data []byte) []byte {
	return sealed(header(kind, 0, nil, len(data), pid), data)
}

// header writes a header without its checksum; route makes it a long one.
func header(kind, flags byte, route []byte, n int, pid uint16) []byte {
	head := []byte{
		1, 0, flags, byte(11 + len(route)), 0, byte(n), byte(n >> 8), byte(pid),
		byte(pid >> 8), kind,
	}
	return append(head, route...)
}

func sealed(head, data []byte) []byte {
	b := append(append(head, crc8(head)), data...)
	if len(data) > 0 {
		b = binary.LittleEndian.AppendUint16(b, crc16(data))
	}
	return b
}

// rec writes a record from a device.
func rec(number uint16, service byte, subs ...sub) []byte {
	return recOf(0, number, service,
		subs...)
}

// recOf writes one with an OID, unless that is 0.
func recOf(oid uint32, number uint16, service byte, subs ...sub) []byte {
	var data []byte
	for _, s := range subs {
		data = append(data, s.kind, byte(len(s.data)), byte(len(s.data)>>8))
		data = append(data, s.data...)
	}
	b := []byte{byte(len(data)), byte(len(data) >> 8), byte(number), byte(number >> 8), 0x80}
	if oid != 0 {
		b[4] |= 1
		b = binary.LittleEndian.AppendUint32(b, oid)
	}
	return append(append(b, service, service), data...)
}

// command writes a COMMAND_DATA.
func command(kind, confirmed byte, cid, sid uint32, tail string) sub {
	b := binary.LittleEndian.AppendUint32([]byte{kind<<4 | confirmed}, cid)
	return sub{51, string(binary.LittleEndian.AppendUint32(b, sid)) + tail}
}

// FuzzChecksum holds the checksums of what is written, and with them the fast forms of the CRCs, to
// the plain ones above.
func FuzzChecksum(f *testing.F) {
	f.Add("Hello", uint64(7))
	c := egts.New().NewCodec(defaults(f))
	f.Fuzz(func(t *testing.T, body string, ref uint64) {
		if out, err := c.AppendText(nil, text(ref, body)); err == nil {
			unframe(t, out)
		}
	})
}
