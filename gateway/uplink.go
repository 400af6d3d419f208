package gateway

import (
	"math"
	"slices"
	"strings"

	"trackchat/protocol"
	"trackchat/queue"
)

// text stores what a driver wrote; its answer waits until that is durable. False: the shard's verdict holds the result already.
func (s *session) text(e *protocol.Event) (held bool) {
	if r := s.acceptable(e.Text); r != protocol.OK {
		s.shard.verdict = r
		return false
	}
	if e.Across && s.asked(e.Text) {
		return true // the device is impatient: the answer to the first copy is still to come
	}
	n := s.hold(e, protocol.OK, true)
	var caps protocol.TextCaps
	if e.Replies {
		caps = s.codec.Caps()
	}
	if caps.RefBits > 0 || s.lookingUp(n) {
		s.l.g.store.late.add(s, n, lateAck{from: s.l, tracker: s.tracker, ref: e.ReplyTo, caps: caps, reply: true, in: s.incoming(e, e.Text)})
		return true
	}
	s.l.g.store.receive.add(s, n, s.incoming(e, e.Text))
	return true
}

// lookingUp reports whether what another text before number n answers is being looked up: n has to take the same way, so that texts stay in their order. It takes note of that.
func (s *session) lookingUp(n int64) bool {
	q := s.replies
	before := q.slots[:n-q.first]
	if !slices.ContainsFunc(before, func(sl slot) bool { return sl.waiting && (sl.event.Kind == protocol.KindAnswer || sl.event.Replies) }) {
		return false
	}
	q.slots[n-q.first].event.Replies = true
	return true
}

// asked reports whether the store has been asked for a while to keep the same text of this session. A copy that comes at once is another text: a driver may say the same twice.
func (s *session) asked(text string) bool {
	if s.replies == nil {
		return false
	}
	since := s.l.g.o.Now().Add(-impatience).UnixMilli()
	return slices.ContainsFunc(s.replies.slots, func(sl slot) bool {
		return sl.waiting && sl.at < since && sl.event.Kind == protocol.KindText && sl.event.Text == text
	})
}

// acceptable judges a text before it goes to the store.
func (s *session) acceptable(text string) protocol.Result {
	g := s.l.g
	if strings.TrimSpace(text) == "" || queue.TextTooLong(text) {
		g.door.refuse("bad_text")
		return protocol.Invalid
	}
	return s.allowance()
}

// allowance counts a text, or an answer, against what one device may send in a minute.
func (s *session) allowance() protocol.Result {
	g := s.l.g
	if g.full() {
		g.door.refuse("memory")
		return protocol.Later
	}
	limit := g.o.Limits.TextsPerMinute
	if limit <= 0 {
		return protocol.OK
	}
	if minute := uint16(g.seconds.Load() / 60); minute != s.minute {
		s.minute, s.texts = minute, 0
	}
	if s.texts < math.MaxUint16 {
		s.texts++
	}
	if int(s.texts) > limit {
		g.door.refuse("texts_per_minute")
		return protocol.Later
	}
	return protocol.OK
}

func (s *session) incoming(e *protocol.Event, text string) queue.Incoming {
	in := queue.Incoming{Tracker: s.tracker, Text: text, Key: e.Key, Window: e.Window}
	if e.Key != 0 {
		in.Key = s.l.g.conduct.known.key(s.tracker, e.Key, s.l.g.minute())
	}
	if e.Across {
		in.Epoch = s.since
		if s.doubtful != 0 && s.doubtful == hashOf(text) {
			s.doubtful, in.Epoch = 0, 0 // a copy of the same connection may be stored: it counts as a repetition too
		}
	}
	if t, ok := s.l.g.o.Directory.Current().Tracker(s.tracker); ok {
		in.Employee = t.Employee
	}
	return in
}

// choice deals with the driver's answer to a question: the question's message says what was chosen, so the store is asked first.
// False: the shard's verdict holds the result already.
func (s *session) choice(e *protocol.Event) (held bool) {
	if r := s.allowance(); r != protocol.OK {
		s.shard.verdict = r
		return false
	}
	n := s.hold(e, protocol.OK, true)
	s.l.g.store.late.add(s, n, lateAck{
		from: s.l, tracker: s.tracker, lease: s.lease(), ref: e.Ref, caps: s.codec.Caps(), answer: true, choice: e.Choice, in: s.incoming(e, ""),
	})
	return true
}
