package gateway

import (
	"math"
	"time"

	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap"
)

// sentTexts are texts that a device has been sent which acknowledges nothing, but may refuse what
// it got for a while: until that is over they are not noted as sent, because an end is final. In
// the order in which they were written, at most maxSentTexts.
type sentTexts []sentText

type sentText struct {
	id       int64
	untilMs  int64 // no refusal comes any more, clock.ms
	replaced int   // characters
	parts    int   // that may still be refused
	refused  bool
}

const maxSentTexts = 64

// written notes that the first message is written as a whole, to a device that never acknowledges.
func (s *session) written(now time.Time) {
	b, wait := s.box, s.codec.Caps().Refusal
	if wait <= 0 || s.sent != nil && len(*s.sent) >= maxSentTexts {
		s.end(queue.StatusSent, queue.ReasonNone)
		return
	}
	t := sentText{id: b.msgs[0].ID, replaced: b.replaced, parts: len(b.parts)}
	s.mayBeRefused(t, now.Add(wait))
	b.drop(0)
}

func (s *session) mayBeRefused(t sentText, until time.Time) {
	if s.sent == nil {
		s.ensureActivity().sent = &sentTexts{}
	}
	t.untilMs = s.l.g.ms(until)
	*s.sent = append(*s.sent, t)
	s.arm(t.untilMs)
}

// refuses reports whether an ack is the refusal of a text that was sent to a device which
// acknowledges nothing, and deals with that. A refusal names no text: they come in the order of the
// parts.
func (s *session) refuses(e *protocol.Event) bool {
	caps := s.codec.Caps()
	switch e.Outcome {
	case protocol.AckRejected, protocol.AckUnsupported, protocol.AckStorage:
	default:
		return false
	}
	if !caps.Silent || caps.Refusal <= 0 {
		return false
	}
	if s.sent != nil {
		for i := range *s.sent {
			t := &(*s.sent)[i]
			if t.parts == 0 {
				continue
			}
			s.l.c.refused.Inc()
			if t.parts--; !t.refused {
				t.refused = true
				s.endSent(t, queue.StatusFailed, reasonOf(e.Outcome))
			}
			return true
		}
	}
	b := s.box
	if b == nil || b.state != flightPace {
		return false
	}
	s.l.c.refused.Inc()
	if b.part > 0 && (s.sent == nil || len(*s.sent) < maxSentTexts) { // the other parts follow
		t := sentText{id: b.msgs[0].ID, parts: b.part, refused: true}
		s.mayBeRefused(t, s.l.g.o.Now().Add(caps.Refusal))
	}
	s.end(queue.StatusFailed, reasonOf(e.Outcome))
	return true
}

func (s *session) endSent(t *sentText, st queue.Status, why queue.Reason) {
	s.trace("text ended", t.id, string(st))
	s.l.g.store.end.add(s, 0, queue.EndReq{
		Tracker: s.tracker, ID: t.id, Status: st, Reason: why, Replaced: t.replaced,
	})
}

// unrefused notes as sent what cannot be refused any more by ms, and returns when there is more of
// it.
func (s *session) unrefused(ms int64) (next int64) {
	next = math.MaxInt64
	if s.sent == nil {
		return next
	}
	over := 0
	for i := range *s.sent {
		t := &(*s.sent)[i]
		if t.untilMs > ms {
			next = t.untilMs
			break
		}
		if over++; !t.refused {
			s.endSent(t, queue.StatusSent, queue.ReasonNone)
		}
	}
	if *s.sent = (*s.sent)[over:]; len(*s.sent) == 0 {
		s.sent = nil
	}
	return next
}

// tellReplaced returns and counts the characters of a text that the device's charset cannot carry,
// and says so under the message's id: the driver reads something else than what was written.
func (s *session) tellReplaced(m *queue.Message, cs protocol.Charset) int {
	n := replaced(m.Text, cs)
	if n > 0 {
		s.l.c.replaced.Add(float64(n))
		s.l.g.log.Info("text has characters that the device cannot show", s.field(),
			zap.Int64("message", m.ID), zap.Int("replaced", n))
	}
	return n
}

// replaced returns how many characters of text the device shows otherwise than they were written.
func replaced(text string, cs protocol.Charset) int {
	_, n := protocol.Fold(cs, text)
	return n
}
