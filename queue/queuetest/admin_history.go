package queuetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func historyRules() []rule {
	return []rule{
		{"from the beginning everything is told", historyTellsAll},
		{"each change once, as it is now", historyTellsChanges},
		{"imports are changes", historyOfImports},
		{"pages", historyPages},
		{"a version from elsewhere is refused", historyResets},
		{"many removals", historyForgets},
		{"followers agree with the store while it changes", historyFollowed},
	}
}

func (c *check) directoryChanges(since int64, limit int) queue.DirectoryChanges {
	c.Helper()
	d, err := c.Store.DirectoryChanges(c.Context(), since, limit)
	c.must(err)
	return d
}

// version is the directory's present one.
func (c *check) version() int64 {
	c.Helper()
	d := c.directoryChanges(0, 100_000)
	if d.More {
		c.Fatal("more than everything")
	}
	return d.Version
}

func (c *check) wantChanges(since int64, want queue.DirectoryChanges) int64 {
	c.Helper()
	got := c.directoryChanges(since, 1000)
	if got.Version <= since && !want.Empty() {
		c.Fatalf("version %d after %d", got.Version, since)
	}
	sortDirectory(got.Accounts, got.Trackers)
	sortDirectory(want.Accounts, want.Trackers)
	for i := range want.Trackers {
		want.Trackers[i].DeviceID = queue.NormalizeDeviceID(want.Trackers[i].DeviceID)
	}
	slices.Sort(got.GoneAccounts)
	slices.Sort(got.GoneTrackers)
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(want,
		"Version")); d != "" {
		c.Fatalf("changes (-want +got):\n%s", d)
	}
	return got.Version
}

func historyTellsAll(c *check) {
	if v := c.wantChanges(0, queue.DirectoryChanges{}); v != 0 {
		c.Fatalf("an empty directory has version %d", v)
	}
	c.fill()
	v := c.wantChanges(0, queue.DirectoryChanges{
		Accounts: someAccounts(),
		Trackers: someTrackers(),
	})
	if v != 7 {
		c.Fatalf("version %d after 7 changes", v)
	}
	c.wantEdits(queue.EditRemoved, dropTracker(30), dropAccount(2))
	c.wantChanges(0, queue.DirectoryChanges{
		Accounts: someAccounts()[1:],
		Trackers: someTrackers()[:2],
	})
}

func historyTellsChanges(c *check) {
	c.fill()
	before := c.version()
	account, tracker := someAccounts()[0], someTrackers()[0]
	account.Title, tracker.Label = "x", "y"
	c.wantEdits(queue.EditUpdated, putAccount(account), putTracker(tracker))
	v := c.wantChanges(before, queue.DirectoryChanges{
		Accounts: []queue.Account{account},
		Trackers: []queue.Tracker{tracker},
	})
	if got := c.wantChanges(v, queue.DirectoryChanges{}); got != v {
		c.Fatalf("version %d after %d without a change", got, v)
	}
	tracker.Label = "z"
	c.wantEdits(queue.EditUpdated, putTracker(tracker))
	c.wantEdits(queue.EditRemoved, dropTracker(30), dropAccount(4))
	c.wantEdits(queue.EditUpdated, addKey(3, "k"))
	third := queue.Account{ID: 3, Keys: []queue.Key{{Hash: queue.HashKey("k")}}}
	c.reopen()
	c.wantChanges(before, queue.DirectoryChanges{
		Accounts: []queue.Account{account, third}, Trackers: []queue.Tracker{tracker},
		GoneAccounts: []queue.AccountID{4}, GoneTrackers: []queue.TrackerID{30},
	})
	v = c.wantChanges(v, queue.DirectoryChanges{
		Accounts: []queue.Account{third}, Trackers: []queue.Tracker{tracker},
		GoneAccounts: []queue.AccountID{4}, GoneTrackers: []queue.TrackerID{30},
	})
	c.wantEdits(queue.EditAdded, putTracker(someTrackers()[2]))
	c.wantChanges(v, queue.DirectoryChanges{Trackers: someTrackers()[2:]})
}

func historyOfImports(c *check) {
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	v := c.wantChanges(0, queue.DirectoryChanges{
		Accounts: someAccounts(),
		Trackers: someTrackers(),
	})
	accounts, trackers := someAccounts(), someTrackers()
	accounts[1].Title, trackers[1].Blocked = "x", true
	c.importAll(accounts[:3], trackers[:2], true, queue.ImportStats{
		Updated: 2, Removed: 2,
		Unchanged: 3,
	})
	c.wantChanges(v, queue.DirectoryChanges{
		Accounts: accounts[1:2], Trackers: trackers[1:2], GoneAccounts: []queue.AccountID{4},
		GoneTrackers: []queue.TrackerID{30},
	})
	v = c.version()
	c.importAll(accounts[:3], trackers[:2], true, queue.ImportStats{Unchanged: 5})
	if now := c.version(); now != v {
		c.Fatalf("version %d after %d without a change", now, v)
	}
}

