package gateway

import (
	"trackchat/protocol"

	"go.uber.org/zap"
)

// panicked counts and logs a panic that was recovered, with the stack of where it happened. What
// strangers send reaches a protocol's code first, so a mistake there ends one session and never the
// process.
func (l *Listener) panicked(cause any) {
	l.c.panics.Inc()
	if unsaid, ok := l.g.panics.take(l.g.o.Now()); ok {
		l.g.log.Error("protocol code panicked, its session is closed", zap.String("protocol",
			l.protocol.Name), zap.Any("cause", cause), zap.Stack("stack"), unsaid)
	}
}

// recovered is deferred by what a session does. After a panic the session is closed, nothing
// half-written leaves, and no code of its protocol runs again.
func (s *session) recovered() {
	cause := recover()
	if cause == nil {
		return
	}
	s.l.panicked(cause)
	s.shard.out, s.shard.up, s.shard.ways = s.shard.out[:0], s.shard.up[:0], protocol.Ways{}
	s.closing, s.reason = true, reasonPanic // whatever it was about to be closed for
	if !s.dead {
		_ = s.conn.Close() // always nil
	}
}

// broken reports whether its protocol's code has panicked: OnClose is all that is still to come.
func (s *session) broken() bool { return s.closing && s.reason == reasonPanic }
