// Package mqtt reads and writes the few packets of MQTT 3.1.1 that the devices and the fronts of
// the benchmark need. Section numbers are those of the OASIS standard of 2014.
package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Types of packets, the upper four bits of the first byte (2.2.1).
const (
	ConnAck   = 2
	Publish   = 3
	PubAck    = 4
	SubAck    = 9
	connect   = 1
	subscribe = 8
)

// maxPacket bounds what a reader takes in, bytes: texts here have some hundred.
const maxPacket = 64 << 10

var errCut = errors.New("mqtt: packet is cut off")

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendHead writes the fixed header (2.2): type, flags, length of the rest.
func appendHead(dst []byte, kind, flags byte, length int) []byte {
	return binary.AppendUvarint(append(dst, kind<<4|flags), uint64(length))
}

// AppendConnect asks for the persistent session of a client, without keep-alive (3.1).
func AppendConnect(dst []byte, client string) []byte {
	dst = appendHead(dst, connect, 0, 10+2+len(client))
	dst = append(appendString(dst, "MQTT"), 4, 0, 0, 0)
	return appendString(dst, client)
}

// AppendSubscribe subscribes to one filter (3.8).
func AppendSubscribe(dst []byte, filter string, qos byte) []byte {
	dst = appendHead(dst, subscribe, 2, 2+2+len(filter)+1)
	dst = append(dst, 0, 1)
	return append(appendString(dst, filter), qos)
}

// AppendPublish publishes with QoS 0 or 1 (3.3). Without a number, which may not be 0, it is QoS 0.
// Again marks a repetition.
func AppendPublish(dst []byte, topic string, number uint16, again bool, payload []byte) []byte {
	length := 2 + len(topic) + len(payload)
	var flags byte
	if number != 0 {
		length += 2
		flags = 2
		if again {
			flags |= 8
		}
	}
	dst = appendString(appendHead(dst, Publish, flags, length), topic)
	if number != 0 {
		dst = binary.BigEndian.AppendUint16(dst, number)
	}
	return append(dst, payload...)
}

// AppendPubAck acknowledges a publication of QoS 1 (3.4).
func AppendPubAck(dst []byte, number uint16) []byte {
	return binary.BigEndian.AppendUint16(appendHead(dst, PubAck, 0, 2), number)
}

// Packet is one packet; its body is valid until the next one is read.
type Packet struct {
	Type, Flags byte
	Body        []byte
}

// Refused says that a ConnAck or SubAck refuses (3.2.2.3, 3.9.3).
func (p Packet) Refused() bool {
	switch p.Type {
	case ConnAck:
		return len(p.Body) < 2 || p.Body[1] != 0
	case SubAck:
		return len(p.Body) < 3 || p.Body[2] == 0x80
	default:
		return false
	}
}

// Number is that of a PubAck.
func (p Packet) Number() (uint16, error) {
	if len(p.Body) < 2 {
		return 0, errCut
	}
	return binary.BigEndian.Uint16(p.Body), nil
}

// Publication takes a Publish packet apart; number is 0 for QoS 0.
func (p Packet) Publication() (topic []byte, number uint16, payload []byte, err error) {
	b := p.Body
	if len(b) < 2 {
		return nil, 0, nil, errCut
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return nil, 0, nil, errCut
	}
	topic, b = b[2:n], b[n:]
	if p.Flags&6 == 0 {
		return topic, 0, b, nil
	}
	if len(b) < 2 {
		return nil, 0, nil, errCut
	}
	return topic, binary.BigEndian.Uint16(b), b[2:], nil
}

// Reader reads packets.
type Reader struct {
	r   *bufio.Reader
	buf []byte
}

// NewReader reads from r with a buffer of so many bytes.
func NewReader(r io.Reader, size int) *Reader { return &Reader{r: bufio.NewReaderSize(r, size)} }

// Next waits for a packet.
func (r *Reader) Next() (p Packet, err error) {
	head, err := r.r.ReadByte()
	if err != nil {
		return p, fmt.Errorf("mqtt: reading a packet: %w", err)
	}
	length, err := binary.ReadUvarint(r.r)
	if err != nil {
		return p, fmt.Errorf("mqtt: reading a length: %w", err)
	}
	if length > maxPacket {
		return p, fmt.Errorf("mqtt: a packet of %d bytes", length)
	}
	if uint64(cap(r.buf)) < length {
		r.buf = make([]byte, length)
	}
	body := r.buf[:length]
	if _, err = io.ReadFull(r.r, body); err != nil {
		return p, fmt.Errorf("mqtt: reading a packet: %w", err)
	}
	return Packet{Type: head >> 4, Flags: head & 15, Body: body}, nil
}
