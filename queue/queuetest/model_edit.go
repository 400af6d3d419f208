package queuetest

import (
	"context"
	"fmt"
	"slices"

	"trackchat/queue"
)

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
	case queue.EditAddKey, queue.EditDropKey:
		return m.editKey(e)
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
	if old != nil && queue.SameAccount(old, &a) {
		return queue.EditResult{}
	}
	for i, k := range a.Keys {
		if slices.Contains(a.Keys[:i], k) {
			return queue.EditResult{Err: queue.KeyTwice()}
		}
	}
	for _, b := range m.accounts {
		switch {
		case b.ID == a.ID:
		case b.Login == a.Login && a.Login != "":
			return queue.EditResult{Err: queue.LoginTaken(b.ID)}
		case slices.ContainsFunc(b.Keys, func(k queue.KeyHash) bool {
			return slices.Contains(a.Keys,
				k)
		}):
			return queue.EditResult{Err: queue.KeyTaken()}
		}
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
	if old != nil && queue.SameTracker(old, &t) {
		return queue.EditResult{}
	}
	if m.findAccount(t.Account) == nil {
		return queue.EditResult{Err: queue.NoAccount(t.Account)}
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

func (m *Model) editKey(e queue.Edit) queue.EditResult {
	holder := slices.IndexFunc(m.accounts,
		func(a queue.Account) bool { return slices.Contains(a.Keys, e.Key) })
	if e.Kind == queue.EditDropKey {
		if holder < 0 {
			return queue.EditResult{Err: queue.ErrNotFound}
		}
		a := m.accounts[holder]
		a.Keys = slices.DeleteFunc(slices.Clone(a.Keys),
			func(k queue.KeyHash) bool { return k == e.Key })
		m.putAccount(a)
		return queue.EditResult{Outcome: queue.EditRemoved}
	}
	a := m.findAccount(e.Account.ID)
	switch {
	case a == nil:
		return queue.EditResult{Err: queue.ErrNotFound}
	case holder >= 0 && m.accounts[holder].ID == a.ID:
		return queue.EditResult{}
	case holder >= 0:
		return queue.EditResult{Err: queue.KeyTaken()}
	}
	grown := *a
	grown.Keys = append(slices.Clone(a.Keys), e.Key)
	m.putAccount(grown)
	return queue.EditResult{Outcome: queue.EditUpdated}
}
