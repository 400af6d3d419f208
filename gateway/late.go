package gateway

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap"
)

// lateAck is an ack, or the answer to a question, for nothing in flight: on the next connection,
// after a restart, after the message has ended. A driver's text that names what it answers takes
// the same way.
type lateAck struct {
	from    *Listener
	tracker queue.TrackerID
	lease   queue.Lease
	ref     uint64
	caps    protocol.TextCaps
	opened  bool
	answer  bool // the driver answered a question
	choice  int  // of an answer, from 1, as it came
	// the driver wrote a text; ref names what it replies to unless caps are empty.
	reply bool
	in    queue.Incoming // of an answer, still without its text, or of a reply
}

// lateMatch is what the store knew of it.
type lateMatch struct {
	result string // label: matched, none, several, stale
	msg    queue.Message
	part   int
	parts  int
	text   string // of an answer
	err    error  // it could not be looked up
}

// lateAck looks an ack up among the tracker's unacknowledged messages.
func (o outbox) lateAck(e *protocol.Event) {
	g, caps := o.gateway(), o.host.caps()
	final := e.Outcome == protocol.AckDelivered || e.Outcome == protocol.AckOpened
	opened := e.Outcome == protocol.AckOpened
	switch {
	case o.refuses(e):
	case caps.RefBits == 0 || !final:
		g.m.lateAcks.WithLabelValues("ignored").Inc()
	case !o.ready() || caps.NotYet ||
		o.backlog != nil && o.backlog.asking && o.backlog.state == flightNone:
		if o.backlog == nil {
			o.ensureActivity(o.gateway()).backlog = &backlog{}
		}
		if len(o.backlog.early) >= maxEarly {
			g.m.lateAcks.WithLabelValues("limited").Inc()
			return
		}
		o.backlog.early = append(o.backlog.early, earlyAck{e.Ref, opened})
	default:
		o.lookUp(e.Ref, opened)
	}
}

// lookUp asks the store what an ack can mean: one a lateEvery, and maxEarly at once after a pause.
func (o outbox) lookUp(ref uint64, opened bool) {
	g := o.gateway()
	now := g.ms(g.o.Now())
	if o.lateMs > now+(maxEarly-1)*lateEvery.Milliseconds() {
		g.m.lateAcks.WithLabelValues("limited").Inc()
		return
	}
	o.ensureActivity(o.gateway()).lateMs = max(o.lateMs, now) + lateEvery.Milliseconds()
	o.host.lookUpAck(ref, opened)
}

// earlyAck is an ack that came right after the login, probably for what the last connection had in
// flight: before the store has said what is pending, or before it is known into which parts texts
// are cut, without which an ack of one part could be taken for that of the whole.
type earlyAck struct {
	ref    uint64
	opened bool
}

const maxEarly = 8

// ackedEarly reports whether the part about to be written was acknowledged already, and deals with
// that.
func (o outbox) ackedEarly(now time.Time) bool {
	b := o.backlog
	i := slices.IndexFunc(b.early, func(a earlyAck) bool { return a.ref == b.ref })
	if i < 0 {
		return false
	}
	opened := b.early[i].opened
	b.early = slices.Delete(b.early, i, i+1)
	o.gateway().m.lateAcks.WithLabelValues("matched").Inc()
	b.written = o.gateway().ms(now)
	o.delivered(opened, now)
	return true
}

// lookUpEarly looks up the early acks that were not for the oldest pending text.
func (o outbox) lookUpEarly(b *backlog) {
	if b == nil || b.asking || !o.ready() || o.host.caps().NotYet {
		return
	}
	early := b.early
	b.early = nil
	for _, a := range early {
		o.lookUp(a.ref, a.opened)
	}
}

// matchLate runs in the store worker: it compares the references of what may have been written once
// with the one that the device names. What goes wrong with one is not the others' fault.
func (g *Gateway) matchLate(ctx context.Context, acks []lateAck) ([]lateMatch, error) {
	out := make([]lateMatch, len(acks))
	for i := range acks {
		out[i] = g.lookedUp(ctx, &acks[i])
	}
	return out, nil
}

// lookedUp has a StoreTimeout of its own: it takes several calls.
func (g *Gateway) lookedUp(ctx context.Context, a *lateAck) lateMatch {
	ctx, cancel := context.WithTimeout(ctx, g.o.StoreTimeout)
	defer cancel()
	var candidates []queue.Message
	var err error
	switch {
	case a.answer:
		candidates, err = g.recent(ctx, a,
			func(m *queue.Message) bool { return len(m.Choices) > 0 })
	case a.reply && a.caps.RefBits == 0: // it only keeps its place behind another one
		return lateMatch{}
	case a.reply:
		candidates, err = g.recent(ctx, a, func(*queue.Message) bool { return true })
	default:
		candidates, err = g.unacknowledged(ctx, a)
	}
	if err != nil {
		return lateMatch{err: err}
	}
	m := a.matchContained(candidates)
	if a.answer {
		m.text = chosen(&m.msg, a.choice)
	}
	return m
}

