package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"trackchat/queue"
	"trackchat/queue/directory"
)

// Kinds of rows in gone.
const (
	goneAccount int64 = 1
	goneTracker int64 = 2
)

// maxGone is how many removed rows are remembered at least; of one and a half times as many the
// oldest are forgotten.
const maxGone = 10_000

func directoryVersion(c *conn) (version, floor int64, err error) {
	n := 0
	err = c.query("SELECT name, value FROM meta WHERE name IN ('directory_version', 'directory_floor')", func(row []driver.Value) error {
		n++
		if text(row[0]) == "directory_version" {
			version = integer(row[1])
		} else {
			floor = integer(row[1])
		}
		return nil
	})
	if err == nil && n != 2 {
		err = fmt.Errorf("%w: no version of the directory", queue.ErrCorrupt)
	}
	return version, floor, err
}

// noteRemovals remembers the rows that are gone, and forgets those that are there again.
func (w *writer) noteRemovals(d *directory.Change) error {
	removed := false
	note := func(kind, id, version int64, was, is bool) (err error) {
		switch {
		case !is:
			removed = true
			_, err = w.c.exec("INSERT OR REPLACE INTO gone (version, kind, id) VALUES (?, ?, ?)",
				version, kind, id)
		case !was:
			_, err = w.c.exec("DELETE FROM gone WHERE kind = ? AND id = ?", kind, id)
		}
		return err
	}
	for i := range d.Accounts {
		r := &d.Accounts[i]
		if err := note(goneAccount, int64(r.ID), r.Version, r.Was != nil, r.Is != nil); err != nil {
			return err
		}
	}
	for i := range d.Trackers {
		r := &d.Trackers[i]
		if err := note(goneTracker, int64(r.ID), r.Version, r.Was != nil, r.Is != nil); err != nil {
			return err
		}
	}
	if !removed {
		return nil
	}
	return w.forgetRemovals()
}

// forgetRemovals bounds what is remembered.
func (w *writer) forgetRemovals() error {
	count, _, err := w.c.number("SELECT COUNT(*) FROM gone")
	if err != nil || count <= maxGone*3/2 {
		return err
	}
	floor, _, err := w.c.number("SELECT version FROM gone ORDER BY version DESC LIMIT 1 OFFSET ?",
		int64(maxGone))
	if err != nil {
		return err
	}
	if _, err := w.c.exec("DELETE FROM gone WHERE version <= ?", floor); err != nil {
		return err
	}
	_, err = w.c.exec("UPDATE meta SET value = ? WHERE name = 'directory_floor'", floor)
	return err
}

func (s *dirStore) DirectoryChanges(ctx context.Context, since int64,
	limit int,
) (queue.DirectoryChanges, error) {
	var c queue.DirectoryChanges
	err := s.read(ctx, "directory_changes", func(conn *conn) (err error) {
		c, err = directoryChanges(conn, since, max(limit, 1))
		return err
	})
	return c, err
}

// changedRow is a row of the history; the rows themselves are in the lists of the answer.
type changedRow struct {
	version int64
	take    func()
}

func directoryChanges(c *conn, since int64, limit int) (queue.DirectoryChanges, error) {
	var d queue.DirectoryChanges
	version, floor, err := directoryVersion(c)
	switch {
	case err != nil:
		return d, err
	case since == version:
		d.Version = version
		return d, nil
	case since > version, since != 0 && since < floor:
		return d, fmt.Errorf("%w: of the directory from version %d", queue.ErrTooOld, since)
	}
	rows, err := changedRows(c, since, limit, &d)
	if err != nil {
		return d, err
	}
	slices.SortFunc(rows, func(a, b changedRow) int { return cmp.Compare(a.version, b.version) })
	d.Version = version
	if d.More = len(rows) > limit; d.More {
		rows = rows[:limit]
		d.Version = rows[limit-1].version
	}
	for _, r := range rows {
		r.take()
	}
	return d, fillKeys(c, d.Accounts)
}

