package directory

import (
	"iter"

	"trackchat/queue"
)

type deviceKey struct{ protocol, id string }

// view is a directory that is being changed: a snapshot, and over it what has changed, nil where
// something is not there any more.
type view struct {
	base     *queue.Snapshot
	accounts map[queue.AccountID]*queue.Account
	logins   map[string]*queue.Account
	keys     map[queue.KeyHash]*queue.Account
	trackers map[queue.TrackerID]*queue.Tracker
	devices  map[deviceKey]*queue.Tracker
}

func newView(s *queue.Snapshot) *view {
	return &view{
		base:     s,
		accounts: make(map[queue.AccountID]*queue.Account),
		logins:   make(map[string]*queue.Account),
		keys:     make(map[queue.KeyHash]*queue.Account),
		trackers: make(map[queue.TrackerID]*queue.Tracker),
		devices:  make(map[deviceKey]*queue.Tracker),
	}
}

func (v *view) account(id queue.AccountID) (*queue.Account, bool) {
	if a, ok := v.accounts[id]; ok {
		return a, a != nil
	}
	return v.base.Account(id)
}

func (v *view) byLogin(login string) (*queue.Account, bool) {
	if a, ok := v.logins[login]; ok {
		return a, a != nil
	}
	a, _, ok := v.base.Login(login)
	return a, ok
}

func (v *view) byKey(k queue.KeyHash) (*queue.Account, bool) {
	if a, ok := v.keys[k]; ok {
		return a, a != nil
	}
	a, _, ok := v.base.Key(k)
	return a, ok
}

func (v *view) tracker(id queue.TrackerID) (*queue.Tracker, bool) {
	if t, ok := v.trackers[id]; ok {
		return t, t != nil
	}
	return v.base.Tracker(id)
}

func (v *view) device(k deviceKey) (*queue.Tracker, bool) {
	if t, ok := v.devices[k]; ok {
		return t, t != nil
	}
	return v.base.ExactDevice(k.protocol, k.id)
}

// setAccount puts an account, or removes it where a is nil. What it had must not have gone over to
// another one before.
func (v *view) setAccount(id queue.AccountID, a *queue.Account) {
	if old, ok := v.account(id); ok {
		for login := range old.Logins {
			v.logins[login] = nil
		}
		for i := range old.Keys {
			v.keys[old.Keys[i].Hash] = nil
		}
	}
	v.accounts[id] = a
	if a == nil {
		return
	}
	for login := range a.Logins {
		v.logins[login] = a
	}
	for i := range a.Keys {
		v.keys[a.Keys[i].Hash] = a
	}
}

// setTracker puts a tracker, or removes it where t is nil; the same holds for its device.
func (v *view) setTracker(id queue.TrackerID, t *queue.Tracker) {
	if old, ok := v.tracker(id); ok {
		v.devices[deviceKey{old.Protocol, old.DeviceID}] = nil
	}
	v.trackers[id] = t
	if t != nil {
		v.devices[deviceKey{t.Protocol, t.DeviceID}] = t
	}
}

// first finds the first tracker of those that the snapshot has in a list and that have not changed,
// and of the changed ones that belong there now; nil without one.
func (v *view) first(list iter.Seq[*queue.Tracker], now func(*queue.Tracker) bool) *queue.Tracker {
	var first *queue.Tracker
	for t := range list {
		if _, changed := v.trackers[t.ID]; !changed {
			first = t
			break
		}
	}
	for _, t := range v.trackers {
		if t != nil && now(t) && (first == nil || t.ID < first.ID) {
			first = t
		}
	}
	return first
}
