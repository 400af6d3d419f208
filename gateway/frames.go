package gateway

import (
	"errors"
	"math"
	"time"

	"trackchat/protocol"

	"go.uber.org/zap"
)

// read cuts whole frames off buf, deals with them and returns how many bytes are used up. What is
// left when reads are paused waits with the connection.
func (s *session) read(buf []byte) (used int) {
	if s.pollMs != 0 { // what comes now does not belong to what is held back
		s.release(s.l.g.o.Now(), false)
	}
	s.shard.cur = s
	left, frames := s.l.g.framesLeft(s.heard, s.frames), int32(0)
	var err error
	for used < len(buf) && !s.closing && s.marks&markCrowded == 0 {
		if int(frames) >= left {
			s.throttle()
			break
		}
		var n, next int
		if n, next, err = s.l.protocol.Frame(buf[used:], int(s.scanned)); err != nil {
			used = len(buf)
			break
		}
		if n <= 0 {
			s.scanned = int32(next)
			break
		}
		s.scanned = 0
		frames++
		s.life.sign(lifeFrame) // what the frame says may end that
		s.shard.rest = buf[used:]
		s.frame(buf[used : used+n])
		used += n
	}
	s.shard.rest = nil
	s.framesCame(frames)
	if frames == 0 {
		s.recognise(buf, markLooked)
	}
	switch {
	case s.closing:
	case err != nil:
		s.l.c.decodeErrors.Inc()
		s.tellRefused(nil, err)
		s.close(closeReason(err))
	case frames > 0:
		s.poll(s.l.g.o.Now())
	}
	return used
}

// framesLeft is how many frames a session may still send in this second, of which it was heard last
// at heard, with so many frames.
func (g *Gateway) framesLeft(heard uint32, frames uint16) int {
	limit := g.o.Limits.FramesPerSecond
	switch {
	case limit <= 0:
		return math.MaxInt
	case heard != uint32(g.seconds.Load()):
		return limit
	default:
		return max(limit-int(frames), 0)
	}
}

func (s *session) framesCame(n int32) {
	if n == 0 {
		return
	}
	if now := uint32(s.l.g.seconds.Load()); now != s.heard {
		s.heard, s.frames = now, 0
	}
	s.frames = uint16(min(int32(s.frames)+n, math.MaxUint16))
	s.l.c.frames.Add(float64(n))
}

// throttle pauses reading for a second.
func (s *session) throttle() {
	s.l.g.admission.refuse("frames_per_second")
	s.marks |= markThrottled
	s.conn.Pause()
	s.arm(s.l.g.ms(s.l.g.o.Now().Add(time.Second)))
}

func (s *session) frame(frame []byte) {
	sh := s.shard
	sh.frame++
	sh.worst = protocol.OK
	if s.told != nil {
		s.told.copied = nil
	}
	err := s.codec.Decode(frame, sh.emit)
	if err == nil {
		if s.told != nil {
			s.wentOn(&s.l.g.history.known, s.tracker, s.l.g.minute())
		}
		return
	}
	s.l.c.decodeErrors.Inc()
	s.recognise(sh.rest, markRefused) // its frames may be longer
	s.tellRefused(frame, err)
	if errors.Is(err, protocol.ErrFraming) {
		s.close(reasonFraming)
		return
	}
	if s.tracker == 0 {
		if s.garbage++; s.garbage >= maxGarbage {
			s.l.g.admission.refuse("garbage")
			s.close(reasonGarbage)
		}
	}
}

// tellRefused says what was wrong with a frame: for the first one of a connection so that an
// operator sees a device that speaks something else, for the others in debug mode.
func (s *session) tellRefused(frame []byte, err error) {
	g, level, unsaid := s.l.g, zap.DebugLevel, zap.Skip()
	if s.marks&markRefused == 0 {
		s.marks |= markRefused
		if left, ok := g.refusals.take(g.o.Now()); ok {
			level, unsaid = zap.InfoLevel, left
		}
	}
	if ce := g.log.Check(level, "frame refused"); ce != nil {
		ce.Write(s.field(), zap.String("protocol", s.l.protocol.Name), zap.Stringer("remote",
			s.conn.RemoteAddr()), zap.Int("bytes", len(frame)), zap.String("error",
			printable(err.Error(), 200)), unsaid)
	}
}

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

// pace leaves in the shard's out what may be written now: where the device needs a gap, one frame,
// and none before the gap after the last one is over. The rest leaves when the wheel fires; all of
// it at once when the connection is closed.
func (s *session) pace() {
	sh := s.shard
	if s.dead || s.spaced == nil && len(sh.out) == 0 {
		return
	}
	gap := time.Duration(0)
	if c, ok := s.codec.(protocol.Spacer); ok {
		gap = c.FrameGap()
	}
	if s.spaced == nil {
		if gap == 0 {
			return
		}
		s.ensureActivity(s.l.g).spaced = new(spaced)
	}
	p, now := s.spaced, sh.g.ms(sh.g.o.Now())
	p.held = append(p.held, sh.out...)
	sh.out = sh.out[:0]
	if len(p.held) > pacedMost && s.relay == nil && !s.closing { // a relay has its own bound
		sh.g.admission.refuse("unsent")
		s.close(reasonSlow)
	}
	p.next = min(p.next, now+gap.Milliseconds()) // the login may have made the gap shorter
	switch {
	case s.closing || gap == 0:
		sh.out, p.held = append(sh.out, p.held...), nil
	case len(p.held) > 0 && now >= p.next:
		n := s.l.firstFrame(p.held)
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

// firstFrame is the length of the first frame; what cannot be cut leaves as it is.
func (l *Listener) firstFrame(held []byte) int {
	n, _, err := l.protocol.Frame(held, 0)
	if err != nil || n <= 0 {
		return len(held)
	}
	return n
}

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
		s.outbox().stray()
	}
	s.outbox().unrefused(math.MaxInt64)
	s.outbox().left(why)
	s.l.g.learnt.learn(s.tracker, s.codec, s.l.g.o.Now())
}
