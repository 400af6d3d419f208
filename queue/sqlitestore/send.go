package sqlitestore

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"trackchat/queue"
)

const (
	keyLifeMs   = int64(24 * time.Hour / time.Millisecond)
	wakeText    = 1024   // bytes of text that a wake carries
	idsReserved = 65_536 // numbers reserved at a time: what a crash wastes at most
)

func (s *Store) Send(ctx context.Context, reqs []queue.SendReq) ([]queue.SendResult, error) {
	reqs = slices.Clone(reqs)
	res := make([]queue.SendResult, len(reqs))
	size := 64 * len(reqs)
	for i := range reqs {
		size += len(reqs[i].Text)
	}
	err := s.write(ctx, &operation{
		name: "send", items: len(reqs), bytes: size, bulk: true,
		grows: true, run: func(w *writer) (err error) {
			for i := range reqs {
				if res[i], err = w.send(&reqs[i]); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// send stores one outgoing message. The error is one of the transaction.
func (w *writer) send(r *queue.SendReq) (queue.SendResult, error) {
	if queue.TextTooLong(r.Text) {
		return queue.SendResult{Err: queue.ErrTooLarge}, nil
	}
	t, err := w.tracker(r.Tracker)
	if err != nil {
		return queue.SendResult{}, err
	}
	if id, err := w.repeated(t, r); id != 0 || err != nil {
		return queue.SendResult{ID: id, Dup: true}, err
	}
	if t.pending >= int64(w.s.opts.MaxPending) {
		if err := w.expireOf(t); err != nil {
			return queue.SendResult{}, err
		}
	}
	if t.pending >= int64(w.s.opts.MaxPending) {
		return queue.SendResult{Err: queue.ErrQueueFull}, nil
	}
	m := queue.Message{
		Tracker: r.Tracker, Status: queue.StatusPending, ExpiresMs: r.ExpiresMs,
		Employee: r.Employee,
		Text:     r.Text, Choices: r.Choices, ReplyTo: r.ReplyTo, Urgent: r.Urgent,
		Author: r.Author,
	}
	if err := w.insert(t, &m); err != nil {
		return queue.SendResult{}, err
	}
	if r.Key != "" {
		if _, err := w.c.exec(
			"INSERT OR REPLACE INTO idempotency (tracker, key, message, until_ms) VALUES (?, ?, ?, ?)",
			int64(t.id), r.Key, m.ID, w.now+keyLifeMs); err != nil {
			return queue.SendResult{}, err
		}
	}
	prev := t.lastOut
	t.lastOut = m.ID
	t.pending++
	w.wakeMessage(t, m, prev)
	return queue.SendResult{ID: m.ID}, nil
}

// repeated returns the id of the message that r repeats, 0 if it is a new one.
func (w *writer) repeated(t *tracker, r *queue.SendReq) (int64, error) {
	if r.Key == "" {
		return 0, nil
	}
	id, _, err := w.c.number(
		"SELECT message FROM idempotency WHERE tracker = ? AND key = ? AND until_ms > ?",
		int64(t.id), r.Key, w.now)
	return id, err
}

// insert stores m, either direction, and fills in its id and times.
func (w *writer) insert(t *tracker, m *queue.Message) error {
	id, err := w.newID()
	if err != nil {
		return err
	}
	ms := t.tick(w.now)
	m.ID, m.SubmitMs, m.ChangeMs = id, ms, ms
	w.recordChange(queue.ChangeStored, t, id)
	var choices, author driver.Value
	if len(m.Choices) > 0 {
		if choices, err = toJSON(m.Choices, true); err != nil {
			return err
		}
	}
	if m.Author != nil {
		if author, err = toJSON(m.Author, true); err != nil {
			return err
		}
	}
	_, err = w.c.exec("INSERT INTO message (id, tracker, status, submit_ms, change_ms, expires_ms, employee, reply_to, text, choices, urgent, author) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		id, int64(t.id), int64(m.Status), ms, ms, m.ExpiresMs, m.Employee, m.ReplyTo, m.Text,
		choices, m.Urgent, author)
	return err
}

// newID returns the next id. The reservation is part of the transaction that uses its first number,
// and such a transaction is synced before anybody hears of it.
func (w *writer) newID() (int64, error) {
	if w.next > w.reserved {
		w.s.remember(w.next + idsReserved - 1)
		if _, err := w.c.exec("UPDATE meta SET value = ? WHERE name = 'reserved'",
			w.next+idsReserved-1); err != nil {
			return 0, err
		}
		w.reserved = w.next + idsReserved - 1
		w.mustSync = true
	}
	id := w.next
	w.next++
	return id, nil
}

const recallQuery = "SELECT answer FROM answer WHERE account = ? AND key = ? AND until_ms > ?"

func (s *Store) IdempotentAnswer(ctx context.Context, a queue.AccountID, key string) ([]byte,
	error,
) {
	var answer []byte
	err := s.read(ctx, "recall", func(c *conn) error {
		return c.recall(&answer, a, key, s.now().UnixMilli())
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// recall leaves dst alone where there is no answer.
func (c *conn) recall(dst *[]byte, a queue.AccountID, key string, now int64) error {
	return c.query(recallQuery, func(row []driver.Value) error {
		*dst = append([]byte(nil), blob(row[0])...)
		return nil
	}, int64(a), key, now)
}

func (s *Store) SaveAnswer(ctx context.Context, a queue.AccountID, key string,
	answer []byte) ([]byte,
	error,
) {
	var counts []byte
	err := s.write(ctx, &operation{
		name: "remember", items: 1, bytes: 64 + len(answer),
		run: func(w *writer) error {
			counts = nil
			if err := w.c.recall(&counts, a, key, w.now); err != nil || counts != nil {
				return err
			}
			counts = answer
			_, err := w.c.exec("INSERT OR REPLACE INTO answer (account, key, answer, until_ms) VALUES (?, ?, ?, ?)", int64(a), key, answer, w.now+keyLifeMs)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
