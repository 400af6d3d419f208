package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
)

// roster is the nodes of this process. They end with it, because no other process uses the file, so
// they are kept nowhere else.
type roster struct {
	mu    sync.Mutex
	nodes map[queue.NodeID]beating
}

// beating is a node and when it reported itself last. How long ago that was says the monotonic
// clock: a clock that is set makes no node dead.
type beating struct {
	queue.Node
	at time.Time
}

// beatMs is when that was by the clock as it is now.
func (b *beating) beatMs(now time.Time) int64 {
	return now.UnixMilli() - now.Sub(b.at).Milliseconds()
}

func (s *Store) Heartbeat(ctx context.Context, n queue.Node) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.roster.mu.Lock()
	defer s.roster.mu.Unlock()
	s.roster.nodes[n.ID] = beating{n, s.now()}
	return nil
}

func (s *Store) Leave(ctx context.Context, id queue.NodeID) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.roster.mu.Lock()
	defer s.roster.mu.Unlock()
	delete(s.roster.nodes, id)
	return nil
}

// usable says why a call that does not go to the file is refused.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.stop:
		return fmt.Errorf("%w: closed", queue.ErrUnavailable)
	default:
		return nil
	}
}

func (s *Store) Nodes(ctx context.Context) ([]queue.Node, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	s.roster.mu.Lock()
	defer s.roster.mu.Unlock()
	now := s.now()
	var nodes []queue.Node
	for _, b := range s.roster.nodes {
		b.BeatMs = b.beatMs(now)
		if queue.Living(b.BeatMs, now.UnixMilli()) {
			nodes = append(nodes, b.Node)
		}
	}
	slices.SortFunc(nodes, func(a, b queue.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

// beat is when a node reported itself last, 0 never.
func (r *roster) beat(id queue.NodeID, now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.nodes[id]
	if !ok {
		return 0
	}
	return b.beatMs(now)
}

func (s *Store) Presence(ctx context.Context,
	ts []queue.TrackerID,
) (map[queue.TrackerID]queue.Presence, error) {
	known := make(map[queue.TrackerID]queue.Presence)
	err := s.read(ctx, "presence", func(c *conn) error {
		return c.eachChunk(s.presenceIn, len(ts), func(i int) int64 { return int64(ts[i]) },
			func(row []driver.Value) error {
				if p := (queue.Presence{
					SinceMs: integer(row[2]),
					SeenMs:  integer(row[3]),
				}); p.SinceMs >
					0 {
					owner := queue.NodeID(text(row[1]))
					now := s.now()
					known[queue.TrackerID(integer(row[0]))] = queue.PresenceOf(owner, p,
						s.roster.beat(owner, now), now.UnixMilli())
				}
				return nil
			})
	})
	if err != nil {
		return nil, err
	}
	return known, nil
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
