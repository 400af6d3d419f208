package load

import (
	"sync"

	"trackchat/gateway/engine"
	"trackchat/protocol"
)

// habit is what a device does about texts.
type habit uint8

const (
	acknowledges habit = iota
	neverAcks
	neverReads
)

var _ engine.Handler = (*device)(nil)

// device is one simulated tracker, through all its connections.
type device struct {
	// static
	fleet *devices
	index int
	habit habit

	mu     sync.Mutex
	side   protocol.Device // made at the first connection
	conn   engine.Conn     // nil between connections
	logged bool
	text   int // request of the text whose parts are arriving, -1 none
	emit   func(protocol.DeviceEvent)
	events []protocol.DeviceEvent
	out    []byte
}

func (d *device) OnOpen(c engine.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.fleet.o
	c.Trust(o.Protocol.MaxFrame + readAhead)
	if d.side == nil {
		config := o.Device
		config.ID = o.DeviceID(o.From + int64(d.index))
		d.side = o.Protocol.NewDevice(config)
		d.emit = func(e protocol.DeviceEvent) { d.events = append(d.events, e) }
	}
	d.conn, d.logged, d.text = c, false, -1
	d.writeLocked(d.side.AppendLogin(d.out[:0]))
}

func (d *device) OnData(c engine.Conn, buf []byte) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	out, n, err := d.side.Feed(d.out[:0], buf, d.emit)
	if err != nil {
		d.fleet.failed.Add(1)
		_ = c.Close() // always nil
		return len(buf)
	}
	var few [4]*record // of the usual turn: no allocation
	acks := few[:0]
	for i := range d.events {
		out, acks = d.handleLocked(out, &d.events[i], acks)
	}
	clear(d.events)
	d.events = d.events[:0]
	written := d.writeLocked(out)
	for _, r := range acks {
		if written {
			d.fleet.acknowledged(r)
		} else {
			r.state.And(^answering) // the gateway has to send it again
		}
	}
	return n
}

// handleLocked deals with one event: it appends the answer, and the records whose texts that
// acknowledges.
func (d *device) handleLocked(out []byte, e *protocol.DeviceEvent, acks []*record) ([]byte,
	[]*record,
) {
	switch e.Kind {
	case protocol.DeviceLoggedIn:
		if !d.logged {
			d.logged = true
			d.fleet.loggedIn(d)
		}
	case protocol.DeviceRefused:
		if !d.logged {
			d.fleet.refused.Add(1)
			_ = d.conn.Close() // always nil
		}
	case protocol.DeviceText:
		r, whole := d.partLocked(e.Body)
		if d.habit != acknowledges {
			break
		}
		out = d.side.AppendAck(out, *e, protocol.AckDelivered)
		if whole {
			r.set(answering)
			acks = append(acks, r)
		}
	default:
	}
	return out, acks
}

// partLocked notes a part of a text; whole says that it is the last one of r.
func (d *device) partLocked(body string) (r *record, whole bool) {
	request, ends, other := d.fleet.ledger.read(body)
	if other {
		d.text = -1
		d.fleet.ledger.foreign.Add(1)
		return nil, false
	}
	if request >= 0 {
		d.text = request
	}
	if !ends || d.text < 0 {
		return nil, false
	}
	request = d.text
	d.text = -1
	r, ours := d.fleet.ledger.of(request, d.index)
	if !ours {
		d.fleet.ledger.foreign.Add(1)
		return nil, false
	}
	d.fleet.arrived(d, r, request)
	return r, true
}

// writeLocked sends out and keeps its buffer. It tells whether all of it is on its way.
func (d *device) writeLocked(out []byte) bool {
	d.out = nil
	if cap(out) <= keptBuffer {
		d.out = out[:0]
	}
	if len(out) == 0 {
		return true
	}
	if err := d.conn.Write(out); err != nil {
		_ = d.conn.Close() // always nil; the gateway does not read what it is owed
		return false
	}
	return true
}

func (d *device) OnClose(_ engine.Conn, err error) {
	d.mu.Lock()
	was := d.logged
	d.conn, d.logged, d.out = nil, false, nil
	d.mu.Unlock()
	d.fleet.gone(d, was, err)
}

// beat sends a sign of life.
func (d *device) beat() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.logged && d.conn != nil {
		d.writeLocked(d.side.AppendHeartbeat(d.out[:0]))
	}
}

const (
	readAhead  = 64 << 10 // unread bytes of one device beyond its longest frame
	keptBuffer = 512
)
