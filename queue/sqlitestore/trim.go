package sqlitestore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"trackchat/queue"
)

const (
	trimRemove = 256  // messages that one transaction removes
	trimLook   = 2048 // messages that one transaction looks at
)

// Partitions: one file is one partition.
func (s *Store) Partitions() int { return 1 }

// Trim: It walks through the file from the oldest message on, some at a time, and begins anew when
// it has met only messages that stay.
func (s *Store) Trim(ctx context.Context, p queue.Partition, r queue.Retention) (queue.TrimStats,
	error,
) {
	if p != 0 {
		return queue.TrimStats{}, fmt.Errorf("trimming partition %d: the embedded store has only 0",
			p)
	}
	s.trimming.Lock()
	defer s.trimming.Unlock()
	var total queue.TrimStats
	for total.Removed < r.Max {
		step := trimStep{
			cutoffMs: r.CutoffMs, limit: min(trimRemove, r.Max-total.Removed),
			from: s.trimFrom,
		}
		err := s.write(ctx, &operation{
			name: "trim", items: trimLook, bulk: true,
			run: func(w *writer) error { return w.trim(&step) },
		})
		if err != nil {
			return total, err
		}
		total.Removed += step.removed
		s.trimFrom = step.next
		if total.More = step.more; !step.more {
			break
		}
	}
	return total, nil
}

// trimStep is what one transaction of Trim is to do and did.
type trimStep struct {
	cutoffMs int64
	limit    int
	from     int64 // id after which it begins

	next    int64 // id after which the next step begins
	removed int
	more    bool
}

// oldMessage is what Trim needs of a message.
type oldMessage struct {
	id      int64
	tracker queue.TrackerID
	status  queue.Status
}

func (w *writer) trim(step *trimStep) error {
	step.removed = 0
	var old []oldMessage
	last, looked, young := step.from, 0, 0
	err := w.c.query("SELECT id, tracker, status, submit_ms FROM message WHERE id > ? ORDER BY id LIMIT ?", func(row []driver.Value) error {
		last = integer(row[0])
		looked++
		switch st := queue.Status(integer(row[2])); {
		case integer(row[3]) >= step.cutoffMs:
			young++
		case st != queue.StatusPending:
			old = append(old, oldMessage{last, queue.TrackerID(integer(row[1])), st})
		}
		if len(old) == step.limit {
			return errStop
		}
		return nil
	}, step.from, int64(trimLook))
	if err != nil {
		return err
	}
	for _, m := range old {
		if err := w.remove(m); err != nil {
			return err
		}
	}
	step.removed = len(old)
	// Ids rise with time, so that mostly young messages mean that the cutoff is reached; single
	// ones are those of a tracker whose clock was ahead.
	step.next = last
	if step.more = len(old) == step.limit || looked == trimLook && young < looked/2; !step.more {
		step.next = 0
	}
	return nil
}

// remove deletes a message that is not pending. Its tracker's row keeps what only it may have said.
func (w *writer) remove(m oldMessage) error {
	t, err := w.tracker(m.tracker)
	if err != nil {
		return err
	}
	if _, err := w.c.exec("DELETE FROM message WHERE id = ?", m.id); err != nil {
		return err
	}
	w.mark(t)
	if m.status == queue.StatusUnread {
		t.unread--
	}
	return nil
}

// expireStep is the most messages that one transaction expires.
const expireStep = 500

const (
	isDue = isPending + " AND expires_ms > 0 AND expires_ms <= ?"

	dueQuery   = "SELECT id, tracker FROM message INDEXED BY message_expires WHERE " + isDue + " LIMIT ?"
	dueOfQuery = "SELECT id FROM message INDEXED BY message_expires WHERE " + isDue + " AND tracker = ?"
)

// Expire: It looks before it writes: mostly there is nothing to do.
func (s *Store) Expire(ctx context.Context) (queue.ExpireStats, error) {
	var st queue.ExpireStats
	due := false
	err := s.read(ctx, "expire_due", func(c *conn) (err error) {
		_, due, err = c.number(
			"SELECT id FROM message INDEXED BY message_expires WHERE "+isDue+" LIMIT 1", s.now().UnixMilli())
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
