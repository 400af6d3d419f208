package gateway

import (
	"errors"
	"math"
	"time"

	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap"
)

// polled goes on with the texts after the codec was asked what it has of its own.
func (o outbox) polled(now time.Time) {
	b := o.backlog
	if b == nil {
		return
	}
	if b.state == flightHold {
		b.state = flightNone
	}
	if b.state == flightNone {
		o.pump(now)
		o.lookUpEarly(o.backlog)
	}
}

// pump writes the next part if nothing is in flight, and asks the store when the backlog runs low.
func (o outbox) pump(now time.Time) {
	for o.sendable() {
		o.begin(now)
	}
	b := o.backlog
	if b == nil || !o.ready() {
		return
	}
	if b.overdue && b.more() {
		o.host.close(reasonUnconfirmed)
		return
	}
	if b.behind && !b.asking && b.state != flightParked && len(b.msgs) <= backlogTexts/2 &&
		b.bytes <= backlogBytes/2 {
		o.claim()
	}
	if len(b.msgs) == 0 && !b.asking && b.state == flightNone && len(b.early) == 0 {
		o.backlog = nil
	}
}

func (o outbox) sendable() bool {
	b := o.backlog
	return b != nil && b.state == flightNone && len(b.msgs) > 0 && o.ready() &&
		!o.closing && !o.gateway().halt.Load()
}

// begin starts or continues the first message.
func (o outbox) begin(now time.Time) {
	b := o.backlog
	m := &b.msgs[0]
	if expired(m, now) {
		o.end(queue.StatusExpired, queue.ReasonNone)
		return
	}
	caps := o.host.caps()
	switch {
	case o.waitsForTurn(caps, now):
		return
	case caps.InUse:
		o.end(queue.StatusFailed, queue.ReasonInUse)
		return
	case b.parts != nil:
		o.write(now)
		return
	}
	if caps.NoText || o.noText {
		o.end(queue.StatusFailed, queue.ReasonUnsupported)
		return
	}
	parts, err := protocol.Split(m.Text, caps)
	if err != nil {
		o.end(queue.StatusFailed, queue.ReasonTooLong)
		return
	}
	b.parts, b.part = parts, 0
	b.replaced = o.tellReplaced(m, caps.Charset)
	if m.Parts == len(parts) && m.Acked < m.Parts {
		b.part = m.Acked
	}
	if o.settled(m.ID, caps, now) {
		o.write(now)
	}
}

// waitsForTurn reports whether the codec takes no text now, and notes how long the tracking server
// was the reason.
func (o outbox) waitsForTurn(caps protocol.TextCaps, now time.Time) bool {
	b, ms := o.backlog, o.gateway().ms(now)
	switch {
	case caps.NotYet && caps.Turn && b.turnMs == 0:
		b.turnMs = ms
	case !caps.NotYet && b.turnMs != 0:
		o.gateway().m.relayTurn.Observe(float64(ms-b.turnMs) / 1000)
		b.turnMs = 0
	}
	if caps.NotYet {
		b.state = flightHold
	}
	return caps.NotYet
}

// write sends the part at hand, for the first time or again under the same reference.
func (o outbox) write(now time.Time) {
	b, g := o.backlog, o.gateway()
	m := &b.msgs[0]
	caps := o.host.caps()
	b.bits, b.ref = caps.RefBits, 0
	if caps.RefBits > 0 {
		b.ref = protocol.Reference(m.ID, b.part, caps.RefBits)
	}
	if o.ackedEarly(now) {
		return
	}
	t := protocol.Text{
		Ref: b.ref, Part: b.part, Parts: len(b.parts), Body: b.parts[b.part],
		AtMs: m.SubmitMs, Urgent: m.Urgent,
	}
	if b.part == len(b.parts)-1 && len(m.Choices) <= caps.Choices {
		t.Choices = m.Choices
	}
	if err := o.host.appendText(t, now); err != nil {
		g.log.Warn("text cannot be written", o.field(), zap.Int64("message", m.ID), zap.Error(err))
		o.park(now)
		return
	}
	o.host.listener().c.sent.Inc()
	if caps.RefBits == 0 && !caps.Silent {
		b.copies++
	}
	b.written, b.evidence, b.unheard = g.ms(now), max(b.evidence, evidenceWritten), !caps.Silent
	if o.fresh {
		o.fresh = false
		g.m.repush.Observe(float64(b.written-o.since) / 1000)
	}
	o.trace("text written", m.ID, "")
	switch {
	case caps.Silent:
		b.state, b.deadline = flightPace, g.ms(now.Add(tickEvery))
	default:
		b.state, b.deadline = flightSent, g.ms(now.Add(o.ackTimeout()))
	}
	o.host.arm(b.deadline)
}

