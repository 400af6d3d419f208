package standin

import (
	"slices"

	"trackchat/protocol"
	"trackchat/queue"
)

// Figures are what all devices together have sent and got since Start.
type Figures struct {
	Open        int // connections now
	Connections int
	Closed      int // connections that were over MaxConns
	Bytes       int64
	Garbled     int // frames that could not be read
	Kinds       [protocol.KindDenied + 1]int
	Logins      int // that were accepted
	Refused     int // logins and registrations that were not
	Positions   int // that were taken, answered or not
	Answered    int // positions whose answer was written
	Texts       int // of drivers, that were taken
	Sent        int // texts of its own
	Acks        int // of those
	Delivered   int // acks of those that say so
	Strays      int // acks of texts that it never sent
	// Proxy is the newest PROXY header, as it came.
	Proxy string
}

// Device is what was recorded of one device.
type Device struct {
	Connected bool // and logged in
	Logins    int  // that were accepted
	Refused   int  // logins and registrations that were not
	Kinds     [protocol.KindDenied + 1]int
	Positions int // that were taken, answered or not
	Raw       []byte
	Packets   []Packet
	Texts     []string // of the driver, that were taken
	Acks      []Ack
	Proxy     string // header of the newest connection, as it came
	// Unrecorded counts bytes, packets and texts for which Options.Record had no room.
	Unrecorded int
}

// Packet is a frame with positions that the server has taken.
type Packet struct {
	Frame    []byte // as it came
	Count    int    // positions
	Answered bool   // its answer was written
}

// Ack is a device's word about a text.
type Ack struct {
	Ref     uint64 // 0 where the protocol has none
	Outcome protocol.Outcome
	// Own: the server has sent such a text. Where acks name nothing: over this connection, and it
	// had no ack yet.
	Own bool
}

// device is the record of one device; the server's lock guards it.
type device struct {
	Device
	conn   *conn // that logged in, nil: none
	refs   []uint64
	frames int // bytes of Packets
	said   int // bytes of Texts
}

// Figures returns a snapshot.
func (s *Server) Figures() Figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.figures
}

// Device returns what was recorded of a device, by the id that a person writes. The empty one
// stands for connections that ended before they named their device. What it returns is not to be
// changed.
func (s *Server) Device(id string) Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.devices[queue.NormalizeDeviceID(id)]
	if !ok {
		return Device{}
	}
	r := d.Device
	r.Connected = d.conn != nil
	r.Raw = slices.Clip(r.Raw) // both are only ever appended to
	r.Texts = slices.Clip(r.Texts)
	r.Packets = slices.Clone(r.Packets)
	r.Acks = slices.Clone(r.Acks)
	return r
}

// Connected returns the ids of the devices that are logged in, in no order.
func (s *Server) Connected() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.conns))
	for id, d := range s.devices {
		if d.conn != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// update changes records and tells those who await something of them.
func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// record finds a device's record, or begins one where there is room; the lock is held.
func (s *Server) record(id string) *device {
	d := s.devices[id]
	if d == nil && len(s.devices) < s.o.MaxDevices {
		d = new(device)
		s.devices[id] = d
	}
	return d
}

// came records bytes as they came; those before the device is named wait with the connection.
func (c *conn) came(b []byte) {
	c.s.update(func() {
		c.s.figures.Bytes += int64(len(b))
		if d := c.device; d != nil {
			d.Raw = c.s.keep(d, d.Raw, b)
			return
		}
		n := min(len(b), c.s.o.Record-len(c.early))
		c.early = append(c.early, b[:n]...)
		c.missed += len(b) - n
	})
}

// keep appends the part of b for which there is room.
func (s *Server) keep(d *device, raw, b []byte) []byte {
	n := min(len(b), s.o.Record-len(raw))
	d.Unrecorded += len(b) - n
	return append(raw, b[:n]...)
}

// named gives the connection's record to its device, which is known now, or for good unknown.
func (c *conn) named(id string) {
	c.s.update(func() {
		d := c.s.record(id)
		if c.device = d; d == nil {
			return
		}
		d.Raw = c.s.keep(d, d.Raw, c.early)
		d.Unrecorded += c.missed
		d.Proxy = c.proxy
		c.early = nil
	})
}

// happened counts an event with its result.
func (c *conn) happened(e *protocol.Event, r protocol.Result) {
	c.s.update(func() {
		f, d := &c.s.figures, c.device
		if d == nil {
			d = new(device) // whose record nobody sees
		}
		f.Kinds[e.Kind]++
		d.Kinds[e.Kind]++
		switch {
		case e.Kind == protocol.KindLogin && r == protocol.OK:
			f.Logins++
			d.Logins++
			d.conn = c
		case e.Kind == protocol.KindLogin || e.Kind == protocol.KindRegister && r != protocol.OK:
			f.Refused++
			d.Refused++
		case r != protocol.OK:
		case e.Kind == protocol.KindPosition:
			f.Positions += e.Count
			d.Positions += e.Count
		case e.Kind == protocol.KindText:
			f.Texts++
			c.s.said(d, e.Text)
		case e.Kind == protocol.KindAck:
			c.acked(d, e)
		}
	})
}

func (s *Server) said(d *device, text string) {
	if d.said+len(text) > s.o.Record {
		d.Unrecorded++
		return
	}
	d.said += len(text)
	d.Texts = append(d.Texts, text)
}

// acked records an ack; the server's lock is held.
func (c *conn) acked(d *device, e *protocol.Event) {
	a := Ack{Outcome: e.Outcome}
	if c.codec.Caps().RefBits > 0 {
		a.Ref, a.Own = e.Ref, slices.Contains(d.refs, e.Ref)
	} else {
		a.Own = c.owed > 0
		c.owed = max(c.owed-1, 0)
	}
	if d.Acks = append(d.Acks, a); len(d.Acks) > maxNotes {
		d.Acks = slices.Delete(d.Acks, 0, 1)
	}
	f := &c.s.figures
	switch {
	case !a.Own:
		f.Strays++
		return
	case a.Outcome == protocol.AckDelivered || a.Outcome == protocol.AckOpened:
		f.Delivered++
	}
	f.Acks++
}

// wrote records that a text went out.
func (c *conn) wrote(ref uint64) {
	c.s.update(func() {
		c.s.figures.Sent++
		if d := c.device; d != nil && !slices.Contains(d.refs, ref) {
			if d.refs = append(d.refs, ref); len(d.refs) > maxNotes {
				d.refs = slices.Delete(d.refs, 0, 1)
			}
		}
	})
}

// packet records a frame with positions and returns its place in Device.Packets, -1: none.
func (c *conn) packet(frame []byte, count int) int {
	place := -1
	c.s.update(func() {
		d := c.device
		switch {
		case d == nil:
		case d.frames+len(frame) > c.s.o.Record:
			d.Unrecorded++
		default:
			place = len(d.Packets)
			d.frames += len(frame)
			d.Packets = append(d.Packets, Packet{Frame: slices.Clone(frame), Count: count})
		}
	})
	return place
}

// answered records that the answers have been written.
func (c *conn) answered(answers []answer) {
	c.s.update(func() {
		for _, a := range answers {
			c.s.figures.Answered += a.positions
			if a.positions > 0 && a.packet >= 0 {
				c.device.Packets[a.packet].Answered = true
			}
		}
	})
}
