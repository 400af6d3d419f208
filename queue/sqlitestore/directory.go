package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"

	"trackchat/queue"
)

// LoadDirectory implements queue.DirectoryStore.
func (s *Store) LoadDirectory(ctx context.Context) (accounts []queue.Account, trackers []queue.Tracker, err error) {
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

func loadAccounts(ctx context.Context, c *conn) ([]queue.Account, error) {
	var accounts []queue.Account
	index := make(map[int64]int)
	err := c.queryContext(ctx, "SELECT id, login, password, title, time_zone FROM account ORDER BY id", func(row []driver.Value) error {
		index[integer(row[0])] = len(accounts)
		accounts = append(accounts, queue.Account{
			ID: queue.AccountID(integer(row[0])), Login: text(row[1]), Password: text(row[2]), Title: text(row[3]), TimeZone: text(row[4]),
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.queryContext(ctx, "SELECT account, hash FROM account_key ORDER BY account, position", func(row []driver.Value) error {
		i, ok := index[integer(row[0])]
		h := blob(row[1])
		if !ok || len(h) != len(queue.KeyHash{}) {
			return fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, integer(row[0]))
		}
		accounts[i].Keys = append(accounts[i].Keys, queue.KeyHash(h))
		return nil
	})
	return accounts, err
}

func loadTrackers(ctx context.Context, c *conn) ([]queue.Tracker, error) {
	var trackers []queue.Tracker
	err := c.queryContext(ctx, "SELECT tracker, account, label, protocol, device_id, password, model, blocked, chat, features, employee, settings FROM device ORDER BY tracker",
		func(row []driver.Value) error {
			t := queue.Tracker{
				ID: queue.TrackerID(integer(row[0])), Account: queue.AccountID(integer(row[1])), Label: text(row[2]), Protocol: text(row[3]), DeviceID: text(row[4]),
				Password: text(row[5]), Model: text(row[6]), Blocked: integer(row[7]) != 0, Chat: integer(row[8]) != 0, Employee: integer(row[10]),
			}
			if err := fromJSON(row[9], &t.Features); err != nil {
				return fmt.Errorf("%w: features of tracker %d: %w", queue.ErrCorrupt, t.ID, err)
			}
			if err := fromJSON(row[11], &t.Settings); err != nil {
				return fmt.Errorf("%w: settings of tracker %d: %w", queue.ErrCorrupt, t.ID, err)
			}
			trackers = append(trackers, t)
			return nil
		})
	return trackers, err
}

// ImportDirectory implements queue.DirectoryStore. Only one import runs at a time, so that what it is compared with stays while it waits for the writer.
func (s *Store) ImportDirectory(ctx context.Context, accounts []queue.Account, trackers []queue.Tracker, prune bool) (queue.ImportStats, error) {
	s.importing.Lock()
	defer s.importing.Unlock()
	storedAccounts, storedTrackers, err := s.LoadDirectory(ctx)
	if err != nil {
		return queue.ImportStats{}, err
	}
	c, err := queue.MergeDirectory(storedAccounts, storedTrackers, accounts, trackers, prune)
	if err != nil {
		return queue.ImportStats{}, err
	}
	err = s.write(ctx, &operation{name: "import_directory", items: maxBatch, bulk: true, grows: true, run: func(w *writer) error { return importDirectory(w.c, &c) }})
	if err != nil {
		return queue.ImportStats{}, err
	}
	return c.Stats, nil
}

// importDirectory removes first everything that will be there anew: logins, keys and devices may have changed places.
func importDirectory(c *conn, d *queue.DirectoryChange) error {
	removed := append([]queue.AccountID(nil), d.RemoveAccounts...)
	for i := range d.PutAccounts {
		removed = append(removed, d.PutAccounts[i].ID)
	}
	for _, id := range removed {
		for _, q := range []string{"DELETE FROM account WHERE id = ?", "DELETE FROM account_key WHERE account = ?"} {
			if _, err := c.exec(q, int64(id)); err != nil {
				return err
			}
		}
	}
	gone := append([]queue.TrackerID(nil), d.RemoveTrackers...)
	for i := range d.PutTrackers {
		gone = append(gone, d.PutTrackers[i].ID)
	}
	for _, id := range gone {
		if _, err := c.exec("DELETE FROM device WHERE tracker = ?", int64(id)); err != nil {
			return err
		}
	}
	for i := range d.PutAccounts {
		if err := putAccount(c, &d.PutAccounts[i]); err != nil {
			return err
		}
	}
	for i := range d.PutTrackers {
		if err := putTracker(c, &d.PutTrackers[i]); err != nil {
			return err
		}
	}
	return nil
}

func putAccount(c *conn, a *queue.Account) error {
	if _, err := c.exec("INSERT INTO account (id, login, password, title, time_zone) VALUES (?, ?, ?, ?, ?)", int64(a.ID), a.Login, a.Password, a.Title, a.TimeZone); err != nil {
		return err
	}
	for i, k := range a.Keys {
		if _, err := c.exec("INSERT INTO account_key (hash, account, position) VALUES (?, ?, ?)", k[:], int64(a.ID), int64(i)); err != nil {
			return err
		}
	}
	return nil
}

func putTracker(c *conn, t *queue.Tracker) error {
	features, err := toJSON(t.Features, len(t.Features))
	if err != nil {
		return err
	}
	settings, err := toJSON(t.Settings, len(t.Settings))
	if err != nil {
		return err
	}
	_, err = c.exec("INSERT INTO device (tracker, account, label, protocol, device_id, password, model, blocked, chat, features, employee, settings) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		int64(t.ID), int64(t.Account), t.Label, t.Protocol, t.DeviceID, t.Password, t.Model, number(t.Blocked), number(t.Chat), features, t.Employee, settings)
	return err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// toJSON gives NULL for an empty value.
func toJSON(v any, length int) (driver.Value, error) {
	if length == 0 {
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
