package queuetest

import (
	"errors"

	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
)

func broadcastRules() []rule {
	return []rule{
		{"a broadcast is kept with its targets", broadcastKept},
		{"the newest broadcasts stay", broadcastBound},
		{"broadcasts end with their account", broadcastEnds},
	}
}

func (c *check) wantBroadcasts(a queue.AccountID, before int64, limit int,
	want ...queue.Broadcast,
) {
	c.Helper()
	got, err := c.Store.Broadcasts(c.Context(), a, before, limit)
	c.must(err)
	if len(got)+len(want) > 0 && !cmp.Equal(want, got) {
		c.Fatal(cmp.Diff(want, got))
	}
}

func (c *check) wantTargets(a queue.AccountID, id int64, want ...queue.BroadcastTarget) {
	c.Helper()
	got, err := c.Store.BroadcastTargets(c.Context(), a, id)
	c.must(err)
	if len(got)+len(want) > 0 && !cmp.Equal(want, got) {
		c.Fatal(cmp.Diff(want, got))
	}
}

func broadcastKept(c *check) {
	save := func(a queue.AccountID, b queue.Broadcast, first int, ts ...queue.BroadcastTarget) {
		c.Helper()
		c.must(c.Store.SaveBroadcast(c.Context(), a, b, first, ts))
	}
	c.fill()
	c.wantBroadcasts(1, 0, 10)
	c.wantTargets(1, 5)
	err := c.Store.SaveBroadcast(c.Context(), 77, queue.Broadcast{ID: 1}, 0, nil)
	if !errors.Is(err, queue.ErrNotFound) {
		c.Fatalf("of an unknown account: %v", err)
	}
	c.wantBroadcasts(77, 0, 10)
	const large = queue.MaxID - 1
	old := queue.Broadcast{ID: 5, SubmitMs: 1_780_000_000_001, Text: "«\"x\"»\n", Trackers: 3}
	newer := queue.Broadcast{
		ID: large, Text: "newer", Author: &queue.Author{Kind: queue.AuthorKey, ID: "a", Name: "b"},
	}
	targets := []queue.BroadcastTarget{{Tracker: 1, Message: large}, {Tracker: -102, Message: 0}}
	save(1, old, 0)
	save(1, newer, 0)
	save(2, queue.Broadcast{ID: 6, Text: "another's"}, 0, targets[0])
	old.Sent, old.Refused = 1, 1
	save(1, old, 0, targets...)
	save(1, old, 0, targets...) // again
	old.Sent, old.Complete = 2, true
	third := queue.BroadcastTarget{Tracker: 3, Message: 4}
	save(1, old, 2, third)
	for range 2 {
		c.wantBroadcasts(1, 0, 10, newer, old)
		c.wantBroadcasts(1, 0, 1, newer)
		c.wantBroadcasts(1, large, 10, old)
		c.wantBroadcasts(1, 5, 10)
		c.wantTargets(1, 5, targets[0], targets[1], third)
		c.wantTargets(1, 6)
		c.wantTargets(2, 6, targets[0])
		c.reopen()
	}
}

func broadcastBound(c *check) {
	c.fill()
	target := queue.BroadcastTarget{Tracker: 1, Message: 1}
	for i := range int64(queue.MaxBroadcasts + 2) {
		b := queue.Broadcast{ID: i + 1}
		c.must(c.Store.SaveBroadcast(c.Context(), 1, b, 0, nil))
		c.must(c.Store.SaveBroadcast(c.Context(), 1, b, 0, []queue.BroadcastTarget{target}))
	}
	c.wantBroadcasts(1, 4, 10, queue.Broadcast{ID: 3})
	c.wantTargets(1, 2)
	c.wantTargets(1, 3, target)
}

func broadcastEnds(c *check) {
	c.wantEdits(queue.EditAdded, putAccount(queue.Account{ID: 1}), putAccount(queue.Account{ID: 2}))
	target := queue.BroadcastTarget{Tracker: 1, Message: 1}
	b := queue.Broadcast{ID: 1, Text: "x"}
	for _, a := range []queue.AccountID{1, 2} {
		c.must(c.Store.SaveBroadcast(c.Context(), a, b, 0, []queue.BroadcastTarget{target}))
	}
	c.wantEdits(queue.EditUpdated, putAccount(queue.Account{ID: 1, Title: "changed"}))
	c.wantBroadcasts(1, 0, 10, b)
	c.wantEdits(queue.EditRemoved, dropAccount(1))
	c.wantEdits(queue.EditAdded, putAccount(queue.Account{ID: 1}))
	c.wantBroadcasts(1, 0, 10)
	c.wantTargets(1, 1)
	c.wantBroadcasts(2, 0, 10, b)
	c.wantTargets(2, 1, target)
}
