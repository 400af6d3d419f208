package teltonika

import (
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

// Msg of the events: the codec id, and the type of a command above it; of what is no packet these.
const (
	msgLogin  = 0x01
	typeShift = 8
)

func (c *codec) Decode(frame []byte, emit func(*protocol.Event)) error {
	switch {
	case len(frame) == 1 && frame[0] == keepAlive:
		c.events.Emit(emit, protocol.Event{Kind: protocol.KindHeartbeat, Msg: keepAlive})
		return nil
	case isLogin(frame):
		return c.logIn(frame[loginHead:], emit)
	}
	data, err := inner(frame)
	if err != nil {
		return err
	}
	codec := data[0]
	if least := leastRecord(codec); least > 0 {
		return c.positions(codec, int(data[1]), len(data)-minData >= least*int(data[1]), emit)
	}
	switch codec {
	case codec12, codec13, codec14, codec15:
		return c.commands(codec, data, emit)
	}
	c.events.Emit(emit, protocol.Event{Kind: protocol.KindUnknown, Msg: uint32(codec)})
	return nil
}

func isLogin(frame []byte) bool {
	return len(frame) > loginHead && int(binary.BigEndian.Uint16(frame)) == len(frame)-loginHead
}

func (c *codec) logIn(id []byte, emit func(*protocol.Event)) error {
	for _, b := range id {
		if b < '0' || b > '9' {
			c.events.Emit(emit, protocol.Event{Kind: protocol.KindRefused, Msg: msgLogin})
			return fmt.Errorf("%w: login without an IMEI", protocol.ErrMalformed)
		}
	}
	c.envelope.imei = bcd(id)
	c.events.Emit(emit, protocol.Event{
		Kind: protocol.KindLogin, Msg: msgLogin,
		DeviceID: string(id),
	})
	return nil
}

// positions deals with count records, of which fit says that there is room for so many.
func (c *codec) positions(codec byte, count int, fit bool, emit func(*protocol.Event)) error {
	if !fit {
		return fmt.Errorf("%w: too short for %d records", protocol.ErrMalformed, count)
	}
	e := protocol.Event{Kind: protocol.KindPosition, Msg: uint32(codec), Count: count}
	if count == 0 {
		e.Kind = protocol.KindOther
	}
	c.events.Emit(emit, e)
	return nil
}

// commands deals with codecs 12 to 15. Payloads of the chosen types belong to the navigator or
// terminal; the others answer commands that are none of ours.
func (c *codec) commands(codec byte, data []byte, emit func(*protocol.Event)) error {
	rest := data[2 : len(data)-1]
	var failed error
	for range data[1] {
		var item command
		var err error
		if item, rest, err = nextCommand(codec, rest); err != nil {
			return err
		}
		if err := c.command(codec, item, emit); failed == nil {
			failed = err
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes behind the last command", protocol.ErrMalformed, len(rest))
	}
	return failed
}

func (c *codec) command(codec byte, item command, emit func(*protocol.Event)) error {
	e := protocol.Event{Kind: protocol.KindOther, Msg: uint32(codec) | uint32(item.typ)<<typeShift}
	switch {
	case codec == codec14 && item.typ == typeNACK:
		if c.wrote && c.chat != withNone {
			e.Kind, e.Outcome, e.Ref = protocol.KindAck, protocol.AckRejected, c.ref
		}
	case item.typ > mostType || c.upTypes&(1<<item.typ) == 0:
		if item.typ == typeResponse && c.wrote { // the tracker's own word
			e.Kind, e.Outcome, e.Ref = protocol.KindEvidence, protocol.Accepted, c.ref
		}
	case c.fmi != nil:
		c.phase = phaseOpen
		return c.fmi.Decode(item.payload, emit)
	case c.terminal != nil:
		c.terminal.receive(c.shared, item, e, emit)
		return nil
	}
	c.events.Emit(emit, e)
	return nil
}
