package directory

import (
	"cmp"
	"fmt"
	"slices"

	"trackchat/queue"
)

// merge works out an import.
type merge struct {
	old   *queue.Snapshot
	draft *queue.Draft // old, and then what becomes of it
	kept  Removed
	stats queue.ImportStats

	accounts, goneAccounts []*queue.Account // that are put or removed, ordered by id
	trackers, goneTrackers []*queue.Tracker
	dropped                []queue.TrackerID
}

// Import works out what importing accounts and trackers changes, see queue.DirectoryStore. kept are
// what imports have removed of the trackers that come. Its errors are queue.ErrConflict and name
// both sides.
func Import(s *queue.Snapshot, kept Removed, accounts []queue.Account, trackers []queue.Tracker,
	prune bool,
) (*Change, queue.ImportStats, error) {
	m := &merge{old: s, draft: s.Edit(), kept: kept}
	err := m.work(accounts, trackers, prune)
	if err != nil {
		return nil, queue.ImportStats{}, err
	}
	return m.change(), m.stats, nil
}

func accountID(a *queue.Account) queue.AccountID { return a.ID }

func trackerID(t *queue.Tracker) queue.TrackerID { return t.ID }

func (m *merge) work(accounts []queue.Account, trackers []queue.Tracker, prune bool) error {
	givenAccounts, err := inOrder(accounts, "account", accountID)
	if err != nil {
		return err
	}
	givenTrackers, err := inOrder(trackers, "tracker", trackerID)
	if err != nil {
		return err
	}
	if prune {
		storedAccounts, storedTrackers := m.old.All()
		m.goneAccounts = missing(storedAccounts, givenAccounts, accountID)
		m.goneTrackers = missing(storedTrackers, givenTrackers, trackerID)
		m.stats.Removed = len(m.goneAccounts) + len(m.goneTrackers)
	}
	m.compareAccounts(givenAccounts)
	if err := m.compareTrackers(givenTrackers); err != nil {
		return err
	}
	m.clear()
	if err := m.placeAccounts(); err != nil {
		return err
	}
	if err := m.owned(givenTrackers); err != nil {
		return err
	}
	if err := m.placeTrackers(); err != nil {
		return err
	}
	m.forgetFormer()
	return nil
}

// inOrder orders rows by id.
func inOrder[K ~int64, V any](rows []V, what string, id func(*V) K) ([]*V, error) {
	list := make([]*V, len(rows))
	for i := range rows {
		list[i] = &rows[i]
	}
	slices.SortFunc(list, func(a, b *V) int { return cmp.Compare(id(a), id(b)) })
	for i := 1; i < len(list); i++ {
		if id(list[i]) == id(list[i-1]) {
			return nil, fmt.Errorf("%w: %s %d is given twice", queue.ErrConflict, what, id(list[i]))
		}
	}
	return list, nil
}

// missing are the stored rows that are not given; both are ordered by id.
func missing[K ~int64, V any](stored, given []*V, id func(*V) K) (list []*V) {
	for _, v := range stored {
		for len(given) > 0 && id(given[0]) < id(v) {
			given = given[1:]
		}
		if len(given) == 0 || id(given[0]) != id(v) {
			list = append(list, v)
		}
	}
	return list
}

// count notes what becomes of a row and reports whether it is stored.
func (m *merge) count(found, same bool) bool {
	switch {
	case !found:
		m.stats.Added++
	case same:
		m.stats.Unchanged++
		return false
	default:
		m.stats.Updated++
	}
	return true
}

func (m *merge) compareAccounts(given []*queue.Account) {
	for _, a := range given {
		old, found := m.old.Account(a.ID)
		if m.count(found, found && queue.SameAccount(old, a)) {
			m.accounts = append(m.accounts, a)
		}
	}
}

// compareTrackers also works out the conversations of the trackers.
func (m *merge) compareTrackers(given []*queue.Tracker) error {
	for _, g := range given {
		t := *g
		t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
		old, found := m.old.Tracker(t.ID)
		before := old
		if !found {
			before = m.kept[t.ID]
		}
		dropped, err := t.Succeed(before)
		if err != nil {
			return fmt.Errorf("%w: tracker %d: %w", queue.ErrConflict, t.ID, err)
		}
		m.dropped = append(m.dropped, dropped...)
		if m.count(found, found && queue.SameTracker(old, &t)) {
			put := t // which is not held by reference where it is as it was
			m.trackers = append(m.trackers, &put)
		}
	}
	return nil
}

