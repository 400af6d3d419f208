package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"

	"trackchat/queue"
)

func (s *Store) LoadDirectory(ctx context.Context) (accounts []queue.Account,
	trackers []queue.Tracker, err error,
) {
	err = s.read(ctx, "load_directory", func(c *conn) error {
		if accounts, err = loadAccounts(ctx, c); err != nil {
			return err
		}
		trackers, err = loadTrackers(ctx, c)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return accounts, trackers, nil
}

const (
	accountColumns = "SELECT id, login, password, title, time_zone, version FROM account "
	trackerColumns = "SELECT tracker, account, label, protocol, device_id, password, model, blocked, chat, features, employee, settings, version, conversation, former," +
		" employee_record FROM device "
)

func accountOf(row []driver.Value) queue.Account {
	return queue.Account{
		ID: queue.AccountID(integer(row[0])), Login: text(row[1]),
		Password: text(row[2]), Title: text(row[3]), TimeZone: text(row[4]),
	}
}

func loadAccounts(ctx context.Context, c *conn) ([]queue.Account, error) {
	var accounts []queue.Account
	index := make(map[int64]int)
	err := c.queryContext(ctx, accountColumns+"ORDER BY id", func(row []driver.Value) error {
		index[integer(row[0])] = len(accounts)
		accounts = append(accounts, accountOf(row))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.queryContext(ctx, "SELECT account, hash FROM account_key ORDER BY account, position",
		func(row []driver.Value) error {
			i, ok := index[integer(row[0])]
			if !ok {
				return fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, integer(row[0]))
			}
			return addKey(&accounts[i], row[1])
		})
	return accounts, err
}

func addKey(a *queue.Account, v driver.Value) error {
	h := blob(v)
	if len(h) != len(queue.KeyHash{}) {
		return fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, a.ID)
	}
	a.Keys = append(a.Keys, queue.KeyHash(h))
	return nil
}

// fillKeys reads the keys of single accounts.
func fillKeys(c *conn, accounts []queue.Account) error {
	for i := range accounts {
		a := &accounts[i]
		err := c.query("SELECT hash FROM account_key WHERE account = ? ORDER BY position",
			func(row []driver.Value) error { return addKey(a, row[0]) }, int64(a.ID))
		if err != nil {
			return err
		}
	}
	return nil
}

func trackerOf(row []driver.Value) (queue.Tracker, error) {
	t := queue.Tracker{
		ID: queue.TrackerID(integer(row[0])), Account: queue.AccountID(integer(row[1])),
		Label: text(row[2]), Protocol: text(row[3]), DeviceID: text(row[4]),
		Password: text(row[5]), Model: text(row[6]), Blocked: integer(row[7]) != 0,
		Chat: integer(row[8]) != 0, Employee: integer(row[10]),
		Conversation: uint8(integer(row[13])),
	}
	if err := fromJSON(row[9], &t.Features); err != nil {
		return t, fmt.Errorf("%w: features of tracker %d: %w", queue.ErrCorrupt, t.ID, err)
	}
	if err := fromJSON(row[11], &t.Settings); err != nil {
		return t, fmt.Errorf("%w: settings of tracker %d: %w", queue.ErrCorrupt, t.ID, err)
	}
	if err := fromJSON(row[14], &t.Former); err != nil {
		return t, fmt.Errorf("%w: former accounts of tracker %d: %w", queue.ErrCorrupt, t.ID, err)
	}
	if err := fromJSON(row[15], &t.EmployeeRecord); err != nil {
		return t, fmt.Errorf("%w: employee of tracker %d: %w", queue.ErrCorrupt, t.ID, err)
	}
	return t, nil
}

func loadTrackers(ctx context.Context, c *conn) ([]queue.Tracker, error) {
	var trackers []queue.Tracker
	err := c.queryContext(ctx, trackerColumns+"ORDER BY tracker", func(row []driver.Value) error {
		t, err := trackerOf(row)
		trackers = append(trackers, t)
		return err
	})
	return trackers, err
}

// ImportDirectory: Only one import runs at a time, so that what it is compared with stays while it
// waits for the writer.
func (s *Store) ImportDirectory(ctx context.Context, accounts []queue.Account,
	trackers []queue.Tracker, prune bool,
) (queue.ImportStats, error) {
	s.importing.Lock()
	defer s.importing.Unlock()
	storedAccounts, storedTrackers, err := s.LoadDirectory(ctx)
	if err != nil {
		return queue.ImportStats{}, err
	}
	var kept []queue.Tracker
	err = s.read(ctx, "load_directory", func(c *conn) (err error) {
		kept, err = keptTrackers(c, "")
		return err
	})
	if err != nil {
		return queue.ImportStats{}, err
	}
	c, err := queue.MergeDirectory(storedAccounts, storedTrackers, kept, accounts, trackers, prune)
	if err != nil {
		return queue.ImportStats{}, err
	}
	if c.Stats == (queue.ImportStats{Unchanged: c.Stats.Unchanged}) {
		return c.Stats, s.purgeAll(ctx, nil) // also where nothing can be stored
	}
	err = s.write(ctx, &operation{
		name: "import_directory", items: maxBatch, bulk: true,
		grows: true, run: func(w *writer) error { return w.importDirectory(&c) },
	})
	if err != nil {
		return queue.ImportStats{}, err
	}
	if err := s.purgeAll(ctx, c.Dropped); err != nil {
		return queue.ImportStats{}, err
	}
	return c.Stats, nil
}

// importDirectory removes first everything that will be there anew: logins, keys and devices may
// have changed places. Nothing is executed after an error: where SQLite has rolled back, that would
// be stored by itself.
func (w *writer) importDirectory(d *queue.DirectoryChange) error {
	c := w.c
	h, err := openHistory(c)
	if err != nil {
		return err
	}
	for _, id := range d.RemoveAccounts {
		if err := dropAccount(c, h, id); err != nil {
			return err
		}
	}
	for i := range d.PutAccounts {
		a := &d.PutAccounts[i]
		if err := replaceAccount(c, a); err != nil {
			return err
		}
	}
	for _, id := range d.RemoveTrackers {
		if err := forgetTracker(c, h, id); err != nil {
			return err
		}
	}
	for i := range d.PutTrackers {
		t := &d.PutTrackers[i]
		if err := w.finishPurge(t.Key()); err != nil {
			return err
		}
		if err := removeTracker(c, t.ID); err != nil {
			return err
		}
	}
	for _, key := range d.Dropped {
		if err := w.endQueue(key); err != nil {
			return err
		}
	}
	for i := range d.PutAccounts {
		if err := putAccount(c, h, &d.PutAccounts[i]); err != nil {
			return err
		}
	}
	for i := range d.PutTrackers {
		if err := putTracker(c, h, &d.PutTrackers[i]); err != nil {
			return err
		}
	}
	return h.close()
}

// dropAccount removes an account for good.
func dropAccount(c *conn, h *history, id queue.AccountID) error {
	if err := removeAccount(c, id); err != nil {
		return err
	}
	if err := endSessions(c, id); err != nil {
		return err
	}
	return h.gone(goneAccount, int64(id))
}

// replaceAccount removes an account that comes anew.
func replaceAccount(c *conn, a *queue.Account) error {
	if err := endSessionsOfOldPassword(c, a); err != nil {
		return err
	}
	return removeAccount(c, a.ID)
}

func removeAccount(c *conn, id queue.AccountID) error {
	for _, q := range []string{
		"DELETE FROM account WHERE id = ?",
		"DELETE FROM account_key WHERE account = ?",
	} {
		if _, err := c.exec(q, int64(id)); err != nil {
			return err
		}
	}
	return nil
}

func removeTracker(c *conn, id queue.TrackerID) error {
	_, err := c.exec("DELETE FROM device WHERE tracker = ?", int64(id))
	return err
}

// forgetTracker removes a tracker and leaves its messages.
func forgetTracker(c *conn, h *history, id queue.TrackerID) error {
	if err := keepTracker(c, id); err != nil {
		return err
	}
	if err := removeTracker(c, id); err != nil {
		return err
	}
	return h.gone(goneTracker, int64(id))
}

// keepTracker notes whose messages a tracker leaves behind that is about to be removed.
func keepTracker(c *conn, id queue.TrackerID) error {
	const keep = "INSERT OR REPLACE INTO kept (tracker, account, conversation, former)" +
		" SELECT tracker, account, conversation, former FROM device WHERE tracker = ?"
	_, err := c.exec(keep, int64(id))
	return err
}

// keptTrackers reads what is known of removed trackers; where begins with WHERE, or is empty.
func keptTrackers(c *conn, where string, args ...driver.Value) (list []queue.Tracker, err error) {
	err = c.query("SELECT tracker, account, conversation, former FROM kept "+where,
		func(row []driver.Value) error {
			t := queue.Tracker{
				ID: queue.TrackerID(integer(row[0])), Account: queue.AccountID(integer(row[1])),
				Conversation: uint8(integer(row[2])),
			}
			if err := fromJSON(row[3], &t.Former); err != nil {
				return fmt.Errorf("%w: former accounts of tracker %d: %w", queue.ErrCorrupt, t.ID,
					err)
			}
			list = append(list, t)
			return nil
		}, args...)
	return list, err
}

// endSessionsOfOldPassword is called before a is stored over the account as it was.
func endSessionsOfOldPassword(c *conn, a *queue.Account) error {
	_, err := c.exec("DELETE FROM session WHERE account = ? AND EXISTS (SELECT 1 FROM account WHERE id = ? AND password <> ?)", int64(a.ID), int64(a.ID), a.Password)
	return err
}

// putAccount stores an account where none with its id is.
func putAccount(c *conn, h *history, a *queue.Account) error {
	version, err := h.next(goneAccount, int64(a.ID))
	if err != nil {
		return err
	}
	const put = "INSERT INTO account (id, login, password, title, time_zone, version) VALUES (?, ?, ?, ?, ?, ?)"
	if _, err := c.exec(put, int64(a.ID), a.Login, a.Password, a.Title, a.TimeZone,
		version); err != nil {
		return err
	}
	for i, k := range a.Keys {
		if _, err := c.exec("INSERT INTO account_key (hash, account, position) VALUES (?, ?, ?)",
			k[:], int64(a.ID), int64(i)); err != nil {
			return err
		}
	}
	return nil
}

// putTracker stores a tracker where none with its id is.
func putTracker(c *conn, h *history, t *queue.Tracker) error {
	version, err := h.next(goneTracker, int64(t.ID))
	if err != nil {
		return err
	}
	features, err := toJSON(t.Features, len(t.Features) > 0)
	if err != nil {
		return err
	}
	settings, err := toJSON(t.Settings, len(t.Settings) > 0)
	if err != nil {
		return err
	}
	const put = "INSERT INTO device (tracker, account, label, protocol, device_id, password, model, blocked, chat, features, employee," +
		" settings, version, conversation, former, employee_record)" +
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	former, err := toJSON(t.Former, t.Former != nil)
	if err != nil {
		return err
	}
	record, err := toJSON(t.EmployeeRecord, t.EmployeeRecord != nil)
	if err != nil {
		return err
	}
	if _, err := c.exec("DELETE FROM kept WHERE tracker = ?", int64(t.ID)); err != nil {
		return err
	}
	_, err = c.exec(put, int64(t.ID), int64(t.Account), t.Label, t.Protocol, t.DeviceID, t.Password,
		t.Model,
		number(t.Blocked), number(t.Chat), features, t.Employee, settings, version,
		int64(t.Conversation), former, record)
	return err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// toJSON gives NULL for what is not there.
func toJSON(v any, there bool) (driver.Value, error) {
	if !there {
		return nil, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func fromJSON(v driver.Value, into any) error {
	if s := text(v); s != "" {
		return json.Unmarshal([]byte(s), into)
	}
	return nil
}
