package gateway

import (
	"errors"
	"fmt"

	"trackchat/queue"

	"go.uber.org/zap"
)

// errPanic is what a panic in a protocol's code becomes. What strangers send reaches that code first, so a mistake there ends one session and never the process.
var errPanic = errors.New("protocol code panicked")

// panicked counts and logs a panic that was recovered, with the stack of where it happened.
func (l *Listener) panicked(cause any) error {
	l.c.panics.Inc()
	if unsaid, ok := l.g.panics.take(l.g.o.Now()); ok {
		l.g.log.Error("protocol code panicked, its session is closed", zap.String("protocol", l.protocol.Name), zap.Any("cause", cause), zap.Stack("stack"), unsaid)
	}
	return fmt.Errorf("%w: %v", errPanic, cause)
}

// cut cuts whole frames, at most so many, off buf into pk and returns how many bytes are used up.
func (s *session) cut(buf []byte, pk *packet, most int) (off int) {
	defer func() {
		if cause := recover(); cause != nil {
			pk.err, off = s.l.panicked(cause), len(buf)
		}
	}()
	for off < len(buf) && len(pk.ends) < most {
		n, next, err := s.l.protocol.Frame(buf[off:], int(s.scanned))
		if err != nil {
			pk.err = err
			return len(buf)
		}
		if n <= 0 {
			s.scanned = int32(next)
			return off
		}
		pk.add(buf[off : off+n])
		off += n
		s.scanned = 0
	}
	return off
}

// recovered is deferred by what a session does. After a panic the session is closed, nothing half-written leaves, and no code of its protocol runs again.
func (s *session) recovered() {
	cause := recover()
	if cause == nil {
		return
	}
	_ = s.l.panicked(cause)
	s.shard.out = s.shard.out[:0]
	s.closing, s.reason = true, reasonPanic // whatever it was about to be closed for
	if !s.dead {
		_ = s.conn.Close() // always nil
	}
}

// broken reports whether its protocol's code has panicked: OnClose is all that is still to come.
func (s *session) broken() bool { return s.closing && s.reason == reasonPanic }

// matchContained is match for the worker that serves all sessions.
func (a *lateAck) matchContained(candidates []queue.Message) (m lateMatch) {
	defer func() {
		if cause := recover(); cause != nil {
			_ = a.from.panicked(cause)
			m = lateMatch{result: "none"}
		}
	}()
	return a.match(candidates)
}
