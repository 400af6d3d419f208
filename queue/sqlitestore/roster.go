package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
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

func (s *Store) PutWebhook(ctx context.Context, h queue.Webhook) error {
	progress, err := json.Marshal(h.Progress)
	if err != nil {
		return fmt.Errorf("writing a webhook's progress: %w", err)
	}
	return s.write(ctx, &operation{
		name: "webhook_put", items: 1, bytes: 256,
		run: func(w *writer) error {
			_, err := w.c.exec("INSERT INTO webhook (account, url, secret, revision, progress) VALUES (?1, ?2, ?3, ?4, ?5) "+
				"ON CONFLICT (account) DO UPDATE SET url = ?2, secret = ?3, revision = MAX(revision + 1, ?4)",
				int64(h.Account), h.URL, h.Secret, w.now, string(progress))
			return err
		},
	})
}

func (s *Store) DropWebhook(ctx context.Context, a queue.AccountID) (bool, error) {
	done, err := s.changeWebhook(ctx, "webhook_drop", func(w *writer) (int64, error) {
		return w.c.exec("DELETE FROM webhook WHERE account = ?", int64(a))
	})
	if done {
		s.hooks.drop(a)
	}
	return done, err
}

func (s *Store) ReplayWebhook(ctx context.Context, a queue.AccountID, positionMs int64) (bool,
	error,
) {
	return s.changeWebhook(ctx, "webhook_replay", func(w *writer) (int64, error) {
		return w.c.exec("UPDATE webhook SET progress = json_set(progress, '$.position', ?), revision = MAX(revision + 1, ?) WHERE account = ?", positionMs, w.now, int64(a))
	})
}

func (s *Store) SaveWebhook(ctx context.Context, node queue.NodeID, a queue.AccountID,
	revision int64, p queue.WebhookProgress,
) (bool, error) {
	progress, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("writing a webhook's progress: %w", err)
	}
	return s.changeWebhook(ctx, "webhook_save", func(w *writer) (int64, error) {
		if !s.hooks.has(node, a) {
			return 0, nil
		}
		return w.c.exec("UPDATE webhook SET progress = ? WHERE account = ? AND revision = ?",
			string(progress), int64(a), revision)
	})
}

// changeWebhook runs a statement that changes one row or none.
func (s *Store) changeWebhook(ctx context.Context, name string, run func(w *writer) (int64,
	error),
) (bool, error) {
	var n int64
	err := s.write(ctx, &operation{
		name: name, items: 1, bytes: 256,
		run: func(w *writer) (err error) {
			n, err = run(w)
			return err
		},
	})
	return err == nil && n > 0, err
}

func (s *Store) Webhooks(ctx context.Context) ([]queue.Webhook, error) {
	var list []queue.Webhook
	err := s.read(ctx, "webhooks", func(c *conn) error {
		return c.query("SELECT account, url, secret, revision, progress FROM webhook ORDER BY account", func(row []driver.Value) error {
			h := queue.Webhook{
				Account: queue.AccountID(integer(row[0])), URL: text(row[1]),
				Secret: text(row[2]), Revision: integer(row[3]),
			}
			if err := json.Unmarshal([]byte(text(row[4])), &h.Progress); err != nil {
				return fmt.Errorf("%w: progress of the webhook of account %d: %w", queue.ErrCorrupt,
					h.Account, err)
			}
			list = append(list, h)
			return nil
		})
	})
	return list, err
}

// hookLeases says which node delivers. Like the roster it ends with this process, because no other
// one uses the file (whose columns node and until_ms are of earlier versions).
type hookLeases struct {
	mu sync.Mutex
	of map[queue.AccountID]hookLease
}

// hookLease goes by the monotonic clock: a clock that is set ends none, and prolongs none.
type hookLease struct {
	node queue.NodeID
	at   time.Time
}

func (l *hookLeases) has(node queue.NodeID, a queue.AccountID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[a].node == node
}

func (l *hookLeases) drop(a queue.AccountID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, a)
}

// lease takes an account for a node for whom it is free, or gives it up (life 0).
func (l *hookLeases) lease(node queue.NodeID, a queue.AccountID, life time.Duration,
	now time.Time,
) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	held, ok := l.of[a]
	switch {
	case ok && held.node != node && (life == 0 || now.Sub(held.at) < life):
		return false
	case life == 0:
		delete(l.of, a)
		return false
	}
	l.of[a] = hookLease{node, now}
	return true
}

func (s *Store) LeaseWebhooks(ctx context.Context, node queue.NodeID, accounts []queue.AccountID,
	life time.Duration,
) ([]queue.AccountID, error) {
	hooks, err := s.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	there := make(map[queue.AccountID]bool, len(hooks))
	for _, h := range hooks {
		there[h.Account] = true
	}
	now := s.now()
	leased := make([]queue.AccountID, 0, len(accounts))
	for _, a := range accounts {
		if there[a] && s.hooks.lease(node, a, life, now) {
			leased = append(leased, a)
		}
	}
	return leased, nil
}
