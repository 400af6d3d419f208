package gateway

import (
	"slices"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

type flight uint8

const (
	flightNone flight = iota // nothing at the device
	flightSent               // the part at hand is written, its ack is awaited until the deadline
	// the device reported a temporary failure; written again at the deadline.
	flightPause
	// a device that never acknowledges: the next part is written at the deadline.
	flightPace
	// the codec cannot carry texts yet: asked again after every frame and Poll.
	flightHold
	// until the deadline nothing is written and unnumbered acks are nobody's.
	flightQuiet
	// no ack in time, often enough: everything starts again from the store at the deadline.
	flightParked
)

// outbox is what a session is delivering: it exists only while there is something pending. The
// first message is the one in flight, one part at a time, so that a screen shows texts in their
// order and a device without numbers in its acks cannot be misunderstood.
type outbox struct {
	msgs   []queue.Message
	bytes  int          // of their texts
	cursor queue.Cursor // where the next claim goes on
	behind bool         // the store has more than is here
	asking bool         // a claim is under way
	dirty  bool         // wakes came meanwhile
	gone   []int64      // messages that ended meanwhile: the claim may have seen them before
	early  []earlyAck   // acks that came before the store said what is pending
	slow   bool         // parked before: from now on one try every RetryIdle

	state    flight
	parts    []string // of the first message
	part     int
	replaced int // characters of the first message that the device cannot show
	ref      uint64
	bits     int  // width of references when the part was written
	tries    int  // times the part timed out
	unheard  bool // the part was written, and neither answered nor counted as a try since
	copies   int  // of the part that may each earn an ack without a number
	failed   bool // the device reported a temporary failure of this part before
	damaged  bool // the part arrived damaged before
	evidence evidence
	overdue  bool // its ack was awaited in vain: nothing else may be written here
	// the message has ended otherwise; only the ack of the part at hand is awaited, lest it be
	// taken for that of the next text.
	ended    bool
	written  int64 // clock.ms
	deadline int64 // clock.ms, 0 none
}

func (b *outbox) full() bool { return len(b.msgs) >= backlogTexts || b.bytes >= backlogBytes }

func (b *outbox) push(m *queue.Message) {
	b.msgs = append(b.msgs, *m)
	b.bytes += len(m.Text)
}

// drop takes message i out.
func (b *outbox) drop(i int) {
	b.bytes -= len(b.msgs[i].Text)
	b.msgs = slices.Delete(b.msgs, i, i+1)
	if i == 0 {
		b.clearInFlight()
		b.parts, b.part, b.replaced, b.ended = nil, 0, 0, false
	}
}

// more reports whether another message waits behind the first one.
func (b *outbox) more() bool { return len(b.msgs) > 1 || b.behind }

// clearInFlight forgets what is in flight.
func (b *outbox) clearInFlight() {
	if b.state != flightQuiet {
		b.state, b.deadline = flightNone, 0
	}
	b.tries, b.copies, b.evidence = 0, 0, evidenceNone
	b.failed, b.damaged, b.slow, b.overdue, b.unheard = false, false, false, false, false
}

// evidence is what is known of the part at hand below the device's own word, in rising order. Only
// that word makes a message delivered; this says where one got stuck.
type evidence uint8

const (
	evidenceNone     evidence = iota
	evidenceWritten           // handed to the connection
	evidenceLink              // the device's transport has it
	evidenceAccepted          // its command service took it
)

// String is the label.
func (e evidence) String() string { return [...]string{"none", "written", "link", "accepted"}[e] }

// claim asks the store for what is pending.
func (s *session) claim() {
	if s.box == nil {
		s.ensureActivity().box = &outbox{}
	}
	b := s.box
	if b.asking {
		b.dirty = true
		return
	}
	b.asking, b.behind = true, false
	s.claims++
	s.l.g.store.claim.add(s, int64(s.claims), queue.ClaimReq{
		Lease: s.lease(), Cursor: b.cursor,
		MaxBytes: max(backlogBytes-b.bytes, 1),
	})
}

// claimed takes over what the store has pending.
func (s *session) claimed(n int64, r *queue.ClaimResult) {
	b := s.box
	if b == nil || n != int64(s.claims) {
		return
	}
	b.asking = false
	if r.Err != nil {
		s.claimFailed(r.Err)
		return
	}
	for i := range r.Msgs {
		m := &r.Msgs[i]
		if m.ID <= s.lastQueued {
			continue
		}
		s.lastQueued = m.ID
		s.lastKnown = max(s.lastKnown, m.ID)
		if !slices.Contains(b.gone, m.ID) {
			b.push(m)
		}
	}
	b.cursor = r.Next
	b.behind = r.More || b.dirty
	b.dirty, b.gone = false, nil
	s.pump(s.l.g.o.Now())
	s.lookUpEarly(b)
}

// wake takes note of what the store announces.
func (s *session) wake(w *queue.Wake) {
	switch w.Kind {
	case queue.WakeKick:
		switch {
		case s.epoch == 0:
			// it may be this session's, whose lease is on its way: the claim will tell
			s.dirty = true
		case w.Epoch >= s.epoch:
			// meant for this lease or a later one: not for an older session of the same tracker
			s.close(reasonMoved)
		}
	case queue.WakeEnd:
		s.withdraw(w.Msg.ID)
		s.forget(w.Msg.ID)
	case queue.WakeMessage:
		s.announced(w)
	default:
	}
}

func (s *session) announced(w *queue.Wake) {
	if s.state != stateReady {
		s.dirty = true
		return
	}
	if w.Epoch != s.epoch || w.Msg.ID <= s.lastKnown {
		return
	}
	gap := w.Prev > s.lastKnown
	s.lastKnown = w.Msg.ID
	b := s.box
	switch {
	case b != nil && b.state == flightParked: // everything is claimed anew afterwards
	case b != nil && b.asking:
		b.dirty = true
	case gap:
		s.l.g.m.wakeMissed.Inc()
		s.claim()
	case w.Hint || b != nil && (b.behind || b.full()):
		if b == nil {
			s.claim()
			return
		}
		b.behind = true
		s.pump(s.l.g.o.Now())
	default:
		if b == nil {
			s.ensureActivity().box = &outbox{}
		}
		s.box.push(&w.Msg)
		s.lastQueued = w.Msg.ID
		s.pump(s.l.g.o.Now())
	}
}

// withdraw asks the device to take back a message that it is being given.
func (s *session) withdraw(id int64) {
	b := s.box
	if b == nil || len(b.msgs) == 0 || b.msgs[0].ID != id ||
		b.state != flightSent && b.state != flightPause {
		return
	}
	if w, ok := s.codec.(protocol.Withdrawer); ok {
		s.shard.out = w.AppendWithdraw(s.shard.out, b.ref)
		s.pollCodec(s.l.g.o.Now())
	}
}

// forget stops the delivery of a message that has ended otherwise.
func (s *session) forget(id int64) {
	b := s.box
	if b == nil {
		return
	}
	if b.asking {
		b.gone = append(b.gone, id)
	}
	i := slices.IndexFunc(b.msgs, func(m queue.Message) bool { return m.ID == id })
	switch {
	case i < 0:
	case i == 0 && b.state == flightSent && b.bits == 0:
		b.ended = true
	default:
		b.drop(i)
		s.pump(s.l.g.o.Now())
	}
}

// resync looks at the store because wakes may have been lost.
func (s *session) resync() {
	if s.state == stateReady && !s.dead && !s.closing {
		s.reread()
		s.nextMs = 0
		s.arm(s.l.g.ms(s.l.g.o.Now()))
	} else {
		s.dirty = true
	}
}

// reread forgets the texts that wait behind the one in flight and claims them again: one of them
// may have been cancelled, and nobody was told.
func (s *session) reread() {
	b := s.box
	if b == nil || b.state == flightParked || len(b.msgs) == 0 && !b.asking {
		return
	}
	keep := 0
	if len(b.msgs) > 0 {
		// what was before it is done, also where the store does not know yet.
		s.lastQueued = b.msgs[0].ID - 1
		switch b.state {
		case flightSent, flightPause, flightPace:
			keep, s.lastQueued = 1, b.msgs[0].ID
		default:
			b.clearInFlight()
			b.parts, b.part, b.replaced, b.ended = nil, 0, 0, false
		}
	}
	if keep == len(b.msgs) && !b.asking {
		return
	}
	clear(b.msgs[keep:])
	b.msgs = b.msgs[:keep]
	b.bytes = 0
	for i := range b.msgs {
		b.bytes += len(b.msgs[i].Text)
	}
	b.cursor, b.asking, b.gone = 0, false, nil
	s.claim()
}

// peeked is the store's word that something is pending, or that another session owns the tracker.
func (s *session) peeked(p *queue.PeekResult) {
	switch {
	case p.Fenced:
		s.close(reasonFenced)
	case p.LastOut > s.lastKnown:
		s.onMissedWake(p.LastOut)
	case s.box == nil:
		s.claim()
	}
}

// onMissedWake deals with a message that the store has and no wake has told of. The wake may just
// be on its way, so it counts as missed only if the next look finds the same.
func (s *session) onMissedWake(last int64) {
	if s.missedID <= s.lastKnown {
		s.ensureActivity().missedID = last
		s.nextMs = s.l.g.ms(s.l.g.o.Now().Add(time.Second))
		s.arm(s.nextMs)
		return
	}
	s.l.g.m.wakeMissed.Inc()
	s.lastKnown = last
	if s.box == nil || s.box.state != flightParked {
		s.claim()
	}
}

// restart begins again with the oldest pending message.
func (s *session) restart(slow bool) {
	s.lastQueued = 0
	s.ensureActivity().box = &outbox{slow: slow}
	s.claims++
	s.claim()
}

// end tells the store that the first message will not be delivered.
func (s *session) end(st queue.Status, why queue.Reason) {
	defer s.hush(s.box.copies, s.l.g.o.Now())
	if s.box.ended {
		s.box.drop(0)
		return
	}
	s.tellEnd(st, why)
	s.box.drop(0)
}

// tellEnd is end for a message whose ack is still awaited.
func (s *session) tellEnd(st queue.Status, why queue.Reason) {
	m := &s.box.msgs[0]
	s.l.g.unconfirmed.clear(s.tracker, m.ID)
	s.trace("text ended", m.ID, string(st))
	s.l.g.store.end.add(s, 0, queue.EndReq{
		Tracker: s.tracker, ID: m.ID, Status: st, Reason: why,
		Replaced: s.box.replaced,
	})
}

func statusLabel(st queue.Status) string {
	switch st {
	case queue.StatusFailed:
		return "failed"
	case queue.StatusExpired:
		return "expired"
	case queue.StatusSent:
		return "sent"
	default:
		return "other"
	}
}

// expired goes by the system's clock: the caller named a moment.
func expired(m *queue.Message, now time.Time) bool {
	return m.ExpiresMs != 0 && now.UnixMilli() >= m.ExpiresMs
}

// reasonOf translates a final refusal.
func reasonOf(o protocol.Outcome) queue.Reason {
	switch o {
	case protocol.AckRejected:
		return queue.ReasonMalformed
	case protocol.AckUnsupported:
		return queue.ReasonUnsupported
	case protocol.AckStorage:
		return queue.ReasonStorage
	default:
		return queue.ReasonRefused
	}
}
