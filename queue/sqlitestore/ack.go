package sqlitestore

import (
	"context"
	"fmt"
	"slices"

	"trackchat/queue"
)

func (s *Store) Ack(ctx context.Context, acks []queue.AckReq) ([]queue.AckResult, error) {
	acks = slices.Clone(acks)
	res := make([]queue.AckResult, len(acks))
	err := s.write(ctx, &operation{
		name: "ack", items: len(acks), bytes: 64 * len(acks),
		run: func(w *writer) (err error) {
			for i := range acks {
				if res[i], err = w.ack(&acks[i]); err != nil {
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

const (
	ackPending = "UPDATE message SET status = ?, reason = 0, update_ms = ?, read_ms = ?, change_ms = ?, acked = parts, replaced = ? WHERE id = ? AND tracker = ? AND " + isPending
	ackEnded   = "UPDATE message SET status = ?, reason = 0, update_ms = ?, read_ms = ?, change_ms = ?, acked = parts, replaced = ? WHERE id = ? AND tracker = ? AND " + hasEnded
	openAcked  = "UPDATE message SET " + isOpened + ", read_ms = ?, change_ms = ? WHERE id = ? AND tracker = ? AND " + isDelivered
)

// ack tries the usual case with a single statement: WHERE status makes it exactly once.
func (w *writer) ack(r *queue.AckReq) (queue.AckResult, error) {
	t, err := w.tracker(r.Tracker)
	if err != nil {
		return 0, err
	}
	status, ms, readMs := queue.StatusDelivered, max(w.now, t.changeMs), int64(0)
	if r.Opened {
		status, readMs = queue.StatusOpened, ms
	}
	n, err := w.c.exec(ackPending, int64(status), ms, readMs, ms, int64(r.Replaced), r.ID,
		int64(t.id))
	if err != nil {
		return 0, err
	}
	if n == 1 {
		t.tick(w.now)
		t.pending--
		w.noteAck(t, r)
		return queue.AckDelivered, nil
	}
	return w.ackAgain(t, r, status)
}

// ackAgain acknowledges a message that is not pending.
func (w *writer) ackAgain(t *tracker, r *queue.AckReq, status queue.Status) (queue.AckResult,
	error,
) {
	old, err := w.status(t.id, r.ID)
	if err != nil || old == 0 || old.Incoming() {
		return queue.AckUnknown, err
	}
	ms, readMs := max(w.now, t.changeMs), int64(0)
	if r.Opened {
		readMs = ms
	}
	switch {
	case !old.Acknowledged():
		t.tick(w.now)
		w.noteAck(t, r)
		_, err := w.c.exec(ackEnded, int64(status), ms, readMs, ms, int64(r.Replaced), r.ID,
			int64(t.id))
		return queue.AckDelivered, err
	case r.Opened && old == queue.StatusDelivered:
		t.tick(w.now)
		w.recordChange(queue.ChangeOpened, t, r.ID)
		_, err := w.c.exec(openAcked, ms, ms, r.ID, int64(t.id))
		return queue.AckAlready, err
	default:
		return queue.AckAlready, nil
	}
}

// noteAck tells of a first ack, and of the driver's opening where it came with it.
func (w *writer) noteAck(t *tracker, r *queue.AckReq) {
	w.recordChange(queue.ChangeDelivered, t, r.ID)
	if r.Opened {
		w.recordChange(queue.ChangeOpened, t, r.ID)
	}
}

// status returns the state of a tracker's message, 0 if it has no such message.
func (w *writer) status(t queue.TrackerID, id int64) (queue.Status, error) {
	n, _, err := w.c.number("SELECT status FROM message WHERE id = ? AND tracker = ?", id, int64(t))
	return queue.Status(n), err
}

func (s *Store) Progress(ctx context.Context, ps []queue.ProgressReq) error {
	ps = slices.Clone(ps)
	return s.write(ctx, &operation{
		name: "progress", items: len(ps), bytes: 64 * len(ps),
		run: func(w *writer) error {
			for i := range ps {
				if err := w.progress(&ps[i]); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

const noteProgress = "UPDATE message SET parts = ?1, acked = ?2, change_ms = ?3, tries = ?6, tried_ms = ?7 " +
	"WHERE id = ?4 AND tracker = ?5 AND " + isPending + " " +
	"AND (parts <> ?1 OR acked < ?2 OR acked = ?2 AND tries < ?6)"

func (w *writer) progress(p *queue.ProgressReq) error {
	if !p.Valid() {
		return nil
	}
	t, err := w.tracker(p.Tracker)
	if err != nil {
		return err
	}
	ms := max(w.now, t.changeMs)
	n, err := w.c.exec(noteProgress, int64(p.Parts), int64(p.Acked), ms, p.ID, int64(t.id),
		int64(p.Tries), min(p.TriedMs, ms))
	if n == 1 {
		t.tick(w.now)
		w.recordChange(queue.ChangeProgress, t, p.ID)
	}
	return err
}

func (s *Store) End(ctx context.Context, ends []queue.EndReq) ([]queue.EndResult, error) {
	for i := range ends {
		switch ends[i].Status {
		case queue.StatusFailed, queue.StatusExpired, queue.StatusCancelled, queue.StatusSent:
		default:
			return nil, fmt.Errorf("ending message %d: %q is no end", ends[i].ID, ends[i].Status)
		}
	}
	ends = slices.Clone(ends)
	res := make([]queue.EndResult, len(ends))
	err := s.write(ctx, &operation{
		name: "end", items: len(ends), bytes: 64 * len(ends),
		run: func(w *writer) (err error) {
			for i := range ends {
				if res[i], err = w.end(&ends[i]); err != nil {
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

func (w *writer) end(r *queue.EndReq) (queue.EndResult, error) {
	t, err := w.tracker(r.Tracker)
	if err != nil {
		return 0, err
	}
	reason, replaced, acked := r.Reason, 0, int64(1)
	if r.Status == queue.StatusSent {
		reason, replaced, acked = queue.ReasonNone, r.Replaced, 0
	}
	n, err := w.c.exec("UPDATE message SET status = ?, reason = ?, replaced = ?, acked = acked * ?, change_ms = ? WHERE id = ? AND tracker = ? AND "+isPending,
		int64(r.Status), int64(reason), int64(replaced), acked, max(w.now, t.changeMs), r.ID,
		int64(t.id))
	if err != nil {
		return 0, err
	}
	if n == 1 {
		t.tick(w.now)
		t.pending--
		w.recordChange(queue.ChangeKind(r.Status), t, r.ID)
		w.wakeEnd(t, r)
		return queue.EndNow, nil
	}
	old, err := w.status(t.id, r.ID)
	if err != nil || old == 0 || old.Incoming() {
		return queue.EndUnknown, err
	}
	return queue.EndAlready, nil
}
