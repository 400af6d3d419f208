package gateway

import (
	"sync"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

// unconfirmed counts how many waits for its ack a message of a protocol with unnumbered acks has
// outlived, and how many connections one that the device could not take. Only trackers in that
// trouble have an entry. Each node counts for itself and from its start: a message whose device
// moves from node to node is tried that often on each.
type unconfirmed struct {
	admission *admission
	mu        sync.Mutex
	of        map[queue.TrackerID]round
}

type round struct {
	message int64
	n       int
}

func newUnconfirmed(d *admission) *unconfirmed {
	return &unconfirmed{admission: d, of: make(map[queue.TrackerID]round)}
}

// add counts one more round of message and returns how many there were.
func (r *unconfirmed) add(t queue.TrackerID, message int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.of[t]
	if !known && len(r.of) >= maxRounds {
		r.giveWay()
	}
	if was.message != message {
		was = round{message: message}
	}
	was.n++
	r.of[t] = was
	return was.n
}

// giveWay forgets the count of any one tracker, whose text is tried a few times more for it.
// Entries stay where a device never comes back.
func (r *unconfirmed) giveWay() {
	for t := range r.of {
		delete(r.of, t)
		r.admission.refuse("rounds")
		return
	}
}

// clear forgets the count of message; that of another one stays.
func (r *unconfirmed) clear(t queue.TrackerID, message int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[t].message == message {
		delete(r.of, t)
	}
}

// unconfirmed ends the wait for an ack without a number. A device that was heard of meanwhile has
// what it was sent, and nothing is gained by a new connection: it is waited for again, as long as
// MaxAttempts connections. Only where another text is to be written the connection has to end,
// because an ack that still came would be taken for that text's.
func (o outbox) unconfirmed(now time.Time, heardMs int64) {
	b := o.backlog
	alive := heardMs > o.gateway().ms(now.Add(-o.ackTimeout()))
	over := b.ended
	if !over && o.count() {
		o.tellEnd(queue.StatusFailed, queue.ReasonNotConfirmed)
		over, b.ended = true, true
	}
	switch {
	case !alive, over && b.more():
		o.stray()
		b.clearInFlight() // it is counted
		o.host.close(reasonUnconfirmed)
	case over:
		b.overdue = true
	default:
		b.deadline = o.gateway().ms(now.Add(o.ackTimeout()))
		o.host.arm(b.deadline)
	}
}

// count adds a round to the message in flight and reports whether that was its last one.
func (o outbox) count() bool {
	return o.gateway().unconfirmed.add(o.tracker, o.backlog.msgs[0].ID) >= o.gateway().o.MaxAttempts
}

// left counts what the end of the connection leaves without an answer. It is called before the
// tracker's next session can ask the store what is pending.
func (o outbox) left(why reason) {
	o.hungUp(why)
	o.leftWithoutVerdict(why)
}

// hungUp counts a connection that ends, however soon, with a text written and no ack without a
// number for it, or with one that the device could not take.
func (o outbox) hungUp(why reason) {
	b := o.backlog
	if b == nil || b.ended || len(b.msgs) == 0 || why == reasonShutdown ||
		b.state != flightSent && b.state != flightPause {
		return
	}
	if b.bits > 0 && !b.failed {
		o.tried()
		return
	}
	o.unacknowledged(1, o.gateway().o.Now())
	ends := queue.ReasonNotConfirmed
	if b.failed {
		ends = queue.ReasonRefused
	}
	if o.count() {
		o.end(queue.StatusFailed, ends)
		return
	}
	b.clearInFlight()
}

// quietFor is how long nothing is written after a part whose ack without a number may come once
// more, so that it confirms nothing else.
const quietFor = 5 * time.Second

// quietAfter keeps quiet after a part that was written several times and has its ack: each copy may
// earn one. What comes meanwhile counts for nobody.
func (o outbox) quietAfter(copies int, now time.Time) {
	if copies < 2 || o.backlog == nil {
		return
	}
	o.quiet(o.gateway().ms(now.Add(quietFor)))
}

func (o outbox) quiet(untilMs int64) {
	b := o.backlog
	b.state, b.deadline = flightQuiet, untilMs
	o.host.arm(b.deadline)
}

// awaitsUnnumbered reports whether the part at hand is written and its ack will not name it.
func (o outbox) awaitsUnnumbered() bool {
	b := o.backlog
	return b != nil && b.bits == 0 && (b.state == flightSent || b.state == flightPause)
}

// stray leaves to the tracker's next session here that an ack without a number may still come: the
// connection ends, or the text at hand does, and the device has had the part. It is called first.
func (o outbox) stray() {
	switch {
	case o.awaitsUnnumbered():
		o.gateway().strays.put(o.tracker, stray{message: o.backlog.msgs[0].ID})
	case o.backlog != nil && o.backlog.state == flightQuiet: // of a message that is done
		o.gateway().strays.put(o.tracker, stray{untilMs: o.backlog.deadline})
	}
}

// settled deals with what the tracker's last connection left unacknowledged, once a session, before
// the first part of message is written. The same text counts as written before; after another one,
// which was given up, the device has a while from its next login on for a late ack: false. That
// does not begin anew with each login, or nothing would ever be written over short connections.
func (o outbox) settled(message int64, caps protocol.TextCaps, now time.Time) bool {
	if caps.RefBits > 0 || caps.Silent || o.cleared {
		return true
	}
	o.cleared = true
	left, ok := o.gateway().strays.take(o.tracker)
	until := o.since + quietFor.Milliseconds()
	if left.untilMs != 0 {
		until = min(until, left.untilMs)
	}
	switch {
	case !ok:
	case left.message == message:
		o.backlog.copies = 1
	case o.gateway().ms(now) < until:
		o.quiet(until)
		return false
	}
	return true
}

// strays are the trackers that an ack without a number may still come from. Each node knows its
// own, from its start on.
type strays struct {
	admission *admission
	mu        sync.Mutex
	of        map[queue.TrackerID]stray
}

// stray is an ack that may still come.
type stray struct {
	message int64 // that it means, 0 for none that can be written again
	untilMs int64 // that nothing is written, clock.ms; 0: that begins with the next login
}

func newStrays(d *admission) *strays {
	return &strays{
		admission: d,
		of:        make(map[queue.TrackerID]stray),
	}
}

// put notes one. Entries stay where a device never comes back; past the bound any other gives way.
func (r *strays) put(t queue.TrackerID, s stray) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.of[t]; !known && len(r.of) >= maxRounds {
		for other := range r.of {
			delete(r.of, other)
			r.admission.refuse("rounds")
			break
		}
	}
	r.of[t] = s
}

// take forgets the tracker's entry and returns it.
func (r *strays) take(t queue.TrackerID) (s stray, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok = r.of[t]
	delete(r.of, t)
	return s, ok
}

// attempted counts that the part at hand was written to a device that took it and has not said what
// became of it, though its protocol has a word for that (TextCaps.Verdict). It reports whether that
// was the last of MaxAttempts: such a device would get the text for ever, and nothing behind it its
// turn. Devices of which nothing was heard are not counted: they may be out of reach for long.
func (o outbox) attempted() bool {
	b := o.backlog
	if b.evidence != evidenceAccepted || !o.host.caps().Verdict {
		return false
	}
	return o.gateway().unconfirmed.add(o.tracker, b.msgs[0].ID) >= o.gateway().o.MaxAttempts
}

// leftWithoutVerdict counts the attempt that ends with the connection.
func (o outbox) leftWithoutVerdict(why reason) {
	b := o.backlog
	if b == nil || b.state != flightSent || b.ended || len(b.msgs) == 0 || why == reasonShutdown {
		return
	}
	last := o.attempted()
	b.evidence = evidenceNone // it is counted
	if last {
		o.end(queue.StatusFailed, queue.ReasonNotConfirmed)
	}
}
