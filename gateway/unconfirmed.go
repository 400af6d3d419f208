package gateway

import (
	"sync"
	"time"

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
func (s *session) unconfirmed(now time.Time) {
	b := s.box
	alive := int64(s.heard)*1000 > s.l.g.ms(now.Add(-s.ackTimeout()))
	over := b.ended
	if !over && s.count() {
		s.tellEnd(queue.StatusFailed, queue.ReasonNotConfirmed)
		over, b.ended = true, true
	}
	switch {
	case !alive, over && b.more():
		s.stray()
		b.clearInFlight() // it is counted
		s.close(reasonUnconfirmed)
	case over:
		b.overdue = true
	default:
		b.deadline = s.l.g.ms(now.Add(s.ackTimeout()))
		s.arm(b.deadline)
	}
}

// count adds a round to the message in flight and reports whether that was its last one.
func (s *session) count() bool {
	return s.l.g.unconfirmed.add(s.tracker, s.box.msgs[0].ID) >= s.l.g.o.MaxAttempts
}

// hungUp counts a connection that ends, however soon, with a text written and no ack without a
// number for it, or with one that the device could not take. It is called before the tracker's next
// session can ask the store what is pending.
func (s *session) hungUp(why reason) {
	b := s.box
	if b == nil || b.ended || len(b.msgs) == 0 || why == reasonShutdown ||
		b.state != flightSent && b.state != flightPause {
		return
	}
	if b.bits > 0 && !b.failed {
		s.tried()
		return
	}
	s.unacknowledged(1, s.l.g.o.Now())
	ends := queue.ReasonNotConfirmed
	if b.failed {
		ends = queue.ReasonRefused
	}
	if s.count() {
		s.end(queue.StatusFailed, ends)
		return
	}
	b.clearInFlight()
}
