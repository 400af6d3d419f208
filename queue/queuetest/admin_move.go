package queuetest

import (
	"errors"
	"slices"
	"time"

	"trackchat/queue"
)

func moveRules() []rule {
	return []rule{
		{"keep: two conversations that do not meet", moveKeeps},
		{"keep: a tracker that comes back finds its own", moveComesBack},
		{"move: the messages go along", moveMoves},
		{"drop: the messages go", moveDrops},
		{"drop also takes what others have kept", moveDropsKept},
		{"drops in one call", moveDropsAtOnce},
		{"a removed tracker takes all its conversations along", moveRemoved},
		{"an account that has kept messages stays", moveHoldsAccount},
		{"imports move as edits do", moveByImport},
		{"a pruned tracker comes back into another account", movePruned},
		{"an account that is pruned takes what it has kept along", movePrunedAccount},
		{"a hundred accounts", moveBound},
	}
}

// moveTo puts tracker 10 into an account and returns it as it is then.
func (c *check) moveTo(a queue.AccountID, h queue.History) *queue.Tracker {
	c.Helper()
	t := someTrackers()[1]
	t.Account, t.History = a, h
	c.wantEdits(queue.EditUpdated, putTracker(t))
	return c.stored(t.ID)
}

func (c *check) stored(id queue.TrackerID) *queue.Tracker {
	c.Helper()
	page, err := c.Store.Trackers(c.Context(), id-1, 1)
	c.must(err)
	if len(page) != 1 || page[0].ID != id {
		c.Fatalf("tracker %d: %+v", id, page)
	}
	return &page[0]
}

// wantConversation requires the whereabouts of tracker 10.
func (c *check) wantConversation(t *queue.Tracker, n uint8, former ...queue.Former) {
	c.Helper()
	var got []queue.Former
	if t.Former != nil {
		got = *t.Former
	}
	if t.Conversation != n || !slices.Equal(got, former) || t.History != queue.HistoryKeep {
		c.Fatalf("conversation %d, former %+v, history %d; want %d, %+v", t.Conversation, got,
			t.History, n, former)
	}
	loaded, changed := false, false
	_, all := c.load()
	for i := range all {
		loaded = loaded || queue.SameTracker(&all[i], t)
	}
	changes := c.directoryChanges(0, 1000)
	for i := range changes.Trackers {
		changed = changed || queue.SameTracker(&changes.Trackers[i], t)
	}
	if !loaded || !changed {
		c.Fatalf("%+v is not what is loaded (%v) or told (%v)", t, loaded, changed)
	}
}

func moveKeeps(c *check) {
	c.fill()
	sent := c.send(10, "delivered", "pending")
	c.ack(10, sent[0])
	in := queue.Incoming{Tracker: 10, Text: "in", Key: 5, Window: time.Hour}
	got := c.receive(in)
	before := c.list(10)

	t := c.moveTo(2, queue.HistoryKeep)
	c.wantConversation(t, 1, queue.Former{Account: 1})
	key := t.Key()
	if key == 10 || c.list(key) != nil && len(c.list(key)) != 0 || c.unread(key) != 0 {
		c.Fatalf("key %d: %d messages, %d unread", key, len(c.list(key)), c.unread(key))
	}
	if times, err := c.Store.LastTimes(c.Context(), []queue.TrackerID{key}); err != nil ||
		len(times) != 0 {
		c.Fatalf("last times %v %v", times, err)
	}
	for _, id := range append(sent, got.ID) { // nothing reaches the other's messages
		if m := c.get(key, id); m.ID != 0 || c.ack(key, id) != queue.AckUnknown ||
			c.end(key, id, queue.StatusCancelled, 0) != queue.EndUnknown ||
			c.mark(queue.Ref{Tracker: key, ID: id})[0] != queue.MarkUnknown {
			c.Fatalf("message %d is within the new account's reach", id)
		}
	}
	c.markAll(key)
	in.Tracker = key
	if again := c.receive(in); again.Dup || again.ID == got.ID {
		c.Fatalf("a text for the new account: %+v", again)
	}
	new := c.send(key, "to the new account")
	lease := c.acquire("a", key)
	c.wantIDs(c.claim(lease, 0, 1000).Msgs, new)
	c.reopen()
	if after := c.list(10); !slices.EqualFunc(before, after, equal) || c.unread(10) != 1 {
		c.Fatalf("kept: %+v, had %+v", after, before)
	}
	c.wantIDs(c.claim(c.acquire("a", 10), 0, 1000).Msgs, sent[1:])
	if owners := c.owners(sent[0], new[0]); !slices.Equal(owners, []queue.TrackerID{10, key}) {
		c.Fatalf("messages of %v", owners)
	}
}

