package queuetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"trackchat/queue"
)

// modelEntry names an account (tracker is 0) or a tracker.
type modelEntry struct {
	account queue.AccountID
	tracker queue.TrackerID
}

func (m *Model) note(a queue.AccountID, t queue.TrackerID) {
	m.version++
	m.history[modelEntry{a, t}] = m.version
}

func (m *Model) findAccount(id queue.AccountID) *queue.Account {
	if i := slices.IndexFunc(m.accounts, func(a queue.Account) bool { return a.ID == id }); i >= 0 {
		return &m.accounts[i]
	}
	return nil
}

func (m *Model) findTracker(id queue.TrackerID) *queue.Tracker {
	if i := slices.IndexFunc(m.devices, func(t queue.Tracker) bool { return t.ID == id }); i >= 0 {
		return &m.devices[i]
	}
	return nil
}

func (m *Model) putAccount(a queue.Account) {
	if old := m.findAccount(a.ID); old != nil && old.Password != a.Password {
		m.endSessions(a.ID)
	}
	i, found := slices.BinarySearchFunc(m.accounts, a.ID, func(b queue.Account,
		id queue.AccountID,
	) int {
		return cmp.Compare(b.ID, id)
	})
	if found {
		m.accounts[i] = a
	} else {
		m.accounts = slices.Insert(m.accounts, i, a)
	}
	m.note(a.ID, 0)
}

func (m *Model) putTracker(t queue.Tracker) {
	i, found := slices.BinarySearchFunc(m.devices, t.ID, func(b queue.Tracker,
		id queue.TrackerID,
	) int {
		return cmp.Compare(b.ID, id)
	})
	if found {
		m.devices[i] = t
	} else {
		m.devices = slices.Insert(m.devices, i, t)
	}
	delete(m.kept, t.ID)
	m.note(0, t.ID)
}

func (m *Model) removeAccount(id queue.AccountID) {
	m.accounts = slices.DeleteFunc(m.accounts, func(a queue.Account) bool { return a.ID == id })
	m.sessions = slices.DeleteFunc(m.sessions,
		func(s queue.Session) bool { return s.Account == id })
	delete(m.broadcasts, id)
	m.note(id, 0)
}

func (m *Model) removeTracker(id queue.TrackerID) {
	m.devices = slices.DeleteFunc(m.devices, func(t queue.Tracker) bool { return t.ID == id })
	m.note(0, id)
}

func (m *Model) endSessions(id queue.AccountID) {
	m.sessions = slices.DeleteFunc(m.sessions,
		func(s queue.Session) bool { return s.Account == id && s.User == 0 })
}

func (m *Model) PutSession(ctx context.Context, s queue.Session) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.findAccount(s.Account) == nil {
		return queue.ErrNotFound
	}
	m.sessions = append(slices.DeleteFunc(m.sessions,
		func(o queue.Session) bool { return o.Hash == s.Hash }), s)
	slices.SortFunc(m.sessions, func(a, b queue.Session) int {
		return cmp.Or(cmp.Compare(b.CreatedMs, a.CreatedMs), bytes.Compare(b.Hash[:], a.Hash[:]))
	})
	n := 0
	m.sessions = slices.DeleteFunc(m.sessions, func(o queue.Session) bool {
		same := o.Account == s.Account && o.User == s.User
		if same {
			n++
		}
		return same && n > queue.MaxSessions
	})
	return nil
}

// session returns a session that has not expired.
func (m *Model) session(h queue.KeyHash) *queue.Session {
	now := m.now().UnixMilli()
	if i := slices.IndexFunc(m.sessions, func(s queue.Session) bool {
		return s.Hash == h &&
			s.ExpiresMs > now
	}); i >= 0 {
		return &m.sessions[i]
	}
	return nil
}

