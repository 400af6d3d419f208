package directory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"trackchat/queue"
)

const (
	tries = 40
	pause = 20 * time.Millisecond // between tries, at most
)

// errBusy is given up with queue.ErrUnavailable.
var errBusy = errors.New("the directory keeps changing")

// Store keeps the rows of a directory, and what has changed.
type Store interface {
	queue.DirectoryHistory
	// Kept returns what imports have removed of trackers.
	Kept(ctx context.Context, ts []queue.TrackerID) (Removed, error)
	// Commit stores a change that was worked out from a version, as a whole or not at all; false if
	// the directory has another version by now. A change that is empty only asks that. Of a
	// tracker that comes, messages of an earlier removal of its conversation are gone first.
	Commit(ctx context.Context, version int64, c *Change) (bool, error)
	// Purge removes the messages of what a committed change has dropped.
	Purge(ctx context.Context, c *Change) error
}

// Editor makes edits and imports.
type Editor struct {
	store Store
	dir   *queue.Directory
	turn  chan struct{} // holds a token while a change is under way
}

// NewEditor returns an editor that keeps dir up to date for what it works out; where dir is nil, it
// has one of its own.
func NewEditor(store Store, dir *queue.Directory) *Editor {
	if dir == nil {
		dir = &queue.Directory{}
	}
	return &Editor{store: store, dir: dir, turn: make(chan struct{}, 1)}
}

// LoadDirectory reads all of the directory, ordered by id.
func (e *Editor) LoadDirectory(ctx context.Context) (accounts []queue.Account,
	trackers []queue.Tracker, err error,
) {
	_, err = e.try(ctx, func(s *queue.Snapshot) (*Change, error) {
		as, ts := s.All()
		accounts, trackers = values(as), values(ts)
		return &Change{}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return accounts, trackers, nil
}

func values[V any](list []*V) []V {
	vs := make([]V, len(list))
	for i, v := range list {
		vs[i] = *v
	}
	return vs
}

// EditDirectory makes edits, see queue.LiveDirectory. Messages of removed trackers go in small
// steps after the edits are stored, so that nobody waits for a long history.
func (e *Editor) EditDirectory(ctx context.Context, edits []queue.Edit) (res []queue.EditResult,
	err error,
) {
	err = e.commit(ctx, func(s *queue.Snapshot) (c *Change, err error) {
		var unknown []queue.TrackerID
		for i := range edits {
			if edits[i].Kind == queue.EditPutTracker {
				unknown = appendNew(unknown, s, &edits[i].Tracker)
			}
		}
		kept, err := e.kept(ctx, unknown)
		if err == nil {
			c, res = Edit(s, kept, edits)
		}
		return c, err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ImportDirectory makes an import, see queue.DirectoryStore.
func (e *Editor) ImportDirectory(ctx context.Context, accounts []queue.Account,
	trackers []queue.Tracker, prune bool,
) (stats queue.ImportStats, err error) {
	err = e.commit(ctx, func(s *queue.Snapshot) (c *Change, err error) {
		var unknown []queue.TrackerID
		for i := range trackers {
			unknown = appendNew(unknown, s, &trackers[i])
		}
		kept, err := e.kept(ctx, unknown)
		if err == nil {
			c, stats, err = Import(s, kept, accounts, trackers, prune)
		}
		return c, err
	})
	if err != nil {
		return queue.ImportStats{}, err
	}
	return stats, nil
}

func appendNew(list []queue.TrackerID, s *queue.Snapshot, t *queue.Tracker) []queue.TrackerID {
	if _, known := s.Tracker(t.ID); !known {
		list = append(list, t.ID)
	}
	return list
}

func (e *Editor) kept(ctx context.Context, ts []queue.TrackerID) (Removed, error) {
	if len(ts) == 0 {
		return nil, nil
	}
	return e.store.Kept(ctx, ts)
}

// commit lets one change of this process after the other through, so that they do not refuse each
// other.
func (e *Editor) commit(ctx context.Context, work func(*queue.Snapshot) (*Change, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := func() (*Change, error) {
		defer func() { <-e.turn }() // also after a panic, which ends a request only
		return e.try(ctx, work)
	}()
	if err != nil {
		return err
	}
	return e.store.Purge(ctx, c)
}

// try works a change out from what the store holds now and commits it; once more, if the directory
// has changed meanwhile. What is refused is only refused if it has not.
func (e *Editor) try(ctx context.Context, work func(*queue.Snapshot) (*Change, error)) (*Change,
	error,
) {
	for range tries {
		if err := e.dir.Sync(ctx, e.store); err != nil {
			return nil, err
		}
		s := e.dir.Current()
		c, refused := work(s)
		switch {
		case errors.Is(refused, queue.ErrConflict):
			c = &Change{}
		case refused != nil:
			return nil, refused
		}
		done, err := e.store.Commit(ctx, s.Version(), c)
		switch {
		case err != nil:
			return nil, err
		case done:
			return c, refused
		}
		t := time.NewTimer(rand.N(pause))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
	return nil, fmt.Errorf("%w: %w", queue.ErrUnavailable, errBusy)
}
