package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"trackchat/queue"
)

// maxPage bounds what one call of Accounts or Trackers returns.
const maxPage = 10_000

// image is the whole directory in one version.
type image struct {
	version  int64
	accounts map[queue.AccountID]queue.Account
	trackers map[queue.TrackerID]queue.Tracker
}

func newImage() *image {
	return &image{
		accounts: make(map[queue.AccountID]queue.Account),
		trackers: make(map[queue.TrackerID]queue.Tracker),
	}
}

// refresh brings the image to a version that was the current one during the call.
func (s *Store) refresh(ctx context.Context, m *image) error {
	for range dirTries {
		for more := true; more; {
			d, err := s.DirectoryChanges(ctx, m.version, dirPage)
			if errors.Is(err, queue.ErrTooOld) && m.version != 0 {
				*m = *newImage()
				continue
			}
			if err != nil {
				return err
			}
			m.apply(&d)
			more = d.More
		}
		// A row that changed after that version, while it was read, was left out.
		if h, err := s.readHead(ctx); err != nil || h.version == m.version {
			return err
		}
	}
	return fmt.Errorf("%w: %w", queue.ErrUnavailable, errDirectoryBusy)
}

func (m *image) apply(d *queue.DirectoryChanges) {
	for _, a := range d.Accounts {
		m.accounts[a.ID] = a
	}
	for i := range d.Trackers {
		m.trackers[d.Trackers[i].ID] = d.Trackers[i]
	}
	for _, id := range d.GoneAccounts {
		delete(m.accounts, id)
	}
	for _, id := range d.GoneTrackers {
		delete(m.trackers, id)
	}
	m.version = d.Version
}

// lists are the image's rows, ordered by id.
func (m *image) lists() ([]queue.Account, []queue.Tracker) {
	accounts, trackers := slices.Collect(maps.Values(m.accounts)),
		slices.Collect(maps.Values(m.trackers))
	queue.SortDirectory(accounts, trackers)
	return accounts, trackers
}

func (s *Store) LoadDirectory(ctx context.Context) ([]queue.Account, []queue.Tracker, error) {
	m := newImage()
	if err := s.refresh(ctx, m); err != nil {
		return nil, nil, err
	}
	accounts, trackers := m.lists()
	return accounts, trackers, nil
}

func (s *Store) ImportDirectory(ctx context.Context, accounts []queue.Account,
	trackers []queue.Tracker, prune bool,
) (queue.ImportStats, error) {
	if m := s.cluster.serving(dirQuery().slot); m != nil && m.full.Load() {
		return queue.ImportStats{}, m.errFull()
	}
	m := newImage()
	if err := s.refresh(ctx, m); err != nil { // most of it, while edits go on
		return queue.ImportStats{}, err
	}
	if err := s.lockDirectory(ctx); err != nil {
		return queue.ImportStats{}, err
	}
	defer s.unlockDirectory()
	for range dirTries {
		if err := s.refresh(ctx, m); err != nil {
			return queue.ImportStats{}, err
		}
		stored, devices := m.lists()
		kept, err := s.keptTrackers(ctx)
		if err != nil {
			return queue.ImportStats{}, err
		}
		merged, err := queue.MergeDirectory(stored, devices, kept, accounts, trackers, prune)
		if err != nil {
			return queue.ImportStats{}, err
		}
		c := m.change(&merged)
		for i := range kept {
			c.kept[kept[i].ID] = &kept[i]
		}
		if c.version == m.version {
			s.tryDrops(ctx) // it may be the repetition of one that did not get to the end
			return merged.Stats, nil
		}
		switch done, err := s.commitImport(ctx, m.version, c, merged.PutTrackers); {
		case err != nil:
			return queue.ImportStats{}, err
		case done:
			return merged.Stats, nil
		}
		if err := dirWait(ctx); err != nil {
			return queue.ImportStats{}, err
		}
	}
	return queue.ImportStats{}, fmt.Errorf("%w: %w", queue.ErrUnavailable, errDirectoryBusy)
}

// commitImport makes what an import changes; false if the directory has another version by now.
func (s *Store) commitImport(ctx context.Context, version int64, c *change,
	put []queue.Tracker,
) (bool, error) {
	keys := make([]queue.TrackerID, len(put))
	for i := range put {
		keys[i] = put[i].Key()
	}
	if err := s.finishDrops(ctx, keys); err != nil {
		return false, err
	}
	p, err := c.plan()
	if err != nil {
		return false, err
	}
	done, err := s.commit(ctx, version, c.version, p)
	if err != nil || !done {
		return false, err
	}
	return true, s.dropCommitted(ctx, c.dropped)
}

