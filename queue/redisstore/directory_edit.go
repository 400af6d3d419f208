package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"trackchat/queue"
)

// EditDirectory: Messages of removed trackers go in small steps after the edits are stored; what an
// error or the end of the process leaves of them is removed within a minute by any process on this
// Redis.
func (s *Store) EditDirectory(ctx context.Context, edits []queue.Edit) ([]queue.EditResult, error) {
	res := make([]queue.EditResult, 0, len(edits))
	for len(edits) > 0 {
		n := editsAtOnce(edits)
		some, dropped, err := s.editDirectory(ctx, edits[:n])
		if err == nil {
			err = s.dropCommitted(ctx, dropped)
		}
		if err != nil && len(res) > 0 {
			return nil, fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, err)
		}
		if err != nil {
			return nil, err
		}
		res, edits = append(res, some...), edits[n:]
	}
	return res, nil
}

// editsAtOnce is how many of the edits are one step: all of them, unless one puts a tracker that
// one before it removes, puts into another account, or of which it removes messages. What is sent
// to the new one must not be taken for messages of the old one that are still to be removed.
func editsAtOnce(edits []queue.Edit) int {
	dropped := make(map[queue.TrackerID]bool)
	account := make(map[queue.TrackerID]queue.AccountID)
	for i := range edits {
		switch e := &edits[i]; e.Kind {
		case queue.EditDropTracker:
			dropped[e.Tracker.ID] = true
		case queue.EditPutTracker:
			t := &e.Tracker
			if before, again := account[t.ID]; dropped[t.ID] || again && before != t.Account {
				return i
			}
			account[t.ID] = t.Account
			dropped[t.ID] = t.History == queue.HistoryDrop
		default:
		}
	}
	return len(edits)
}

// lockDirectory lets one change of this process after the other through, so that they do not refuse
// each other.
func (s *Store) lockDirectory(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.editing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) unlockDirectory() { <-s.editing }

func (s *Store) editDirectory(ctx context.Context, edits []queue.Edit) (res []queue.EditResult,
	dropped map[queue.TrackerID]int64, err error,
) {
	if err := s.roomForEdits(edits); err != nil {
		return nil, nil, err
	}
	if err := s.lockDirectory(ctx); err != nil {
		return nil, nil, err
	}
	defer s.unlockDirectory()
	for range dirTries {
		h, err := s.settledHead(ctx)
		if err != nil {
			return nil, nil, err
		}
		d := &desk{
			s: s, change: newChange(h.version), holders: make(map[string]int64),
			owned: make(map[queue.AccountID]int),
		}
		if err := d.fetch(ctx, edits); err != nil {
			return nil, nil, err
		}
		res, done, err := d.work(ctx, edits, h.version)
		switch {
		case err != nil:
			return nil, nil, err
		case done:
			return res, d.change.dropped, nil
		}
		if err := dirWait(ctx); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("%w: %w", queue.ErrUnavailable, errDirectoryBusy)
}

// work makes the edits and stores them; false if the directory has changed since version.
func (d *desk) work(ctx context.Context, edits []queue.Edit, version int64) (res []queue.EditResult,
	done bool, err error,
) {
	res = make([]queue.EditResult, len(edits))
	for i := range edits {
		outcome, err := d.edit(ctx, &edits[i])
		switch {
		case errors.Is(err, queue.ErrConflict), errors.Is(err, queue.ErrNotFound):
			res[i].Err = err
		case errors.Is(err, queue.ErrCorrupt): // unless what was read belongs to different versions
			if current, e := d.current(ctx, version); e == nil && !current {
				return nil, false, nil
			}
			return nil, false, err
		case err != nil:
			return nil, false, err
		default:
			res[i].Outcome = outcome
		}
	}
	if d.change.version == version {
		done, err = d.current(ctx, version)
		return res, done, err
	}
	p, err := d.change.plan()
	if err != nil {
		return nil, false, err
	}
	done, err = d.s.commit(ctx, version, d.change.version, p)
	return res, done, err
}

// current reports whether the directory still has a version.
func (d *desk) current(ctx context.Context, version int64) (bool, error) {
	h, err := d.s.readHead(ctx)
	return h.version == version && h.pending == "", err
}

// roomForEdits refuses to add anything where memory is nearly used up; what is removed makes room.
func (s *Store) roomForEdits(edits []queue.Edit) error {
	adds := func(e queue.Edit) bool {
		return e.Kind == queue.EditPutAccount || e.Kind == queue.EditPutTracker ||
			e.Kind == queue.EditAddKey
	}
	if m := s.cluster.serving(dirQuery().slot); m != nil && m.full.Load() &&
		slices.ContainsFunc(edits, adds) {
		return m.errFull()
	}
	return nil
}
