package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
)

func watchRules() []rule {
	return []rule{
		{"every change is told", changesTold},
		{"what changes nothing is not told", nothingTold},
		{"sessions are told", presenceTold},
		{"each tracker's changes come in their order", changesInOrder},
		{"readers learn how late they are", readersLate},
		{"all instances hear the changes of each", changesElsewhere},
		{"no change is told after the context or the store has ended", watchEnds},
		{"trackers that changed since", trackersChanged},
	}
}

// watch reads changes one by one; it keeps how late the reader is and leaves that out.
type watch struct {
	t       *testing.T
	ch      <-chan []queue.Change
	left    []queue.Change
	through int64
}

func (c *check) watch() *watch {
	c.Helper()
	ch, err := Changes(c.Context(), c.Store)
	c.must(err)
	return &watch{t: c.T, ch: ch}
}

// read waits for the next batch.
func (w *watch) read() {
	w.t.Helper()
	select {
	case batch, ok := <-w.ch:
		if !ok || len(batch) == 0 {
			w.t.Fatalf("changes ended (%v) or empty", !ok)
		}
		w.left = batch
	case <-time.After(patience):
		w.t.Fatal("no change")
	}
}

func (w *watch) next() queue.Change {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; { //nolint:forbidigo // a wait in real time
		if time.Now().After(deadline) { //nolint:forbidigo // the same
			w.t.Fatal("nothing but times is told")
		}
		for len(w.left) == 0 {
			w.read()
		}
		first := w.left[0]
		w.left = w.left[1:]
		switch {
		case first.Kind == queue.ChangeWatermark:
			w.through = max(w.through, first.Ms)
		case first.Tracker != tickTracker:
			return first
		}
	}
}

func (w *watch) want(kind queue.ChangeKind, t queue.TrackerID, id, ms int64) {
	w.t.Helper()
	got := w.next()
	if got.Kind != kind || got.Tracker != t || got.ID != id || ms != 0 && got.Ms != ms {
		w.t.Fatalf("change %q %+v, want %q of message %d of tracker %d at %d", got.Kind, got, kind,
			id, t, ms)
	}
}

func changesTold(c *check) {
	w := c.watch()
	// A tracker's id may have any byte in it.
	t := queue.TrackerID(0x0d0a_00ff)
	sent := c.send(t, texts(7)...)
	for _, id := range sent {
		w.want(queue.ChangeStored, t, id, c.get(t, id).SubmitMs)
	}
	in := []int64{
		c.receive(queue.Incoming{Tracker: t, Text: "a"}).ID,
		c.receive(queue.Incoming{Tracker: t, Text: "b"}).ID,
	}
	w.want(queue.ChangeStored, t, in[0], c.get(t, in[0]).SubmitMs)
	w.want(queue.ChangeStored, t, in[1], 0)
	c.tick()
	c.ack(t, sent[0])
	w.want(queue.ChangeDelivered, t, sent[0], c.get(t, sent[0]).UpdateMs)
	c.ackAs(queue.AckReq{Tracker: t, ID: sent[0], Opened: true})
	w.want(queue.ChangeOpened, t, sent[0], c.get(t, sent[0]).ReadMs)
	c.ackAs(queue.AckReq{Tracker: t, ID: sent[1], Opened: true})
	w.want(queue.ChangeDelivered, t, sent[1], 0)
	w.want(queue.ChangeOpened, t, sent[1], 0)
	for i, st := range []queue.Status{
		queue.StatusFailed, queue.StatusExpired,
		queue.StatusCancelled, queue.StatusSent,
	} {
		c.end(t, sent[2+i], st, 0)
		w.want(queue.ChangeKind(st), t, sent[2+i], c.get(t, sent[2+i]).ChangeMs)
	}
	c.ack(t, sent[3])
	w.want(queue.ChangeDelivered, t, sent[3], 0)
	c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{{
		Tracker: t, ID: sent[6], Parts: 3,
		Acked: 1,
	}}))
	w.want(queue.ChangeProgress, t, sent[6], c.get(t, sent[6]).ChangeMs)
	c.mark(queue.Ref{Tracker: t, ID: in[0]})
	w.want(queue.ChangeRead, t, in[0], c.get(t, in[0]).UpdateMs)
	c.markAll(t)
	w.want(queue.ChangeRead, t, in[1], c.get(t, in[1]).UpdateMs)
}

func presenceTold(c *check) {
	w := c.watch()
	old := c.acquire("a", 1)
	w.want(queue.ChangePresence, 1, 0, 0)
	l := c.acquire("b", 1)
	w.want(queue.ChangePresence, 1, queue.PresenceOwned, 0)
	for _, lease := range []queue.Lease{old, l, l} {
		// the first is not the owner any more, the last gives up nothing
		_, err := c.Store.Release(c.Context(), []queue.Lease{lease})
		c.must(err)
	}
	w.want(queue.ChangePresence, 1, queue.PresenceOwned, 0)
	c.acquire("a", 1)
	w.want(queue.ChangePresence, 1, 0, 0)
	for range 2 {
		_, err := c.Store.Kick(c.Context(), []queue.TrackerID{1})
		c.must(err)
	}
	w.want(queue.ChangePresence, 1, queue.PresenceOwned, 0)
	c.acquire("a", 2)
	w.want(queue.ChangePresence, 2, 0, 0)
}

