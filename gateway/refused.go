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
func (o outbox) written(now time.Time) {
	b, wait := o.backlog, o.host.caps().Refusal
	if wait <= 0 || o.sent != nil && len(*o.sent) >= maxSentTexts {
		o.end(queue.StatusSent, queue.ReasonNone)
		return
	}
	t := sentText{id: b.msgs[0].ID, replaced: b.replaced, parts: len(b.parts)}
	o.mayBeRefused(t, now.Add(wait))
	b.drop(0)
}

func (o outbox) mayBeRefused(t sentText, until time.Time) {
	if o.sent == nil {
		o.ensureActivity(o.gateway()).sent = &sentTexts{}
	}
	t.untilMs = o.gateway().ms(until)
	*o.sent = append(*o.sent, t)
	o.host.arm(t.untilMs)
}

// refuses reports whether an ack is the refusal of a text that was sent to a device which
// acknowledges nothing, and deals with that. A refusal names no text: they come in the order of the
// parts.
func (o outbox) refuses(e *protocol.Event) bool {
	caps := o.host.caps()
	switch e.Outcome {
	case protocol.AckRejected, protocol.AckUnsupported, protocol.AckStorage:
	default:
		return false
	}
	if !caps.Silent || caps.Refusal <= 0 {
		return false
	}
	if o.sent != nil {
		for i := range *o.sent {
			t := &(*o.sent)[i]
			if t.parts == 0 {
				continue
			}
			o.host.listener().c.refused.Inc()
			if t.parts--; !t.refused {
				t.refused = true
				o.endSent(t, queue.StatusFailed, reasonOf(e.Outcome))
			}
			return true
		}
	}
	b := o.backlog
	if b == nil || b.state != flightPace {
		return false
	}
	o.host.listener().c.refused.Inc()
	if b.part > 0 && (o.sent == nil || len(*o.sent) < maxSentTexts) { // the other parts follow
		t := sentText{id: b.msgs[0].ID, parts: b.part, refused: true}
		o.mayBeRefused(t, o.gateway().o.Now().Add(caps.Refusal))
	}
	o.end(queue.StatusFailed, reasonOf(e.Outcome))
	return true
}

func (o outbox) endSent(t *sentText, st queue.Status, why queue.Reason) {
	o.trace("text ended", t.id, string(st))
	o.host.storeEnd(queue.EndReq{
		Tracker: o.tracker, ID: t.id, Status: st, Reason: why, Replaced: t.replaced,
	})
}

// unrefused notes as sent what cannot be refused any more by ms, and returns when there is more of
// it.
func (o outbox) unrefused(ms int64) (next int64) {
	next = math.MaxInt64
	if o.sent == nil {
		return next
	}
	over := 0
	for i := range *o.sent {
		t := &(*o.sent)[i]
		if t.untilMs > ms {
			next = t.untilMs
			break
		}
		if over++; !t.refused {
			o.endSent(t, queue.StatusSent, queue.ReasonNone)
		}
	}
	if *o.sent = (*o.sent)[over:]; len(*o.sent) == 0 {
		o.sent = nil
	}
	return next
}

// tellReplaced returns and counts the characters of a text that the device's charset cannot carry,
// and says so under the message's id: the driver reads something else than what was written.
func (o outbox) tellReplaced(m *queue.Message, cs protocol.Charset) int {
	n := replaced(m.Text, cs)
	if n > 0 {
		o.host.listener().c.replaced.Add(float64(n))
		o.gateway().log.Info("text has characters that the device cannot show", o.field(),
			zap.Int64("message", m.ID), zap.Int("replaced", n))
	}
	return n
}

// replaced returns how many characters of text the device shows otherwise than they were written.
func replaced(text string, cs protocol.Charset) int {
	_, n := protocol.Fold(cs, text)
	return n
}
