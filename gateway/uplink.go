package gateway

import (
	"math"
	"slices"
	"strings"

	"trackchat/protocol"
	"trackchat/queue"
)

// text stores what a driver wrote; its answer waits until that is durable. False: the shard's
// verdict holds the result already.
func (s *session) text(e *protocol.Event) (held bool) {
	if strings.TrimSpace(e.Text) == "" || queue.TextTooLong(e.Text) {
		s.l.g.admission.refuse("bad_text")
		s.shard.verdict = protocol.Invalid
		return false
	}
	if r := s.allowance(); r != protocol.OK {
		s.shard.verdict = r
		return false
	}
	if e.Across && s.replies != nil &&
		s.replies.awaitingStore(e.Key, s.l.g.ms(s.l.g.o.Now().Add(-impatience))) {
		// The device is impatient: the answer to the first copy is still to come, and nothing else
		// of this frame is answered either.
		s.shard.worst = protocol.Later
		return true
	}
	n := s.hold(e, protocol.OK, true)
	var caps protocol.TextCaps
	if e.Replies {
		caps = s.codec.Caps()
	}
	if caps.RefBits > 0 || s.replies.lookingUp(n) {
		s.l.g.store.late.add(s, n, lateAck{
			from: s.l, tracker: s.tracker, ref: e.ReplyTo,
			caps: caps, reply: true, in: s.incoming(e, e.Text),
		})
		return true
	}
	s.l.g.store.receive.add(s, n, s.incoming(e, e.Text))
	return true
}

// lookingUp reports whether what another text before number n answers is being looked up: n has to
// take the same way, so that texts stay in their order. It takes note of that.
func (q *replies) lookingUp(n int64) bool {
	before := q.slots[:n-q.first]
	if !slices.ContainsFunc(before, func(sl slot) bool {
		return sl.waiting &&
			(sl.event.Kind == protocol.KindAnswer || sl.event.Replies)
	}) {
		return false
	}
	q.slots[n-q.first].event.Replies = true
	return true
}

// awaitingStore reports whether the store was asked before sinceMs to keep the same text of this
// session. A copy that comes at once is another text: a driver may say the same twice.
func (q *replies) awaitingStore(key uint64, sinceMs int64) bool {
	return slices.ContainsFunc(q.slots, func(sl slot) bool {
		return sl.waiting && sl.at < sinceMs && sl.event.Kind == protocol.KindText &&
			sl.event.Key == key
	})
}

// allowance counts a text, or an answer, against what one device may send in a minute. A frame that
// begins within that is taken as a whole, because the device repeats it as a whole; what it brings
// in excess counts in the minutes that follow.
func (s *session) allowance() protocol.Result {
	g := s.l.g
	if g.full() {
		g.admission.refuse("memory")
		return protocol.Later
	}
	limit := g.o.Limits.TextsPerMinute
	if limit <= 0 {
		return protocol.OK
	}
	if minute := uint16(g.minute()); minute != s.minute {
		over := int(s.texts) - limit*int(minute-s.minute)
		s.minute, s.texts = minute, uint16(max(over, 0))
	}
	if int(s.texts) >= limit && s.shard.taken != s.shard.frame {
		g.admission.refuse("texts_per_minute")
		return protocol.Later
	}
	s.shard.taken = s.shard.frame
	if s.texts < math.MaxUint16 {
		s.texts++
	}
	return protocol.OK
}

func (s *session) incoming(e *protocol.Event, text string) queue.Incoming {
	in := queue.Incoming{Tracker: s.tracker, Text: text, Key: e.Key, Window: e.Window}
	if e.Key != 0 {
		in.Key = s.l.g.history.known.key(s.tracker, e, s.l.g.minute())
	}
	if e.Across {
		in.Epoch = s.since
		if s.doubted(e.Key) {
			in.Epoch = 0
		}
	}
	if t, _, present, ok := s.l.g.o.Directory.Current().Conversation(s.tracker); ok && present {
		in.Employee = t.Employee
	}
	return in
}

// doubts are the keys of driver's texts that may be stored although the device has no answer that
// says so: a copy over the same connection counts as a repetition, too.
type doubts map[uint64]struct{}

// maxDoubts bounds them; of more, a copy is stored twice.
const maxDoubts = 1024

// answered takes note of an answer that has left, the last one of its frame or not. A device knows
// that a text is stored when its whole frame was accepted.
func (s *session) answered(sl *slot, last bool) {
	q, e := s.replies, &sl.event
	if sl.asked && e.Key != 0 && (e.Fleeting || e.Across) {
		q.said = append(q.said, saidText{e.Key, e.Across, e.Fleeting})
	}
	if !last {
		return
	}
	for _, t := range q.said {
		switch {
		case sl.result == protocol.OK && t.fleeting:
			if !s.dead {
				s.ensureActivity(s.l.g).tell(t.key)
			}
		case sl.result != protocol.OK && t.across:
			s.ensureActivity(s.l.g).doubt(t.key)
		}
	}
	q.said = q.said[:0]
}

// doubt notes a text whose answer the device did not get.
func (a *activity) doubt(key uint64) {
	if a.doubtful == nil {
		a.doubtful = &doubts{}
	}
	if len(*a.doubtful) < maxDoubts {
		(*a.doubtful)[key] = struct{}{}
	}
}

// doubted reports whether a text of that key is one of the doubtful ones, and forgets it.
func (a *activity) doubted(key uint64) bool {
	if a.doubtful == nil {
		return false
	}
	_, ok := (*a.doubtful)[key]
	if delete(*a.doubtful, key); len(*a.doubtful) == 0 {
		a.doubtful = nil
	}
	return ok
}

// choice deals with the driver's answer to a question: the question's message says what was chosen,
// so the store is asked first. False: the shard's verdict holds the result already.
func (s *session) choice(e *protocol.Event) (held bool) {
	if r := s.allowance(); r != protocol.OK {
		s.shard.verdict = r
		return false
	}
	n := s.hold(e, protocol.OK, true)
	s.l.g.store.late.add(s, n, lateAck{
		from: s.l, tracker: s.tracker, lease: s.lease(), ref: e.Ref, caps: s.codec.Caps(),
		answer: true, choice: e.Choice, in: s.incoming(e, ""),
	})
	return true
}