func historyPages(c *check) {
	const n = 103
	c.wantEdits(queue.EditAdded, putAccount(queue.Account{ID: 1}))
	edits := make([]queue.Edit, n)
	for i := range edits {
		edits[i] = putTracker(queue.Tracker{
			ID: queue.TrackerID(i + 1), Account: 1, Protocol: "p",
			DeviceID: fmt.Sprint(i + 1),
		})
	}
	c.wantEdits(queue.EditAdded, edits...)
	c.wantEdits(queue.EditRemoved, dropTracker(50))
	s := queue.NewSnapshot(nil, nil)
	pages := 0
	for more := true; more; pages++ {
		d := c.directoryChanges(s.Version(), 10)
		if rows := len(d.Accounts) + len(d.Trackers) + len(d.GoneTrackers); rows > 20 ||
			d.More && rows < 10 {
			c.Fatalf("%d rows of 10", rows)
		}
		more = d.More
		s = s.With(d)
	}
	if accounts, trackers := s.Len(); accounts != 1 || trackers != n-1 || pages < 6 ||
		s.Version() != n+2 {
		c.Fatalf("%d accounts, %d trackers after %d pages, version %d", accounts, trackers, pages,
			s.Version())
	}
}

func historyResets(c *check) {
	c.fill()
	if _, err := c.Store.DirectoryChanges(c.Context(), c.version()+1, 10); !errors.Is(err,
		queue.ErrTooOld) {
		c.Fatalf("a later version: %v", err)
	}
}

// historyForgets removes more than a store has to remember: it may say so, but not leave removals
// out.
func historyForgets(c *check) {
	const n = 16_000
	c.wantEdits(queue.EditAdded, putAccount(queue.Account{ID: 1}), putTracker(queue.Tracker{ID: n +
		1, Account: 1, Protocol: "p", DeviceID: "last"}))
	trackers := make([]queue.Tracker, n)
	for i := range trackers {
		trackers[i] = queue.Tracker{
			ID: queue.TrackerID(i + 1), Account: 1, Protocol: "p",
			DeviceID: fmt.Sprint(i + 1),
		}
	}
	c.importAll(nil, trackers, false, queue.ImportStats{Added: n})
	before := c.version()
	var dir queue.Directory
	c.must(dir.Sync(c.Context(), c.Store))
	c.importAll([]queue.Account{{ID: 1}}, []queue.Tracker{{
		ID: n + 1, Account: 1, Protocol: "p",
		DeviceID: "last",
	}}, true, queue.ImportStats{Removed: n, Unchanged: 2})
	d, err := c.Store.DirectoryChanges(c.Context(), before, n+1)
	if !errors.Is(err, queue.ErrTooOld) && (err != nil || len(d.GoneTrackers) != n) {
		c.Fatalf("%d removals, %v", len(d.GoneTrackers), err)
	}
	c.must(dir.Sync(c.Context(), c.Store))
	if _, ok := dir.Current().Tracker(n + 1); !ok {
		c.Fatal("the tracker that stayed is missing")
	}
	if accounts, left := dir.Current().Len(); accounts != 1 || left != 1 {
		c.Fatalf("%d accounts and %d trackers", accounts, left)
	}
}

// follow syncs without a pause, and once more when done is closed.
func (c *check) follow(dir *queue.Directory, done <-chan struct{}) {
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		if err := dir.Sync(c.Context(), c.Store); err != nil {
			c.Error(err)
			return
		}
	}
}

// historyFollowed has two followers read while edits go on.
func historyFollowed(c *check) {
	c.wantEdits(queue.EditAdded, putAccount(queue.Account{ID: 1}), putAccount(queue.Account{ID: 2}))
	var dirs [2]queue.Directory
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range dirs {
		wg.Go(func() { c.follow(&dirs[i], done) })
	}
	for round := range 60 {
		id := queue.TrackerID(round%20 + 1)
		var edits []queue.Edit
		if round%7 == 6 {
			edits = append(edits, dropTracker(id-1))
		}
		edits = append(edits, putTracker(queue.Tracker{ID: id, Account: queue.AccountID(round%2 +
			1), Protocol: "p", DeviceID: fmt.Sprint(round + 1)}))
		c.edit(edits...)
	}
	close(done)
	wg.Wait()
	accounts, trackers := c.load()
	for i := range dirs {
		s := dirs[i].Current()
		if a, t := s.Len(); a != len(accounts) || t != len(trackers) {
			c.Fatalf("follower %d has %d accounts and %d trackers of %d and %d", i, a, t,
				len(accounts), len(trackers))
		}
		for _, t := range trackers {
			if got, ok := s.Device(t.Protocol, t.DeviceID); !ok || !queue.SameTracker(got, &t) {
				c.Fatalf("follower %d: %+v, want %+v", i, got, t)
			}
		}
	}
}
