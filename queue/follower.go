package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// well within the second in which a change is known everywhere.
	followEvery = 300 * time.Millisecond
	followPage  = 5000 // rows read at once
	// rows between two snapshots, unless the directory is read anew.
	followAtOnce = 50_000
)

// Follower keeps a Directory up to date with what the store tells.
type Follower struct {
	store   LiveDirectory
	dir     *Directory
	changed func(Update)

	mu sync.Mutex // one reader at a time
}

// Update says what a new snapshot changes.
type Update struct {
	All      bool        // the directory was read anew: anything may have changed
	Trackers []TrackerID // that were added, changed or removed
	Accounts []AccountID // the same
}

// NewFollower returns a follower. It calls changed, which may be nil, after each new snapshot is
// current.
func NewFollower(store LiveDirectory, dir *Directory, changed func(Update)) *Follower {
	if changed == nil {
		changed = func(Update) {}
	}
	return &Follower{store: store, dir: dir, changed: changed}
}

// Sync brings the directory to what the store holds now.
func (f *Follower) Sync(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		more, err := f.step(ctx)
		if err != nil {
			return fmt.Errorf("following the directory: %w", err)
		}
		if !more {
			return nil
		}
	}
}

// Run syncs a few times a second until ctx ends. Failures go to failed; what is known stays in use
// until the store answers again.
func (f *Follower) Run(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := f.Sync(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

// step makes one new snapshot, if there is anything new.
func (f *Follower) step(ctx context.Context) (more bool, err error) {
	old := f.dir.Current()
	since, e := old.version, old.edit()
	fresh := since == 0
	if fresh {
		e = emptySnapshot(0, 0).edit()
	}
	var u Update
	for rows := 0; fresh || rows < followAtOnce; {
		c, err := f.store.DirectoryChanges(ctx, since, followPage)
		if errors.Is(err, ErrTooOld) && since != 0 {
			since, fresh, e, u = 0, true, emptySnapshot(0, 0).edit(), Update{}
			continue
		}
		if err != nil {
			return false, err
		}
		rows += u.add(&c)
		e.apply(c)
		since, more = c.Version, c.More
		if !more {
			break
		}
	}
	if fresh {
		u = Update{All: true}
	}
	if since == old.version && !fresh || fresh && since == 0 && old.empty() {
		return more, nil
	}
	f.dir.Replace(e.done(since))
	f.changed(u)
	return more, nil
}

func (s *Snapshot) empty() bool {
	accounts, trackers := s.Len()
	return accounts == 0 && trackers == 0
}

func (u *Update) add(c *DirectoryChanges) (rows int) {
	for i := range c.Accounts {
		u.Accounts = append(u.Accounts, c.Accounts[i].ID)
	}
	for i := range c.Trackers {
		u.Trackers = append(u.Trackers, c.Trackers[i].ID)
	}
	u.Accounts = append(u.Accounts, c.GoneAccounts...)
	u.Trackers = append(u.Trackers, c.GoneTrackers...)
	return len(c.Accounts) + len(c.Trackers) + len(c.GoneAccounts) + len(c.GoneTrackers)
}