func nothingTold(c *check) {
	w := c.watch()
	id := c.send(1, "a")[0]
	w.want(queue.ChangeStored, 1, id, 0)
	c.ackAs(queue.AckReq{Tracker: 1, ID: id, Opened: true})
	w.want(queue.ChangeDelivered, 1, id, 0)
	w.want(queue.ChangeOpened, 1, id, 0)
	in := c.receive(queue.Incoming{Tracker: 1, Text: "in", Key: 5, Window: time.Hour}).ID
	w.want(queue.ChangeStored, 1, in, 0)
	c.mark(queue.Ref{Tracker: 1, ID: in})
	w.want(queue.ChangeRead, 1, in, 0)
	l := c.acquire("a", 1)
	w.want(queue.ChangePresence, 1, 0, 0)

	c.ackAs(queue.AckReq{Tracker: 1, ID: id, Opened: true})
	c.ack(1, in)
	c.ack(2, id)
	c.end(1, id, queue.StatusCancelled, 0)
	c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{{
		Tracker: 1, ID: id, Parts: 2,
		Acked: 1,
	}}))
	c.receive(queue.Incoming{Tracker: 1, Text: "in", Key: 5, Window: time.Hour})
	c.mark(queue.Ref{Tracker: 1, ID: in})
	c.markAll(1)
	l.Epoch--
	_, err := c.Store.Release(c.Context(), []queue.Lease{l})
	c.must(err)
	last := c.send(2, "last")[0]
	w.want(queue.ChangeStored, 2, last, 0)
}

func changesInOrder(c *check) {
	w := c.watch()
	const trackers, rounds = 5, 9
	want := make(map[queue.TrackerID][]string)
	for range rounds {
		for t := queue.TrackerID(1); t <= trackers; t++ {
			id := c.send(t, "x")[0]
			c.ack(t, id)
			want[t] = append(want[t], fmt.Sprintf("N%d", id), fmt.Sprintf("D%d", id))
		}
	}
	got := make(map[queue.TrackerID][]string)
	for range 2 * trackers * rounds {
		n := w.next()
		got[n.Tracker] = append(got[n.Tracker], fmt.Sprintf("%c%d", n.Kind, n.ID))
	}
	for t, list := range want {
		if !slices.Equal(got[t], list) {
			c.Fatalf("tracker %d: %v, want %v", t, got[t], list)
		}
	}
}

// readersLate: an idle reader also learns that nothing has happened, and a time is told only after
// what happened before it.
func readersLate(c *check) {
	w := c.watch()
	last := c.get(1, c.send(1, "a")[0]).SubmitMs
	if n := w.next(); n.Ms != last {
		c.Fatalf("told %+v, stored at %d", n, last)
	}
	if w.through > last {
		c.Fatalf("everything before %d was told, and then what happened at %d", w.through, last)
	}
	c.tick()
	for w.through <= last {
		w.read()
		for _, n := range w.left {
			if n.Kind == queue.ChangeWatermark {
				w.through = n.Ms
			}
		}
		w.left = nil
	}
}

func changesElsewhere(c *check) {
	if c.Another == nil {
		return // the backend allows only one instance
	}
	w := c.watch()
	other := &check{T: c.T, Fixture: Fixture{Store: c.Another(c.T)}}
	id := other.send(7, "from the other one")[0]
	w.want(queue.ChangeStored, 7, id, 0)
	again := other.watch()
	c.ack(7, id)
	w.want(queue.ChangeDelivered, 7, id, 0)
	again.want(queue.ChangeDelivered, 7, id, 0)
}

func watchEnds(c *check) {
	ctx, cancel := context.WithCancel(c.Context())
	var told, toldAfter atomic.Int64
	c.must(c.Store.Watch(ctx, func([]queue.Change) { told.Add(1) }))
	open := c.watch()
	c.must(c.Store.Watch(c.Context(), func([]queue.Change) { toldAfter.Add(1) }))
	cancel()
	c.untilQuiet(&told, func() { open.want(queue.ChangeStored, 1, c.send(1, "x")[0], 0) })
	c.reopen()
	before := toldAfter.Load()
	again := c.watch()
	again.want(queue.ChangeStored, 1, c.send(1, "x")[0], 0)
	if n := toldAfter.Load(); n != before {
		c.Fatalf("%d changes were told after the store was closed", n-before)
	}
}

func trackersChanged(c *check) {
	changed := func(since int64, ts ...queue.TrackerID) []queue.TrackerID {
		c.Helper()
		got, err := c.Store.Changed(c.Context(), ts, since)
		c.must(err)
		return got
	}
	a := c.get(5, c.send(5, "a")[0]).ChangeMs
	c.tick()
	id := c.send(3, "b")[0]
	c.tick()
	c.acquire("a", 5) // is no change of a message
	c.acquire("a", 4)
	c.ack(3, id)
	b := c.get(3, id).ChangeMs
	for _, want := range []struct {
		since int64
		ts    []queue.TrackerID
	}{
		{0, []queue.TrackerID{3, 5}},
		{a, []queue.TrackerID{3, 5}},
		{a + 1, []queue.TrackerID{3}},
		{b, []queue.TrackerID{3}},
		{b + 1, nil},
	} {
		if got := changed(want.since, 5, 4, 3, 5); !slices.Equal(got, want.ts) {
			c.Fatalf("changed since %d: %v, want %v", want.since, got, want.ts)
		}
	}
	c.reopen()
	if got := changed(b, 3, 5); !slices.Equal(got, []queue.TrackerID{3}) || len(changed(0)) != 0 {
		c.Fatalf("changed after a restart: %v", got)
	}
}

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
