package trackersim

import (
	"time"

	"trackchat/protocol"
)

// Action is what a tracker does about one part of a text. The zero value acknowledges it at once as
// delivered.
type Action struct {
	Outcome protocol.Outcome // the device's word; default AckDelivered
	// before the ack; with a Drop that comes instead of the ack, before that.
	Delay  time.Duration
	Copies int  // how often the ack is written; default once
	Never  bool // no ack
	Drop   Drop
	Reply  string // the driver's answer, said after the ack; empty: none
	Choice int    // the driver's choice, from 1, written after the ack; 0: none
}

// Drop says whether an ack costs the connection.
type Drop uint8

// Drops of the connection.
const (
	KeepOpen      Drop = iota
	DropBeforeAck      // closed instead of the ack, which is lost
	DropAfterAck       // closed when the ack is written
	// closed instead of the ack, which is written over the next connection, right after its login.
	DropHoldingAck
)

// decide asks for the action about a part.
func (t *Tracker) decide(e protocol.DeviceEvent) Action {
	if t.o.OnText != nil {
		return t.o.OnText(e)
	}
	return Action{
		Delay: t.o.AckDelay,
		Never: t.o.NoAck > 0 && t.rand.Float64() < t.o.NoAck,
		Reply: t.o.Reply,
	}
}
