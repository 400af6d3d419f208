package queue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// DirectoryChange is what an import does to a stored directory. Put replaces or adds, Remove
// removes; both are ordered by id.
type DirectoryChange struct {
	PutAccounts    []Account
	PutTrackers    []Tracker
	RemoveAccounts []AccountID
	RemoveTrackers []TrackerID
	Dropped        []TrackerID // keys of conversations that are removed with all they have
	Stats          ImportStats
}

// MergeDirectory works out what importing accounts and trackers over the stored ones changes; it is
// the same for every store. kept are trackers that an import removed before: one that comes back
// has what it had, see Succeed. Device ids are normalised. ErrConflict names both sides if the
// result would contradict itself: an id given twice, two accounts with one login or key, two
// trackers that log in alike, a tracker without its account.
func MergeDirectory(storedAccounts []Account, storedTrackers, kept []Tracker, accounts []Account,
	trackers []Tracker, prune bool,
) (DirectoryChange, error) {
	var c DirectoryChange
	newAccounts, err := byID(accounts, "account", func(a Account) AccountID { return a.ID })
	if err != nil {
		return c, err
	}
	given := make([]Tracker, len(trackers))
	for i, t := range trackers {
		t.DeviceID = NormalizeDeviceID(t.DeviceID)
		given[i] = t
	}
	newTrackers, err := byID(given, "tracker", func(t Tracker) TrackerID { return t.ID })
	if err != nil {
		return c, err
	}
	oldAccounts, err := byID(storedAccounts, "account", func(a Account) AccountID { return a.ID })
	if err != nil {
		return c, err
	}
	oldTrackers, err := byID(storedTrackers, "tracker", func(t Tracker) TrackerID { return t.ID })
	if err != nil {
		return c, err
	}
	c.PutAccounts, c.RemoveAccounts = overlay(oldAccounts, newAccounts, sameAccount, prune,
		&c.Stats)
	if err := c.succeed(oldTrackers, kept, newTrackers); err != nil {
		return DirectoryChange{}, err
	}
	c.PutTrackers, c.RemoveTrackers = overlay(oldTrackers, newTrackers, sameTracker, prune,
		&c.Stats)
	c.forgetFormer(oldTrackers, oldAccounts)
	if err := checkAccounts(oldAccounts); err != nil {
		return DirectoryChange{}, err
	}
	if err := checkTrackers(oldTrackers, oldAccounts); err != nil {
		return DirectoryChange{}, err
	}
	return c, nil
}

// succeed works out the conversations of the trackers that are given.
func (c *DirectoryChange) succeed(old map[TrackerID]Tracker, kept []Tracker,
	given map[TrackerID]Tracker,
) error {
	removed := make(map[TrackerID]*Tracker, len(kept))
	for i := range kept {
		removed[kept[i].ID] = &kept[i]
	}
	for _, id := range slices.Sorted(maps.Keys(given)) {
		t := given[id]
		before := removed[id]
		if was, ok := old[id]; ok {
			before = &was
		}
		dropped, err := t.Succeed(before)
		if err != nil {
			return fmt.Errorf("%w: tracker %d: %w", ErrConflict, id, err)
		}
		given[id] = t
		c.Dropped = append(c.Dropped, dropped...)
	}
	return nil
}

// forgetFormer drops what accounts have kept that the import removes.
func (c *DirectoryChange) forgetFormer(trackers map[TrackerID]Tracker,
	accounts map[AccountID]Account,
) {
	if len(c.RemoveAccounts) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(trackers)) {
		t := trackers[id]
		former := slices.DeleteFunc(slices.Clone(t.former()), func(f Former) bool {
			_, stays := accounts[f.Account]
			if !stays {
				c.Dropped = append(c.Dropped, conversationKey(id, f.Conversation))
			}
			return !stays
		})
		if len(former) == len(t.former()) {
			continue
		}
		t.setFormer(former)
		trackers[id] = t
		byTracker := func(t Tracker, id TrackerID) int { return cmp.Compare(t.ID, id) }
		i, put := slices.BinarySearchFunc(c.PutTrackers, id, byTracker)
		if put {
			c.PutTrackers[i] = t
			continue
		}
		c.PutTrackers = slices.Insert(c.PutTrackers, i, t)
		c.Stats.Unchanged--
		c.Stats.Updated++
	}
}

