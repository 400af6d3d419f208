package queuetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// RunAdmin holds a store to the contract of administration and logins, one fresh store a
// rule.
func RunAdmin(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, topic := range []struct {
		name  string
		rules []rule
	}{
		{"Session", sessionRules()},
		{"Edit", editRules()},
		{"Drop", dropRules()},
		{"Move", moveRules()},
		{"History", historyRules()},
	} {
		t.Run(topic.name, func(t *testing.T) {
			for _, r := range topic.rules {
				t.Run(r.name, func(t *testing.T) { r.test(&check{T: t, Fixture: open(t)}) })
			}
		})
	}
}

// nowMs is the store's time, as far as the test knows it.
func (c *check) nowMs() int64 {
	if c.Clock != nil {
		return c.Clock.Now().UnixMilli()
	}
	return time.Now().UnixMilli() //nolint:forbidigo // a store whose clock cannot be set uses it
}

func (c *check) edit(edits ...queue.Edit) []queue.EditResult {
	c.Helper()
	res, err := c.Store.EditDirectory(c.Context(), edits)
	c.must(err)
	if len(res) != len(edits) {
		c.Fatalf("%d results for %d edits", len(res), len(edits))
	}
	return res
}

// wantEdits makes edits that all succeed.
func (c *check) wantEdits(want queue.EditOutcome, edits ...queue.Edit) {
	c.Helper()
	for i, r := range c.edit(edits...) {
		if r.Err != nil || r.Outcome != want {
			c.Fatalf("edit %d: %+v, want outcome %d", i, r, want)
		}
	}
}

func putAccount(a queue.Account) queue.Edit {
	return queue.Edit{Kind: queue.EditPutAccount, Account: a}
}

func putTracker(t queue.Tracker) queue.Edit {
	return queue.Edit{Kind: queue.EditPutTracker, Tracker: t}
}

func dropAccount(id queue.AccountID) queue.Edit {
	return queue.Edit{Kind: queue.EditDropAccount, Account: queue.Account{ID: id}}
}

func dropTracker(id queue.TrackerID) queue.Edit {
	return queue.Edit{Kind: queue.EditDropTracker, Tracker: queue.Tracker{ID: id}}
}

func addKey(id queue.AccountID, key string) queue.Edit {
	return changeAccount(id, func(a *queue.Account) error {
		k := queue.Key{Hash: queue.HashKey(key)}
		if queue.KeyIndex(a.Keys, k.Hash) < 0 {
			a.Keys = append(slices.Clone(a.Keys), k)
		}
		return nil
	})
}

func dropKey(id queue.AccountID, key string) queue.Edit {
	return changeAccount(id, func(a *queue.Account) error {
		i := queue.KeyIndex(a.Keys, queue.HashKey(key))
		if i < 0 {
			return queue.ErrNotFound
		}
		a.Keys = slices.Delete(slices.Clone(a.Keys), i, i+1)
		return nil
	})
}

func changeAccount(id queue.AccountID, change func(*queue.Account) error) queue.Edit {
	return queue.Edit{
		Kind: queue.EditChangeAccount, Account: queue.Account{ID: id}, Change: change,
	}
}

// fill stores someAccounts and someTrackers by edits.
func (c *check) fill() {
	c.Helper()
	for _, a := range someAccounts() {
		c.wantEdits(queue.EditAdded, putAccount(a))
	}
	for _, t := range someTrackers() {
		c.wantEdits(queue.EditAdded, putTracker(t))
	}
}

func editRules() []rule {
	return []rule{
		{"put, replace, unchanged", editPuts},
		{"a refused edit changes nothing and stops nobody", editRefuses},
		{"edits see those before them", editSees},
		{"password and keys stay if that is asked for", editKeeps},
		{"keys come and go", editKeys},
		{"pages in order", editPages},
		{"people and sorting stay where an edit gives none", editPeople},
		{"logins of users are unique", editUsers},
		{"a change sees the row as it is", editChanges},
	}
}

func editPuts(c *check) {
	c.fill()
	c.wantDirectory(someAccounts(), someTrackers())
	for _, a := range someAccounts() {
		c.wantEdits(queue.EditUnchanged, putAccount(a))
	}
	for _, t := range someTrackers() {
		c.wantEdits(queue.EditUnchanged, putTracker(t))
	}
	accounts, trackers := someAccounts(), someTrackers()
	accounts[0].Title, accounts[0].Keys = "renamed", []queue.Key{{Hash: queue.HashKey("dd")}}
	trackers[0].Account, trackers[0].Blocked, trackers[0].Settings = 2, false, nil
	trackers[0].Sorting = &queue.Sorting{Tags: trackers[0].Sorting.Tags}
	trackers[1].DeviceID, trackers[2].Upstream = "000ABCD", "a.example:1"
	c.wantEdits(queue.EditUpdated, putAccount(accounts[0]), putTracker(trackers[0]),
		putTracker(trackers[1]), putTracker(trackers[2]))
	trackers[0].Conversation, trackers[0].Former = 1, &[]queue.Former{{Account: 1}}
	c.wantDirectory(accounts, trackers)
	c.reopen()
	c.wantDirectory(accounts, trackers)
}

