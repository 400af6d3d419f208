package queue

import (
	"cmp"
	"iter"
)

type deviceKey struct{ protocol, id string }

// Snapshot is an immutable, indexed view of the directory; everything reached through it is
// read-only.
type Snapshot struct {
	version  int64
	accounts *table[AccountID, *Account]
	trackers *table[TrackerID, *Tracker]
	devices  *table[deviceKey, *Tracker]
	tails    *table[uint64, *tail]
	keys     *table[KeyHash, *Account]
	logins   *table[string, *Account]
	owned    *table[AccountID, *trackerList]
	former   *table[AccountID, *trackerList] // trackers of which an account has kept conversations
}

func emptySnapshot(accounts, trackers int) *Snapshot {
	return &Snapshot{
		accounts: newTable[AccountID, *Account](accounts),
		trackers: newTable[TrackerID, *Tracker](trackers),
		devices:  newTable[deviceKey, *Tracker](trackers),
		tails:    newTable[uint64, *tail](0),
		keys:     newTable[KeyHash, *Account](accounts),
		logins:   newTable[string, *Account](accounts),
		owned:    newTable[AccountID, *trackerList](accounts),
		former:   newTable[AccountID, *trackerList](0),
	}
}

// NewSnapshot indexes accounts and trackers; the slices must not be changed afterwards.
func NewSnapshot(accounts []Account, trackers []Tracker) *Snapshot {
	e := emptySnapshot(len(accounts), len(trackers)).edit()
	for i := range accounts {
		e.putAccount(&accounts[i])
	}
	for i := range trackers {
		e.putTracker(&trackers[i])
	}
	return e.done(0)
}

// With returns the snapshot after changes; it shares with the old one what did not change. Changes
// must not be used afterwards.
func (s *Snapshot) With(c DirectoryChanges) *Snapshot {
	e := s.edit()
	e.apply(c)
	return e.done(c.Version)
}

// Version is that of the newest change that the snapshot knows, 0 where that was not told.
func (s *Snapshot) Version() int64 { return s.version }

// Account finds an account by id.
func (s *Snapshot) Account(id AccountID) (*Account, bool) { return s.accounts.get(id) }

// AccountByKey finds the account of an API key. The lookup is by hash, so its timing says nothing
// about the key.
func (s *Snapshot) AccountByKey(k KeyHash) (*Account, bool) { return s.keys.get(k) }

// AccountByLogin finds an account by its login; an empty login is nobody's.
func (s *Snapshot) AccountByLogin(login string) (*Account, bool) { return s.logins.get(login) }

// Tracker finds a tracker by id.
func (s *Snapshot) Tracker(id TrackerID) (*Tracker, bool) { return s.trackers.get(id) }

// ExactDevice finds the tracker that has a protocol and a normalised device id.
func (s *Snapshot) ExactDevice(protocol, id string) (*Tracker, bool) {
	return s.devices.get(deviceKey{protocol, id})
}

// Device finds a tracker by the protocol and id that its device logs in with. Where nobody has the
// id, that of a terminal of JT/T 808 may be the last twelve digits of an IMEI, if only one
// tracker's ends so.
func (s *Snapshot) Device(protocol, id string) (*Tracker, bool) {
	id = NormalizeDeviceID(id)
	if t, ok := s.ExactDevice(protocol, id); ok {
		return t, true
	}
	return s.byIMEI(protocol, id)
}

// TrackersOf returns the trackers of an account, ordered by id.
func (s *Snapshot) TrackersOf(a AccountID) iter.Seq[*Tracker] {
	f, _ := s.owned.get(a)
	return f.all()
}

// FormerOf returns the trackers of which an account has kept conversations, ordered by id.
func (s *Snapshot) FormerOf(a AccountID) iter.Seq[*Tracker] {
	f, _ := s.former.get(a)
	return f.all()
}

// Kept are the keys of all conversations that accounts have kept of other accounts' trackers.
func (s *Snapshot) Kept() []TrackerID {
	var keys []TrackerID
	for _, piece := range s.former.pieces {
		for a, trackers := range piece {
			for t := range trackers.all() {
				keys = append(keys, t.FormerKeys(a)...)
			}
		}
	}
	return keys
}

// Conversation finds the tracker that has a conversation, and the account that it belongs to;
// present says that it is the one that goes on.
func (s *Snapshot) Conversation(key TrackerID) (t *Tracker, a AccountID, present, ok bool) {
	id, _ := TrackerOf(key)
	if t, ok = s.trackers.get(id); ok {
		a, present, ok = t.Holder(key)
	}
	return t, a, present, ok
}