// unacknowledged returns what a late ack can mean: messages that ended without an ack, and the
// oldest pending one. Those pending behind it were never written.
func (g *Gateway) unacknowledged(ctx context.Context, a *lateAck) ([]queue.Message, error) {
	// first, so that one that ends meanwhile is missed by neither.
	oldest, err := g.o.Store.Claim(ctx, []queue.ClaimReq{{Lease: a.lease, MaxBytes: 1}})
	if err != nil {
		return nil, fmt.Errorf("looking for a late ack: %w", err)
	}
	msgs, err := g.o.Store.Unacknowledged(ctx, a.tracker, lateMatches)
	if err != nil {
		return nil, fmt.Errorf("looking for a late ack: %w", err)
	}
	ended := msgs[:0]
	for _, m := range msgs {
		if m.Status != queue.StatusPending {
			ended = append(ended, m)
		}
	}
	if c := oldest[0]; c.Err == nil && len(c.Msgs) > 0 {
		ended = withNew(ended, c.Msgs[:1])
	}
	if !a.opened {
		return ended, nil
	}
	delivered, err := g.recent(ctx, a,
		func(m *queue.Message) bool { return m.Status == queue.StatusDelivered })
	// asked last, so that one whose ack has just been stored is missed by neither.
	return withNew(ended, delivered), err
}

// withNew appends those that are not in the list: a message that changes between two looks may be
// in both.
func withNew(list, more []queue.Message) []queue.Message {
	for _, m := range more {
		if !slices.ContainsFunc(list, func(e queue.Message) bool { return e.ID == m.ID }) {
			list = append(list, m)
		}
	}
	return list
}

// recent returns those of the newest outgoing messages that are wanted.
func (g *Gateway) recent(ctx context.Context, a *lateAck, wanted func(*queue.Message) bool) (
	[]queue.Message, error,
) {
	msgs, err := g.o.Store.List(ctx, queue.ListQuery{
		Tracker: a.tracker, ToMs: math.MaxInt64,
		Limit: 4 * lateMatches, Desc: true,
	})
	if err != nil {
		return nil, fmt.Errorf("looking for a message that the driver opened or answered: %w", err)
	}
	found := msgs[:0]
	for i := range msgs {
		if !msgs[i].Status.Incoming() && wanted(&msgs[i]) {
			found = append(found, msgs[i])
		}
	}
	return found, nil
}

// match counts exactly one candidate; several are as good as none.
func (a *lateAck) match(candidates []queue.Message) lateMatch {
	found := lateMatch{result: "none"}
	for _, m := range candidates {
		base := protocol.Reference(m.ID, 0, a.caps.RefBits)
		part := (a.ref - base) & (^uint64(0) >> (64 - a.caps.RefBits))
		if part >= protocol.MaxParts {
			continue
		}
		parts, err := protocol.Split(m.Text, a.caps)
		if err != nil || part >= uint64(len(parts)) {
			continue
		}
		if found.msg.ID != 0 {
			return lateMatch{result: "several"}
		}
		found = lateMatch{result: "matched", msg: m, part: int(part), parts: len(parts)}
	}
	if !a.answer && !a.reply && found.msg.ID != 0 && found.part != found.next() {
		found.result = "stale"
	}
	return found
}

// matchContained is match for the worker that serves all sessions.
func (a *lateAck) matchContained(candidates []queue.Message) (m lateMatch) {
	defer func() {
		if cause := recover(); cause != nil {
			a.from.panicked(cause)
			m = lateMatch{result: "none"}
		}
	}()
	return a.match(candidates)
}

// next is the part whose ack is still missing; of a message that is delivered the last one, which
// is what its opening counts by.
func (m *lateMatch) next() int {
	switch {
	case m.msg.Status.Acknowledged():
		return m.parts - 1
	case m.msg.Parts == m.parts:
		return m.msg.Acked
	}
	return 0
}

func chosen(m *queue.Message, choice int) string {
	if choice >= 1 && choice <= len(m.Choices) {
		return m.Choices[choice-1]
	}
	return "answer " + strconv.Itoa(choice)
}

// lateMatched runs in the store worker as well; what it decides goes to the store from here, and
// the session is told.
func (g *Gateway) lateMatched(r request[lateAck], m lateMatch, err error) {
	if err == nil {
		err = m.err
	}
	if err != nil {
		g.m.lateAcks.WithLabelValues("failed").Inc()
		g.log.Warn("late ack not looked up", trackerField(r.q.tracker), zap.Error(err))
		if r.q.answer || r.q.reply {
			r.s.post(func() { r.s.received(r.tag, false, err) })
		}
		return
	}
	if r.q.reply { // a text that answers another one is no ack of that
		in := r.q.in
		in.ReplyTo = m.msg.ID
		g.store.receive.add(r.s, r.tag, in)
		return
	}
	g.m.lateAcks.WithLabelValues(m.result).Inc()
	whole := m.result == "matched" && m.part == m.parts-1
	switch {
	case whole:
		g.store.ack.add(r.s, m.msg.SubmitMs, queue.AckReq{
			Tracker: r.q.tracker, ID: m.msg.ID, Opened: r.q.opened ||
				r.q.answer, Replaced: replaced(m.msg.Text, r.q.caps.Charset), Hint: m.msg.Hint,
		})
	case m.result == "matched" && !r.q.answer:
		g.store.progress.add(r.s, 0, queue.ProgressReq{
			Tracker: r.q.tracker, ID: m.msg.ID,
			Parts: m.parts, Acked: m.part + 1,
		})
	}
	if r.q.answer {
		in := r.q.in
		in.Text, in.ReplyTo = m.text, m.msg.ID
		g.store.receive.add(r.s, r.tag, in)
	}
	if m.result == "matched" {
		r.s.post(func() { r.s.outbox().lateMatched(&m) })
	}
}

// lateMatched stops the delivery of a message that a late ack has just delivered. A device that
// answers is worth another try of what was parked.
func (o outbox) lateMatched(m *lateMatch) {
	o.acknowledges()
	if o.backlog != nil && o.backlog.state == flightParked {
		o.restart(true)
		return
	}
	if m.part == m.parts-1 {
		o.forget(m.msg.ID)
	}
}
