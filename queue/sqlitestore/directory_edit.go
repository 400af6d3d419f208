package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"trackchat/queue"
)

// maxPage bounds what one call of Accounts or Trackers returns.
const maxPage = 10_000

func (s *Store) Accounts(ctx context.Context, after queue.AccountID, limit int) ([]queue.Account,
	error,
) {
	var accounts []queue.Account
	err := s.read(ctx, "accounts", func(c *conn) error {
		err := c.query(accountColumns+"WHERE id > ? ORDER BY id LIMIT ?",
			func(row []driver.Value) error {
				accounts = append(accounts, accountOf(row))
				return nil
			}, int64(after), int64(min(limit, maxPage)))
		if err != nil {
			return err
		}
		return fillKeys(c, accounts)
	})
	if err != nil {
		return nil, err
	}
	return accounts, nil
}

func (s *Store) Trackers(ctx context.Context, after queue.TrackerID, limit int) ([]queue.Tracker,
	error,
) {
	var trackers []queue.Tracker
	err := s.read(ctx, "trackers", func(c *conn) error {
		return c.query(trackerColumns+"WHERE tracker > ? ORDER BY tracker LIMIT ?",
			func(row []driver.Value) error {
				t, err := trackerOf(row)
				trackers = append(trackers, t)
				return err
			}, int64(after), int64(min(limit, maxPage)))
	})
	if err != nil {
		return nil, err
	}
	return trackers, nil
}