func byID[K ~int64, V any](vs []V, what string, id func(V) K) (map[K]V, error) {
	m := make(map[K]V, len(vs))
	for _, v := range vs {
		k := id(v)
		if _, ok := m[k]; ok {
			return nil, fmt.Errorf("%w: %s %d is given twice", ErrConflict, what, k)
		}
		m[k] = v
	}
	return m, nil
}

// overlay makes old what it is after the import and returns the differences.
func overlay[K ~int64, V any](old, given map[K]V, same func(a, b *V) bool, prune bool,
	stats *ImportStats,
) (put []V, remove []K) {
	for _, k := range slices.Sorted(maps.Keys(given)) {
		v := given[k]
		was, ok := old[k]
		switch {
		case !ok:
			stats.Added++
		case same(&was, &v):
			stats.Unchanged++
			continue
		default:
			stats.Updated++
		}
		old[k] = v
		put = append(put, v)
	}
	if prune {
		for _, k := range slices.Sorted(maps.Keys(old)) {
			if _, ok := given[k]; !ok {
				stats.Removed++
				delete(old, k)
				remove = append(remove, k)
			}
		}
	}
	return put, remove
}

func sameAccount(a, b *Account) bool {
	return a.Login == b.Login && a.Password == b.Password && a.Title == b.Title &&
		a.TimeZone == b.TimeZone && slices.Equal(a.Keys, b.Keys)
}

func sameTracker(a, b *Tracker) bool {
	return a.Account == b.Account && a.Label == b.Label && a.Protocol == b.Protocol &&
		a.DeviceID == b.DeviceID && a.Password == b.Password && a.Model == b.Model &&
		a.Blocked == b.Blocked && a.Chat == b.Chat && a.Employee == b.Employee &&
		slices.Equal(a.Features, b.Features) && maps.Equal(a.Settings, b.Settings) &&
		a.Conversation == b.Conversation && slices.Equal(a.former(), b.former()) &&
		sameRecord(a.EmployeeRecord, b.EmployeeRecord)
}

func sameRecord(a, b *EmployeeRecord) bool { return a == b || a != nil && b != nil && *a == *b }

func checkAccounts(accounts map[AccountID]Account) error {
	logins := make(map[string]AccountID, len(accounts))
	keys := make(map[KeyHash]AccountID, len(accounts))
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		a := accounts[id]
		if other, ok := logins[a.Login]; ok && a.Login != "" {
			return fmt.Errorf("%w: accounts %d and %d have the same login %q", ErrConflict, other,
				id, a.Login)
		}
		logins[a.Login] = id
		for _, k := range a.Keys {
			if other, ok := keys[k]; ok {
				return fmt.Errorf("%w: accounts %d and %d have a key in common", ErrConflict, other,
					id)
			}
			keys[k] = id
		}
	}
	return nil
}

func checkTrackers(trackers map[TrackerID]Tracker, accounts map[AccountID]Account) error {
	devices := make(map[deviceKey]TrackerID, len(trackers))
	for _, id := range slices.Sorted(maps.Keys(trackers)) {
		t := trackers[id]
		if _, ok := accounts[t.Account]; !ok {
			return fmt.Errorf("%w: tracker %d belongs to account %d, which does not exist",
				ErrConflict, id, t.Account)
		}
		k := deviceKey{t.Protocol, t.DeviceID}
		if other, ok := devices[k]; ok {
			return fmt.Errorf("%w: trackers %d and %d log in alike: %s device %q", ErrConflict,
				other, id, t.Protocol, t.DeviceID)
		}
		devices[k] = id
	}
	return nil
}

// SortDirectory orders a directory as DirectoryStore.LoadDirectory returns it.
func SortDirectory(accounts []Account, trackers []Tracker) {
	slices.SortFunc(accounts, func(a, b Account) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(trackers, func(a, b Tracker) int { return cmp.Compare(a.ID, b.ID) })
}
