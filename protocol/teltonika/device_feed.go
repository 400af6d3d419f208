package teltonika

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

const ackBytes = 4

// Feed: Damaged packets are dropped, as devices do.
func (d *device) Feed(dst, in []byte, emit func(protocol.DeviceEvent)) (out []byte, consumed int,
	err error,
) {
	for consumed < len(in) {
		b := in[consumed:]
		switch {
		case d.waiting:
			consumed++
			dst = d.answered(dst, b[0], emit)
			continue
		case len(b) < ackBytes:
			return dst, consumed, nil
		case binary.BigEndian.Uint32(b) != 0:
			consumed += ackBytes
			emit(protocol.DeviceEvent{Kind: protocol.DeviceOther})
			continue
		}
		n, _, err := cut(b, 0)
		if err != nil || n == 0 {
			return dst, consumed, err
		}
		consumed += n
		if data, err := inner(b[:n]); err == nil {
			dst = d.packet(dst, data, emit)
		}
	}
	return dst, consumed, nil
}

// answered takes the answer to the login. A device that is accepted sends what it has stored at
// once; without that it would not have connected.
func (d *device) answered(dst []byte, answer byte, emit func(protocol.DeviceEvent)) []byte {
	d.waiting = false
	if answer != 1 {
		emit(protocol.DeviceEvent{Kind: protocol.DeviceRefused, Body: fmt.Sprintf("%02x", answer)})
		return dst
	}
	emit(protocol.DeviceEvent{Kind: protocol.DeviceLoggedIn})
	return d.appendRecord(dst)
}

// packet takes what goes to the navigator or terminal. Codec 14 is for the device of that IMEI
// alone.
func (d *device) packet(dst, data []byte, emit func(protocol.DeviceEvent)) []byte {
	codec, rest := data[0], data[2:len(data)-1]
	if codec != codec12 && codec != codec14 {
		emit(protocol.DeviceEvent{Kind: protocol.DeviceOther})
		return dst
	}
	for range data[1] {
		if imei := bcd([]byte(d.id)); codec == codec14 && len(rest) >= 5+imeiBytes &&
			!bytes.Equal(rest[5:5+imeiBytes], imei[:]) {
			refusal := envelope{codec: codec14, typ: typeNACK, imei: imei}
			return refusal.End(refusal.Begin(dst), len(dst))
		}
		var item command
		var err error
		if item, rest, err = nextCommand(codec, rest); err != nil {
			return dst
		}
		switch {
		case item.typ != d.codec.envelope.typ || d.navigator == nil && d.terminal == nil:
			emit(protocol.DeviceEvent{Kind: protocol.DeviceOther})
		case d.navigator != nil:
			dst = d.navigator.Feed(dst, &d.up, item.payload, emit)
		default:
			d.lines(item.payload, emit)
		}
	}
	return dst
}

// lines shows what came to the terminal: texts, numbered where the terminal acknowledges them.
func (d *device) lines(b []byte, emit func(protocol.DeviceEvent)) {
	t := d.terminal
	if d.line = append(d.line, b...); len(d.line) > mostLine {
		d.line = nil
	}
	for {
		end, width := t.end(d.line)
		if end < 0 {
			break
		}
		line := d.line[:end]
		d.line = d.line[end+width:]
		if len(line) == 0 {
			continue
		}
		e := protocol.DeviceEvent{Kind: protocol.DeviceText}
		if digits, text, found := bytes.Cut(line, []byte{':'}); found && t.numbered() &&
			bytes.HasPrefix(digits, []byte{'M'}) {
			e.Ref, _ = number(digits[1:])
			line = text
		}
		body, err := t.charset.Decode(line)
		if err != nil {
			e.Kind, body = protocol.DeviceOther, ""
		}
		e.Body = body
		emit(e)
	}
}