func editRefuses(c *check) {
	c.fill()
	good := queue.Tracker{ID: 50, Account: 1, Protocol: "p", DeviceID: "1"}
	for _, bad := range []struct {
		edit      queue.Edit
		parameter string // of a conflict, "" where nothing is found
	}{
		{putTracker(queue.Tracker{ID: 41, Account: 77, Protocol: "p", DeviceID: "2"}), "account"},
		{
			putTracker(queue.Tracker{ID: 41, Account: 1, Protocol: "jt808", DeviceID: "0ABC"}),
			"device_id",
		},
		{putTracker(queue.Tracker{
			ID: 41, Account: 2, Protocol: "p", DeviceID: "2", Sorting: &queue.Sorting{Group: 2},
		}), "group_id"},
		{putAccount(queue.Account{ID: 8, Login: "first"}), "login"},
		{putAccount(queue.Account{ID: 8, Keys: []queue.Key{{Hash: queue.HashKey("cc")}}}), "keys"},
		{putAccount(queue.Account{ID: 8, Keys: []queue.Key{
			{Hash: queue.HashKey("zz")},
			{Hash: queue.HashKey("zz")},
		}}), "keys"},
		{addKey(2, "cc"), "keys"},
		{dropAccount(1), "id"},
		{addKey(77, "ee"), ""},
		{dropKey(2, "ee"), ""},
		{dropAccount(77), ""},
		{dropTracker(77), ""},
	} {
		before := c.version()
		res := c.edit(bad.edit)
		var conflict *queue.ConflictError
		switch {
		case bad.parameter == "" && !errors.Is(res[0].Err, queue.ErrNotFound):
			c.Fatalf("%+v: %v", bad.edit, res[0].Err)
		case bad.parameter != "" && (!errors.Is(res[0].Err, queue.ErrConflict) ||
			!errors.As(res[0].Err, &conflict) || conflict.Parameter != bad.parameter ||
			conflict.Problem == ""):
			c.Fatalf("%+v: %v", bad.edit, res[0].Err)
		}
		if v := c.version(); v != before || res[0].Outcome != queue.EditUnchanged {
			c.Fatalf("%+v: version %d after %d, %+v", bad.edit, v, before, res[0])
		}
		c.wantDirectory(someAccounts(), someTrackers())
		res = c.edit(putTracker(good), bad.edit, dropTracker(good.ID))
		if res[0].Err != nil || res[1].Err == nil || res[2].Err != nil {
			c.Fatalf("around %+v: %+v", bad.edit, res)
		}
	}
}

func editSees(c *check) {
	c.wantEdits(queue.EditAdded,
		putAccount(queue.Account{ID: 1, Login: "a"}), putTracker(queue.Tracker{
			ID: 1, Account: 1,
			Protocol: "p", DeviceID: "1",
		}),
	)
	res := c.edit(
		dropTracker(1), putTracker(queue.Tracker{ID: 2, Account: 1, Protocol: "p", DeviceID: "1"}),
		dropAccount(1), dropTracker(2), dropAccount(1),
		putAccount(queue.Account{ID: 9, Login: "a"}),
	)
	for i, r := range res {
		if (r.Err != nil) != (i == 2) {
			c.Fatalf("edit %d: %+v", i, r)
		}
	}
	c.wantDirectory([]queue.Account{{ID: 9, Login: "a"}}, nil)
}

func editKeeps(c *check) {
	c.fill()
	want := someAccounts()
	want[1].Title = "other"
	put := queue.Account{
		ID: want[1].ID, Login: want[1].Login, Title: "other",
		TimeZone: want[1].TimeZone,
	}
	c.wantEdits(queue.EditUpdated, queue.Edit{
		Kind: queue.EditPutAccount, Account: put,
		KeepKeys: true, KeepPassword: true,
	})
	c.wantDirectory(want, someTrackers())
	c.wantEdits(queue.EditUnchanged, queue.Edit{
		Kind: queue.EditPutAccount, Account: put,
		KeepKeys: true, KeepPassword: true,
	})
	fresh := queue.Account{
		ID: 70, Login: "new", Password: "hash",
		Keys: []queue.Key{{Hash: queue.HashKey("77")}},
	}
	c.wantEdits(queue.EditAdded, queue.Edit{
		Kind: queue.EditPutAccount, Account: fresh,
		KeepKeys: true, KeepPassword: true,
	})
	c.wantDirectory(append(want, fresh), someTrackers())
	c.wantEdits(queue.EditUpdated, putAccount(put))
	put.People = want[1].People
	want[1] = put
	c.wantDirectory(append(want, fresh), someTrackers())
}