// EditDirectory: Messages of removed trackers go in small steps after the edits are stored, so that
// nobody waits for a long history.
func (s *Store) EditDirectory(ctx context.Context, edits []queue.Edit) ([]queue.EditResult, error) {
	s.importing.Lock()
	defer s.importing.Unlock()
	edits = slices.Clone(edits)
	var res []queue.EditResult
	var dropped []queue.TrackerID // keys
	err := s.write(ctx, &operation{
		name: "edit_directory", items: len(edits), bulk: true,
		grows: true, run: func(w *writer) (err error) {
			res, dropped, err = w.editDirectory(edits)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	if err := s.purgeAll(ctx, dropped); err != nil {
		return nil, err
	}
	return res, nil
}

func (w *writer) editDirectory(edits []queue.Edit) (res []queue.EditResult,
	dropped []queue.TrackerID, err error,
) {
	h, err := openHistory(w.c)
	if err != nil {
		return nil, nil, err
	}
	before := h.version
	res = make([]queue.EditResult, len(edits))
	for i := range edits {
		e := &edits[i]
		outcome, keys, err := w.edit(h, e)
		switch {
		case errors.Is(err, queue.ErrConflict), errors.Is(err, queue.ErrNotFound):
			res[i].Err = err
			continue
		case err != nil:
			return nil, nil, err
		}
		dropped = append(dropped, keys...)
		res[i].Outcome = outcome
	}
	if h.version == before {
		return res, dropped, nil
	}
	return res, dropped, h.close()
}

// edit checks everything before it changes anything. It returns the keys of conversations whose
// messages are to be removed.
func (w *writer) edit(h *history, e *queue.Edit) (o queue.EditOutcome, dropped []queue.TrackerID,
	err error,
) {
	switch e.Kind {
	case queue.EditPutAccount:
		o, err = w.editAccount(h, e)
	case queue.EditPutTracker:
		return w.editTracker(h, e)
	case queue.EditDropAccount:
		o, err = w.dropAccount(h, e.Account.ID)
	case queue.EditDropTracker:
		return w.dropTracker(h, e.Tracker.ID)
	case queue.EditAddKey:
		o, err = w.addKey(h, e.Account.ID, e.Key)
	case queue.EditDropKey:
		o, err = w.dropKey(h, e.Key)
	default:
		err = fmt.Errorf("unknown edit %d", e.Kind)
	}
	return o, nil, err
}

func (w *writer) account(id queue.AccountID) (a queue.Account, found bool, err error) {
	err = w.c.query(accountColumns+"WHERE id = ?", func(row []driver.Value) error {
		a, found = accountOf(row), true
		return nil
	}, int64(id))
	if err != nil || !found {
		return a, false, err
	}
	one := []queue.Account{a}
	err = fillKeys(w.c, one)
	return one[0], true, err
}

func (w *writer) editAccount(h *history, e *queue.Edit) (queue.EditOutcome, error) {
	a := e.Account
	old, found, err := w.account(a.ID)
	if err != nil {
		return 0, err
	}
	if found && e.KeepPassword {
		a.Password = old.Password
	}
	if found && e.KeepKeys {
		a.Keys = old.Keys
	}
	if found && queue.SameAccount(&old, &a) {
		return queue.EditUnchanged, nil
	}
	if err := w.checkAccount(&a); err != nil {
		return 0, err
	}
	if err := replaceAccount(w.c, &a); err != nil {
		return 0, err
	}
	return putOutcome(found), putAccount(w.c, h, &a)
}

func putOutcome(found bool) queue.EditOutcome {
	if found {
		return queue.EditUpdated
	}
	return queue.EditAdded
}

// checkAccount looks for a login and keys that another account has.
func (w *writer) checkAccount(a *queue.Account) error {
	if a.Login != "" {
		other, taken, err := w.c.number("SELECT id FROM account WHERE login = ? AND id <> ?",
			a.Login, int64(a.ID))
		if err != nil {
			return err
		}
		if taken {
			return queue.LoginTaken(queue.AccountID(other))
		}
	}
	for i, k := range a.Keys {
		if slices.Contains(a.Keys[:i], k) {
			return queue.KeyTwice()
		}
		if err := w.checkKey(a.ID, k); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) checkKey(id queue.AccountID, k queue.KeyHash) error {
	_, taken, err := w.c.number("SELECT account FROM account_key WHERE hash = ? AND account <> ?",
		k[:], int64(id))
	if err == nil && taken {
		err = queue.KeyTaken()
	}
	return err
}

// storedTracker reads a tracker, nil where there is none.
func (w *writer) storedTracker(id queue.TrackerID) (t *queue.Tracker, err error) {
	err = w.c.query(trackerColumns+"WHERE tracker = ?", func(row []driver.Value) error {
		old, err := trackerOf(row)
		t = &old
		return err
	}, int64(id))
	return t, err
}

func (w *writer) editTracker(h *history, e *queue.Edit) (queue.EditOutcome, []queue.TrackerID,
	error,
) {
	t := e.Tracker
	t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
	old, err := w.storedTracker(t.ID)
	if err != nil {
		return 0, nil, err
	}
	before := old
	if old == nil {
		kept, err := keptTrackers(w.c, "WHERE tracker = ?", int64(t.ID))
		if err != nil {
			return 0, nil, err
		}
		if len(kept) > 0 {
			before = &kept[0]
		}
	}
	dropped, err := t.Succeed(before)
	if err != nil {
		return 0, nil, err
	}
	if old != nil && queue.SameTracker(old, &t) {
		return queue.EditUnchanged, nil, nil
	}
	if err := w.checkTracker(&t); err != nil {
		return 0, nil, err
	}
	if err := w.finishPurge(t.Key()); err != nil {
		return 0, nil, err
	}
	if err := removeTracker(w.c, t.ID); err != nil {
		return 0, nil, err
	}
	for _, key := range dropped {
		if err := w.endQueue(key); err != nil {
			return 0, nil, err
		}
	}
	return putOutcome(old != nil), dropped, putTracker(w.c, h, &t)
}

// checkTracker looks for its account, and for another tracker that logs in alike.
func (w *writer) checkTracker(t *queue.Tracker) error {
	_, found, err := w.c.number("SELECT 1 FROM account WHERE id = ?", int64(t.Account))
	if err != nil {
		return err
	}
	if !found {
		return queue.NoAccount(t.Account)
	}
	other, taken, err := w.c.number("SELECT tracker FROM device WHERE protocol = ? AND device_id = ? AND tracker <> ?", t.Protocol, t.DeviceID, int64(t.ID))
	if err == nil && taken {
		err = queue.DeviceTaken(queue.TrackerID(other))
	}
	return err
}

func (w *writer) dropAccount(h *history, id queue.AccountID) (queue.EditOutcome, error) {
	_, found, err := w.c.number("SELECT 1 FROM account WHERE id = ?", int64(id))
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, queue.ErrNotFound
	}
	one, has, err := w.c.number(
		"SELECT tracker FROM device WHERE account = ? ORDER BY tracker LIMIT 1", int64(id))
	if err != nil {
		return 0, err
	}
	if has {
		return 0, queue.HasTrackers(queue.TrackerID(one))
	}
	const former = "SELECT tracker FROM device WHERE former IS NOT NULL AND EXISTS" +
		" (SELECT 1 FROM json_each(former) WHERE json_extract(value, '$.account') = ?) ORDER BY tracker LIMIT 1"
	one, has, err = w.c.number(former, int64(id))
	if err != nil {
		return 0, err
	}
	if has {
		return 0, queue.KeepsHistory(queue.TrackerID(one))
	}
	return queue.EditRemoved, dropAccount(w.c, h, id)
}

// addKey puts the key after the others.
func (w *writer) addKey(h *history, id queue.AccountID, k queue.KeyHash) (queue.EditOutcome,
	error,
) {
	a, found, err := w.account(id)
	switch {
	case err != nil:
		return 0, err
	case !found:
		return 0, queue.ErrNotFound
	case slices.Contains(a.Keys, k):
		return queue.EditUnchanged, nil
	}
	if err := w.checkKey(id, k); err != nil {
		return 0, err
	}
	a.Keys = append(a.Keys, k)
	return queue.EditUpdated, w.storeKeys(h, &a)
}

func (w *writer) dropKey(h *history, k queue.KeyHash) (queue.EditOutcome, error) {
	id, found, err := w.c.number("SELECT account FROM account_key WHERE hash = ?", k[:])
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, queue.ErrNotFound
	}
	a, _, err := w.account(queue.AccountID(id))
	if err != nil {
		return 0, err
	}
	a.Keys = slices.DeleteFunc(a.Keys, func(h queue.KeyHash) bool { return h == k })
	return queue.EditRemoved, w.storeKeys(h, &a)
}

// storeKeys stores an account whose keys have changed.
func (w *writer) storeKeys(h *history, a *queue.Account) error {
	if err := removeAccount(w.c, a.ID); err != nil {
		return err
	}
	return putAccount(w.c, h, a)
}
