package jt808

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"trackchat/protocol"
)

func hasEscape(b []byte) bool { return bytes.IndexByte(b, escape) >= 0 }

// deviceID is the phone as hexadecimal digits: some terminals put a packed IMEI there, so that it
// need not be decimal.
func (h *header) deviceID() string { return hex.EncodeToString(h.digits()) }

// message says what a valid message means.
func (c *codec) message(h *header, body []byte, emit func(*protocol.Event)) error {
	e := protocol.Event{Msg: uint32(h.id), Seq: uint32(h.serial)}
	if c.is(awaited) && c.implied != 0 {
		c.impliedAck(h, body, emit)
	}
	switch {
	case h.encrypted():
		e.Kind = protocol.KindUnknown // we have no key; answered as unsupported
		c.events.Emit(emit, e)
		return nil
	case h.total > 1:
		return c.part(h, body, emit)
	}
	return c.whole(h, e, body, emit)
}

// whole says what a message means that came in one piece, or has been put together.
func (c *codec) whole(h *header, e protocol.Event, body []byte, emit func(*protocol.Event)) error {
	switch h.id {
	case msgReply:
		return c.ack(e, body, emit)
	case msgHeartbeat:
		e.Kind = protocol.KindHeartbeat
	case msgLogout:
		e.Kind = protocol.KindLogout
	case msgRegister:
		e.Kind, e.DeviceID, e.Secret = protocol.KindRegister, h.deviceID(), terminalID(h, body)
	case msgAuth:
		e.Kind, e.DeviceID, e.Secret = protocol.KindLogin, h.deviceID(), authCode(h, body)
	case msgPosition:
		if len(body) < positionBytes {
			return c.malformed(h, body, emit)
		}
		e.Kind, e.Count = protocol.KindPosition, 1
	case msgPositions:
		n, ok := positions(body)
		if !ok {
			return c.malformed(h, body, emit)
		}
		e.Kind, e.Count = protocol.KindPosition, n
	case msgTextReply:
		c.namedAck(body, emit)
		return c.text(h, e, body, emit)
	case msgText, msgEvent, msgSerial:
		return c.text(h, e, body, emit)
	case msgAnswer:
		if len(body) < 3 {
			return c.malformed(h, body, emit)
		}
		e.Kind, e.Ref, e.Choice = protocol.KindAnswer, uint64(binary.BigEndian.Uint16(body)),
			int(body[2])
		e.Key, e.Window, e.Fleeting = hash(h.first, h.id, body), dedupeWindow, true
		e.Earlier = c.earlier(h.first)
	case msgMedia:
		if len(body) < 4 {
			return c.malformed(h, body, emit)
		}
		e.Kind, e.Aux = protocol.KindOther, auxMedia|uint64(binary.BigEndian.Uint32(body))
	default:
		e.Kind = c.other(h)
	}
	c.events.Emit(emit, e)
	return nil
}

// other tells messages that we know without needing them from unknown ones.
func (c *codec) other(h *header) protocol.Kind {
	switch h.id {
	case msgTimeQuery:
		c.set(timeDue, c.is(loggedIn))
		return protocol.KindOther
	case msgVendorTime:
		c.set(vendorTimeDue, c.is(loggedIn))
		return protocol.KindOther
	case msgResend, msgParameters, msgAttributes, msgLocated, msgDemand, msgControlled, msgWaybill,
		msgDriver, msgCAN, msgMediaEvent, msgCameraDone, msgCompressed, msgVendorInfo,
		msgVendorData:
		return protocol.KindOther
	}
	return protocol.KindUnknown
}

func (c *codec) malformed(h *header, body []byte, emit func(*protocol.Event)) error {
	c.refuse(h, resultMalformed, emit)
	return fmt.Errorf("%w: message %04x with %d bytes", protocol.ErrMalformed, h.id, len(body))
}

// authCode reads the code of 0x0102: all of the body in 2011 and 2013; length BYTE, code, IMEI
// BYTE[15], version BYTE[20] in 2019, which some terminals with the new header do not follow.
func authCode(h *header, body []byte) string {
	if h.long && len(body) > 0 && int(body[0]) < len(body) {
		body = body[1 : 1+int(body[0])]
	}
	return string(bytes.TrimRight(body, "\x00"))
}
