package directory

import (
	"fmt"
	"slices"

	"trackchat/queue"
)

// Removed are trackers that imports have removed, as they were then.
type Removed map[queue.TrackerID]*queue.Tracker

// edits works edits out one after the other.
type edits struct {
	*view
	kept   Removed
	change *Change
	// Where the rows are in change.
	accountRows map[queue.AccountID]int
	trackerRows map[queue.TrackerID]int
}

// Edit works out what edits change, each on what those before it have made of the directory. kept
// are what imports have removed of the trackers that come: see queue.Tracker.Succeed.
func Edit(s *queue.Snapshot, kept Removed, list []queue.Edit) (*Change, []queue.EditResult) {
	w := &edits{
		view: newView(s), kept: kept, change: &Change{Version: s.Version()},
		accountRows: make(map[queue.AccountID]int), trackerRows: make(map[queue.TrackerID]int),
	}
	res := make([]queue.EditResult, len(list))
	for i := range list {
		if res[i].Outcome, res[i].Err = w.edit(&list[i]); res[i].Err != nil {
			res[i].Outcome = queue.EditUnchanged
		}
	}
	return w.change, res
}

// edit checks everything before it changes anything.
func (w *edits) edit(e *queue.Edit) (queue.EditOutcome, error) {
	switch e.Kind {
	case queue.EditPutAccount:
		return w.putAccount(e)
	case queue.EditPutTracker:
		return w.putTracker(e.Tracker)
	case queue.EditDropAccount:
		return w.dropAccount(e.Account.ID)
	case queue.EditDropTracker:
		return w.dropTracker(e.Tracker.ID)
	case queue.EditChangeAccount:
		return w.changeAccount(e)
	case queue.EditChangeTracker:
		return w.changeTracker(e)
	default:
		return 0, fmt.Errorf("unknown edit %d", e.Kind)
	}
}

func putOutcome(found bool) queue.EditOutcome {
	if found {
		return queue.EditUpdated
	}
	return queue.EditAdded
}

// replaceAccount puts an account, or removes it where a is nil.
func (w *edits) replaceAccount(id queue.AccountID, a *queue.Account) {
	was, _ := w.account(id)
	w.change.account(Row[queue.AccountID, queue.Account]{ID: id, Was: was, Is: a})
	w.accountRows[id] = fold(&w.change.Accounts, w.accountRows, id)
	w.setAccount(id, a)
}

// replaceTracker puts a tracker, or removes it where t is nil.
func (w *edits) replaceTracker(id queue.TrackerID, t *queue.Tracker) {
	was, _ := w.tracker(id)
	w.change.tracker(Row[queue.TrackerID, queue.Tracker]{ID: id, Was: was, Is: t})
	w.trackerRows[id] = fold(&w.change.Trackers, w.trackerRows, id)
	w.setTracker(id, t)
}

// fold joins the last row with an earlier one of the same id, and returns where it is.
func fold[K ~int64, V any](rows *[]Row[K, V], at map[K]int, id K) int {
	last := len(*rows) - 1
	i, again := at[id]
	if !again {
		return last
	}
	row := (*rows)[last]
	row.Was = (*rows)[i].Was
	(*rows)[i], *rows = row, (*rows)[:last]
	return i
}

func (w *edits) putAccount(e *queue.Edit) (queue.EditOutcome, error) {
	a := e.Account
	a.Keys = slices.Clone(a.Keys)
	old, found := w.account(a.ID)
	if found && e.KeepPassword {
		a.Password = old.Password
	}
	if found && e.KeepKeys {
		a.Keys = old.Keys
	}
	a.KeepPasswords(old, e.KeepUsers)
	a.KeepPeople(old)
	if found && queue.SameAccount(old, &a) {
		return queue.EditUnchanged, nil
	}
	if err := a.Conflict(w.byLogin, w.byKey); err != nil {
		return 0, err
	}
	w.replaceAccount(a.ID, &a)
	w.change.Grows = w.change.Grows || !found || !a.IsLess(old)
	return putOutcome(found), nil
}

func (w *edits) putTracker(t queue.Tracker) (queue.EditOutcome, error) {
	t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
	old, found := w.tracker(t.ID)
	before, returns := old, false
	if !found {
		before, returns = w.kept[t.ID]
	}
	dropped, err := t.Succeed(before)
	if err != nil {
		return 0, err
	}
	t.KeepSorting(before)
	if found && queue.SameTracker(old, &t) {
		return queue.EditUnchanged, nil
	}
	owner, ok := w.account(t.Account)
	if !ok {
		return 0, queue.NoAccount(t.Account)
	}
	if err := t.CheckGroup(owner); err != nil {
		return 0, err
	}
	if other, ok := w.device(deviceKey{t.Protocol, t.DeviceID}); ok && other.ID != t.ID {
		return 0, queue.DeviceTaken(other.ID)
	}
	w.replaceTracker(t.ID, &t)
	w.change.Dropped = append(w.change.Dropped, dropped...)
	w.change.Grows = true
	if returns {
		w.change.Returned = append(w.change.Returned, t.ID)
		delete(w.kept, t.ID)
	}
	return putOutcome(found), nil
}

func (w *edits) dropAccount(id queue.AccountID) (queue.EditOutcome, error) {
	if _, ok := w.account(id); !ok {
		return 0, queue.ErrNotFound
	}
	owned := func(t *queue.Tracker) bool { return t.Account == id }
	if t := w.first(w.base.TrackersOf(id), owned); t != nil {
		return 0, queue.HasTrackers(t.ID)
	}
	former := func(t *queue.Tracker) bool { return len(t.FormerKeys(id)) > 0 }
	if t := w.first(w.base.FormerOf(id), former); t != nil {
		return 0, queue.KeepsHistory(t.ID)
	}
	w.replaceAccount(id, nil)
	return queue.EditRemoved, nil
}

func (w *edits) dropTracker(id queue.TrackerID) (queue.EditOutcome, error) {
	old, ok := w.tracker(id)
	if !ok {
		return 0, queue.ErrNotFound
	}
	w.replaceTracker(id, nil)
	w.change.Dropped = append(w.change.Dropped, old.Keys()...)
	return queue.EditRemoved, nil
}

func (w *edits) changeAccount(e *queue.Edit) (queue.EditOutcome, error) {
	old, ok := w.account(e.Account.ID)
	if e.Account.ID == 0 {
		old, ok = w.byKey(e.Holder)
	}
	if !ok {
		return 0, queue.ErrNotFound
	}
	a := *old
	if err := e.Change(&a); err != nil {
		return 0, err
	}
	return w.putAccount(&queue.Edit{Account: a})
}

func (w *edits) changeTracker(e *queue.Edit) (queue.EditOutcome, error) {
	old, ok := w.tracker(e.Tracker.ID)
	if !ok {
		return 0, queue.ErrNotFound
	}
	t := *old
	if err := e.ChangeTracker(&t); err != nil {
		return 0, err
	}
	return w.putTracker(t)
}