func moveComesBack(c *check) {
	c.fill()
	first := c.send(10, "first")
	second := c.send(c.moveTo(2, queue.HistoryKeep).Key(), "second")
	third := c.send(c.moveTo(3, queue.HistoryKeep).Key(), "third")
	t := c.moveTo(1, queue.HistoryKeep)
	c.wantConversation(t, 0, queue.Former{Account: 2, Conversation: 1}, queue.Former{
		Account:      3,
		Conversation: 2,
	})
	c.wantIDs(c.list(t.Key()), first)
	t = c.moveTo(2, queue.HistoryKeep)
	c.wantConversation(t, 1, queue.Former{Account: 3, Conversation: 2}, queue.Former{Account: 1})
	c.wantIDs(c.list(t.Key()), second)
	c.wantIDs(c.list(t.FormerKeys(3)[0]), third)
	t.Label = "renamed" // with what an answer would say
	t.Former, t.Conversation = nil, 0
	c.wantEdits(queue.EditUpdated, putTracker(*t))
	c.wantConversation(c.stored(10), 1, queue.Former{Account: 3, Conversation: 2},
		queue.Former{Account: 1})
	c.wantEdits(queue.EditUnchanged, putTracker(*t))
}

func moveMoves(c *check) {
	c.fill()
	sent := c.send(10, "goes along")
	t := c.moveTo(2, queue.HistoryMove)
	c.wantConversation(t, 0)
	c.wantIDs(c.claim(c.acquire("a", 10), 0, 1000).Msgs, sent)
	kept := c.send(c.moveTo(1, queue.HistoryKeep).Key(), "kept by 1")
	c.moveTo(3, queue.HistoryMove)
	t = c.moveTo(1, queue.HistoryKeep)
	c.wantConversation(t, 2, queue.Former{Account: 2}, queue.Former{Account: 3, Conversation: 1})
	c.wantIDs(c.list(t.FormerKeys(3)[0]), kept)
}

func moveDrops(c *check) {
	c.fill()
	sent := c.send(10, texts(200)...)
	wakes := c.subscribe("a")
	lease := c.acquire("a", 10)
	t := c.moveTo(2, queue.HistoryDrop)
	c.wantConversation(t, 1)
	if w := wakes.next(); w.Kind != queue.WakeKick || w.Tracker != 10 || w.Epoch != lease.Epoch {
		c.Fatalf("wake %+v", w)
	}
	c.wantNothing(10, sent)
	sent = c.send(t.Key(), "second")
	t = c.moveTo(1, queue.HistoryDrop)
	c.wantConversation(t, 0)
	c.wantNothing(-1001, sent)
	c.reopen()
	c.wantNothing(10, sent)
}

func moveDropsKept(c *check) {
	c.fill()
	first := c.send(10, "first")
	key := c.moveTo(2, queue.HistoryKeep).Key()
	second := c.send(key, "second")
	t := c.moveTo(2, queue.HistoryDrop)
	c.wantConversation(t, 1)
	c.wantNothing(10, first)
	c.wantIDs(c.list(key), second)
	t.History = queue.HistoryDrop
	c.wantEdits(queue.EditUnchanged, putTracker(*t))
	c.moveTo(1, queue.HistoryKeep)
	t = c.moveTo(3, queue.HistoryDrop)
	c.wantConversation(t, 2)
	c.wantNothing(key, second)
}

func moveDropsAtOnce(c *check) {
	c.fill()
	first := c.send(10, "first")
	edits := make([]queue.Edit, 5)
	for i := range edits {
		t := someTrackers()[1]
		t.Account, t.History = queue.AccountID(1+(i+1)%2), queue.HistoryDrop
		edits[i] = putTracker(t)
	}
	c.wantEdits(queue.EditUpdated, edits...)
	t := c.stored(10)
	c.wantConversation(t, 1)
	sent := c.send(t.Key(), "arrives")
	c.wantIDs(c.claim(c.acquire("a", t.Key()), 0, 1000).Msgs, sent)
	c.wantNothing(10, first)
}

func moveRemoved(c *check) {
	c.fill()
	first := c.send(10, "first")
	key := c.moveTo(2, queue.HistoryKeep).Key()
	second := c.send(key, "second")
	c.wantEdits(queue.EditRemoved, dropTracker(10))
	c.wantNothing(10, first)
	c.wantNothing(key, second)
	c.wantEdits(queue.EditAdded, putTracker(someTrackers()[1]))
	c.wantConversation(c.stored(10), 0)
	c.wantNothing(10, first)
}

func moveHoldsAccount(c *check) {
	c.fill()
	c.moveTo(3, queue.HistoryKeep)
	c.moveTo(2, queue.HistoryKeep)
	refused := func(edit queue.Edit, with error) {
		c.Helper()
		if res := c.edit(edit); !errors.Is(res[0].Err, queue.ErrConflict) ||
			res[0].Err.Error() != with.Error() {
			c.Fatalf("%+v, want %v", res[0], with)
		}
	}
	refused(dropAccount(3), queue.KeepsHistory(10))
	if res := c.edit(dropAccount(1)); !errors.Is(res[0].Err, queue.ErrConflict) {
		// it has 20 and has kept 10
		c.Fatalf("%+v", res[0])
	}
	c.moveTo(2, queue.HistoryDrop)
	c.wantEdits(queue.EditRemoved, dropAccount(3))
	refused(dropAccount(1), queue.HasTrackers(20))
	c.wantEdits(queue.EditRemoved, dropTracker(20))
	c.wantEdits(queue.EditRemoved, dropAccount(1))
}

