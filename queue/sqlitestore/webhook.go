package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"trackchat/queue"
)

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