// ackTimeout is how long to wait for the ack of what is being written now. Without references there
// is only one write, so that an ack cannot be misunderstood: it waits for the sum.
func (o outbox) ackTimeout() time.Duration {
	b, waits := o.backlog, o.gateway().o.AckTimeout
	if b.bits == 0 {
		sum := time.Duration(0)
		for _, w := range waits {
			sum += w
		}
		return sum
	}
	if b.slow {
		return o.gateway().o.RetryIdle
	}
	return waits[min(b.tries, len(waits)-1)]
}

// onDeadline deals with the deadline; heardMs is when the device was last heard of, clock.ms.
func (o outbox) onDeadline(now time.Time, heardMs int64) {
	b := o.backlog
	b.deadline = 0
	if o.gateway().halt.Load() && b.state != flightPace {
		// what such a device has been sent is still to be noted
		return
	}
	switch b.state {
	case flightSent:
		o.timedOut(now, heardMs)
	case flightPause, flightQuiet:
		b.state = flightNone
		o.pump(now)
	case flightPace:
		o.sentSilently(now)
	case flightParked:
		o.restart(true)
	case flightNone, flightHold: // they have no deadline
	}
}

func (o outbox) timedOut(now time.Time, heardMs int64) {
	b, g := o.backlog, o.gateway()
	o.host.listener().c.timedOut.Inc()
	m := &b.msgs[0]
	o.trace("text not acknowledged in time", m.ID, b.evidence.String())
	if b.bits == 0 {
		o.unacknowledged(len(g.o.AckTimeout), now)
		o.unconfirmed(now, heardMs)
		return
	}
	o.unacknowledged(1, now)
	if o.attempted() {
		o.end(queue.StatusFailed, queue.ReasonNotConfirmed)
		o.pump(now)
		return
	}
	b.tries++
	if !b.slow && b.tries >= len(g.o.AckTimeout) {
		o.park(now)
		return
	}
	b.state = flightNone
	o.pump(now)
}

// park gives the texts back to the store until RetryIdle has passed or the device logs in again.
func (o outbox) park(now time.Time) {
	o.unrefused(math.MaxInt64) // or it would be claimed again
	o.claims++                 // a claim that is still under way is not for this backlog
	b := &backlog{state: flightParked, deadline: o.gateway().ms(now.Add(o.gateway().o.RetryIdle))}
	o.ensureActivity(o.gateway()).backlog = b
	o.host.arm(b.deadline)
}

// sentSilently goes on with a device that never acknowledges.
func (o outbox) sentSilently(now time.Time) {
	b := o.backlog
	b.clearInFlight()
	if b.part++; b.part >= len(b.parts) {
		o.written(now)
	}
	o.pump(now)
}

// claimFailed deals with a claim that the store answered for this tracker alone.
func (o outbox) claimFailed(err error) {
	if errors.Is(err, queue.ErrFenced) {
		o.host.close(reasonFenced)
		return
	}
	o.gateway().log.Error("pending texts cannot be read", o.field(), zap.Error(err))
	b := o.backlog
	b.behind = true // so that no later text overtakes those
	if len(b.msgs) == 0 && b.state == flightNone {
		o.park(o.gateway().o.Now())
	}
}