func moveByImport(c *check) {
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	first := c.send(10, "first")
	put := func(a queue.AccountID, h queue.History) *queue.Tracker {
		c.Helper()
		trackers := someTrackers()
		trackers[1].Account, trackers[1].History = a, h
		c.importAll(someAccounts(), trackers, true, queue.ImportStats{Updated: 1, Unchanged: 6})
		c.importAll(someAccounts(), trackers, true, queue.ImportStats{Unchanged: 7})
		return c.stored(10)
	}
	t := put(2, queue.HistoryKeep)
	c.wantConversation(t, 1, queue.Former{Account: 1})
	c.wantIDs(c.list(10), first)
	second := c.send(t.Key(), "second")
	t = put(3, queue.HistoryMove)
	c.wantConversation(t, 1, queue.Former{Account: 1})
	c.wantIDs(c.list(t.Key()), second)
	t = put(2, queue.HistoryDrop)
	c.wantConversation(t, 2)
	c.wantNothing(10, first)
	c.wantNothing(-1001, second)
	third := c.send(t.Key(), "third")
	c.wantIDs(c.list(t.Key()), third)
}

func movePruned(c *check) {
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	first := c.send(10, "first")
	without := slices.Delete(someTrackers(), 1, 2)
	prune := func() {
		c.Helper()
		c.importAll(someAccounts(), without, true, queue.ImportStats{Removed: 1, Unchanged: 6})
	}
	prune()
	other := someTrackers()[1]
	other.Account = 2
	c.wantEdits(queue.EditAdded, putTracker(other))
	t := c.stored(10)
	c.wantConversation(t, 1, queue.Former{Account: 1})
	c.wantIDs(c.list(t.Key()), nil)
	second := c.send(t.Key(), "second")
	prune()
	c.reopen()
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 1, Unchanged: 6})
	t = c.stored(10)
	c.wantConversation(t, 0, queue.Former{Account: 2, Conversation: 1})
	c.wantIDs(c.list(10), first)
	c.wantIDs(c.list(t.FormerKeys(2)[0]), second)
	c.wantEdits(queue.EditRemoved, dropTracker(10)) // with what was kept; nothing of it comes back
	c.wantEdits(queue.EditAdded, putTracker(someTrackers()[1]))
	c.wantConversation(c.stored(10), 0)
}

func movePrunedAccount(c *check) {
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	key := c.moveTo(3, queue.HistoryKeep).Key()
	kept := c.send(key, "kept by 3")
	c.moveTo(1, queue.HistoryKeep)
	accounts := slices.DeleteFunc(someAccounts(), func(a queue.Account) bool { return a.ID == 3 })
	c.importAll(accounts, someTrackers(), true, queue.ImportStats{
		Removed: 1, Updated: 1,
		Unchanged: 5,
	})
	c.wantConversation(c.stored(10), 0)
	c.wantNothing(key, kept)
	c.wantEdits(queue.EditAdded, putAccount(queue.Account{ID: 3}))
	c.wantConversation(c.moveTo(3, queue.HistoryKeep), 1, queue.Former{Account: 1})
}

func moveBound(c *check) {
	c.fill()
	t := someTrackers()[1]
	accounts, moves := make([]queue.Edit, 0, 100), make([]queue.Edit, 0, 98)
	for a := range queue.AccountID(100) {
		accounts = append(accounts, putAccount(queue.Account{ID: 1000 + a}))
	}
	for a := range queue.AccountID(98) {
		t.Account = 1000 + a
		moves = append(moves, putTracker(t))
	}
	c.wantEdits(queue.EditAdded, accounts...)
	c.wantEdits(queue.EditUpdated, moves...)
	refused := func(t queue.Tracker) {
		c.Helper()
		var conflict *queue.ConflictError
		if res := c.edit(putTracker(t)); !errors.As(res[0].Err, &conflict) ||
			conflict.Parameter != "history" {
			c.Fatalf("%+v", res[0])
		}
	}
	t.Account = 1099
	refused(t)
	t.History = queue.HistoryMove
	c.wantEdits(queue.EditUpdated, putTracker(t))
	t.Account, t.History = 1000, queue.HistoryDrop
	c.wantEdits(queue.EditUpdated, putTracker(t))
	c.wantConversation(c.stored(10), 99)

	far := queue.Tracker{ID: queue.MaxID - 1, Account: 1, Protocol: "p", DeviceID: "far"}
	c.wantEdits(queue.EditAdded, putTracker(far))
	far.Account = 2
	refused(far)
	far.History = queue.HistoryMove
	c.wantEdits(queue.EditUpdated, putTracker(far))
}
