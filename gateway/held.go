package gateway

import (
	"math"
	"time"

	"trackchat/protocol"
)

// release lets the codec say what it has held back because more could have followed, for long
// enough or until the end of the session.
func (s *session) release(now time.Time, end bool) {
	h, ok := s.codec.(protocol.Holder)
	if !ok {
		return
	}
	sh := s.shard
	sh.cur, sh.worst = s, protocol.OK
	sh.frame++
	h.Release(now, end, sh.emit)
}

// lastWords are what a device has said without an end when its connection ends, and what its
// session leaves to the next one. A panic in them must not keep the session from ending.
func (s *session) lastWords(why reason) {
	defer s.recovered()
	if s.tracker == 0 || s.broken() {
		return
	}
	s.release(s.l.g.o.Now(), true)
	if !s.closing {
		s.stray()
	}
	s.unrefused(math.MaxInt64)
	s.hungUp(why)
	s.leftWithoutVerdict(why)
	s.learn(s.l.g.o.Now())
}
