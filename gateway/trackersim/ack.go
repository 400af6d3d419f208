package trackersim

import (
	"cmp"
	"slices"
	"time"

	"trackchat/protocol"
)

// heldAck is an ack that waits.
type heldAck struct {
	text   protocol.DeviceEvent
	action Action
	since  time.Time // when the part arrived; zero: unknown
	due    time.Time
}

// text sees to one part of a text.
func (l *link) text(e protocol.DeviceEvent) {
	t := l.t
	now := t.o.Now()
	t.report(Event{Kind: TextReceived, Text: e, Repeated: t.refs.repeated(e.Ref)})
	h := heldAck{text: e, action: t.decide(e), since: now}
	if h.action.Never {
		t.report(Event{Kind: TextIgnored, Text: e})
	}
	switch {
	case h.action.Delay <= 0:
		l.settle(h)
	case len(l.held) >= maxHeld:
		if !h.action.Never {
			t.report(Event{Kind: TextIgnored, Text: e})
		}
	default:
		h.due = now.Add(h.action.Delay)
		// behind its equals.
		at, _ := slices.BinarySearchFunc(l.held, h,
			func(a, b heldAck) int { return cmp.Or(a.due.Compare(b.due), -1) })
		l.held = slices.Insert(l.held, at, h)
	}
}

// settle does what was decided about a part.
func (l *link) settle(h heldAck) {
	t := l.t
	switch h.action.Drop {
	case DropBeforeAck:
		l.leaving = true
		if !h.action.Never {
			t.report(Event{Kind: TextIgnored, Text: h.text})
		}
		return
	case DropHoldingAck:
		l.leaving = true
		h.action.Drop = KeepOpen
		if !t.postpone(h) {
			t.report(Event{Kind: TextIgnored, Text: h.text})
		}
		return
	case DropAfterAck:
		l.leaving = true
	case KeepOpen:
	}
	l.ack(h)
	if h.action.Choice > 0 {
		*l.out = t.device.AppendChoice(*l.out, h.text, h.action.Choice)
	}
	if h.action.Reply != "" {
		t.reply(h.action.Reply)
	}
}

// ack writes the ack of a part as often as wanted.
func (l *link) ack(h heldAck) {
	t := l.t
	if h.action.Never {
		return
	}
	outcome := cmp.Or(h.action.Outcome, protocol.AckDelivered)
	before := len(*l.out)
	for range max(h.action.Copies, 1) {
		*l.out = t.device.AppendAck(*l.out, h.text, outcome)
	}
	if len(*l.out) == before { // the protocol has no frame for this outcome
		t.report(Event{Kind: TextIgnored, Text: h.text, Outcome: outcome})
		return
	}
	e := Event{Kind: TextAcked, Text: h.text, Outcome: outcome}
	if !h.since.IsZero() {
		e.Took = t.o.Now().Sub(h.since)
	}
	l.after = append(l.after, e)
}

// Ack acknowledges a part that OnText left open (Action.Never), or says a second word about one:
// over the present connection or, without one, right after the next login.
func (t *Tracker) Ack(e protocol.DeviceEvent, o protocol.Outcome) error {
	if !t.postpone(heldAck{text: e, action: Action{Outcome: o}}) {
		return ErrBusy
	}
	t.wake()
	return nil
}

// Choose answers a text with choices by one of them, counted from 1: over the present connection
// or, without one, right after the next login.
func (t *Tracker) Choose(e protocol.DeviceEvent, choice int) error {
	if !t.postpone(heldAck{text: e, action: Action{Never: true, Choice: choice}}) {
		return ErrBusy
	}
	t.wake()
	return nil
}

// postpone keeps an ack until the device is logged in; false says that too many wait.
func (t *Tracker) postpone(h heldAck) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.late) >= maxHeld {
		return false
	}
	t.late = append(t.late, h)
	return true
}

// overdue writes the acks that waited for a login.
func (l *link) overdue() {
	l.t.mu.Lock()
	late := l.t.late
	l.t.late = nil
	l.t.mu.Unlock()
	for i := range late {
		l.settle(late[i])
	}
}

// refs remembers the references of the last parts.
type refs struct {
	last []uint64
	next int
}

// repeated remembers ref and tells whether it was remembered already. 0 is the reference of
// protocols that have none.
func (r *refs) repeated(ref uint64) bool {
	if ref == 0 {
		return false
	}
	if slices.Contains(r.last, ref) {
		return true
	}
	if len(r.last) < maxRefs {
		r.last = append(r.last, ref)
		return false
	}
	r.last[r.next] = ref
	r.next = (r.next + 1) % maxRefs
	return false
}
