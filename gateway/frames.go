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
	left, frames := s.framesLeft(), int32(0)
	var err error
	for used < len(buf) && !s.closing && !s.crowded {
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

// framesLeft is how many frames the session may still send in this second.
func (s *session) framesLeft() int {
	limit := s.l.g.o.Limits.FramesPerSecond
	switch {
	case limit <= 0:
		return math.MaxInt
	case s.heard != uint32(s.l.g.seconds.Load()):
		return limit
	default:
		return max(limit-int(s.frames), 0)
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
	s.throttled = true
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
			s.wentOn()
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