func (m *Model) RenewSession(ctx context.Context, h queue.KeyHash, expiresMs int64) (bool, error) {
	if err := m.enter(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	s := m.session(h)
	if s != nil {
		s.ExpiresMs = expiresMs
	}
	return s != nil, nil
}

func (m *Model) EndSession(ctx context.Context, h queue.KeyHash) (bool, error) {
	if err := m.enter(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	if m.session(h) == nil {
		return false, nil
	}
	m.sessions = slices.DeleteFunc(m.sessions, func(s queue.Session) bool { return s.Hash == h })
	return true, nil
}

func (m *Model) Sessions(ctx context.Context, hs []queue.KeyHash) ([]queue.Session, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.Session, len(hs))
	for i, h := range hs {
		if s := m.session(h); s != nil {
			res[i] = *s
		}
	}
	return res, nil
}

func (m *Model) Accounts(ctx context.Context, after queue.AccountID, limit int) ([]queue.Account,
	error,
) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	page := slices.DeleteFunc(slices.Clone(m.accounts),
		func(a queue.Account) bool { return a.ID <= after })
	return page[:min(limit, len(page))], nil
}

func (m *Model) Trackers(ctx context.Context, after queue.TrackerID, limit int) ([]queue.Tracker,
	error,
) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	page := slices.DeleteFunc(slices.Clone(m.devices),
		func(t queue.Tracker) bool { return t.ID <= after })
	return page[:min(limit, len(page))], nil
}

// DirectoryChanges: The model remembers everything.
func (m *Model) DirectoryChanges(ctx context.Context, since int64,
	limit int,
) (queue.DirectoryChanges, error) {
	if err := m.enter(ctx); err != nil {
		return queue.DirectoryChanges{}, err
	}
	defer m.mu.Unlock()
	if since > m.version {
		return queue.DirectoryChanges{}, fmt.Errorf("%w: of the directory from version %d",
			queue.ErrTooOld, since)
	}
	newer := slices.DeleteFunc(slices.Collect(maps.Keys(m.history)),
		func(e modelEntry) bool { return m.history[e] <= since })
	slices.SortFunc(newer, func(a, b modelEntry) int {
		return cmp.Compare(m.history[a],
			m.history[b])
	})
	d := queue.DirectoryChanges{Version: m.version}
	if d.More = len(newer) > max(limit, 1); d.More {
		newer = newer[:max(limit, 1)]
		d.Version = m.history[newer[len(newer)-1]]
	}
	for _, e := range newer {
		m.tell(&d, e, since == 0)
	}
	return d, nil
}

func (m *Model) tell(d *queue.DirectoryChanges, e modelEntry, all bool) {
	account, tracker := m.findAccount(e.account), m.findTracker(e.tracker)
	switch {
	case e.tracker != 0 && tracker != nil:
		d.Trackers = append(d.Trackers, *tracker)
	case e.tracker == 0 && account != nil:
		d.Accounts = append(d.Accounts, *account)
	case all:
	case e.tracker != 0:
		d.GoneTrackers = append(d.GoneTrackers, e.tracker)
	default:
		d.GoneAccounts = append(d.GoneAccounts, e.account)
	}
}

func (m *Model) EditDirectory(ctx context.Context, edits []queue.Edit) ([]queue.EditResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.EditResult, len(edits))
	for i, e := range edits {
		res[i] = m.edit(e)
	}
	return res, nil
}

func (m *Model) edit(e queue.Edit) queue.EditResult {
	switch e.Kind {
	case queue.EditPutAccount:
		return m.editAccount(e)
	case queue.EditPutTracker:
		return m.editTracker(e.Tracker)
	case queue.EditDropAccount:
		return m.dropAccount(e.Account.ID)
	case queue.EditDropTracker:
		return m.dropTracker(e.Tracker.ID)
	case queue.EditChangeAccount:
		a := m.findAccount(e.Account.ID)
		if e.Account.ID == 0 {
			if i := slices.IndexFunc(m.accounts, func(a queue.Account) bool {
				return queue.KeyIndex(a.Keys, e.Holder) >= 0
			}); i >= 0 {
				a = &m.accounts[i]
			}
		}
		if a == nil {
			return queue.EditResult{Err: queue.ErrNotFound}
		}
		changed := *a
		if err := e.Change(&changed); err != nil {
			return queue.EditResult{Err: err}
		}
		return m.editAccount(queue.Edit{Account: changed})
	case queue.EditChangeTracker:
		t := m.findTracker(e.Tracker.ID)
		if t == nil {
			return queue.EditResult{Err: queue.ErrNotFound}
		}
		changed := *t
		if err := e.ChangeTracker(&changed); err != nil {
			return queue.EditResult{Err: err}
		}
		return m.editTracker(changed)
	default:
		return queue.EditResult{Err: fmt.Errorf("unknown edit %d", e.Kind)}
	}
}

