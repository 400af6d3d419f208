package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"trackchat/queue"
)

const (
	maxList = 1024
	maxOpen = 64
)

func (s *Store) List(ctx context.Context, q queue.ListQuery) ([]queue.Message, error) {
	limit := max(1, min(q.Limit, maxList))
	r := run{
		tracker: q.Tracker, forward: !q.Desc, from: fromTime, at: max(q.FromMs, 0),
		bytes: readBytes, blocks: limit/slotsABlock + 2,
	}
	if q.Desc {
		r.at = max(q.ToMs, 0)
	}
	var list []queue.Message
	err := s.walk(ctx, "list", r, func(*state) bool { return q.FromMs <= q.ToMs },
		func(m *queue.Message) bool {
			switch {
			case q.Beyond != 0 && (q.Desc && m.ID >= q.Beyond || !q.Desc && m.ID <= q.Beyond):
			case m.SubmitMs >= q.FromMs && m.SubmitMs <= q.ToMs:
				list = append(list, *m)
			case q.Desc && m.SubmitMs < q.FromMs, !q.Desc && m.SubmitMs > q.ToMs:
				return false
			}
			return len(list) < limit
		})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Unacknowledged: The tracker's count of them says where to stop.
func (s *Store) Unacknowledged(ctx context.Context, t queue.TrackerID, limit int) ([]queue.Message,
	error,
) {
	limit = max(1, min(limit, maxOpen))
	var list []queue.Message
	err := s.walk(ctx, "unacknowledged", run{
		tracker: t, from: fromEnd, bytes: readBytes,
		blocks: 4,
	}, func(st *state) bool {
		limit = min(limit, int(st.open))
		return limit > 0
	}, func(m *queue.Message) bool {
		if !m.Status.Incoming() && !m.Status.Acknowledged() {
			list = append(list, *m)
		}
		return len(list) < limit
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Changes: It looks at the tracker's newest 32 blocks; the state tells when something older changed
// last.
func (s *Store) Changes(ctx context.Context, t queue.TrackerID, sinceMs int64,
	limit int,
) ([]queue.Message, error) {
	var list []queue.Message
	blocks, last, until, reset := 0, int64(-1), int64(0), false
	err := s.walk(ctx, "changes", run{tracker: t, from: fromEnd, bytes: readBytes, blocks: window},
		func(st *state) bool {
			until, reset = st.clock, st.reset > 0 && sinceMs <= st.reset
			return !reset && sinceMs <= until
		}, func(m *queue.Message) bool {
			if b := m.ID / partitions / slotsABlock; b != last {
				blocks, last = blocks+1, b
			}
			// What changed after the first page was read is left for the next call: older changes
			// may have been missed meanwhile.
			if m.ChangeMs >= sinceMs && m.ChangeMs <= until && blocks <= window {
				list = append(list, *m)
			}
			return blocks <= window
		})
	if err != nil {
		return nil, err
	}
	if reset {
		return nil, fmt.Errorf("%w: tracker %d since %d", queue.ErrTooOld, t, sinceMs)
	}
	slices.SortFunc(list, func(a, b queue.Message) int {
		return cmp.Or(cmp.Compare(a.ChangeMs, b.ChangeMs), cmp.Compare(a.ID, b.ID))
	})
	for n := max(limit, 1); n < len(list); n++ {
		if list[n].ChangeMs != list[n-1].ChangeMs {
			return list[:n], nil
		}
	}
	return list, nil
}
