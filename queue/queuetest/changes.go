package queuetest

import (
	"errors"
	"time"

	"trackchat/queue"
)

func changesRules() []rule {
	return []rule{
		{"what was stored or changed since", changesSince},
		{"an old message that changes late", changesLate},
		{"limits never split a millisecond", changesLimit},
		{"every kind of change counts", changesKinds},
	}
}

func (c *check) changes(t queue.TrackerID, since int64, limit int) []queue.Message {
	c.Helper()
	msgs, err := c.Store.Changes(c.Context(), t, since, limit)
	c.must(err)
	for i, m := range msgs {
		if m.ChangeMs < since || i > 0 && (m.ChangeMs < msgs[i-1].ChangeMs ||
			m.ChangeMs == msgs[i-1].ChangeMs && m.ID <= msgs[i-1].ID) {
			c.Fatalf("change %d out of order or before %d: %+v", i, since, m)
		}
	}
	return msgs
}

// tickTracker is whose messages the store's own clock is read from.
const tickTracker = queue.TrackerID(1 << 40)

// tick moves the clock, so that the next change has a later time; with the store's own clock it
// waits for the clock.
func (c *check) tick() {
	c.Helper()
	if c.Clock != nil {
		c.Clock.Advance(time.Millisecond)
		return
	}
	t := tickTracker
	first := c.get(t, c.send(t, "tick")[0]).SubmitMs
	for c.get(t, c.send(t, "tock")[0]).SubmitMs == first {
		c.markAll(t)
	}
}

func changesSince(c *check) {
	if got := c.changes(1, 0, 10); len(got) != 0 {
		c.Fatalf("an unused tracker: %v", got)
	}
	sent := c.send(1, "a", "b", "c")
	c.tick()
	c.ack(1, sent[1])
	c.tick()
	in := c.receive(queue.Incoming{Tracker: 1, Text: "in"}).ID
	c.wantIDs(c.changes(1, 0, 100), []int64{sent[0], sent[2], sent[1], in})
	acked := c.get(1, sent[1]).ChangeMs
	c.wantIDs(c.changes(1, acked, 100), []int64{sent[1], in})
	c.wantIDs(c.changes(1, acked+1, 100), []int64{in})
	c.reopen()
	c.wantIDs(c.changes(1, acked, 100), []int64{sent[1], in})
	c.wantIDs(c.changes(1, c.get(1, in).ChangeMs+1, 100), nil)
	c.wantIDs(c.changes(2, 0, 100), nil)
}

// changesLate: a store may answer ErrTooOld instead, which sends the caller to List; leaving a
// change out is what it must not do.
func changesLate(c *check) {
	old := c.send(1, "old")[0]
	if c.Clock != nil {
		c.Clock.Advance(50 * time.Hour)
	}
	c.storeMany(1, 300)
	c.tick()
	c.ack(1, old)
	changed := c.get(1, old).ChangeMs
	msgs, err := c.Store.Changes(c.Context(), 1, changed, 10)
	if errors.Is(err, queue.ErrTooOld) {
		return
	}
	c.must(err)
	c.wantIDs(msgs, []int64{old})
	c.tick()
	id := c.send(1, "new")[0]
	c.wantIDs(c.changes(1, changed, 10), []int64{old, id})
}

func changesLimit(c *check) {
	all := make([]int64, 0, 40)
	for range 8 {
		all = append(all, c.send(1, texts(5)...)...)
		c.tick()
	}
	var got []queue.Message
	for since := int64(0); ; since = got[len(got)-1].ChangeMs + 1 {
		page := c.changes(1, since, 3)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	c.wantIDs(got, all)
}

func changesKinds(c *check) {
	sent := c.send(1, texts(5)...)
	in := []int64{
		c.receive(queue.Incoming{Tracker: 1, Text: "a"}).ID,
		c.receive(queue.Incoming{Tracker: 1, Text: "b"}).ID,
	}
	since := int64(0)
	for name, step := range []struct {
		id     int64
		change func()
	}{
		{sent[0], func() { c.ack(1, sent[0]) }},
		{sent[0], func() { c.ackAs(queue.AckReq{Tracker: 1, ID: sent[0], Opened: true}) }},
		{sent[1], func() { c.end(1, sent[1], queue.StatusFailed, queue.ReasonRefused) }},
		{sent[1], func() { c.ack(1, sent[1]) }},
		{sent[2], func() {
			c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{{
				Tracker: 1, ID: sent[2],
				Parts: 3, Acked: 1,
			}}))
		}},
		{sent[3], func() { c.end(1, sent[3], queue.StatusExpired, 0) }},
		{in[0], func() { c.mark(queue.Ref{Tracker: 1, ID: in[0]}) }},
		{in[1], func() { c.markAll(1) }},
	} {
		c.tick()
		step.change()
		m := c.get(1, step.id)
		if m.ChangeMs <= since {
			c.Fatalf("change %d is dated %d, the one before %d", name, m.ChangeMs, since)
		}
		since = m.ChangeMs
		c.wantIDs(c.changes(1, since, 10), []int64{step.id})
		// What changes nothing is no change.
		c.tick()
		c.ack(1, sent[0])
		c.acquire("a", 1)
		c.markAll(9)
		c.wantIDs(c.changes(1, since, 10), []int64{step.id})
	}
}