func editKeys(c *check) {
	c.fill()
	c.wantEdits(queue.EditUpdated, addKey(3, "k1"), addKey(3, "k2"))
	c.wantEdits(queue.EditUnchanged, addKey(3, "k1"))
	c.wantEdits(queue.EditUpdated, dropKey(3, "k1"), queue.Edit{
		Kind: queue.EditChangeAccount, Holder: queue.HashKey("cc"),
		Change: func(a *queue.Account) error { a.Keys = nil; return nil },
	})
	if res := c.edit(queue.Edit{
		Kind: queue.EditChangeAccount, Holder: queue.HashKey("cc"),
		Change: func(*queue.Account) error { return nil },
	}); !errors.Is(res[0].Err, queue.ErrNotFound) {
		c.Fatalf("%+v", res[0])
	}
	want := someAccounts()
	want[1].Keys = nil
	want[2].Keys = []queue.Key{{Hash: queue.HashKey("k2")}}
	c.wantDirectory(want, someTrackers())
	c.wantEdits(queue.EditUpdated, addKey(4, "k1"))
}

func editPages(c *check) {
	c.fill()
	accounts, trackers := c.load()
	var gotAccounts []queue.Account
	var gotTrackers []queue.Tracker
	for after := queue.AccountID(0); ; after = gotAccounts[len(gotAccounts)-1].ID {
		page, err := c.Store.Accounts(c.Context(), after, 3)
		c.must(err)
		if gotAccounts = append(gotAccounts, page...); len(page) < 3 {
			break
		}
	}
	for after := queue.TrackerID(0); ; after = gotTrackers[len(gotTrackers)-1].ID {
		page, err := c.Store.Trackers(c.Context(), after, 2)
		c.must(err)
		if gotTrackers = append(gotTrackers, page...); len(page) < 2 {
			break
		}
	}
	if d := cmp.Diff(accounts, gotAccounts, cmpopts.EquateEmpty()) + cmp.Diff(trackers, gotTrackers,
		cmpopts.EquateEmpty()); d != "" {
		c.Fatalf("pages (-loaded +got):\n%s", d)
	}
	if page, err := c.Store.Trackers(c.Context(), 30, 2); err != nil || len(page) != 0 {
		c.Fatalf("after the last: %v %v", page, err)
	}
}

func dropRules() []rule {
	return []rule{
		{"a removed tracker's messages go with it", dropEnds},
		{"a tracker that comes again has none", dropComesAgain},
	}
}

func dropEnds(c *check) {
	c.fill()
	var sent []int64
	for range 4 {
		batch := c.send(10, texts(300)...)
		for _, id := range batch[:250] {
			c.ack(10, id)
		}
		sent = append(sent, batch...)
	}
	read := c.receive(queue.Incoming{Tracker: 10, Text: "in"}).ID
	kept := c.send(20, "other tracker")
	wakes := c.subscribe("a")
	lease := c.acquire("a", 10)
	c.wantEdits(queue.EditRemoved, dropTracker(10))
	if w := wakes.next(); w.Kind != queue.WakeKick || w.Tracker != 10 || w.Epoch != lease.Epoch {
		c.Fatalf("wake %+v", w)
	}
	if res := c.claim(lease, 0, 1000); !errors.Is(res.Err, queue.ErrFenced) {
		c.Fatalf("claim with the old lease: %+v", res)
	}
	c.wantNothing(10, append(sent, read))
	c.wantIDs(c.list(20), kept)
	c.reopen()
	c.wantNothing(10, append(sent, read))
}

// wantNothing requires that nothing is left of a tracker's messages.
func (c *check) wantNothing(t queue.TrackerID, ids []int64) {
	c.Helper()
	if left := c.list(t); len(left) != 0 || c.unread(t) != 0 {
		c.Fatalf("%d messages left, %d unread", len(left), c.unread(t))
	}
	if slices.ContainsFunc(c.owners(ids...), func(o queue.TrackerID) bool { return o != 0 }) {
		c.Fatal("a message is still found")
	}
	if times, err := c.Store.LastTimes(c.Context(), []queue.TrackerID{t}); err != nil ||
		len(times) != 0 {
		c.Fatalf("last time %v %v", times, err)
	}
	if n := c.pending(t); n != 0 {
		c.Fatalf("%d pending", n)
	}
	if res := c.ack(t, ids[0]); res != queue.AckUnknown {
		c.Fatalf("late ack: %d", res)
	}
}

func dropComesAgain(c *check) {
	c.fill()
	keyedBefore := c.sendAll(queue.SendReq{Tracker: 10, Text: "before", Key: "k"})
	in := queue.Incoming{Tracker: 10, Text: "in", Key: 5, Window: time.Hour}
	before := c.receive(in)
	c.wantEdits(queue.EditRemoved, dropTracker(10))
	t := someTrackers()[1]
	t.Account = 2
	c.wantEdits(queue.EditAdded, putTracker(t))
	c.wantNothing(10, keyedBefore)
	after := c.receive(in)
	if after.Dup || after.ID <= before.ID {
		c.Fatalf("received %+v after %+v", after, before)
	}
	res := c.try(queue.SendReq{Tracker: 10, Text: "after", Key: "k"})
	if res[0].Dup || res[0].ID <= keyedBefore[0] {
		c.Fatalf("sent %+v after %v", res[0], keyedBefore)
	}
	c.wantIDs(c.claim(c.acquire("a", 10), 0, 1000).Msgs, []int64{res[0].ID})
}
