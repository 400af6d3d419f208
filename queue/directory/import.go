package directory

import (
	"cmp"
	"fmt"
	"slices"

	"trackchat/queue"
)

// merge works out an import.
type merge struct {
	*view // what is stored, and then what becomes of it
	kept  Removed
	stats queue.ImportStats

	putAccounts, goneAccounts []*queue.Account // ordered by id
	putTrackers, goneTrackers []*queue.Tracker
	dropped                   []queue.TrackerID
}

// Import works out what importing accounts and trackers changes, see queue.DirectoryStore. kept are
// what imports have removed of the trackers that come. Its errors are queue.ErrConflict and name
// both sides.
func Import(s *queue.Snapshot, kept Removed, accounts []queue.Account, trackers []queue.Tracker,
	prune bool,
) (*Change, queue.ImportStats, error) {
	m := &merge{view: newView(s), kept: kept}
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
		storedAccounts, storedTrackers := m.base.All()
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
	for _, g := range given {
		a := new(*g) // what is given is not changed
		old, found := m.base.Account(a.ID)
		a.KeepPeople(old)
		if found && a.Keys == nil {
			a.Keys = old.Keys
		}
		if m.count(found, found && queue.SameAccount(old, a)) {
			m.putAccounts = append(m.putAccounts, a)
		}
	}
}

// compareTrackers also works out the conversations of the trackers.
func (m *merge) compareTrackers(given []*queue.Tracker) error {
	for _, g := range given {
		t := *g
		t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
		old, found := m.base.Tracker(t.ID)
		before := old
		if !found {
			before = m.kept[t.ID]
		}
		dropped, err := t.Succeed(before)
		if err != nil {
			return fmt.Errorf("%w: tracker %d: %w", queue.ErrConflict, t.ID, err)
		}
		t.KeepSorting(before)
		m.dropped = append(m.dropped, dropped...)
		if m.count(found, found && queue.SameTracker(old, &t)) {
			put := t // which is not held by reference where it is as it was
			m.putTrackers = append(m.putTrackers, &put)
		}
	}
	return nil
}

// clear removes everything that goes or will be there anew: logins, keys and devices may have
// changed places.
func (m *merge) clear() {
	for _, list := range [][]*queue.Account{m.goneAccounts, m.putAccounts} {
		for _, a := range list {
			m.setAccount(a.ID, nil)
		}
	}
	for _, list := range [][]*queue.Tracker{m.goneTrackers, m.putTrackers} {
		for _, t := range list {
			m.setTracker(t.ID, nil)
		}
	}
}

func (m *merge) placeAccounts() error {
	for _, a := range m.putAccounts {
		if err := m.conflict(a); err != nil {
			return err
		}
		m.setAccount(a.ID, a)
	}
	return nil
}

// conflict names both accounts.
func (m *merge) conflict(a *queue.Account) error {
	for login := range a.Logins {
		if other, ok := m.byLogin(login); ok {
			return fmt.Errorf("%w: accounts %d and %d have the same login %q", queue.ErrConflict,
				min(other.ID, a.ID), max(other.ID, a.ID), login)
		}
	}
	for i := range a.Keys {
		if other, ok := m.byKey(a.Keys[i].Hash); ok {
			return fmt.Errorf("%w: accounts %d and %d have a key in common", queue.ErrConflict,
				min(other.ID, a.ID), max(other.ID, a.ID))
		}
	}
	if err := a.Conflict(m.byLogin, m.byKey); err != nil { // with itself
		return fmt.Errorf("account %d: %w", a.ID, err)
	}
	return nil
}

// owned makes sure that each tracker has an account; what is not given has kept its own.
func (m *merge) owned(given []*queue.Tracker) error {
	for _, t := range given {
		if _, ok := m.account(t.Account); !ok {
			return fmt.Errorf("%w: tracker %d belongs to account %d, which does not exist",
				queue.ErrConflict, t.ID, t.Account)
		}
	}
	return nil
}

func (m *merge) placeTrackers() error {
	for _, t := range m.putTrackers {
		if owner, ok := m.account(t.Account); ok && t.CheckGroup(owner) != nil {
			t.LeaveGroup() // a manager has removed it: nothing that the file's author could know
		}
		if other, ok := m.device(deviceKey{t.Protocol, t.DeviceID}); ok {
			return fmt.Errorf("%w: trackers %d and %d log in alike: %s device %q",
				queue.ErrConflict, min(other.ID, t.ID), max(other.ID, t.ID), t.Protocol, t.DeviceID)
		}
		m.setTracker(t.ID, t)
	}
	return nil
}

// forgetFormer drops what accounts have kept that the import removes.
func (m *merge) forgetFormer() {
	gone := func(id queue.AccountID) bool {
		_, stays := m.account(id)
		return !stays
	}
	if len(m.goneAccounts) == 0 {
		return
	}
	for _, t := range m.putTrackers {
		m.dropped = append(m.dropped, t.Forget(gone)...)
	}
	for _, a := range m.goneAccounts {
		for old := range m.base.FormerOf(a.ID) {
			if _, changed := m.trackers[old.ID]; changed {
				continue
			}
			t := *old
			m.dropped = append(m.dropped, t.Forget(gone)...)
			m.setTracker(t.ID, &t)
			m.putTrackers = append(m.putTrackers, &t)
			m.stats.Unchanged--
			m.stats.Updated++
		}
	}
	slices.SortFunc(m.putTrackers, func(a, b *queue.Tracker) int { return cmp.Compare(a.ID, b.ID) })
}

// change has the removals first, so that a reader of the history does not meet a device twice.
func (m *merge) change() *Change {
	c := &Change{
		Version: m.base.Version(), Dropped: m.dropped,
		Grows: len(m.putAccounts)+len(m.putTrackers) > 0,
	}
	for _, t := range m.goneTrackers {
		c.tracker(Row[queue.TrackerID, queue.Tracker]{ID: t.ID, Was: t})
		c.Kept = append(c.Kept, t.ID)
	}
	for _, a := range m.goneAccounts {
		c.account(Row[queue.AccountID, queue.Account]{ID: a.ID, Was: a})
	}
	for _, a := range m.putAccounts {
		was, _ := m.base.Account(a.ID)
		c.account(Row[queue.AccountID, queue.Account]{ID: a.ID, Was: was, Is: a})
	}
	for _, t := range m.putTrackers {
		was, _ := m.base.Tracker(t.ID)
		c.tracker(Row[queue.TrackerID, queue.Tracker]{ID: t.ID, Was: was, Is: t})
		if m.kept[t.ID] != nil && was == nil {
			c.Returned = append(c.Returned, t.ID)
		}
	}
	return c
}
