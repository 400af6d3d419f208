package jt808

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"trackchat/protocol"
)

// Feed takes what the platform sent. Damaged frames are dropped, as terminals do.
func (d *device) Feed(dst, in []byte, emit func(protocol.DeviceEvent)) (out []byte, consumed int,
	err error,
) {
	for {
		n, _, err := cut(in[consumed:], 0)
		if err != nil || n == 0 {
			return dst, consumed, err
		}
		frame := in[consumed : consumed+n]
		consumed += n
		escaped, err := inner(frame)
		if err != nil {
			continue
		}
		payload := escaped
		if hasEscape(escaped) {
			if payload, err = unescape(make([]byte, 0, maxPayload), escaped); err != nil {
				continue
			}
		}
		h, body, err := parse(payload, false)
		if err != nil {
			continue
		}
		dst = d.message(dst, &h, body, emit)
	}
}

func (d *device) message(dst []byte, h *header, body []byte,
	emit func(protocol.DeviceEvent),
) []byte {
	event := protocol.DeviceEvent{Kind: protocol.DeviceOther, Ref: uint64(h.serial)}
	switch h.id {
	case msgRegistered:
		if len(body) < 3 || binary.BigEndian.Uint16(body) != d.request {
			break
		}
		if body[2] != resultOK {
			event.Kind = protocol.DeviceRefused
			break
		}
		d.code = string(body[3:])
		dst = d.appendAuth(dst)
	case msgServerReply:
		if len(body) >= 5 {
			dst = d.reply(dst, &event, body)
		}
	case msgShow, msgAsk:
		if err := d.read(h, body, &event); err != nil {
			dst = d.appendReply(dst, h.serial, h.id, resultMalformed)
		}
	case msgSetEvents:
		dst = d.appendReply(dst, h.serial, h.id, resultOK)
	case msgTime, msgMediaReceived, msgAskAgain:
		// the simulator keeps no copies: what it sent, it sent over TCP
	default:
		dst = d.appendReply(dst, h.serial, h.id, resultUnsupported)
	}
	emit(event)
	return dst
}

// reply reads 0x8001: serial WORD, id WORD, result BYTE.
func (d *device) reply(dst []byte, event *protocol.DeviceEvent, body []byte) []byte {
	serial, id, ok := binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]),
		body[4] == resultOK
	switch {
	case id == msgAuth && serial == d.request && ok:
		event.Kind = protocol.DeviceLoggedIn
	case id == msgAuth && serial == d.request && !d.registered:
		return d.appendRegister(dst) // the code is stale: ask for a new one, once
	case id == msgAuth && serial == d.request:
		event.Kind = protocol.DeviceRefused
	case id == msgText && slices.Contains(d.texts, serial):
		d.texts = slices.DeleteFunc(d.texts, func(s uint16) bool { return s == serial })
		event.Kind, event.Ref = protocol.DeviceTextAck, uint64(serial)
		if !ok {
			event.Kind = protocol.DeviceTextNak
		}
	}
	return dst
}

// read takes a text or a question.
func (d *device) read(h *header, body []byte, event *protocol.DeviceEvent) error {
	skip := 1
	if h.id == msgShow && h.long {
		skip = 2
	}
	if h.total > 1 || len(body) < skip {
		return fmt.Errorf("%w: part %d of %d with %d bytes", errUnreadable, h.number, h.total,
			len(body))
	}
	var choices []string
	text := body[skip:]
	if h.id == msgAsk {
		var err error
		if text, choices, err = d.question(body); err != nil {
			return err
		}
	}
	shown, err := d.charset.Decode(bytes.TrimRight(text, "\x00"))
	if err != nil {
		return err
	}
	event.Kind, event.Body, event.Choices = protocol.DeviceText, shown, choices
	if h.id == msgShow && h.long {
		event.Urgent = body[0]&kindMask == kindUrgent
	} else {
		event.Urgent = body[0]&flagUrgent != 0
	}
	return nil
}

// question reads flag BYTE, length BYTE, question, then id BYTE, length WORD and text of each
// answer. Choices is never nil.
func (d *device) question(body []byte) (text []byte, choices []string, err error) {
	choices = []string{}
	if len(body) < 2 || len(body) < 2+int(body[1]) {
		return nil, nil, fmt.Errorf("%w: question of %d bytes", errUnreadable, len(body))
	}
	text, body = body[2:2+int(body[1])], body[2+int(body[1]):]
	for len(body) > 0 {
		if len(body) < 3 || len(body) < 3+int(binary.BigEndian.Uint16(body[1:])) {
			return nil, nil, fmt.Errorf("%w: answer of %d bytes", errUnreadable, len(body))
		}
		size := 3 + int(binary.BigEndian.Uint16(body[1:]))
		choice, err := d.charset.Decode(body[3:size])
		if err != nil {
			return nil, nil, err
		}
		choices, body = append(choices, choice), body[size:]
	}
	return text, choices, nil
}
