package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"trackchat/queue"
)

// PutWebhook implements queue.WebhookStore.
func (s *Store) PutWebhook(ctx context.Context, h queue.Webhook) error {
	progress, err := json.Marshal(h.Progress)
	if err != nil {
		return fmt.Errorf("writing a webhook's progress: %w", err)
	}
	return s.write(ctx, &operation{name: "webhook_put", items: 1, bytes: 256, run: func(w *writer) error {
		_, err := w.c.exec("INSERT INTO webhook (account, url, secret, revision, progress) VALUES (?1, ?2, ?3, ?4, ?5) "+
			"ON CONFLICT (account) DO UPDATE SET url = ?2, secret = ?3, revision = MAX(revision + 1, ?4)",
			int64(h.Account), h.URL, h.Secret, w.now, string(progress))
		return err
	}})
}

// DropWebhook implements queue.WebhookStore.
func (s *Store) DropWebhook(ctx context.Context, a queue.AccountID) (bool, error) {
	return s.changeWebhook(ctx, "webhook_drop", func(w *writer) (int64, error) {
		return w.c.exec("DELETE FROM webhook WHERE account = ?", int64(a))
	})
}

// ReplayWebhook implements queue.WebhookStore.
func (s *Store) ReplayWebhook(ctx context.Context, a queue.AccountID, positionMs int64) (bool, error) {
	return s.changeWebhook(ctx, "webhook_replay", func(w *writer) (int64, error) {
		return w.c.exec("UPDATE webhook SET progress = json_set(progress, '$.position', ?), revision = MAX(revision + 1, ?) WHERE account = ?", positionMs, w.now, int64(a))
	})
}

// SaveWebhook implements queue.WebhookStore.
func (s *Store) SaveWebhook(ctx context.Context, node queue.NodeID, a queue.AccountID, revision int64, p queue.WebhookProgress) (bool, error) {
	progress, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("writing a webhook's progress: %w", err)
	}
	return s.changeWebhook(ctx, "webhook_save", func(w *writer) (int64, error) {
		return w.c.exec("UPDATE webhook SET progress = ? WHERE account = ? AND revision = ? AND node = ? AND until_ms > ?",
			string(progress), int64(a), revision, string(node), w.now)
	})
}

// changeWebhook runs a statement that changes one row or none.
func (s *Store) changeWebhook(ctx context.Context, name string, run func(w *writer) (int64, error)) (bool, error) {
	var n int64
	err := s.write(ctx, &operation{name: name, items: 1, bytes: 256, run: func(w *writer) (err error) {
		n, err = run(w)
		return err
	}})
	return err == nil && n > 0, err
}

// Webhooks implements queue.WebhookStore.
func (s *Store) Webhooks(ctx context.Context) ([]queue.Webhook, error) {
	var list []queue.Webhook
	err := s.read(ctx, "webhooks", func(c *conn) error {
		return c.query("SELECT account, url, secret, revision, progress FROM webhook ORDER BY account", func(row []driver.Value) error {
			h := queue.Webhook{Account: queue.AccountID(integer(row[0])), URL: text(row[1]), Secret: text(row[2]), Revision: integer(row[3])}
			if err := json.Unmarshal([]byte(text(row[4])), &h.Progress); err != nil {
				return fmt.Errorf("%w: progress of the webhook of account %d: %w", queue.ErrCorrupt, h.Account, err)
			}
			list = append(list, h)
			return nil
		})
	})
	return list, err
}

// LeaseWebhooks implements queue.WebhookStore.
func (s *Store) LeaseWebhooks(ctx context.Context, node queue.NodeID, accounts []queue.AccountID, life time.Duration) ([]queue.AccountID, error) {
	accounts = slices.Clone(accounts)
	var leased []queue.AccountID
	err := s.write(ctx, &operation{name: "webhook_lease", items: len(accounts), bytes: 64 * len(accounts), run: func(w *writer) error {
		leased = leased[:0]
		for _, a := range accounts {
			n, err := w.c.exec("UPDATE webhook SET node = ?1, until_ms = ?2 WHERE account = ?3 AND (node = ?1 OR until_ms <= ?4)",
				string(node), w.now+life.Milliseconds(), int64(a), w.now)
			if err != nil {
				return err
			}
			if n > 0 && life > 0 {
				leased = append(leased, a)
			}
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return leased, nil
}
