package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"trackchat/queue"
	"trackchat/queue/directory"
)

// maxGone is how many removed rows are remembered at least; of one and a half times as many the
// oldest are forgotten.
const maxGone = 10_000

// directoryRows is what the directory's rules need of the store.
type directoryRows struct{ *dirStore }

// Kept reads what imports have removed.
func (s directoryRows) Kept(ctx context.Context, ts []queue.TrackerID) (directory.Removed, error) {
	q := dirQuery("exists", dirKept)
	if err := s.ask(ctx, "directory", []*query{q}); err != nil || q.reply == int64(0) {
		return nil, err
	}
	kept := make(directory.Removed)
	for some := range slices.Chunk(ts, dirPage) {
		entries := make([]entry, len(some))
		for i, t := range some {
			entries[i] = entry{kind: dirKept, id: int64(t)}
		}
		rows, err := s.entryRows(ctx, entries)
		if err != nil {
			return nil, err
		}
		for i, row := range rows {
			if row == "" {
				continue
			}
			t, _, err := decodeTracker(row)
			if err != nil {
				return nil, err
			}
			kept[some[i]] = &t
		}
	}
	return kept, nil
}

// Commit has its script compare the version.
func (s directoryRows) Commit(ctx context.Context, version int64, c *directory.Change) (bool,
	error,
) {
	if c.Empty() {
		h, err := s.readHead(ctx)
		return h.version == version && h.pending == "", err
	}
	if c.Grows {
		if err := s.roomIn(dirQuery().slot); err != nil {
			return false, err
		}
	}
	if s.older.Load() && addsPeople(c) {
		return false, fmt.Errorf("%w: a node of an earlier version is there, which knows no users and"+
			" no rights of keys: upgrade it first", queue.ErrOverloaded)
	}
	c.ByID() // what lies together is written together
	var keys []queue.TrackerID
	for i := range c.Trackers {
		if t := c.Trackers[i].Is; t != nil {
			keys = append(keys, t.Key())
		}
	}
	if err := s.finishDrops(ctx, keys); err != nil {
		return false, err
	}
	p, err := planOf(c)
	if err != nil {
		return false, err
	}
	return s.commit(ctx, version, c.Version, p)
}

// addsPeople reports whether a change has what earlier versions would lose, and with it what a
// caller may not do. What an account only loses is not held up: somebody may have to be put out.
func addsPeople(c *directory.Change) bool {
	type account = directory.Row[queue.AccountID, queue.Account]
	return slices.ContainsFunc(c.Accounts, func(a account) bool {
		return hasPeople(a.Is) && (a.Was == nil || !a.Is.IsLess(a.Was))
	})
}

func hasPeople(a *queue.Account) bool {
	return a != nil && (a.People != nil || slices.ContainsFunc(a.Keys, hasInfo))
}

// Purge leaves what an error or the end of the process leaves to purgeLoop, of any process.
func (s directoryRows) Purge(ctx context.Context, c *directory.Change) error {
	for _, key := range c.Dropped {
		if err := s.dropMessages(ctx, key, c.Version); err != nil {
			return fmt.Errorf("%w: removing the messages of tracker %d: %w",
				queue.ErrUnknownOutcome, key, err)
		}
	}
	return nil
}

// EditDirectory: Where a tracker goes and comes again, what an error leaves is whole up to there. A
// removal may be the repetition of one that did not get to its end.
func (s *Store) EditDirectory(ctx context.Context, edits []queue.Edit) ([]queue.EditResult, error) {
	var removed []queue.TrackerID
	for i := range edits {
		if edits[i].Kind == queue.EditDropTracker {
			removed = append(removed, edits[i].Tracker.ID)
		}
	}
	if err := s.finishDrops(ctx, removed); err != nil {
		return nil, err
	}
	res := make([]queue.EditResult, 0, len(edits))
	for len(edits) > 0 {
		n := editsAtOnce(edits)
		some, err := s.Editor.EditDirectory(ctx, edits[:n])
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

// ImportDirectory: One that changes nothing may be the repetition of one that did not get to the
// end of its removals.
func (s *Store) ImportDirectory(ctx context.Context, accounts []queue.Account,
	trackers []queue.Tracker, prune bool,
) (queue.ImportStats, error) {
	stats, err := s.Editor.ImportDirectory(ctx, accounts, trackers, prune)
	if err == nil && stats == (queue.ImportStats{Unchanged: stats.Unchanged}) {
		s.tryDrops(ctx)
	}
	return stats, err
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

// planOf works out the commands of a change.
func planOf(c *directory.Change) (*plan, error) {
	p := &plan{}
	for i := range c.Accounts {
		r := &c.Accounts[i]
		if r.Is == nil {
			p.cut(dirAccounts, int64(r.ID))
			p.add([]string{"endbroadcasts", broadcastsKey(r.ID)})
			for _, u := range r.Was.AllUsers() {
				p.add([]string{"endsessions", decimal(r.ID) + ":" + decimal(u.ID)})
			}
			continue
		}
		row, err := encodeAccount(r.Is, r.Version)
		if err != nil {
			return nil, err
		}
		p.put(dirAccounts, int64(r.ID), row)
	}
	for i := range c.Trackers {
		r := &c.Trackers[i]
		if r.Is == nil {
			p.cut(dirTrackers, int64(r.ID))
			continue
		}
		row, err := encodeTracker(r.Is, r.Version)
		if err != nil {
			return nil, err
		}
		p.put(dirTrackers, int64(r.ID), row)
	}
	if err := p.keep(c); err != nil {
		return nil, err
	}
	for _, id := range c.Ended {
		p.add([]string{"endsessions", decimal(id)})
	}
	for _, key := range c.Dropped {
		p.add([]string{"hset", dirDrops}, decimal(key), decimal(c.Version))
	}
	p.history(c)
	return p, nil
}

func decimal[K ~int64](n K) string { return strconv.FormatInt(int64(n), 10) }

func (p *plan) put(kind string, id int64, row string) {
	p.add([]string{"put", kind, decimal(bucketOf(id))}, decimal(id), row)
}

func (p *plan) cut(kind string, id int64) {
	p.add([]string{"cut", kind, decimal(bucketOf(id))}, decimal(id))
}

// keep notes whose messages trackers leave behind, and forgets it of those that come back.
func (p *plan) keep(c *directory.Change) error {
	kept := make(map[queue.TrackerID]bool, len(c.Kept))
	for _, id := range c.Kept {
		kept[id] = true
	}
	for i := range c.Trackers {
		r := &c.Trackers[i]
		if !kept[r.ID] {
			continue
		}
		row, err := encodeTracker(r.Was, r.Version)
		if err != nil {
			return err
		}
		p.put(dirKept, int64(r.ID), row)
	}
	for _, id := range c.Returned {
		p.cut(dirKept, int64(id))
	}
	return nil
}

// history notes what has changed, and what is gone.
func (p *plan) history(c *directory.Change) {
	for _, gone := range []bool{false, true} { // what is alike together
		command := []string{"changed"}
		if gone {
			command = []string{"gone", strconv.Itoa(maxGone)}
		}
		for i := range c.Accounts {
			if r := &c.Accounts[i]; (r.Is == nil) == gone {
				p.add(command, decimal(r.Version), "a"+decimal(r.ID))
			}
		}
		for i := range c.Trackers {
			if r := &c.Trackers[i]; (r.Is == nil) == gone {
				p.add(command, decimal(r.Version), "t"+decimal(r.ID))
			}
		}
	}
}