func added(found bool) queue.EditResult {
	if found {
		return queue.EditResult{Outcome: queue.EditUpdated}
	}
	return queue.EditResult{Outcome: queue.EditAdded}
}

func (m *Model) editAccount(e queue.Edit) queue.EditResult {
	a, old := e.Account, m.findAccount(e.Account.ID)
	if old != nil && e.KeepPassword {
		a.Password = old.Password
	}
	if old != nil && e.KeepKeys {
		a.Keys = old.Keys
	}
	a.KeepPasswords(old, e.KeepUsers)
	a.KeepPeople(old)
	if old != nil && queue.SameAccount(old, &a) {
		return queue.EditResult{}
	}
	holders := func(has func(*queue.Account) bool) (*queue.Account, bool) {
		i := slices.IndexFunc(m.accounts, func(b queue.Account) bool {
			return b.ID != a.ID && has(&b)
		})
		if i < 0 {
			return nil, false
		}
		return &m.accounts[i], true
	}
	err := a.Conflict(func(login string) (*queue.Account, bool) {
		return holders(func(b *queue.Account) bool {
			return b.Login == login || slices.ContainsFunc(b.AllUsers(),
				func(u queue.User) bool { return u.Login == login })
		})
	}, func(k queue.KeyHash) (*queue.Account, bool) {
		return holders(func(b *queue.Account) bool { return queue.KeyIndex(b.Keys, k) >= 0 })
	})
	if err != nil {
		return queue.EditResult{Err: err}
	}
	a.Keys = slices.Clone(a.Keys)
	m.putAccount(a)
	return added(old != nil)
}

func (m *Model) editTracker(t queue.Tracker) queue.EditResult {
	t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
	old := m.findTracker(t.ID)
	before := old
	if kept, ok := m.kept[t.ID]; ok && old == nil {
		before = &kept
	}
	dropped, err := t.Succeed(before)
	if err != nil {
		return queue.EditResult{Err: err}
	}
	t.KeepSorting(before)
	if old != nil && queue.SameTracker(old, &t) {
		return queue.EditResult{}
	}
	owner := m.findAccount(t.Account)
	if owner == nil {
		return queue.EditResult{Err: queue.NoAccount(t.Account)}
	}
	if err := t.CheckGroup(owner); err != nil {
		return queue.EditResult{Err: err}
	}
	for _, b := range m.devices {
		if b.ID != t.ID && b.Protocol == t.Protocol && b.DeviceID == t.DeviceID {
			return queue.EditResult{Err: queue.DeviceTaken(b.ID)}
		}
	}
	res := added(old != nil)
	m.putTracker(t)
	m.drop(dropped)
	return res
}

func (m *Model) dropAccount(id queue.AccountID) queue.EditResult {
	if m.findAccount(id) == nil {
		return queue.EditResult{Err: queue.ErrNotFound}
	}
	for _, t := range m.devices {
		if t.Account == id {
			return queue.EditResult{Err: queue.HasTrackers(t.ID)}
		}
	}
	for _, t := range m.devices {
		if len(t.FormerKeys(id)) > 0 {
			return queue.EditResult{Err: queue.KeepsHistory(t.ID)}
		}
	}
	m.removeAccount(id)
	return queue.EditResult{Outcome: queue.EditRemoved}
}

func (m *Model) dropTracker(id queue.TrackerID) queue.EditResult {
	old := m.findTracker(id)
	if old == nil {
		return queue.EditResult{Err: queue.ErrNotFound}
	}
	keys := old.Keys()
	m.removeTracker(id)
	m.drop(keys)
	return queue.EditResult{Outcome: queue.EditRemoved}
}

// drop removes conversations with all they have.
func (m *Model) drop(keys []queue.TrackerID) {
	for _, key := range keys {
		t := m.tracker(key)
		m.wake(t.owner, queue.Wake{Kind: queue.WakeKick, Tracker: key, Epoch: t.epoch})
		m.trackers[key] = &modelTracker{
			keys: make(map[string]modelKey), clock: t.clock,
			lastOut: t.lastOut, epoch: t.epoch + 1,
		}
	}
}
