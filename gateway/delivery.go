package gateway

import (
	"errors"
	"math"
	"time"

	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap"
)

// pump writes the next part if nothing is in flight, and asks the store when the outbox runs low.
func (s *session) pump(now time.Time) {
	for s.sendable() {
		s.begin(now)
	}
	b := s.box
	if b == nil || s.state != stateReady {
		return
	}
	if b.overdue && b.more() {
		s.close(reasonUnconfirmed)
		return
	}
	if b.behind && !b.asking && b.state != flightParked && len(b.msgs) <= backlogTexts/2 &&
		b.bytes <= backlogBytes/2 {
		s.claim()
	}
	if len(b.msgs) == 0 && !b.asking && b.state == flightNone && len(b.early) == 0 {
		s.box = nil
	}
}

func (s *session) sendable() bool {
	b := s.box
	return b != nil && b.state == flightNone && len(b.msgs) > 0 && s.state == stateReady &&
		!s.closing && !s.l.g.halt.Load()
}

// begin starts or continues the first message.
func (s *session) begin(now time.Time) {
	b := s.box
	m := &b.msgs[0]
	if expired(m, now) {
		s.end(queue.StatusExpired, queue.ReasonNone)
		return
	}
	if b.parts != nil {
		s.write(now)
		return
	}
	caps := s.codec.Caps()
	if caps.NotYet {
		b.state = flightHold
		return
	}
	if caps.NoText || s.marks&markNoText != 0 {
		s.end(queue.StatusFailed, queue.ReasonUnsupported)
		return
	}
	parts, err := protocol.Split(m.Text, caps)
	if err != nil {
		s.end(queue.StatusFailed, queue.ReasonTooLong)
		return
	}
	b.parts, b.part = parts, 0
	b.replaced = s.tellReplaced(m, caps.Charset)
	if m.Parts == len(parts) && m.Acked < m.Parts {
		b.part = m.Acked
	}
	if s.settled(m.ID, caps, now) {
		s.write(now)
	}
}

// write sends the part at hand, for the first time or again under the same reference.
func (s *session) write(now time.Time) {
	b, g := s.box, s.l.g
	m := &b.msgs[0]
	caps := s.codec.Caps()
	b.bits, b.ref = caps.RefBits, 0
	if caps.RefBits > 0 {
		b.ref = protocol.Reference(m.ID, b.part, caps.RefBits)
	}
	if s.ackedEarly(now) {
		return
	}
	t := protocol.Text{
		Ref: b.ref, Part: b.part, Parts: len(b.parts), Body: b.parts[b.part],
		AtMs: m.SubmitMs,
	}
	if b.part == len(b.parts)-1 && len(m.Choices) <= caps.Choices {
		t.Choices = m.Choices
	}
	out, err := s.codec.AppendText(s.shard.out, t)
	if err != nil {
		g.log.Warn("text cannot be written", s.field(), zap.Int64("message", m.ID), zap.Error(err))
		s.park(now)
		return
	}
	s.shard.out = out
	s.l.c.sent.Inc()
	if caps.RefBits == 0 && !caps.Silent {
		b.copies++
	}
	s.pollCodec(now)
	b.written, b.evidence, b.unheard = g.ms(now), max(b.evidence, evidenceWritten), !caps.Silent
	if s.marks&markFresh != 0 {
		s.marks &^= markFresh
		g.m.repush.Observe(float64(b.written-s.since) / 1000)
	}
	s.trace("text written", m.ID, "")
	switch {
	case caps.Silent:
		b.state, b.deadline = flightPace, g.ms(now.Add(tickEvery))
	default:
		b.state, b.deadline = flightSent, g.ms(now.Add(s.ackTimeout()))
	}
	s.arm(b.deadline)
}

