package trackersim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"trackchat/protocol"
)

// link is one connection of a tracker; Run's goroutine owns it.
type link struct {
	t       *Tracker
	conn    net.Conn
	reader  *reader
	partial []byte // bytes that the device did not consume yet
	seen    []protocol.DeviceEvent
	emit    func(protocol.DeviceEvent)
	out     *[]byte   // lent, what this turn writes; nil between turns
	after   []Event   // reported when out is written
	held    []heldAck // by the time they are due
	dialled time.Time
	logged  bool
	leaving bool // close when out is written

	// Zero: nothing to do.
	loginBy     time.Time
	heartbeatAt time.Time
	positionAt  time.Time
	repeatAt    time.Time

	// When the position was due whose answer comes next; zero: what comes next answers something
	// else.
	positionOut time.Time
	open        int // positions and heartbeats without an answer

	copies int // of the driver's oldest text, written over this connection
	stale  int // unnumbered acks to come for copies of texts that are acknowledged already
}

func newLink(t *Tracker, conn net.Conn, dialled time.Time) *link {
	l := &link{t: t, conn: conn, reader: newReader(conn, t.o.Buffers), dialled: dialled}
	l.emit = func(e protocol.DeviceEvent) { l.seen = append(l.seen, e) }
	return l
}

// run plays the connection until it ends; nil says that this side left it.
func (l *link) run(ctx context.Context) error {
	t := l.t
	l.loginBy = t.o.Now().Add(t.o.LoginTimeout)
	l.begin()
	*l.out = t.device.AppendLogin(*l.out)
	for {
		if err := l.flush(); err != nil {
			return err
		}
		if l.leaving {
			return nil
		}
		l.arm()
		in, err := l.reader.read()
		l.begin()
		if err == nil {
			err = l.feed(in)
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		} else {
			err = fmt.Errorf("reading: %w", err)
		}
		l.reader.release()
		if err != nil {
			return err
		}
		t.rouse()
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the context wanted the end
		}
		if err := l.due(); err != nil {
			return err
		}
	}
}

// begin lends the write buffer of a turn.
func (l *link) begin() {
	if l.out == nil {
		l.out = l.t.o.Buffers.write()
	}
}

// flush writes what the turn brought and reports it.
func (l *link) flush() error {
	if len(*l.out) > 0 {
		if _, err := l.conn.Write(*l.out); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	l.t.o.Buffers.putWrite(l.out)
	l.out = nil
	for i := range l.after {
		l.t.report(l.after[i])
	}
	clear(l.after)
	l.after = l.after[:0]
	return nil
}

// feed passes bytes to the device and sees to what it emits.
func (l *link) feed(in []byte) error {
	if len(l.partial) > 0 {
		l.partial = append(l.partial, in...)
		in = l.partial
	}
	out, n, err := l.t.device.Feed(*l.out, in, l.emit)
	*l.out = out
	if err != nil {
		err = fmt.Errorf("device reading %d bytes: %w", len(in), err)
	}
	if n < len(in) {
		l.partial = append(l.partial[:0], in[n:]...)
	} else {
		l.partial = nil
	}
	if len(l.partial) > l.t.o.Protocol.MaxFrame+readSize {
		err = cmp.Or(err, fmt.Errorf("device reading: %w: %d bytes", protocol.ErrTooLong,
			len(l.partial)))
	}
	for i := range l.seen {
		if l.leaving {
			break
		}
		if refused := l.handle(l.seen[i]); refused != nil {
			return refused
		}
	}
	clear(l.seen)
	l.seen = l.seen[:0]
	return err
}

func (l *link) handle(e protocol.DeviceEvent) error {
	switch e.Kind {
	case protocol.DeviceLoggedIn:
		l.login()
	case protocol.DeviceRefused:
		if !l.logged {
			l.t.report(Event{Kind: Refused, Text: e})
			return fmt.Errorf("%w (%q)", ErrRefused, e.Body)
		}
	case protocol.DeviceText:
		l.text(e)
	case protocol.DeviceTextAck:
		l.answered(e, nil)
	case protocol.DeviceTextNak:
		l.answered(e, ErrTextNak)
	case protocol.DeviceOther:
		l.open = max(l.open-1, 0)
		if !l.positionOut.IsZero() {
			t := l.t
			t.report(Event{Kind: PositionAnswered, Took: t.o.Now().Sub(l.positionOut)})
			l.positionOut = time.Time{}
		}
	}
	return nil
}

// login starts what a device does when it is logged in; the first heartbeat and position come after
// a random part of their interval, so that a fleet does not beat as one.
func (l *link) login() {
	if l.logged {
		return
	}
	t := l.t
	now := t.o.Now()
	l.logged, l.loginBy = true, time.Time{}
	if every := t.o.HeartbeatEvery; every > 0 {
		l.heartbeatAt = now.Add(time.Duration(t.rand.Int64N(int64(every)) + 1))
	}
	if every := t.o.PositionEvery; every > 0 {
		l.positionAt = now.Add(time.Duration(t.rand.Int64N(int64(every)) + 1))
	}
	t.report(Event{Kind: LoggedIn, Took: now.Sub(l.dialled)})
}

// due does what its time has come for.
func (l *link) due() error {
	t := l.t
	now := t.o.Now()
	if isDue(l.loginBy, now) {
		return ErrNoLogin
	}
	for len(l.held) > 0 && !l.held[0].due.After(now) && !l.leaving {
		h := l.held[0]
		l.held = l.held[1:]
		l.settle(h)
	}
	if !l.logged || l.leaving {
		return nil
	}
	l.overdue()
	if isDue(l.heartbeatAt, now) {
		*l.out = t.device.AppendHeartbeat(*l.out)
		l.heartbeatAt = now.Add(t.o.HeartbeatEvery)
		l.open++
		t.update(func(s *Stats) { s.Heartbeats++ })
	}
	if isDue(l.positionAt, now) {
		lat, lon := t.route.next(t.rand)
		*l.out = t.device.AppendPosition(*l.out, lat, lon, now)
		l.positionAt = now.Add(t.o.PositionEvery)
		if l.open == 0 {
			l.positionOut = now
		}
		l.open++
		t.update(func(s *Stats) { s.Positions++ })
	}
	l.speak(now)
	return nil
}

func isDue(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }

// arm sets the timer for what is due next.
func (l *link) arm() {
	next := l.loginBy
	for _, at := range [...]time.Time{l.heartbeatAt, l.positionAt, l.repeatAt} {
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	if len(l.held) > 0 && (next.IsZero() || l.held[0].due.Before(next)) {
		next = l.held[0].due
	}
	t := l.t
	if next.IsZero() || next.Equal(t.armed) {
		return // a timer that is armed for less wakes in vain
	}
	t.armed = next
	d := next.Sub(t.o.Now())
	if t.timer == nil {
		t.timer = time.AfterFunc(d, t.wake)
		return
	}
	t.timer.Reset(d)
}

// end reports what the end of the connection, for a reason or by choice (nil), leaves undone.
func (l *link) end(err error) {
	t := l.t
	if t.timer != nil {
		t.timer.Stop()
		t.armed = time.Time{}
	}
	l.reader.release()
	for i := range l.after { // what could not be written
		switch l.after[i].Kind {
		case TextAcked:
			t.report(Event{Kind: TextIgnored, Text: l.after[i].Text})
		case Said:
			t.oldest().copies--
		default:
		}
	}
	for i := range l.held {
		if !l.held[i].action.Never {
			t.report(Event{Kind: TextIgnored, Text: l.held[i].text})
		}
	}
	t.report(Event{Kind: Disconnected, Err: err})
}
