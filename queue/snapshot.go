package queue

import (
	"cmp"
	"iter"
	"math"
	"sync"

	"github.com/tidwall/btree"
)

// Snapshot is an immutable, indexed view of the directory; everything reached through it is
// read-only. Its trees are copied on write: one that was made of another shares nearly all of them
// with it.
type Snapshot struct {
	version  int64
	accounts *btree.Map[AccountID, *Account]
	keys     *btree.Map[string, keyHolder] // KeyHash
	logins   *btree.Map[string, loginHolder]
	trackers *btree.Map[TrackerID, *Tracker]
	devices  *btree.BTreeG[*Tracker] // by device id and protocol
	owned    *btree.BTreeG[*Tracker] // by account and id
	former   *btree.BTreeG[listed]   // under accounts that have kept conversations of them
	tails    *btree.BTreeG[listed]   // under the ends of their IMEIs, see tailOf

	upstreams int // trackers that have one of their own

	copying sync.Mutex // a tree that is copied takes note of it
}

// keyHolder is whose a key is.
type keyHolder struct {
	account *Account
	key     *Key
}

// loginHolder is whose a login is: a user's, or with nil the account's own.
type loginHolder struct {
	account *Account
	user    *User
}

// listed is a tracker in a list of several, which are ordered by id.
type listed struct {
	under   int64
	tracker *Tracker
}

func emptySnapshot() *Snapshot {
	tree := btree.Options{NoLocks: true}
	byList := func(a, b listed) bool {
		return a.under < b.under || a.under == b.under && a.tracker.ID < b.tracker.ID
	}
	return &Snapshot{
		accounts: new(btree.Map[AccountID, *Account]),
		keys:     new(btree.Map[string, keyHolder]),
		logins:   new(btree.Map[string, loginHolder]),
		trackers: new(btree.Map[TrackerID, *Tracker]),
		devices: btree.NewBTreeGOptions(func(a, b *Tracker) bool {
			c := cmp.Compare(a.DeviceID, b.DeviceID)
			return c < 0 || c == 0 && a.Protocol < b.Protocol
		}, tree),
		owned: btree.NewBTreeGOptions(func(a, b *Tracker) bool {
			return a.Account < b.Account || a.Account == b.Account && a.ID < b.ID
		}, tree),
		former: btree.NewBTreeGOptions(byList, tree),
		tails:  btree.NewBTreeGOptions(byList, tree),
	}
}

// NewSnapshot indexes accounts and trackers; the slices must not be changed afterwards.
func NewSnapshot(accounts []Account, trackers []Tracker) *Snapshot {
	s := emptySnapshot()
	for i := range accounts {
		s.putAccount(&accounts[i])
	}
	for i := range trackers {
		s.putTracker(&trackers[i])
	}
	return s
}

// With returns the snapshot after changes; it shares with the old one what did not change. Changes
// must not be used afterwards.
func (s *Snapshot) With(c DirectoryChanges) *Snapshot {
	changed := s.clone()
	changed.apply(c)
	changed.version = c.Version
	return changed
}

// clone returns a copy that may be changed until others see it.
func (s *Snapshot) clone() *Snapshot {
	s.copying.Lock()
	defer s.copying.Unlock()
	return &Snapshot{
		version: s.version, accounts: s.accounts.Copy(), keys: s.keys.Copy(),
		logins: s.logins.Copy(), trackers: s.trackers.Copy(), devices: s.devices.Copy(),
		owned: s.owned.Copy(), former: s.former.Copy(), tails: s.tails.Copy(),
		upstreams: s.upstreams,
	}
}

// Version is that of the newest change that the snapshot knows, 0 where that was not told.
func (s *Snapshot) Version() int64 { return s.version }

// Account finds an account by id.
func (s *Snapshot) Account(id AccountID) (*Account, bool) { return s.accounts.Get(id) }

// Key finds an API key, which may have ended, and the account that has it. The lookup is by hash,
// so its timing says nothing about the key.
func (s *Snapshot) Key(k KeyHash) (*Account, *Key, bool) {
	h, ok := s.keys.Get(string(k[:]))
	return h.account, h.key, ok
}

// Login finds an account by its own login, or by that of one of its users, who is nil otherwise. An
// empty login is nobody's.
func (s *Snapshot) Login(login string) (*Account, *User, bool) {
	h, ok := s.logins.Get(login)
	return h.account, h.user, ok
}

// Session finds whose a session is: an account, and one of its users unless it is the account's own
// login. Where that user is gone, or has another password, the session has ended.
func (s *Snapshot) Session(n *Session) (*Account, *User, bool) {
	a, ok := s.accounts.Get(n.Account)
	if !ok || n.User == 0 {
		return a, nil, ok
	}
	u, ok := a.User(n.User)
	if !ok || u.Stamp() != n.Stamp {
		return nil, nil, false
	}
	return a, u, true
}

