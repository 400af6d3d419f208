package gateway

import (
	"sync"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

// hushFor is how long nothing is written after a part whose ack without a number may come once
// more, so that it confirms nothing else.
const hushFor = 5 * time.Second

// hush keeps quiet after a part that was written several times and has its ack: each copy may earn
// one. What comes meanwhile counts for nobody.
func (s *session) hush(copies int, now time.Time) {
	if copies < 2 || s.box == nil {
		return
	}
	s.quiet(s.l.g.ms(now.Add(hushFor)))
}

func (s *session) quiet(untilMs int64) {
	b := s.box
	b.state, b.deadline = flightQuiet, untilMs
	s.arm(b.deadline)
}

// awaitsUnnumbered reports whether the part at hand is written and its ack will not name it.
func (s *session) awaitsUnnumbered() bool {
	b := s.box
	return b != nil && b.bits == 0 && (b.state == flightSent || b.state == flightPause)
}

// stray leaves to the tracker's next session here that an ack without a number may still come: the
// connection ends, or the text at hand does, and the device has had the part. It is called first.
func (s *session) stray() {
	switch {
	case s.awaitsUnnumbered():
		s.l.g.strays.put(s.tracker, stray{message: s.box.msgs[0].ID})
	case s.box != nil && s.box.state == flightQuiet: // of a message that is done
		s.l.g.strays.put(s.tracker, stray{untilMs: s.box.deadline})
	}
}

// settled deals with what the tracker's last connection left unacknowledged, once a session, before
// the first part of message is written. The same text counts as written before; after another one,
// which was given up, the device has a while from its next login on for a late ack: false. That
// does not begin anew with each login, or nothing would ever be written over short connections.
func (s *session) settled(message int64, caps protocol.TextCaps, now time.Time) bool {
	if caps.RefBits > 0 || caps.Silent || s.marks&markSettled != 0 {
		return true
	}
	s.marks |= markSettled
	left, ok := s.l.g.strays.take(s.tracker)
	until := s.since + hushFor.Milliseconds()
	if left.untilMs != 0 {
		until = min(until, left.untilMs)
	}
	switch {
	case !ok:
	case left.message == message:
		s.box.copies = 1
	case s.l.g.ms(now) < until:
		s.quiet(until)
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
