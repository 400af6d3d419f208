package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"slices"

	"trackchat/queue"
)

func (s *Store) MarkRead(ctx context.Context, refs []queue.Ref) ([]queue.MarkResult, error) {
	refs = slices.Clone(refs)
	res := make([]queue.MarkResult, len(refs))
	err := s.write(ctx, &operation{
		name: "mark_read", items: len(refs), bytes: 64 * len(refs),
		run: func(w *writer) error {
			return w.markRead(refs, res)
		},
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// markRead looks at every message before it changes one.
func (w *writer) markRead(refs []queue.Ref, res []queue.MarkResult) error {
	known := true
	for i, r := range refs {
		st, err := w.status(r.Tracker, r.ID)
		if err != nil {
			return err
		}
		switch st {
		case queue.StatusUnread:
			res[i] = queue.MarkNewly
		case queue.StatusRead:
			res[i] = queue.MarkAlready
		default:
			res[i] = queue.MarkUnknown
			known = false
		}
	}
	if !known {
		return nil
	}
	for i, r := range refs {
		if res[i] != queue.MarkNewly {
			continue
		}
		t, err := w.tracker(r.Tracker)
		if err != nil {
			return err
		}
		ms := t.tick(w.now)
		n, err := w.c.exec("UPDATE message SET "+isRead+", update_ms = ?, change_ms = ? WHERE id = ? AND tracker = ? AND "+isUnread, ms, ms, r.ID, int64(t.id))
		if err != nil {
			return err
		}
		if n == 0 { // named twice
			res[i] = queue.MarkAlready
		} else {
			w.recordChange(queue.ChangeRead, t, r.ID)
			w.mark(t)
			t.unread--
		}
	}
	return nil
}

// markStep is how many messages one transaction marks read: the hot path does not wait for the
// rest.
const markStep = 1024

// MarkReadAll: It works in steps; what is stored while it runs may stay unread.
func (s *Store) MarkReadAll(ctx context.Context, ts []queue.TrackerID) (int, error) {
	unread, err := s.Unread(ctx, ts)
	if err != nil {
		return 0, err
	}
	rest := make([]unreadTracker, 0, len(unread))
	for id := range unread {
		rest = append(rest, unreadTracker{id: id})
	}
	slices.SortFunc(rest, func(a, b unreadTracker) int { return cmp.Compare(a.id, b.id) })
	total := 0
	for len(rest) > 0 {
		var n int
		err := s.write(ctx, &operation{
			name: "mark_read_all", items: markStep,
			run: func(w *writer) (err error) {
				n = 0
				return w.markReadAll(rest, &n)
			},
		})
		if err != nil {
			return total, err
		}
		total += n
		rest = slices.DeleteFunc(rest, func(t unreadTracker) bool { return t.done })
	}
	return total, nil
}

// unreadTracker is a tracker that MarkReadAll still has to do.
type unreadTracker struct {
	id   queue.TrackerID
	upTo int64 // newest message id when its turn came, 0 before: later ones are not meant
	done bool
}

// markReadAll marks at most about markStep messages of the first trackers.
func (w *writer) markReadAll(rest []unreadTracker, total *int) error {
	for i := range rest {
		rest[i].done = false
	}
	for i := range rest {
		if *total >= markStep {
			return nil
		}
		u := &rest[i]
		first := u.upTo == 0
		if first {
			u.upTo = w.next - 1
		}
		t, err := w.tracker(u.id)
		if err != nil {
			return err
		}
		ms := max(w.now, t.changeMs)
		if !first {
			ms = max(ms, t.changeMs+1) // no millisecond gets the changes of many steps
		}
		var marked []int64
		err = w.c.query("UPDATE message SET "+isRead+", update_ms = ?, change_ms = ? WHERE id IN "+
			"(SELECT id FROM message INDEXED BY message_unread WHERE tracker = ? AND "+isUnread+" AND id <= ? ORDER BY id LIMIT ?) RETURNING id",
			func(row []driver.Value) error { marked = append(marked, integer(row[0])); return nil },
			ms, ms, int64(t.id), u.upTo, int64(markStep))
		if err != nil {
			return err
		}
		n := len(marked)
		if n > 0 {
			w.mark(t)
			t.changeMs = ms
			t.unread -= int64(n)
			*total += n
		}
		for _, id := range marked {
			w.recordChange(queue.ChangeRead, t, id)
		}
		u.done = n < markStep
	}
	return nil
}

func (s *Store) Unread(ctx context.Context, ts []queue.TrackerID) (map[queue.TrackerID]int, error) {
	res := make(map[queue.TrackerID]int)
	err := s.readTrackers(ctx, "unread", s.unreadIn, ts, func(row []driver.Value) {
		if n := integer(row[1]); n > 0 {
			res[queue.TrackerID(integer(row[0]))] = int(n)
		}
	})
	return res, err
}

func (s *Store) LastTimes(ctx context.Context, ts []queue.TrackerID) (map[queue.TrackerID]int64,
	error,
) {
	res := make(map[queue.TrackerID]int64)
	err := s.readTrackers(ctx, "last_times", s.lastTimesOf, ts, func(row []driver.Value) {
		if ms := integer(row[1]); ms > 0 {
			res[queue.TrackerID(integer(row[0]))] = ms
		}
	})
	return res, err
}