// ackTimeout is how long to wait for the ack of what is being written now. Without references there
// is only one write, so that an ack cannot be misunderstood: it waits for the sum.
func (s *session) ackTimeout() time.Duration {
	b, waits := s.box, s.l.g.o.AckTimeout
	if b.bits == 0 {
		sum := time.Duration(0)
		for _, w := range waits {
			sum += w
		}
		return sum
	}
	if b.slow {
		return s.l.g.o.RetryIdle
	}
	return waits[min(b.tries, len(waits)-1)]
}

// onDeadline deals with the outbox's deadline.
func (s *session) onDeadline(now time.Time) {
	b := s.box
	b.deadline = 0
	if s.l.g.halt.Load() && b.state != flightPace {
		// what such a device has been sent is still to be noted
		return
	}
	switch b.state {
	case flightSent:
		s.timedOut(now)
	case flightPause, flightQuiet:
		b.state = flightNone
		s.pump(now)
	case flightPace:
		s.sentSilently(now)
	case flightParked:
		s.restart(true)
	case flightNone, flightHold: // they have no deadline
	}
}

func (s *session) timedOut(now time.Time) {
	b, g := s.box, s.l.g
	s.l.c.timedOut.Inc()
	m := &b.msgs[0]
	s.trace("text not acknowledged in time", m.ID, b.evidence.String())
	if b.bits == 0 {
		s.unacknowledged(len(g.o.AckTimeout), now)
		s.unconfirmed(now)
		return
	}
	s.unacknowledged(1, now)
	if s.attempted() {
		s.end(queue.StatusFailed, queue.ReasonNotConfirmed)
		s.pump(now)
		return
	}
	b.tries++
	if !b.slow && b.tries >= len(g.o.AckTimeout) {
		s.park(now)
		return
	}
	b.state = flightNone
	s.pump(now)
}

// park gives the texts back to the store until RetryIdle has passed or the device logs in again.
func (s *session) park(now time.Time) {
	s.unrefused(math.MaxInt64) // or it would be claimed again
	s.claims++                 // a claim that is still under way is not for this outbox
	b := &outbox{state: flightParked, deadline: s.l.g.ms(now.Add(s.l.g.o.RetryIdle))}
	s.ensureActivity().box = b
	s.arm(b.deadline)
}

// sentSilently goes on with a device that never acknowledges.
func (s *session) sentSilently(now time.Time) {
	b := s.box
	b.clearInFlight()
	if b.part++; b.part >= len(b.parts) {
		s.written(now)
	}
	s.pump(now)
}

// claimFailed deals with a claim that the store answered for this tracker alone.
func (s *session) claimFailed(err error) {
	if errors.Is(err, queue.ErrFenced) {
		s.close(reasonFenced)
		return
	}
	s.l.g.log.Error("pending texts cannot be read", s.field(), zap.Error(err))
	b := s.box
	b.behind = true // so that no later text overtakes those
	if len(b.msgs) == 0 && b.state == flightNone {
		s.park(s.l.g.o.Now())
	}
}

// ack is the device's word about a part. The next one is written after the last frame of the same
// read: an ack without a number that came before it cannot mean it.
func (s *session) ack(e *protocol.Event) {
	b := s.box
	if b == nil || b.state != flightSent && b.state != flightPause || b.bits > 0 && e.Ref != b.ref {
		s.lateAck(e)
		return
	}
	s.acknowledges()
	b.unheard = false
	now := s.l.g.o.Now()
	switch e.Outcome {
	case protocol.AckDelivered, protocol.AckOpened:
		s.delivered(e.Outcome == protocol.AckOpened, now)
	case protocol.AckLater:
		b.deadline = s.l.g.ms(now.Add(s.ackTimeout()))
		s.arm(b.deadline)
		return
	case protocol.AckFailed:
		s.l.c.refused.Inc()
		if !b.failed && !b.ended {
			b.failed, b.state, b.deadline = true, flightPause,
				s.l.g.ms(now.Add(s.l.g.o.RetryFailed))
			s.arm(b.deadline)
			return
		}
		s.end(queue.StatusFailed, queue.ReasonRefused)
	case protocol.AckDamaged:
		s.l.c.refused.Inc()
		if !b.damaged && !b.ended {
			b.damaged, b.state = true, flightNone
		} else {
			s.end(queue.StatusFailed, queue.ReasonRefused)
		}
	default:
		s.l.c.refused.Inc()
		if e.Outcome == protocol.AckUnsupported {
			s.markNoText()
		}
		s.end(queue.StatusFailed, reasonOf(e.Outcome))
	}
}