// clear removes everything that goes or will be there anew: logins, keys and devices may have
// changed places.
func (m *merge) clear() {
	for _, list := range [][]*queue.Account{m.goneAccounts, m.accounts} {
		for _, a := range list {
			m.draft.RemoveAccount(a.ID)
		}
	}
	for _, list := range [][]*queue.Tracker{m.goneTrackers, m.trackers} {
		for _, t := range list {
			m.draft.RemoveTracker(t.ID)
		}
	}
}

func (m *merge) placeAccounts() error {
	for _, a := range m.accounts {
		if other, ok := m.draft.AccountByLogin(a.Login); ok {
			return fmt.Errorf("%w: accounts %d and %d have the same login %q", queue.ErrConflict,
				min(other.ID, a.ID), max(other.ID, a.ID), a.Login)
		}
		for i, k := range a.Keys {
			other, ok := m.draft.AccountByKey(k)
			if slices.Contains(a.Keys[:i], k) {
				other, ok = a, true
			}
			if ok {
				return fmt.Errorf("%w: accounts %d and %d have a key in common", queue.ErrConflict,
					min(other.ID, a.ID), max(other.ID, a.ID))
			}
		}
		m.draft.PutAccount(a)
	}
	return nil
}

// owned makes sure that each tracker has an account; what is not given has kept its own.
func (m *merge) owned(given []*queue.Tracker) error {
	for _, t := range given {
		if _, ok := m.draft.Account(t.Account); !ok {
			return fmt.Errorf("%w: tracker %d belongs to account %d, which does not exist",
				queue.ErrConflict, t.ID, t.Account)
		}
	}
	return nil
}

func (m *merge) placeTrackers() error {
	for _, t := range m.trackers {
		if other, ok := m.draft.Device(t.Protocol, t.DeviceID); ok {
			return fmt.Errorf("%w: trackers %d and %d log in alike: %s device %q",
				queue.ErrConflict, min(other.ID, t.ID), max(other.ID, t.ID), t.Protocol, t.DeviceID)
		}
		m.draft.PutTracker(t)
	}
	return nil
}

// forgetFormer drops what accounts have kept that the import removes.
func (m *merge) forgetFormer() {
	gone := make(map[queue.AccountID]bool, len(m.goneAccounts))
	holding := make(map[queue.TrackerID]*queue.Tracker)
	for _, a := range m.goneAccounts {
		gone[a.ID] = true
		for t := range m.draft.FormerOf(a.ID) {
			holding[t.ID] = t
		}
	}
	if len(holding) == 0 {
		return
	}
	for i, t := range m.trackers { // which are not shared with anything
		if holding[t.ID] != nil {
			m.dropped = append(m.dropped, m.trackers[i].Forget(func(a queue.AccountID) bool {
				return gone[a]
			})...)
			delete(holding, t.ID)
		}
	}
	for _, old := range holding {
		t := *old
		m.dropped = append(m.dropped, t.Forget(func(a queue.AccountID) bool { return gone[a] })...)
		m.trackers = append(m.trackers, &t)
		m.stats.Unchanged--
		m.stats.Updated++
	}
	slices.SortFunc(m.trackers, func(a, b *queue.Tracker) int { return cmp.Compare(a.ID, b.ID) })
}

// change has the removals first, so that a reader of the history does not meet a device twice.
func (m *merge) change() *Change {
	c := &Change{
		Version: m.old.Version(), Dropped: m.dropped,
		Grows: len(m.accounts)+len(m.trackers) > 0,
	}
	for _, t := range m.goneTrackers {
		c.tracker(Row[queue.TrackerID, queue.Tracker]{ID: t.ID, Was: t})
		c.Kept = append(c.Kept, t.ID)
	}
	for _, a := range m.goneAccounts {
		c.account(Row[queue.AccountID, queue.Account]{ID: a.ID, Was: a})
	}
	for _, a := range m.accounts {
		was, _ := m.old.Account(a.ID)
		c.account(Row[queue.AccountID, queue.Account]{ID: a.ID, Was: was, Is: a})
	}
	for _, t := range m.trackers {
		was, _ := m.old.Tracker(t.ID)
		c.tracker(Row[queue.TrackerID, queue.Tracker]{ID: t.ID, Was: was, Is: t})
		if m.kept[t.ID] != nil && was == nil {
			c.Returned = append(c.Returned, t.ID)
		}
	}
	return c
}
