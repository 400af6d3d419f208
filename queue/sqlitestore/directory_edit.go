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

var _ queue.AdminStore = (*Store)(nil)

// Accounts implements queue.LiveDirectory.
func (s *Store) Accounts(ctx context.Context, after queue.AccountID, limit int) ([]queue.Account, error) {
	var accounts []queue.Account
	err := s.read(ctx, "accounts", func(c *conn) error {
		err := c.query(accountColumns+"WHERE id > ? ORDER BY id LIMIT ?", func(row []driver.Value) error {
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

// Trackers implements queue.LiveDirectory.
func (s *Store) Trackers(ctx context.Context, after queue.TrackerID, limit int) ([]queue.Tracker, error) {
	var trackers []queue.Tracker
	err := s.read(ctx, "trackers", func(c *conn) error {
		return c.query(trackerColumns+"WHERE tracker > ? ORDER BY tracker LIMIT ?", func(row []driver.Value) error {
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

// EditDirectory implements queue.LiveDirectory. Messages of removed trackers go in small steps after the edits are stored, so that nobody waits for a long history.
func (s *Store) EditDirectory(ctx context.Context, edits []queue.Edit) ([]queue.EditResult, error) {
	s.importing.Lock()
	defer s.importing.Unlock()
	edits = slices.Clone(edits)
	var res []queue.EditResult
	var dropped []queue.TrackerID
	err := s.write(ctx, &operation{name: "edit_directory", items: len(edits), bulk: true, grows: true, run: func(w *writer) (err error) {
		res, dropped, err = w.editDirectory(edits)
		return err
	}})
	if err != nil {
		return nil, err
	}
	for _, id := range dropped {
		if err := s.purge(ctx, id); err != nil {
			return nil, fmt.Errorf("removing the messages of tracker %d: %w", id, err)
		}
	}
	return res, nil
}

func (w *writer) editDirectory(edits []queue.Edit) (res []queue.EditResult, dropped []queue.TrackerID, err error) {
	h, err := openHistory(w.c)
	if err != nil {
		return nil, nil, err
	}
	before := h.version
	res = make([]queue.EditResult, len(edits))
	for i := range edits {
		e := &edits[i]
		outcome, err := w.edit(h, e)
		switch {
		case errors.Is(err, queue.ErrConflict), errors.Is(err, queue.ErrNotFound):
			res[i].Err = err
			continue
		case err != nil:
			return nil, nil, err
		case e.Kind == queue.EditDropTracker:
			dropped = append(dropped, e.Tracker.ID)
		}
		res[i].Outcome = outcome
	}
	if h.version == before {
		return res, dropped, nil
	}
	return res, dropped, h.close()
}

// edit checks everything before it changes anything.
func (w *writer) edit(h *history, e *queue.Edit) (queue.EditOutcome, error) {
	switch e.Kind {
	case queue.EditPutAccount:
		return w.editAccount(h, e)
	case queue.EditPutTracker:
		return w.editTracker(h, e)
	case queue.EditDropAccount:
		return w.dropAccount(h, e.Account.ID)
	case queue.EditDropTracker:
		return w.dropTracker(h, e.Tracker.ID)
	case queue.EditAddKey:
		return w.addKey(h, e.Account.ID, e.Key)
	case queue.EditDropKey:
		return w.dropKey(h, e.Key)
	default:
		return 0, fmt.Errorf("unknown edit %d", e.Kind)
	}
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
	if err := errors.Join(endSessionsOfOldPassword(w.c, &a), removeAccount(w.c, a.ID)); err != nil {
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
		other, taken, err := w.c.number("SELECT id FROM account WHERE login = ? AND id <> ?", a.Login, int64(a.ID))
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
	_, taken, err := w.c.number("SELECT account FROM account_key WHERE hash = ? AND account <> ?", k[:], int64(id))
	if err == nil && taken {
		err = queue.KeyTaken()
	}
	return err
}

func (w *writer) editTracker(h *history, e *queue.Edit) (queue.EditOutcome, error) {
	t := e.Tracker
	t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
	var old queue.Tracker
	found := false
	err := w.c.query(trackerColumns+"WHERE tracker = ?", func(row []driver.Value) (err error) {
		old, err = trackerOf(row)
		found = true
		return err
	}, int64(t.ID))
	if err != nil {
		return 0, err
	}
	if found && queue.SameTracker(&old, &t) {
		return queue.EditUnchanged, nil
	}
	if err := w.checkTracker(&t); err != nil {
		return 0, err
	}
	if !found {
		if err := w.finishPurge(t.ID); err != nil {
			return 0, err
		}
	}
	if err := removeTracker(w.c, t.ID); err != nil {
		return 0, err
	}
	return putOutcome(found), putTracker(w.c, h, &t)
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
	one, has, err := w.c.number("SELECT tracker FROM device WHERE account = ? ORDER BY tracker LIMIT 1", int64(id))
	if err != nil {
		return 0, err
	}
	if has {
		return 0, queue.HasTrackers(queue.TrackerID(one))
	}
	return queue.EditRemoved, errors.Join(removeAccount(w.c, id), endSessions(w.c, id), h.gone(goneAccount, int64(id)))
}

// addKey puts the key after the others.
func (w *writer) addKey(h *history, id queue.AccountID, k queue.KeyHash) (queue.EditOutcome, error) {
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
	return queue.EditUpdated, errors.Join(removeAccount(w.c, id), putAccount(w.c, h, &a))
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
	return queue.EditRemoved, errors.Join(removeAccount(w.c, a.ID), putAccount(w.c, h, &a))
}