// Tracker finds a tracker by id.
func (s *Snapshot) Tracker(id TrackerID) (*Tracker, bool) { return s.trackers.Get(id) }

// ExactDevice finds the tracker that has a protocol and a normalised device id.
func (s *Snapshot) ExactDevice(protocol, id string) (*Tracker, bool) {
	return s.devices.Get(&Tracker{Protocol: protocol, DeviceID: id})
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
	return func(yield func(*Tracker) bool) {
		s.owned.Ascend(&Tracker{Account: a, ID: math.MinInt64}, func(t *Tracker) bool {
			return t.Account == a && yield(t)
		})
	}
}

// FormerOf returns the trackers of which an account has kept conversations, ordered by id.
func (s *Snapshot) FormerOf(a AccountID) iter.Seq[*Tracker] {
	return func(yield func(*Tracker) bool) {
		s.former.Ascend(listed{int64(a), &Tracker{ID: math.MinInt64}}, func(l listed) bool {
			return l.under == int64(a) && yield(l.tracker)
		})
	}
}

// Kept are the keys of all conversations that accounts have kept of other accounts' trackers.
func (s *Snapshot) Kept() []TrackerID {
	var keys []TrackerID
	s.former.Scan(func(l listed) bool {
		keys = append(keys, l.tracker.FormerKeys(AccountID(l.under))...)
		return true
	})
	return keys
}

// Conversation finds the tracker that has a conversation, and the account that it belongs to;
// present says that it is the one that goes on.
func (s *Snapshot) Conversation(key TrackerID) (t *Tracker, a AccountID, present, ok bool) {
	id, _ := TrackerOf(key)
	if t, ok = s.trackers.Get(id); ok {
		a, present, ok = t.Holder(key)
	}
	return t, a, present, ok
}

// Len returns the number of accounts and trackers.
func (s *Snapshot) Len() (accounts, trackers int) {
	return s.accounts.Len(), s.trackers.Len()
}

// Upstreams is how many trackers have an upstream of their own, UpstreamNone included. While it is
// 0 all devices of a listener go to the same one.
func (s *Snapshot) Upstreams() int { return s.upstreams }

// All returns all accounts and trackers, ordered by id.
func (s *Snapshot) All() ([]*Account, []*Tracker) {
	return s.accounts.Values(), s.trackers.Values()
}

// apply copies single rows, so that the few that live long do not keep the whole list in memory.
func (s *Snapshot) apply(c DirectoryChanges) {
	for _, a := range c.Accounts {
		s.putAccount(&a)
	}
	for _, t := range c.Trackers {
		s.putTracker(&t)
	}
	for _, id := range c.GoneTrackers {
		s.removeTracker(id)
	}
	for _, id := range c.GoneAccounts {
		s.removeAccount(id)
	}
}

func (s *Snapshot) putAccount(a *Account) {
	s.removeAccount(a.ID)
	s.accounts.Set(a.ID, a)
	for login, u := range a.Logins {
		s.logins.Set(login, loginHolder{a, u})
	}
	for i := range a.Keys {
		k := &a.Keys[i]
		s.keys.Set(string(k.Hash[:]), keyHolder{a, k})
	}
}

// removeAccount leaves a login or key alone that has gone over to another account in the meantime.
func (s *Snapshot) removeAccount(id AccountID) {
	a, ok := s.accounts.Get(id)
	if !ok {
		return
	}
	s.accounts.Delete(id)
	for login := range a.Logins {
		if now, ok := s.logins.Get(login); ok && now.account.ID == id {
			s.logins.Delete(login)
		}
	}
	for i := range a.Keys {
		hash := string(a.Keys[i].Hash[:])
		if now, ok := s.keys.Get(hash); ok && now.account.ID == id {
			s.keys.Delete(hash)
		}
	}
}

func (s *Snapshot) putTracker(t *Tracker) {
	s.removeTracker(t.ID)
	s.trackers.Set(t.ID, t)
	s.devices.Set(t)
	s.owned.Set(t)
	for _, f := range t.former() {
		s.former.Set(listed{int64(f.Account), t})
	}
	if n, ok := tailOf(t); ok {
		s.tails.Set(listed{n, t})
	}
	if t.Upstream != "" {
		s.upstreams++
	}
}

// removeTracker leaves a device alone that has gone over to another tracker in the meantime.
func (s *Snapshot) removeTracker(id TrackerID) {
	t, ok := s.trackers.Delete(id)
	if !ok {
		return
	}
	if now, ok := s.devices.Get(t); ok && now.ID == id {
		s.devices.Delete(t)
	}
	s.owned.Delete(t)
	for _, f := range t.former() {
		s.former.Delete(listed{int64(f.Account), t})
	}
	if n, ok := tailOf(t); ok {
		s.tails.Delete(listed{n, t})
	}
	if t.Upstream != "" {
		s.upstreams--
	}
}
