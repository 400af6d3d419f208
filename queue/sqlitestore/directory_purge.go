package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"trackchat/queue"

	"go.uber.org/zap"
)

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
		"DELETE FROM message WHERE tracker = ? AND status = 80",
		"DELETE FROM idempotency WHERE tracker = ?",
		"DELETE FROM dedupe WHERE tracker = ?",
		"INSERT OR IGNORE INTO purge (tracker) VALUES (?)",
	} {
		if _, err := w.c.exec(q, int64(id)); err != nil {
			return err
		}
	}
	w.kick(t)
	t.pending, t.unread, t.lastMs, t.sinceMs, t.seenMs = 0, 0, 0, 0, 0
	t.ring, t.ringLoaded, t.ringDirty = nil, true, false
	return nil
}

// purgeAll removes the messages of conversations that a change of the directory has just dropped,
// and what calls before it have left.
func (s *Store) purgeAll(ctx context.Context, keys []queue.TrackerID) error {
	for _, key := range keys {
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

// purge removes the messages of a tracker that is gone, some at a time.
func (s *Store) purge(ctx context.Context, id queue.TrackerID) error {
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
func (s *Store) purgeLeft(ctx context.Context) error {
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
	n, err := w.c.exec("DELETE FROM message WHERE id IN (SELECT id FROM message WHERE tracker = ? LIMIT ?)", int64(id), limit)
	if err != nil || n == limit {
		return true, err
	}
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