// evidence takes note of what is known of the part at hand below the device's word. The word of a
// command service that has just taken it is worth the wait for the verdict.
func (s *session) evidence(e *protocol.Event) {
	b, level := s.box, evidenceLink
	if e.Outcome == protocol.Accepted {
		level = evidenceAccepted
	}
	if b == nil || b.state != flightSent || b.bits > 0 && e.Ref != b.ref || level <= b.evidence {
		return
	}
	b.evidence = level
	s.l.g.m.evidence.WithLabelValues(level.String()).Inc()
	s.trace("text on its way", b.msgs[0].ID, level.String())
	if level == evidenceAccepted {
		b.deadline = s.l.g.ms(s.l.g.o.Now().Add(s.ackTimeout()))
		s.arm(b.deadline)
	}
}

// markNoText takes the device's word that it has no text service: until its next login, where it
// may have learned it, texts fail at once instead of being refused one by one.
func (s *session) markNoText() {
	s.marks |= markNoText
	s.l.c.unsupported.Inc()
	s.l.g.log.Warn("device has no text service: its texts fail until its next login", s.field(),
		zap.String("protocol", s.l.protocol.Name))
}

// delivered takes note of an acknowledged part; the last one goes to the store as the message's
// ack.
func (s *session) delivered(opened bool, now time.Time) {
	b, g := s.box, s.l.g
	m := &b.msgs[0]
	s.l.c.acked.Inc()
	s.life.sign(lifeAcked)
	g.m.ack.Observe(float64(g.ms(now)-b.written) / 1000)
	if b.bits == 0 || b.failed || s.codec.Caps().Verdict {
		g.unconfirmed.clear(s.tracker, m.ID)
	}
	defer s.hush(b.copies, now)
	b.clearInFlight()
	if b.part++; b.part < len(b.parts) {
		if b.ended {
			b.drop(0)
			return
		}
		m.Tries, m.TriedMs = 0, 0
		g.store.progress.add(s, 0, queue.ProgressReq{
			Tracker: s.tracker, ID: m.ID,
			Parts: len(b.parts), Acked: b.part,
		})
		return
	}
	s.trace("text acknowledged", m.ID, "")
	g.store.ack.add(s, m.SubmitMs, queue.AckReq{
		Tracker: s.tracker, ID: m.ID, Opened: opened,
		Replaced: b.replaced, Hint: m.Hint,
	})
	b.drop(0)
}

// acked is the store's answer to an ack.
func (g *Gateway) acked(r request[queue.AckReq], res queue.AckResult, err error) {
	switch {
	case err != nil:
		g.log.Error("ack could not be stored", trackerField(r.q.Tracker), zap.Int64("message",
			r.q.ID), zap.Error(err))
	case res == queue.AckDelivered:
		g.m.delivery.Observe(float64(g.o.Now().UnixMilli()-r.tag) / 1000)
	case res == queue.AckUnknown:
		g.log.Warn("acknowledged message is not in the store", trackerField(r.q.Tracker),
			zap.Int64("message", r.q.ID))
	default:
	}
}

// trace lets a message's way be followed by its id.
func (s *session) trace(what string, message int64, note string) {
	if ce := s.l.g.log.Check(zap.DebugLevel, what); ce != nil {
		fields := []zap.Field{s.field(), zap.Int64("message", message)}
		if b := s.box; b != nil && len(b.parts) > 1 {
			fields = append(fields, zap.Int("part", b.part+1), zap.Int("parts", len(b.parts)))
		}
		if note != "" {
			fields = append(fields, zap.String("status", note))
		}
		ce.Write(fields...)
	}
}
