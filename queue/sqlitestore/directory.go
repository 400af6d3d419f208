package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"

	"trackchat/queue"
	"trackchat/queue/directory"

	"go.uber.org/zap"
)

const (
	accountColumns = "SELECT id, login, password, title, time_zone, version, people FROM account "
	trackerColumns = "SELECT tracker, account, label, protocol, device_id, password, model, blocked, chat, features, employee, settings, version, conversation, former," +
		" employee_record, upstream, sorting FROM device "
)

func accountOf(row []driver.Value) (queue.Account, error) {
	a := queue.Account{
		ID: queue.AccountID(integer(row[0])), Login: text(row[1]),
		Password: text(row[2]), Title: text(row[3]), TimeZone: text(row[4]),
	}
	if err := fromJSON(row[6], &a.People); err != nil {
		return a, fmt.Errorf("%w: people of account %d: %w", queue.ErrCorrupt, a.ID, err)
	}
	return a, nil
}

func loadAccounts(ctx context.Context, c *conn) ([]queue.Account, error) {
	var accounts []queue.Account
	index := make(map[int64]int)
	err := c.queryContext(ctx, accountColumns+"ORDER BY id", func(row []driver.Value) error {
		index[integer(row[0])] = len(accounts)
		a, err := accountOf(row)
		accounts = append(accounts, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = c.queryContext(ctx, "SELECT "+keyColumns+" FROM account_key ORDER BY account, position",
		func(row []driver.Value) error {
			i, ok := index[integer(row[0])]
			if !ok {
				return fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, integer(row[0]))
			}
			return addKey(&accounts[i], row)
		})
	return accounts, err
}

// keyColumns are what addKey reads.
const keyColumns = "account, hash, name, role, end_ms"

func addKey(a *queue.Account, row []driver.Value) error {
	h := blob(row[1])
	if len(h) != len(queue.KeyHash{}) {
		return fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, a.ID)
	}
	a.Keys = append(a.Keys, queue.Key{
		Hash: queue.KeyHash(h), Name: text(row[2]), Role: queue.Role(integer(row[3])),
		EndMs: integer(row[4]),
	})
	return nil
}

// fillKeys reads the keys of single accounts.
func fillKeys(c *conn, accounts []queue.Account) error {
	for i := range accounts {
		a := &accounts[i]
		err := c.query("SELECT "+keyColumns+" FROM account_key WHERE account = ? ORDER BY position",
			func(row []driver.Value) error { return addKey(a, row) }, int64(a.ID))
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
		Conversation: uint8(integer(row[13])), Upstream: text(row[16]),
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
	if err := fromJSON(row[17], &t.Sorting); err != nil {
		return t, fmt.Errorf("%w: sorting of tracker %d: %w", queue.ErrCorrupt, t.ID, err)
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

// dirStore keeps the rows of the directory, and what has changed.
type dirStore struct {
	*database
	keptIn map[int]string // query by how many ids it takes
}

// maxPage bounds what one call of Accounts or Trackers returns.
const maxPage = 10_000

func (s *dirStore) Accounts(ctx context.Context, after queue.AccountID, limit int) ([]queue.Account,
	error,
) {
	var accounts []queue.Account
	err := s.read(ctx, "accounts", func(c *conn) error {
		err := c.query(accountColumns+"WHERE id > ? ORDER BY id LIMIT ?",
			func(row []driver.Value) error {
				a, err := accountOf(row)
				accounts = append(accounts, a)
				return err
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

func (s *dirStore) Trackers(ctx context.Context, after queue.TrackerID, limit int) ([]queue.Tracker,
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

// directoryRows is what the directory's rules need of the store.
type directoryRows struct{ *dirStore }

// Kept reads what imports have removed.
func (s directoryRows) Kept(ctx context.Context, ts []queue.TrackerID) (directory.Removed, error) {
	kept := make(directory.Removed)
	err := s.read(ctx, "directory", func(c *conn) error {
		if _, some, err := c.number("SELECT 1 FROM kept LIMIT 1"); err != nil || !some {
			return err
		}
		return c.eachChunk(s.keptIn, len(ts), func(i int) int64 { return int64(ts[i]) },
			func(row []driver.Value) error {
				t := &queue.Tracker{
					ID: queue.TrackerID(integer(row[0])), Account: queue.AccountID(integer(row[1])),
					Conversation: uint8(integer(row[2])),
				}
				kept[t.ID] = t
				if err := fromJSON(row[3], &t.Former); err != nil {
					return fmt.Errorf("%w: former accounts of tracker %d: %w", queue.ErrCorrupt,
						t.ID, err)
				}
				return nil
			})
	})
	return kept, err
}

// Commit compares the version within the transaction.
func (s directoryRows) Commit(ctx context.Context, version int64, d *directory.Change) (bool,
	error,
) {
	var now int64
	if d.Empty() { // also where nothing can be stored
		err := s.read(ctx, "directory", func(c *conn) (err error) {
			now, _, err = directoryVersion(c)
			return err
		})
		return now == version, err
	}
	err := s.write(ctx, &operation{
		name: "edit_directory", items: min(len(d.Accounts)+len(d.Trackers), maxBatch), bulk: true,
		grows: d.Grows, run: func(w *writer) (err error) {
			if now, _, err = directoryVersion(w.c); err != nil || now != version {
				return err
			}
			return w.commitDirectory(d)
		},
	})
	if err != nil {
		return false, err
	}
	return now == version, nil
}

// Purge also removes what calls before it have left.
func (s directoryRows) Purge(ctx context.Context, d *directory.Change) error {
	for _, key := range d.Dropped {
		if err := s.purge(ctx, key); err != nil { // the change itself is stored
			return fmt.Errorf("%w: removing the messages of tracker %d: %w",
				queue.ErrUnknownOutcome, key, err)
		}
	}
	if err := s.purgeLeft(ctx); err != nil {
		s.log.Error("messages of removed trackers are left", zap.Error(err))
	}
	return nil
}

// commitDirectory removes first everything that will be there anew: logins, keys and devices may
// have changed places. Nothing is executed after an error: where SQLite has rolled back, that would
// be stored by itself.
func (w *writer) commitDirectory(d *directory.Change) error {
	for _, step := range []func(*directory.Change) error{
		w.clearRows, w.dropConversations, w.putRows, w.noteRemovals,
	} {
		if err := step(d); err != nil {
			return err
		}
	}
	_, err := w.c.exec("UPDATE meta SET value = ? WHERE name = 'directory_version'", d.Version)
	return err
}

// clearRows removes the rows that go or change.
func (w *writer) clearRows(d *directory.Change) error {
	for _, id := range d.Kept {
		const keep = "INSERT OR REPLACE INTO kept (tracker, account, conversation, former)" +
			" SELECT tracker, account, conversation, former FROM device WHERE tracker = ?"
		if _, err := w.c.exec(keep, int64(id)); err != nil {
			return err
		}
	}
	for _, id := range d.Ended {
		if err := endSessions(w.c, id); err != nil {
			return err
		}
	}
	for i := range d.Accounts {
		for _, q := range []string{
			"DELETE FROM account WHERE id = ?",
			"DELETE FROM account_key WHERE account = ?",
		} {
			if _, err := w.c.exec(q, int64(d.Accounts[i].ID)); err != nil {
				return err
			}
		}
		if d.Accounts[i].Is == nil {
			if err := w.dropBroadcasts(d.Accounts[i].ID, queue.MaxID); err != nil {
				return err
			}
			if _, err := w.c.exec("DELETE FROM session WHERE account = ?",
				int64(d.Accounts[i].ID)); err != nil {
				return err
			}
		}
	}
	for i := range d.Trackers {
		if _, err := w.c.exec("DELETE FROM device WHERE tracker = ?",
			int64(d.Trackers[i].ID)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) dropConversations(d *directory.Change) error {
	for _, key := range d.Dropped {
		if err := w.endQueue(key); err != nil {
			return err
		}
	}
	for _, id := range d.Returned {
		if _, err := w.c.exec("DELETE FROM kept WHERE tracker = ?", int64(id)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) putRows(d *directory.Change) error {
	for i := range d.Accounts {
		if r := &d.Accounts[i]; r.Is != nil {
			if err := w.putAccount(r.Is, r.Version); err != nil {
				return err
			}
		}
	}
	for i := range d.Trackers {
		if r := &d.Trackers[i]; r.Is != nil {
			if err := w.finishPurge(r.Is.Key()); err != nil {
				return err
			}
			if err := w.putTracker(r.Is, r.Version); err != nil {
				return err
			}
		}
	}
	return nil
}

// putAccount stores an account where none with its id is.
func (w *writer) putAccount(a *queue.Account, version int64) error {
	people, err := toJSON(a.People, a.People != nil)
	if err != nil {
		return err
	}
	const put = "INSERT INTO account (id, login, password, title, time_zone, version, people) VALUES (?, ?, ?, ?, ?, ?, ?)"
	if _, err := w.c.exec(put, int64(a.ID), a.Login, a.Password, a.Title, a.TimeZone, version,
		people); err != nil {
		return err
	}
	const putKey = "INSERT INTO account_key (hash, account, position, name, role, end_ms) VALUES (?, ?, ?, ?, ?, ?)"
	for i := range a.Keys {
		k := &a.Keys[i]
		if _, err := w.c.exec(putKey, k.Hash[:], int64(a.ID), int64(i), k.Name, int64(k.Role),
			k.EndMs); err != nil {
			return err
		}
	}
	return nil
}

// putTracker stores a tracker where none with its id is.
func (w *writer) putTracker(t *queue.Tracker, version int64) error {
	features, err := toJSON(t.Features, len(t.Features) > 0)
	if err != nil {
		return err
	}
	settings, err := toJSON(t.Settings, len(t.Settings) > 0)
	if err != nil {
		return err
	}
	former, err := toJSON(t.Former, t.Former != nil)
	if err != nil {
		return err
	}
	record, err := toJSON(t.EmployeeRecord, t.EmployeeRecord != nil)
	if err != nil {
		return err
	}
	sorting, err := toJSON(t.Sorting, t.Sorting != nil)
	if err != nil {
		return err
	}
	const put = "INSERT INTO device (tracker, account, label, protocol, device_id, password, model, blocked, chat, features, employee," +
		" settings, version, conversation, former, employee_record, upstream, sorting)" +
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	_, err = w.c.exec(put, int64(t.ID), int64(t.Account), t.Label, t.Protocol, t.DeviceID,
		t.Password, t.Model, number(t.Blocked), number(t.Chat), features, t.Employee, settings,
		version, int64(t.Conversation), former, record, t.Upstream, sorting)
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
