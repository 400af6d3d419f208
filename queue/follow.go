package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// well within the second in which a change is known everywhere.
	followEvery = 300 * time.Millisecond
	followPage  = 5000 // rows read at once
	// rows between two snapshots, unless the directory is read anew.
	followAtOnce = 50_000
)

// Directory is the current Snapshot, replaced as a whole when something changes. The zero value is
// empty and ready to use.
type Directory struct {
	current atomic.Pointer[Snapshot]
	changed func()

	begin sync.Once
	turn  chan struct{} // holds a token while somebody reads what has changed
}

// Current returns the newest snapshot, never nil.
func (d *Directory) Current() *Snapshot {
	if s := d.current.Load(); s != nil {
		return s
	}
	return NewSnapshot(nil, nil)
}

// Replace makes s the current snapshot.
func (d *Directory) Replace(s *Snapshot) { d.current.Store(s) }

// OnChange has f called after each new snapshot that Sync finds. It must be called before Sync.
func (d *Directory) OnChange(f func()) { d.changed = f }

// Sync brings the directory to what the store holds now.
func (d *Directory) Sync(ctx context.Context, store DirectoryHistory) error {
	d.begin.Do(func() { d.turn = make(chan struct{}, 1) })
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		more, err := d.step(ctx, store)
		if err != nil {
			return fmt.Errorf("following the directory: %w", err)
		}
		if !more {
			return nil
		}
	}
}

// Follow syncs a few times a second until ctx ends. Failures go to failed; what is known stays in
// use until the store answers again.
func (d *Directory) Follow(ctx context.Context, store DirectoryHistory, failed func(error)) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := d.Sync(ctx, store); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

// step makes one new snapshot, if there is anything new.
func (d *Directory) step(ctx context.Context, store DirectoryHistory) (more bool, err error) {
	old := d.Current()
	since, next := old.version, old.clone()
	fresh := since == 0
	if fresh {
		next = emptySnapshot()
	}
	for rows := 0; fresh || rows < followAtOnce; {
		c, err := store.DirectoryChanges(ctx, since, followPage)
		if errors.Is(err, ErrTooOld) && since != 0 {
			since, fresh, next = 0, true, emptySnapshot()
			continue
		}
		if err != nil {
			return false, err
		}
		rows += len(c.Accounts) + len(c.Trackers) + len(c.GoneAccounts) + len(c.GoneTrackers)
		next.apply(c)
		since, more = c.Version, c.More
		if !more {
			break
		}
	}
	if since == old.version && !fresh || fresh && since == 0 && old.empty() {
		return more, nil
	}
	next.version = since
	d.Replace(next)
	if d.changed != nil {
		d.changed()
	}
	return more, nil
}

func (s *Snapshot) empty() bool {
	accounts, trackers := s.Len()
	return accounts == 0 && trackers == 0
}
