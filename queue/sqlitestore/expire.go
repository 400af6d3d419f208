package sqlitestore

import (
	"context"
	"database/sql/driver"

	"trackchat/queue"
)

// expireStep is the most messages that one transaction expires.
const expireStep = 500

const (
	dueQuery   = "SELECT id, tracker FROM message INDEXED BY message_expires WHERE status = 80 AND expires_ms > 0 AND expires_ms <= ? LIMIT ?"
	dueOfQuery = "SELECT id FROM message INDEXED BY message_expires WHERE status = 80 AND expires_ms > 0 AND expires_ms <= ? AND tracker = ?"
)

// Expire: It looks before it writes: mostly there is nothing to do.
func (s *Store) Expire(ctx context.Context) (queue.ExpireStats, error) {
	var st queue.ExpireStats
	due := false
	err := s.read(ctx, "expire_due", func(c *conn) (err error) {
		_, due, err = c.number(
			"SELECT id FROM message INDEXED BY message_expires WHERE status = 80 AND expires_ms > 0 AND expires_ms <= ? LIMIT 1", s.now().UnixMilli())
		return err
	})
	if err != nil || !due {
		return st, err
	}
	err = s.write(ctx, &operation{
		name: "expire", items: expireStep, bytes: 64 * expireStep,
		run: func(w *writer) error {
			var ends []queue.EndReq
			err := w.c.query(dueQuery, func(row []driver.Value) error {
				ends = append(ends, queue.EndReq{
					ID:      integer(row[0]),
					Tracker: queue.TrackerID(integer(row[1])), Status: queue.StatusExpired,
				})
				return nil
			}, w.now, int64(expireStep))
			if err != nil {
				return err
			}
			st = queue.ExpireStats{Ended: len(ends), More: len(ends) == expireStep}
			return w.endAll(ends)
		},
	})
	if err != nil {
		return queue.ExpireStats{}, err
	}
	return st, nil
}

// expireOf expires what is due of one tracker, so that it does not count as undelivered.
func (w *writer) expireOf(t *tracker) error {
	var ends []queue.EndReq
	err := w.c.query(dueOfQuery, func(row []driver.Value) error {
		ends = append(ends, queue.EndReq{
			ID: integer(row[0]), Tracker: t.id,
			Status: queue.StatusExpired,
		})
		return nil
	}, w.now, int64(t.id))
	if err != nil {
		return err
	}
	return w.endAll(ends)
}

func (w *writer) endAll(ends []queue.EndReq) error {
	for i := range ends {
		if _, err := w.end(&ends[i]); err != nil {
			return err
		}
	}
	return nil
}
