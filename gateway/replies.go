package gateway

import (
	"errors"

	"trackchat/protocol"
	"trackchat/queue"
)

// replies are answers that cannot be given yet, because one of them waits for the store: answers
// leave in the order of the frames.
type replies struct {
	first int64 // number of slots[0]
	slots []slot
	// slots of acks: what the gateway has in flight bounds them, so they alone do not make a crowd.
	acks int

	said []saidText // texts that went to the store and came in the frame whose answers are leaving
}

// full reports whether reads have to pause.
func (q *replies) full() bool {
	return len(q.slots)-q.acks >= maxReplies || len(q.slots) >= 8*maxReplies
}

// eased reports whether they may go on.
func (q *replies) eased() bool { return len(q.slots)-q.acks <= maxReplies/2 }

type slot struct {
	event   protocol.Event
	frame   int64
	result  protocol.Result
	waiting bool
	asked   bool  // the store was, so it may have it whatever the result
	at      int64 // clock.ms
}

// saidText is what is to be noted of a text when its frame has its answer.
type saidText struct {
	key              uint64
	across, fleeting bool
}

func isAck(e *protocol.Event) bool {
	return e.Kind == protocol.KindAck || e.Kind == protocol.KindEvidence
}

// answer appends the protocol's answer to e, or queues it behind those that wait.
func (s *session) answer(e *protocol.Event, r protocol.Result) {
	sh := s.shard
	if s.replies != nil {
		s.hold(e, r, false)
		return
	}
	sh.worst = max(sh.worst, r)
	s.appendReply(e, sh.worst)
}

// appendReply has the codec answer. Amid bytes of a tracking server that are no frames there is no
// place for that.
func (s *session) appendReply(e *protocol.Event, r protocol.Result) {
	out := s.codec.AppendReply(s.shard.out, e, r)
	if s.relay == nil || !s.relay.silent() {
		s.shard.out = out
	}
}

// hold queues an answer and returns its number.
func (s *session) hold(e *protocol.Event, r protocol.Result, waiting bool) int64 {
	if s.replies == nil {
		s.ensureActivity(s.l.g).replies = &replies{}
	}
	q := s.replies
	q.slots = append(q.slots, slot{
		event: *e, frame: s.shard.frame, result: max(r, s.shard.worst),
		waiting: waiting, asked: waiting, at: s.l.g.ms(s.l.g.o.Now()),
	})
	if isAck(e) {
		q.acks++
	}
	if q.full() && s.marks&markCrowded == 0 {
		s.marks |= markCrowded
		s.l.g.m.paused.Inc()
		s.conn.Pause()
	}
	return q.first + int64(len(q.slots)) - 1
}

// settle gives the result of a waiting answer and appends all answers that are free to leave.
func (s *session) settle(n int64, r protocol.Result) {
	q := s.replies
	if q == nil || n < q.first || n >= q.first+int64(len(q.slots)) {
		return
	}
	sl := &q.slots[n-q.first]
	sl.result, sl.waiting = max(sl.result, r), false
	out := 0
	for ; out < len(q.slots) && !q.slots[out].waiting; out++ {
		sl := &q.slots[out]
		s.appendReply(&sl.event, sl.result)
		if isAck(&sl.event) {
			q.acks--
		}
		next := out + 1
		more := next < len(q.slots) && q.slots[next].frame == sl.frame
		if more {
			q.slots[next].result = max(q.slots[next].result, sl.result)
		}
		s.answered(sl, !more)
	}
	q.first += int64(out)
	q.slots = append(q.slots[:0], q.slots[out:]...)
	if len(q.slots) == 0 {
		s.replies = nil
	}
	if s.relay != nil && !s.dead && !s.closing {
		s.relay.settled()
	}
	if s.marks&markCrowded != 0 && q.eased() {
		s.marks &^= markCrowded
		s.resume()
	}
	if out > 0 && !s.dead && !s.closing { // an answer may wait for the time
		s.pollCodec(s.l.g.o.Now())
	}
}

// received is the store's answer to a text.
func (s *session) received(n int64, repeated bool, err error) {
	switch {
	case err == nil && repeated:
		s.l.c.repeated.Inc()
		s.settle(n, protocol.OK)
	case err == nil:
		s.l.c.received.Inc()
		s.settle(n, protocol.OK)
	case errors.Is(err, queue.ErrTooLarge):
		s.settle(n, protocol.Invalid)
	default:
		if s.relay != nil && s.relay.waits != 0 {
			s.relay.mark(relayRefused, true)
		}
		s.settle(n, protocol.Later)
	}
}