// change is what an import makes of the image. Removals come first in the history, so that a reader
// does not meet a device twice.
func (m *image) change(d *queue.DirectoryChange) *change {
	c := newChange(m.version)
	account := func(id queue.AccountID, is *queue.Account) {
		r := &rowChange[queue.Account]{}
		if was, ok := m.accounts[id]; ok {
			r.was, r.is = &was, &was
		}
		c.accounts[id] = r
		c.setAccount(id, is)
	}
	tracker := func(id queue.TrackerID, is *queue.Tracker) {
		r := &rowChange[queue.Tracker]{}
		if was, ok := m.trackers[id]; ok {
			r.was, r.is = &was, &was
		}
		c.trackers[id] = r
		c.setTracker(id, is)
	}
	for _, id := range d.RemoveTrackers {
		tracker(id, nil)
	}
	for _, id := range d.RemoveAccounts {
		account(id, nil)
	}
	for i := range d.PutAccounts {
		account(d.PutAccounts[i].ID, &d.PutAccounts[i])
	}
	for i := range d.PutTrackers {
		tracker(d.PutTrackers[i].ID, &d.PutTrackers[i])
	}
	c.drop(d.Dropped)
	return c
}

// rowKind is how rows of accounts or of trackers are read.
type rowKind[V any] struct {
	key    string // dirAccounts or dirTrackers
	decode func(value string) (V, int64, error)
	id     func(*V) int64
}

func (s *Store) Accounts(ctx context.Context, after queue.AccountID, limit int) ([]queue.Account,
	error,
) {
	return listRows(ctx, s, rowKind[queue.Account]{
		dirAccounts, decodeAccount,
		func(a *queue.Account) int64 { return int64(a.ID) },
	}, int64(after), limit)
}

func (s *Store) Trackers(ctx context.Context, after queue.TrackerID, limit int) ([]queue.Tracker,
	error,
) {
	return listRows(ctx, s, trackerRows(dirTrackers), int64(after), limit)
}

func trackerRows(key string) rowKind[queue.Tracker] {
	return rowKind[queue.Tracker]{
		key, decodeTracker,
		func(t *queue.Tracker) int64 { return int64(t.ID) },
	}
}

// keptTrackers are those that imports have removed.
func (s *Store) keptTrackers(ctx context.Context) ([]queue.Tracker, error) {
	var kept []queue.Tracker
	for after := int64(0); ; {
		page, err := listRows(ctx, s, trackerRows(dirKept), after, maxPage)
		if kept = append(kept, page...); err != nil || len(page) < maxPage {
			return kept, err
		}
		after = int64(page[len(page)-1].ID)
	}
}

// pageBuckets is how many HASHes of rows are read at once for a page.
const pageBuckets = 16

// listRows reads rows in the order of their ids, some buckets at a time.
func listRows[V any](ctx context.Context, s *Store, k rowKind[V], after int64, limit int) ([]V,
	error,
) {
	if _, err := s.settledHead(ctx); err != nil {
		return nil, err
	}
	limit = min(limit, maxPage)
	var list []V
	for bucket := bucketOf(after); len(list) < limit; {
		q := dirQuery("zrangebyscore", k.key, bucket, "+inf", "limit", 0, pageBuckets)
		if err := s.ask(ctx, "directory", []*query{q}); err != nil {
			return nil, err
		}
		members, _ := q.reply.([]any)
		if len(members) == 0 {
			break
		}
		buckets := make([]int64, len(members))
		for i, m := range members {
			var err error
			if buckets[i], err = strconv.ParseInt(fmt.Sprint(m), 10, 64); err != nil {
				return nil, fmt.Errorf("%w: bucket %q of the directory", queue.ErrCorrupt, m)
			}
		}
		rows, err := s.bucketRows(ctx, k.key, buckets)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			v, _, err := k.decode(row)
			if err != nil {
				return nil, err
			}
			if k.id(&v) > after {
				list = append(list, v)
			}
		}
		bucket = buckets[len(buckets)-1] + 1
	}
	slices.SortFunc(list, func(a, b V) int { return cmp.Compare(k.id(&a), k.id(&b)) })
	return list[:max(0, min(limit, len(list)))], nil
}

// bucketRows reads all rows of some buckets.
func (s *Store) bucketRows(ctx context.Context, kind string, buckets []int64) ([]string, error) {
	qs := make([]*query, len(buckets))
	for i, b := range buckets {
		qs[i] = dirQuery("hvals", bucketKey(kind, b))
	}
	if err := s.ask(ctx, "directory", qs); err != nil {
		return nil, err
	}
	var rows []string
	for _, q := range qs {
		values, _ := q.reply.([]any)
		for _, v := range values {
			row, _ := v.(string)
			rows = append(rows, row)
		}
	}
	return rows, nil
}
