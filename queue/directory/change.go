// Package directory has the rules of accounts, trackers and keys: what an edit or an import makes
// of a directory, and what it refuses. It works that out over the snapshot of the directory that
// each node holds; a store commits the rows that come of it, unless the directory has another
// version by then.
package directory

import (
	"cmp"
	"slices"

	"trackchat/queue"
)

// Change is what becomes of a directory.
type Change struct {
	Version  int64 // of the directory after it: one more for each time that a row was changed
	Accounts []Row[queue.AccountID, queue.Account]
	Trackers []Row[queue.TrackerID, queue.Tracker]
	Dropped  []queue.TrackerID // keys of conversations that go with all they have
	Ended    []queue.AccountID // accounts whose sessions end
	// Trackers of Trackers that go and leave their messages behind, and those that come back to
	// them.
	Kept, Returned []queue.TrackerID
	Grows          bool // something is added or replaced
}

// Row is what becomes of an account or a tracker.
type Row[K ~int64, V any] struct {
	ID      K
	Was, Is *V    // nil: there is none
	Version int64 // of its last change
}

// Empty reports whether everything stays as it is.
func (c *Change) Empty() bool { return len(c.Accounts)+len(c.Trackers) == 0 }

// ByID orders the rows by id.
func (c *Change) ByID() {
	slices.SortFunc(c.Accounts, func(a, b Row[queue.AccountID, queue.Account]) int {
		return cmp.Compare(a.ID, b.ID)
	})
	slices.SortFunc(c.Trackers, func(a, b Row[queue.TrackerID, queue.Tracker]) int {
		return cmp.Compare(a.ID, b.ID)
	})
}

func (c *Change) account(r Row[queue.AccountID, queue.Account]) {
	if r.Was != nil && (r.Is == nil || r.Is.Password != r.Was.Password) {
		c.Ended = append(c.Ended, r.ID)
	}
	c.Version++
	r.Version = c.Version
	c.Accounts = append(c.Accounts, r)
}

func (c *Change) tracker(r Row[queue.TrackerID, queue.Tracker]) {
	c.Version++
	r.Version = c.Version
	c.Trackers = append(c.Trackers, r)
}