// ack is the device's word about a part. The next one is written after the last frame of the same
// read: an ack without a number that came before it cannot mean it.
func (o outbox) ack(e *protocol.Event) {
	b := o.backlog
	if b == nil || b.state != flightSent && b.state != flightPause || b.bits > 0 && e.Ref != b.ref {
		o.lateAck(e)
		return
	}
	o.acknowledges()
	b.unheard = false
	now := o.gateway().o.Now()
	switch e.Outcome {
	case protocol.AckDelivered, protocol.AckOpened:
		o.delivered(e.Outcome == protocol.AckOpened, now)
	case protocol.AckLater:
		b.deadline = o.gateway().ms(now.Add(o.ackTimeout()))
		o.host.arm(b.deadline)
		return
	case protocol.AckFailed:
		o.host.listener().c.refused.Inc()
		if !b.failed && !b.ended {
			b.failed, b.state, b.deadline = true, flightPause,
				o.gateway().ms(now.Add(o.gateway().o.RetryFailed))
			o.host.arm(b.deadline)
			return
		}
		o.end(queue.StatusFailed, queue.ReasonRefused)
	case protocol.AckDamaged:
		o.host.listener().c.refused.Inc()
		if !b.damaged && !b.ended {
			b.damaged, b.state = true, flightNone
		} else {
			o.end(queue.StatusFailed, queue.ReasonRefused)
		}
	default:
		o.host.listener().c.refused.Inc()
		if e.Outcome == protocol.AckUnsupported {
			o.markNoText()
		}
		o.end(queue.StatusFailed, reasonOf(e.Outcome))
	}
}

// evidence takes note of what is known of the part at hand below the device's word. The word of a
// command service that has just taken it is worth the wait for the verdict.
func (o outbox) evidence(e *protocol.Event) {
	b, level := o.backlog, evidenceLink
	if e.Outcome == protocol.Accepted {
		level = evidenceAccepted
	}
	if b == nil || b.state != flightSent || b.bits > 0 && e.Ref != b.ref || level <= b.evidence {
		return
	}
	b.evidence = level
	o.gateway().m.evidence.WithLabelValues(level.String()).Inc()
	o.trace("text on its way", b.msgs[0].ID, level.String())
	if level == evidenceAccepted {
		b.deadline = o.gateway().ms(o.gateway().o.Now().Add(o.ackTimeout()))
		o.host.arm(b.deadline)
	}
}

// markNoText takes the device's word that it has no text service: until its next login, where it
// may have learned it, texts fail at once instead of being refused one by one.
func (o outbox) markNoText() {
	o.noText = true
	o.host.listener().c.unsupported.Inc()
	o.gateway().log.Warn("device has no text service: its texts fail until its next login", o.field(),
		zap.String("protocol", o.host.listener().protocol.Name))
}

// delivered takes note of an acknowledged part; the last one goes to the store as the message's
// ack.
func (o outbox) delivered(opened bool, now time.Time) {
	b, g := o.backlog, o.gateway()
	m := &b.msgs[0]
	o.trace("text acknowledged", m.ID, "")
	o.host.listener().c.acked.Inc()
	o.host.signAcked()
	g.m.ack.Observe(float64(g.ms(now)-b.written) / 1000)
	if b.bits == 0 || b.failed || o.host.caps().Verdict {
		g.unconfirmed.clear(o.tracker, m.ID)
	}
	defer o.quietAfter(b.copies, now)
	b.clearInFlight()
	if b.part++; b.part < len(b.parts) {
		if b.ended {
			b.drop(0)
			return
		}
		m.Tries, m.TriedMs = 0, 0
		o.host.storeProgress(queue.ProgressReq{
			Tracker: o.tracker, ID: m.ID,
			Parts: len(b.parts), Acked: b.part,
		})
		return
	}
	o.host.storeAck(m.SubmitMs, queue.AckReq{
		Tracker: o.tracker, ID: m.ID, Opened: opened,
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
func (o outbox) trace(what string, message int64, note string) {
	if ce := o.gateway().log.Check(zap.DebugLevel, what); ce != nil {
		fields := []zap.Field{o.field(), zap.Int64("message", message)}
		if b := o.backlog; b != nil && len(b.parts) > 1 {
			fields = append(fields, zap.Int("part", b.part+1), zap.Int("parts", len(b.parts)))
		}
		if note != "" {
			fields = append(fields, zap.String("status", note))
		}
		ce.Write(fields...)
	}
}
