package jt808

import (
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

// anyFrame is no message id: what comes next acknowledges a text, whatever it is.
const anyFrame = 0xFFFF

// newest reports whether a number is that of the newest text.
func (c *codec) newest(serial uint16) bool { return c.is(wrote) && serial == c.ref }

// ack reads a general reply: serial WORD, id WORD, result BYTE. It is never answered itself. Only
// one that names a message which carries text is an ack; the number alone is not enough, because
// answers of ours are numbered on their own.
func (c *codec) ack(e protocol.Event, body []byte, emit func(*protocol.Event)) error {
	if len(body) < 5 {
		return fmt.Errorf("%w: general reply with %d bytes", protocol.ErrMalformed, len(body))
	}
	e.Kind = protocol.KindOther
	serial, id := binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	switch newest := c.newest(serial); {
	case id != msgShow && id != msgAsk:
	case newest && c.is(asked) != (id == msgAsk): // not what was sent under that number
	default:
		e.Kind, e.Ref, e.Outcome = protocol.KindAck, uint64(serial), outcome(body[4])
		c.set(awaited, c.is(awaited) && !newest)
		if newest && c.is(asked) && e.Outcome == protocol.AckUnsupported {
			c.set(noAsking, true)
			e.Outcome = protocol.AckDamaged // the same text at once, without its answers
		}
	}
	c.events.Emit(emit, e)
	return nil
}

// namedAck takes a 0x1300 (serial WORD, text) that names a text for the word that it has arrived:
// some terminals send nothing else for it. Those that do not know what they answer say 0.
func (c *codec) namedAck(body []byte, emit func(*protocol.Event)) {
	if len(body) < 2 {
		return
	}
	serial := binary.BigEndian.Uint16(body)
	newest := c.newest(serial)
	if serial == 0 && !newest {
		return
	}
	c.set(awaited, c.is(awaited) && !newest)
	c.acknowledged(serial, emit)
}

// impliedAck takes a frame that the setting ack names for the word that the newest text has
// arrived. One that names a text itself is not it.
func (c *codec) impliedAck(h *header, body []byte, emit func(*protocol.Event)) {
	switch {
	case c.implied != anyFrame && c.implied != h.id:
		return
	case h.id == msgTextReply && len(body) >= 2 && binary.BigEndian.Uint16(body) != 0:
		return
	case h.id == msgReply && len(body) >= 5:
		if id := binary.BigEndian.Uint16(body[2:]); id == msgShow || id == msgAsk {
			return
		}
	}
	c.set(awaited, false)
	c.acknowledged(c.ref, emit)
}

// acknowledged emits an ack that has no answer of its own: that is for the rest of its frame.
func (c *codec) acknowledged(ref uint16, emit func(*protocol.Event)) {
	c.events.Emit(emit, protocol.Event{
		Kind: protocol.KindAck, Ref: uint64(ref), Outcome: protocol.AckDelivered,
	})
}
