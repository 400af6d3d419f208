package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"trackchat/queue"
)

// dirPage is how many rows are read at once.
const dirPage = 1000

// entry is one row of the history: a<id> or t<id>.
type entry struct {
	version int64
	kind    string // dirAccounts or dirTrackers
	id      int64
	gone    bool
}

// DirectoryChanges: What changes while it reads is left for the next call, which tells it as it is
// then.
func (s *dirStore) DirectoryChanges(ctx context.Context, since int64,
	limit int,
) (queue.DirectoryChanges, error) {
	d := queue.DirectoryChanges{Version: since}
	h, err := s.settledHead(ctx)
	if err != nil || h.version == since {
		return d, err
	}
	if err := s.knows(ctx, since, h); err != nil {
		return d, err
	}
	left := max(limit, 1)
	for d.Version < h.version {
		if left == 0 {
			d.More = true
			break
		}
		n := min(left, dirPage)
		entries, err := s.entries(ctx, d.Version, h.version, n, since != 0)
		if err != nil {
			return d, err
		}
		if err := s.tell(ctx, &d, entries); err != nil {
			return d, err
		}
		left -= len(entries)
		if len(entries) < n {
			d.Version = h.version
		} else {
			d.Version = entries[n-1].version
		}
	}
	if since != 0 { // removals may have been forgotten while they were read
		h, err := s.readHead(ctx)
		if err != nil {
			return d, err
		}
		if since < h.floor {
			return d, errForgotten(since)
		}
	}
	return d, nil
}

func errForgotten(since int64) error {
	return fmt.Errorf("%w: of the directory from version %d", queue.ErrTooOld, since)
}

// knows is an error unless everything that changed after since is still known.
func (s *dirStore) knows(ctx context.Context, since int64, h head) error {
	if since > h.version || since != 0 && since < h.floor {
		return errForgotten(since)
	}
	q := dirQuery("zrangebyscore", dirSeals, fmt.Sprintf("(%d", since), "+inf", "limit", 0, 1)
	if err := s.ask(ctx, "directory_changes", []*query{q}); err != nil {
		return err
	}
	if list, _ := q.reply.([]any); len(list) > 0 {
		// The first gap that ends after since: it must not begin before.
		last, err := strconv.ParseInt(fmt.Sprint(list[0]), 10, 64)
		if err != nil {
			return fmt.Errorf("%w: sealed version %q of the directory", queue.ErrCorrupt, list[0])
		}
		if last < since {
			return errForgotten(since)
		}
	}
	return nil
}

// entries reads up to n entries of the versions after since up to last, in their order.
func (s *dirStore) entries(ctx context.Context, since, last int64, n int, gone bool) ([]entry,
	error,
) {
	from, to := fmt.Sprintf("(%d", since), last
	qs := []*query{dirQuery("zrangebyscore", dirLog, from, to, "withscores", "limit", 0, n)}
	if gone {
		qs = append(qs, dirQuery("zrangebyscore", dirGone, from, to, "withscores", "limit", 0, n))
	}
	if err := s.ask(ctx, "directory_changes", qs); err != nil {
		return nil, err
	}
	var list []entry
	for i, q := range qs {
		values, _ := q.reply.([]any)
		for k := 0; k+1 < len(values); k += 2 {
			e, err := decodeEntry(fmt.Sprint(values[k]), fmt.Sprint(values[k+1]))
			if err != nil {
				return nil, err
			}
			e.gone = i == 1
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.version, b.version) })
	return list[:min(n, len(list))], nil
}

func decodeEntry(member, score string) (entry, error) {
	var e entry
	version, err := strconv.ParseInt(score, 10, 64)
	if err == nil && member != "" {
		e.version = version
		e.id, err = strconv.ParseInt(member[1:], 10, 64)
	}
	switch {
	case err == nil && member != "" && member[0] == 'a':
		e.kind = dirAccounts
	case err == nil && member != "" && member[0] == 't':
		e.kind = dirTrackers
	default:
		return e, fmt.Errorf("%w: %q of version %q in the directory's history", queue.ErrCorrupt,
			member, score)
	}
	return e, nil
}

// tell adds rows as they are now; one that has changed since it was found has a later version by
// now, and is told with that.
func (s *dirStore) tell(ctx context.Context, d *queue.DirectoryChanges, entries []entry) error {
	values, err := s.entryRows(ctx, entries)
	if err != nil {
		return err
	}
	for i, e := range entries {
		switch value := values[i]; {
		case e.gone && e.kind == dirAccounts:
			d.GoneAccounts = append(d.GoneAccounts, queue.AccountID(e.id))
		case e.gone:
			d.GoneTrackers = append(d.GoneTrackers, queue.TrackerID(e.id))
		case value == "":
		case e.kind == dirAccounts:
			a, version, err := decodeAccount(value)
			if err != nil {
				return err
			}
			if version == e.version {
				d.Accounts = append(d.Accounts, a)
			}
		default:
			t, version, err := decodeTracker(value)
			if err != nil {
				return err
			}
			if version == e.version {
				d.Trackers = append(d.Trackers, t)
			}
		}
	}
	return nil
}

// entryRows reads the rows of entries that are not gone, those of one HASH at once.
func (s *dirStore) entryRows(ctx context.Context, entries []entry) ([]string, error) {
	values := make([]string, len(entries))
	index, wanted := make(map[string]int), [][]int(nil) // HASH to its place in qs, entries of each
	var qs []*query
	for i, e := range entries {
		if e.gone {
			continue
		}
		key := rowKey(e.kind, e.id)
		at, ok := index[key]
		if !ok {
			at = len(qs)
			index[key] = at
			qs, wanted = append(qs, dirQuery("hmget", key)), append(wanted, nil)
		}
		qs[at].args = append(qs[at].args, e.id)
		wanted[at] = append(wanted[at], i)
	}
	if err := s.ask(ctx, "directory_changes", qs); err != nil {
		return nil, err
	}
	for at, q := range qs {
		rows, _ := q.reply.([]any)
		if len(rows) != len(wanted[at]) {
			return nil, fmt.Errorf("%w: HMGET answered %T", queue.ErrCorrupt, q.reply)
		}
		for k, i := range wanted[at] {
			values[i], _ = rows[k].(string)
		}
	}
	return values, nil
}
