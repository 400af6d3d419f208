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

// hookSize is about what one takes in the write queue.
const hookSize = 256

// webhooks keeps where events are sent to, and which node does so. The latter ends with this
// process like nodes do, because no other one uses the file (whose columns node and until_ms are of
// earlier versions).
type webhooks struct {
	*database
	mu     sync.Mutex // guards leases
	leases map[queue.AccountID]hookLease
}

func (hs *webhooks) PutWebhook(ctx context.Context, h queue.Webhook) error {
	progress, err := json.Marshal(h.Progress)
	if err != nil {
		return fmt.Errorf("writing a webhook's progress: %w", err)
	}
	return hs.write(ctx, &operation{
		name: "webhook_put", items: 1, bytes: hookSize,
		run: func(w *writer) error {
			_, err := w.c.exec("INSERT INTO webhook (account, url, secret, revision, progress) VALUES (?1, ?2, ?3, ?4, ?5) "+
				"ON CONFLICT (account) DO UPDATE SET url = ?2, secret = ?3, revision = MAX(revision + 1, ?4)",
				int64(h.Account), h.URL, h.Secret, w.now, string(progress))
			return err
		},
	})
}

func (hs *webhooks) DropWebhook(ctx context.Context, a queue.AccountID) (bool, error) {
	done, err := hs.changeRow(ctx, "webhook_drop", hookSize, func(w *writer) (int64, error) {
		return w.c.exec("DELETE FROM webhook WHERE account = ?", int64(a))
	})
	if done {
		hs.mu.Lock()
		defer hs.mu.Unlock()
		delete(hs.leases, a)
	}
	return done, err
}

func (hs *webhooks) ReplayWebhook(ctx context.Context, a queue.AccountID, positionMs int64) (bool,
	error,
) {
	return hs.changeRow(ctx, "webhook_replay", hookSize, func(w *writer) (int64, error) {
		return w.c.exec("UPDATE webhook SET progress = json_set(progress, '$.position', ?), revision = MAX(revision + 1, ?) WHERE account = ?", positionMs, w.now, int64(a))
	})
}

func (hs *webhooks) SaveWebhook(ctx context.Context, node queue.NodeID, a queue.AccountID,
	revision int64, p queue.WebhookProgress,
) (bool, error) {
	progress, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("writing a webhook's progress: %w", err)
	}
	return hs.changeRow(ctx, "webhook_save", hookSize, func(w *writer) (int64, error) {
		if !hs.has(node, a) {
			return 0, nil
		}
		return w.c.exec("UPDATE webhook SET progress = ? WHERE account = ? AND revision = ?",
			string(progress), int64(a), revision)
	})
}

func (hs *webhooks) Webhooks(ctx context.Context) ([]queue.Webhook, error) {
	var list []queue.Webhook
	err := hs.read(ctx, "webhooks", func(c *conn) error {
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

// hookLease goes by the monotonic clock: a clock that is set ends none, and prolongs none.
type hookLease struct {
	node queue.NodeID
	at   time.Time
}

func (hs *webhooks) has(node queue.NodeID, a queue.AccountID) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.leases[a].node == node
}

func (hs *webhooks) LeaseWebhooks(ctx context.Context, node queue.NodeID,
	accounts []queue.AccountID, life time.Duration,
) ([]queue.AccountID, error) {
	hooks, err := hs.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	there := make(map[queue.AccountID]bool, len(hooks))
	for _, h := range hooks {
		there[h.Account] = true
	}
	now := hs.now()
	leased := make([]queue.AccountID, 0, len(accounts))
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, a := range accounts {
		held, ok := hs.leases[a]
		switch {
		case !there[a], ok && held.node != node && (life == 0 || now.Sub(held.at) < life):
		case life == 0:
			delete(hs.leases, a)
		default:
			hs.leases[a] = hookLease{node, now}
			leased = append(leased, a)
		}
	}
	return leased, nil
}