// CountOf returns how many trackers an account has.
func (s *Snapshot) CountOf(a AccountID) int {
	if f, ok := s.owned.get(a); ok {
		return f.count
	}
	return 0
}

// Len returns the number of accounts and trackers.
func (s *Snapshot) Len() (accounts, trackers int) { return s.accounts.count, s.trackers.count }

// All returns all accounts and trackers, ordered by id.
func (s *Snapshot) All() ([]*Account, []*Tracker) {
	accounts := s.accounts.sorted(func(a, b *Account) int { return cmp.Compare(a.ID, b.ID) })
	return accounts, s.trackers.sorted(func(a, b *Tracker) int { return cmp.Compare(a.ID, b.ID) })
}

// snapshotEdit makes a changed copy of a snapshot.
type snapshotEdit struct {
	accounts tableEdit[AccountID, *Account]
	trackers tableEdit[TrackerID, *Tracker]
	devices  tableEdit[deviceKey, *Tracker]
	tails    tableEdit[uint64, *tail]
	keys     tableEdit[KeyHash, *Account]
	logins   tableEdit[string, *Account]
	owned    fleetsEdit
	former   fleetsEdit
}

func (s *Snapshot) edit() *snapshotEdit {
	return &snapshotEdit{
		accounts: s.accounts.edit(), trackers: s.trackers.edit(), devices: s.devices.edit(),
		tails: s.tails.edit(), keys: s.keys.edit(), logins: s.logins.edit(),
		owned: editFleets(s.owned), former: editFleets(s.former),
	}
}

func (e *snapshotEdit) done(version int64) *Snapshot {
	return &Snapshot{
		version: version, accounts: e.accounts.done(), trackers: e.trackers.done(),
		devices: e.devices.done(),
		tails:   e.tails.done(), keys: e.keys.done(), logins: e.logins.done(),
		owned: e.owned.done(), former: e.former.done(),
	}
}

// apply copies single rows, so that the few that live long do not keep the whole list in memory.
func (e *snapshotEdit) apply(c DirectoryChanges) {
	for _, a := range c.Accounts {
		e.putAccount(&a)
	}
	for _, t := range c.Trackers {
		e.putTracker(&t)
	}
	for _, id := range c.GoneTrackers {
		e.removeTracker(id)
	}
	for _, id := range c.GoneAccounts {
		e.removeAccount(id)
	}
}

func (e *snapshotEdit) putAccount(a *Account) {
	e.removeAccount(a.ID)
	e.accounts.put(a.ID, a)
	if a.Login != "" {
		e.logins.put(a.Login, a)
	}
	for _, k := range a.Keys {
		e.keys.put(k, a)
	}
}

// removeAccount leaves a login or key alone that has gone over to another account in the meantime.
func (e *snapshotEdit) removeAccount(id AccountID) {
	a, ok := e.accounts.get(id)
	if !ok {
		return
	}
	e.accounts.remove(id)
	if now, ok := e.logins.get(a.Login); ok && now.ID == id {
		e.logins.remove(a.Login)
	}
	for _, k := range a.Keys {
		if now, ok := e.keys.get(k); ok && now.ID == id {
			e.keys.remove(k)
		}
	}
}

func (e *snapshotEdit) putTracker(t *Tracker) {
	if old, ok := e.trackers.get(t.ID); ok {
		if old.Account != t.Account {
			e.owned.of(old.Account).remove(t.ID)
		}
		e.forget(old)
		if old.Protocol != t.Protocol || old.DeviceID != t.DeviceID {
			e.removeDevice(old)
		}
		e.removeTail(old)
	}
	e.trackers.put(t.ID, t)
	e.devices.put(deviceKey{t.Protocol, t.DeviceID}, t)
	e.putTail(t)
	e.owned.of(t.Account).put(t)
	for _, f := range t.former() {
		e.former.of(f.Account).put(t)
	}
}

// forget takes a tracker from the accounts that have kept conversations of it.
func (e *snapshotEdit) forget(t *Tracker) {
	for _, f := range t.former() {
		e.former.of(f.Account).remove(t.ID)
	}
}

func (e *snapshotEdit) removeTracker(id TrackerID) {
	if t, ok := e.trackers.get(id); ok {
		e.trackers.remove(id)
		e.removeDevice(t)
		e.removeTail(t)
		e.owned.of(t.Account).remove(id)
		e.forget(t)
	}
}

// removeDevice leaves a device alone that has gone over to another tracker in the meantime.
func (e *snapshotEdit) removeDevice(t *Tracker) {
	k := deviceKey{t.Protocol, t.DeviceID}
	if now, ok := e.devices.get(k); ok && now.ID == t.ID {
		e.devices.remove(k)
	}
}