// changedRows reads one row more than limit of each kind at most.
func changedRows(c *conn, since int64, limit int, d *queue.DirectoryChanges) ([]changedRow, error) {
	var rows []changedRow
	const after = "WHERE version > ? ORDER BY version LIMIT ?"
	most := int64(limit) + 1
	err := c.query(accountColumns+after, func(row []driver.Value) error {
		a, err := accountOf(row)
		rows = append(rows, changedRow{integer(row[5]), func() {
			d.Accounts = append(d.Accounts,
				a)
		}})
		return err
	}, since, most)
	if err != nil {
		return nil, err
	}
	err = c.query(trackerColumns+after, func(row []driver.Value) error {
		t, err := trackerOf(row)
		rows = append(rows, changedRow{integer(row[12]), func() {
			d.Trackers = append(d.Trackers,
				t)
		}})
		return err
	}, since, most)
	if err != nil || since == 0 { // who begins has nothing that could be gone
		return rows, err
	}
	err = c.query("SELECT version, kind, id FROM gone "+after, func(row []driver.Value) error {
		id, account := integer(row[2]), integer(row[1]) == goneAccount
		rows = append(rows, changedRow{integer(row[0]), func() {
			if account {
				d.GoneAccounts = append(d.GoneAccounts, queue.AccountID(id))
			} else {
				d.GoneTrackers = append(d.GoneTrackers, queue.TrackerID(id))
			}
		}})
		return nil
	}, since, most)
	return rows, err
}

// purgeStep is how many messages of a removed tracker one transaction removes.
const purgeStep = 512

// endQueue removes what was to be delivered, forgets what is known of a conversation's messages and
// kicks its session.
func (w *writer) endQueue(id queue.TrackerID) error {
	t, err := w.tracker(id)
	if err != nil {
		return err
	}
	for _, q := range []string{
		"DELETE FROM message WHERE tracker = ? AND " + isPending,
		"DELETE FROM idempotency WHERE tracker = ?",
		"DELETE FROM dedupe WHERE tracker = ?",
		"INSERT OR IGNORE INTO purge (tracker) VALUES (?)",
	} {
		if _, err := w.c.exec(q, int64(id)); err != nil {
			return err
		}
	}
	w.kick(t)
	t.pending, t.unread, t.sinceMs, t.seenMs = 0, 0, 0, 0
	t.ring, t.ringLoaded, t.ringDirty = nil, true, false
	return nil
}

// purge removes the messages of a tracker that is gone, some at a time.
func (s *dirStore) purge(ctx context.Context, id queue.TrackerID) error {
	for {
		more := false
		err := s.write(ctx, &operation{
			name: "purge", items: purgeStep, bulk: true,
			run: func(w *writer) error {
				marked, err := w.purgeMarked(id)
				if err != nil || !marked {
					more = false
					return err
				}
				more, err = w.purgeSome(id, purgeStep)
				return err
			},
		})
		if err != nil || !more {
			return err
		}
	}
}

// purgeLeft finishes what an earlier process did not get to.
func (s *dirStore) purgeLeft(ctx context.Context) error {
	var ids []queue.TrackerID
	err := s.read(ctx, "purge", func(c *conn) error {
		return c.query("SELECT tracker FROM purge",
			func(row []driver.Value) error {
				ids = append(ids,
					queue.TrackerID(integer(row[0])))
				return nil
			})
	})
	for _, id := range ids {
		err = errors.Join(err, s.purge(ctx, id))
	}
	return err
}

func (w *writer) purgeMarked(id queue.TrackerID) (bool, error) {
	_, marked, err := w.c.number("SELECT 1 FROM purge WHERE tracker = ?", int64(id))
	return marked, err
}

// purgeSome removes up to limit messages, all for -1, and the mark with the last one.
func (w *writer) purgeSome(id queue.TrackerID, limit int64) (more bool, err error) {
	t, err := w.tracker(id)
	if err != nil {
		return false, err
	}
	w.mark(t) // the row keeps what the messages say of its times and ids
	n, err := w.c.exec("DELETE FROM message WHERE id IN (SELECT id FROM message WHERE tracker = ? LIMIT ?)", int64(id), limit)
	if err != nil || n == limit {
		return true, err
	}
	t.pending, t.unread = 0, 0 // of whoever still came
	_, err = w.c.exec("DELETE FROM purge WHERE tracker = ?", int64(id))
	return false, err
}

// finishPurge makes sure that a tracker which comes again starts without messages, also if the
// process that removed it did not get to the end.
func (w *writer) finishPurge(id queue.TrackerID) error {
	marked, err := w.purgeMarked(id)
	if err != nil || !marked {
		return err
	}
	if err := w.endQueue(id); err != nil {
		return err
	}
	_, err = w.purgeSome(id, -1)
	return err
}
