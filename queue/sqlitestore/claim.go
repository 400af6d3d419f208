package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"

	"trackchat/queue"
)

// maxClaim is the most messages that one ClaimReq is answered with.
const maxClaim = 1024

func (s *Store) Claim(ctx context.Context, reqs []queue.ClaimReq) ([]queue.ClaimResult, error) {
	res := make([]queue.ClaimResult, len(reqs))
	err := s.read(ctx, "claim", func(c *conn) error {
		for i := range reqs {
			err := translate(claim(c, &reqs[i], &res[i]))
			if errors.Is(err, queue.ErrCorrupt) {
				s.claimCorrupt(&res[i], err)
				continue
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// claimCorrupt keeps what cannot be read from the other requests of a call; it comes up again when
// it is next.
func (s *Store) claimCorrupt(r *queue.ClaimResult, err error) {
	if len(r.Msgs) > 0 {
		r.More = true
		return
	}
	s.metrics.Corrupt("claim")
	r.Err = err
}

func claim(c *conn, r *queue.ClaimReq, res *queue.ClaimResult) error {
	*res = queue.ClaimResult{Next: r.Cursor}
	epoch, _, err := c.number("SELECT epoch FROM tracker WHERE id = ?", int64(r.Lease.Tracker))
	switch {
	case err != nil:
		return err
	case epoch != r.Lease.Epoch:
		res.Err = queue.ErrFenced
		return nil
	}
	bytes := 0
	return c.query("SELECT "+messageColumns+" FROM message INDEXED BY message_pending WHERE tracker = ? AND "+isPending+" AND id > ? ORDER BY id", func(row []driver.Value) error {
		n := len(text(row[12]))
		if r.Full(len(res.Msgs), bytes+n) || len(res.Msgs) == maxClaim {
			res.More = true
			return errStop
		}
		m, err := scanMessage(row)
		if err != nil {
			return err
		}
		bytes += n
		res.Msgs = append(res.Msgs, m)
		res.Next = queue.Cursor(m.ID)
		return nil
	}, int64(r.Lease.Tracker), int64(r.Cursor))
}

const (
	leasesQuery  = "SELECT asked.id, epoch, " + countPending + " FROM asked LEFT JOIN tracker USING (id)"
	lastOutQuery = "SELECT " + lastOut + ofTracker
)

func (s *Store) CheckLeases(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult, error) {
	type state struct{ epoch, pending int64 }
	states := make(map[queue.TrackerID]state, len(ls))
	var res []queue.PeekResult
	err := s.read(ctx, "peek", func(c *conn) error {
		err := c.eachChunk(s.leasesOf, len(ls), func(i int) int64 { return int64(ls[i].Tracker) },
			func(row []driver.Value) error {
				states[queue.TrackerID(integer(row[0]))] = state{integer(row[1]), integer(row[2])}
				return nil
			})
		if err != nil {
			return err
		}
		for _, l := range ls {
			st := states[l.Tracker]
			fenced := st.epoch != l.Epoch
			if !fenced && st.pending == 0 {
				continue
			}
			last, _, err := c.number(lastOutQuery, int64(l.Tracker))
			if err != nil {
				return err
			}
			res = append(res, queue.PeekResult{
				Tracker: l.Tracker, Epoch: l.Epoch,
				Pending: int(st.pending), LastOut: last, Fenced: fenced,
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (s *Store) Acquire(ctx context.Context, node queue.NodeID,
	ts []queue.TrackerID,
) ([]queue.Lease, error) {
	leases := make([]queue.Lease, len(ts))
	for i, id := range ts {
		leases[i] = queue.Lease{Tracker: id, Node: node}
	}
	err := s.write(ctx, &operation{
		name: "acquire", items: len(ts), bytes: 64 * len(ts),
		run: func(w *writer) error {
			for i := range leases {
				if err := w.acquire(&leases[i]); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return leases, nil
}

func (w *writer) acquire(l *queue.Lease) error {
	t, err := w.leased(l.Tracker)
	if err != nil {
		return err
	}
	w.mark(t)
	if t.owner != "" {
		w.wake(t.owner, queue.Wake{Kind: queue.WakeKick, Tracker: t.id, Epoch: t.epoch})
	}
	t.epoch++
	owned := t.owner != ""
	t.owner, t.sinceMs = l.Node, w.now
	w.heard(t, w.now)
	w.notePresence(t, owned)
	l.Epoch, l.Pending, l.LastOut = t.epoch, int(t.pending), t.lastOut
	if t.whole {
		return nil
	}
	return w.c.query(leaseQuery, func(row []driver.Value) error {
		l.Pending, l.LastOut = int(integer(row[0])), integer(row[1])
		return nil
	}, int64(t.id))
}

func (s *Store) Release(ctx context.Context, ls []queue.Lease) ([]bool, error) {
	leases := append([]queue.Lease(nil), ls...)
	res := make([]bool, len(leases))
	err := s.write(ctx, &operation{
		name: "release", items: len(leases), bytes: 64 * len(leases),
		run: func(w *writer) error {
			for i := range leases {
				t, err := w.leased(leases[i].Tracker)
				if err != nil {
					return err
				}
				if res[i] = t.epoch == leases[i].Epoch; res[i] && t.owner != "" {
					w.mark(t)
					w.heard(t, leases[i].SeenMs)
					t.owner, t.sinceMs = "", w.now
					w.notePresence(t, true)
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

func (s *Store) Touch(ctx context.Context, ls []queue.Lease) error {
	ls = append([]queue.Lease(nil), ls...)
	return s.write(ctx, &operation{
		name: "touch", items: len(ls), bytes: 64 * len(ls), bulk: true,
		run: func(w *writer) error {
			for _, l := range ls {
				t, err := w.leased(l.Tracker)
				if err != nil {
					return err
				}
				if t.epoch == l.Epoch && t.owner != "" {
					w.mark(t)
					w.heard(t, l.SeenMs)
				}
			}
			return nil
		},
	})
}

func (s *Store) Kick(ctx context.Context, ts []queue.TrackerID) ([]bool, error) {
	ts = slices.Clone(ts)
	res := make([]bool, len(ts))
	err := s.write(ctx, &operation{
		name: "kick", items: len(ts), bytes: 64 * len(ts),
		run: func(w *writer) error {
			for i, id := range ts {
				t, err := w.tracker(id)
				if err != nil {
					return err
				}
				if res[i] = t.owner != ""; res[i] {
					w.kick(t)
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

// kick takes the ownership of a tracker away: its owner is told, and fenced in any case.
func (w *writer) kick(t *tracker) {
	w.mark(t)
	if t.owner != "" {
		w.wake(t.owner, queue.Wake{Kind: queue.WakeKick, Tracker: t.id, Epoch: t.epoch})
		t.owner, t.sinceMs = "", w.now
		w.notePresence(t, true)
	}
	t.epoch++
}

// heard notes when a device was last heard of; nothing is later than now.
func (w *writer) heard(t *tracker, ms int64) { t.seenMs = max(t.seenMs, min(ms, w.now)) }
