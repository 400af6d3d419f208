package gateway

import (
	"time"

	"trackchat/protocol"
)

// Bounds of what waits for its turn, in bytes of frames: from there on the device is not read until
// half of it has left, and from there on the connection is given up as one that takes nothing.
const (
	pacedFull = 2 << 10
	pacedMost = 64 << 10
)

// spaced is what a device that takes one frame at a time is still to be sent.
type spaced struct {
	held []byte // whole frames
	next int64  // when the next one may leave, clock.ms
	full bool   // reads are paused
}

// gap is the pause that the session's device needs between frames.
func (s *session) gap() time.Duration {
	if c, ok := s.codec.(protocol.Spacer); ok {
		return c.FrameGap()
	}
	return 0
}

// pace leaves in the shard's out what may be written now: where the device needs a gap, one frame,
// and none before the gap after the last one is over. The rest leaves when the wheel fires; all of
// it at once when the connection is closed.
func (s *session) pace() {
	sh := s.shard
	if s.dead || s.spaced == nil && len(sh.out) == 0 {
		return
	}
	gap := s.gap()
	if s.spaced == nil {
		if gap == 0 {
			return
		}
		s.ensureActivity().spaced = new(spaced)
	}
	p, now := s.spaced, sh.g.ms(sh.g.o.Now())
	p.held = append(p.held, sh.out...)
	sh.out = sh.out[:0]
	if len(p.held) > pacedMost && !s.closing {
		sh.g.admission.refuse("unsent")
		s.close(reasonSlow)
	}
	p.next = min(p.next, now+gap.Milliseconds()) // the login may have made the gap shorter
	switch {
	case s.closing || gap == 0:
		sh.out, p.held = append(sh.out, p.held...), nil
	case len(p.held) > 0 && now >= p.next:
		n := s.frameAt(p.held)
		sh.out = append(sh.out, p.held[:n]...)
		p.held = append(p.held[:0], p.held[n:]...)
		p.next = now + gap.Milliseconds()
	}
	s.spacedOn(p)
}

// spacedOn waits for the next turn, and has the device wait where too much does.
func (s *session) spacedOn(p *spaced) {
	if len(p.held) > 0 {
		s.arm(p.next)
	}
	switch {
	case !p.full && len(p.held) >= pacedFull:
		p.full = true
		s.l.g.m.paused.Inc()
		s.conn.Pause()
	case p.full && len(p.held) < pacedFull/2:
		p.full = false
		s.resume()
	}
}

// swamped reports whether reads have to pause because too much waits for its turn.
func (s *session) swamped() bool { return s.spaced != nil && s.spaced.full }

// frameAt is the length of the first frame; what cannot be cut leaves as it is.
func (s *session) frameAt(held []byte) int {
	n, _, err := s.l.protocol.Frame(held, 0)
	if err != nil || n <= 0 {
		return len(held)
	}
	return n
}
