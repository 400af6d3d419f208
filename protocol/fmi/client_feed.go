package fmi

import (
	"bytes"
	"encoding/binary"
	"slices"

	"trackchat/protocol"
)

// Feed takes the next bytes that the tracker brought, appends what the client answers by itself and
// emits what happened. Damaged frames are dropped. The link acknowledges every fleet packet.
func (d *Client) Feed(dst []byte, c Carrier, chunk []byte, emit func(protocol.DeviceEvent)) []byte {
	d.rest = d.shared.read(d.rest, chunk, func(id byte, payload []byte, err error) {
		if err != nil || id != linkFleet || len(payload) < 2 {
			return
		}
		dst = wrap(dst, c, linkACK, []byte{id, 0})
		dst = d.fleet(dst, c, binary.LittleEndian.Uint16(payload), payload[2:], emit)
	})
	return dst
}

func (d *Client) fleet(dst []byte, c Carrier, packet uint16, b []byte,
	emit func(protocol.DeviceEvent),
) []byte {
	var room [maxPayload]byte
	p := room[:0]
	switch packet {
	case packetEnable:
		return d.enabled(dst, c, b)
	case packetAskProtocols:
		p = binary.LittleEndian.AppendUint16(p, packetProduct)
		p = append(p, 0x37, 0x03, 0x22, 0x01) // product 823, version 2.90
		dst = wrap(dst, c, linkFleet, p)
		p = binary.LittleEndian.AppendUint16(p[:0], packetProtocols)
		for _, number := range []uint16{602, 603, 604, 607, 611} {
			if number <= d.version.number() {
				p = append(p, protocolText)
				p = binary.LittleEndian.AppendUint16(p, number)
			}
		}
	case packetReport:
		p = append(binary.LittleEndian.AppendUint16(p, packetReported), b...)
	case packetClientReceipt:
		if len(b) >= 4 {
			emit(protocol.DeviceEvent{
				Kind: protocol.DeviceTextAck,
				Ref:  uint64(binary.LittleEndian.Uint32(b)),
			})
		}
		return dst
	case packetUnicode, packetPong, packetAnswerReceipt:
		return dst
	case packetText, packetTextOK, packetLongText:
		if len(b) < 8+idBytes {
			return dst
		}
		return d.text(dst, c, packet, b, emit)
	case packetReply, packetList, packetAskStatus, packetDelete:
		if p = d.asked(p, packet, b); len(p) == 0 {
			return dst
		}
	default:
		emit(protocol.DeviceEvent{Kind: protocol.DeviceOther})
		return dst
	}
	return wrap(dst, c, linkFleet, p)
}

// enabled reads 0000: count u8, 0, features u16. A client that may ask for Unicode does.
func (d *Client) enabled(dst []byte, c Carrier, b []byte) []byte {
	for i := 2; i+2 <= len(b); i += 2 {
		switch binary.LittleEndian.Uint16(b[i:]) {
		case featureOn | featureUnicode:
			dst = wrap(dst, c, linkFleet, binary.LittleEndian.AppendUint16(nil, packetAskUnicode))
		case featureOn | featureA607:
			d.replies = d.version == A611
		}
	}
	return dst
}

// asked appends the answer to what concerns canned answers and known texts, nothing if the packet
// is too short.
func (d *Client) asked(p []byte, packet uint16, b []byte) []byte {
	if packet == packetReply && len(b) >= 5 {
		response := binary.LittleEndian.Uint32(b)
		d.answers = slices.DeleteFunc(d.answers,
			func(a canned) bool { return a.response == response })
		d.answers = remember(d.answers, canned{response, d.read(b[4:])})
		p = binary.LittleEndian.AppendUint16(p, packetReplyReceipt)
		p = binary.LittleEndian.AppendUint32(p, response)
		return append(p, 1, 0, 0, 0)
	}
	if packet == packetReply || len(b) < 4+idBytes {
		return p
	}
	id := readID(b)
	switch packet {
	case packetList:
		l := list{id: id}
		for b = b[4+idBytes:]; len(b) >= 4; b = b[4:] {
			l.ids = append(l.ids, binary.LittleEndian.Uint32(b))
		}
		d.lists = slices.DeleteFunc(d.lists, func(l list) bool { return l.id == id })
		d.lists = remember(d.lists, l)
		return appendIDPacket(p, packetListReceipt, id, 0)
	case packetDelete:
		d.texts = slices.DeleteFunc(d.texts, func(k kept) bool { return k.id == id })
		return appendIDPacket(p, packetDeleted, id, 1)
	}
	status := byte(statusNotFound)
	if k := d.find(id); k != nil && k.stored {
		status = statusUnread
		if k.opened {
			status = statusRead
		}
	}
	return appendIDPacket(p, packetStatus, id, status)
}

// text takes a text or a segment of one.
func (d *Client) text(dst []byte, c Carrier, packet uint16, b []byte,
	emit func(protocol.DeviceEvent),
) []byte {
	k := kept{id: readID(b[4:]), packet: packet, at: binary.LittleEndian.Uint32(b)}
	body := b[8+idBytes:]
	if packet == packetLongText {
		finished := b[6] != 0
		k.sequence = b[7]
		result := d.segment(k.id, k.sequence, body)
		if result != 0 || !finished {
			p := appendTextHead(nil, packetLongReceipt, k.at, k.id, [3]byte{
				result, b[6],
				k.sequence,
			})
			return wrap(dst, c, linkFleet, p)
		}
		body = d.long.text
	}
	if old := d.find(k.id); old == nil {
		d.texts = remember(d.texts, k)
	} else {
		old.at, old.sequence = k.at, k.sequence
	}
	emit(protocol.DeviceEvent{
		Kind: protocol.DeviceText, Ref: reference(k.id), Body: d.read(body),
		Choices: d.choices(k.id),
	})
	return dst
}

// segment puts a text together and returns the result of 0056.
func (d *Client) segment(id messageID, sequence byte, b []byte) byte {
	switch {
	case sequence == 0:
		d.long = incoming{id: id}
	case id != d.long.id:
		return 7 // wrong id
	case sequence+1 == d.long.next: // its receipt was lost
		return 0
	case sequence != d.long.next:
		return 8 // wrong sequence
	case len(d.long.text)+len(b) > longBytes+1:
		return 11
	}
	d.long.next++
	d.long.text = append(d.long.text, b...)
	return 0
}

func (d *Client) choices(id messageID) []string {
	var choices []string
	for _, l := range d.lists {
		if l.id != id {
			continue
		}
		for _, response := range l.ids {
			if i := slices.IndexFunc(d.answers,
				func(a canned) bool { return a.response == response }); i >= 0 {
				choices = append(choices, d.answers[i].text)
			}
		}
	}
	return choices
}

// read returns a text up to its NUL.
func (d *Client) read(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	text, err := d.charset.Decode(b)
	if err != nil {
		return "?"
	}
	return text
}
