package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"

	"trackchat/queue"
)

// broadcasts remembers which messages are one text to many trackers.
type broadcasts struct{ *database }

func (bs *broadcasts) SaveBroadcast(ctx context.Context, a queue.AccountID, b queue.Broadcast,
	first int, ts []queue.BroadcastTarget,
) error {
	row, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("writing a broadcast: %w", err)
	}
	targets := queue.AppendTargets(nil, ts)
	found := false
	err = bs.write(ctx, &operation{
		name: "save_broadcast", items: 1, bytes: len(row) + len(targets), bulk: true, grows: true,
		run: func(w *writer) (err error) {
			if _, found, err = w.c.number("SELECT 1 FROM account WHERE id = ?",
				int64(a)); err != nil || !found {
				return err
			}
			const put = "INSERT OR REPLACE INTO broadcast (account, id, row) VALUES (?, ?, ?)"
			if _, err := w.c.exec(put, int64(a), b.ID, string(row)); err != nil {
				return err
			}
			if len(ts) > 0 {
				const putTargets = "INSERT OR REPLACE INTO broadcast_target (account, id, first, targets) VALUES (?, ?, ?, ?)"
				_, err := w.c.exec(putTargets, int64(a), b.ID, int64(first), targets)
				return err
			}
			return w.boundBroadcasts(a)
		},
	})
	if err == nil && !found {
		err = queue.ErrNotFound
	}
	return err
}

// boundBroadcasts forgets the oldest ones of an account.
func (w *writer) boundBroadcasts(a queue.AccountID) error {
	const last = "SELECT id FROM broadcast WHERE account = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
	id, found, err := w.c.number(last, int64(a), int64(queue.MaxBroadcasts))
	if err != nil || !found {
		return err
	}
	return w.dropBroadcasts(a, id)
}

// dropBroadcasts removes those of an account with ids up to last.
func (w *writer) dropBroadcasts(a queue.AccountID, last int64) error {
	for _, q := range []string{
		"DELETE FROM broadcast WHERE account = ? AND id <= ?",
		"DELETE FROM broadcast_target WHERE account = ? AND id <= ?",
	} {
		if _, err := w.c.exec(q, int64(a), last); err != nil {
			return err
		}
	}
	return nil
}

func (bs *broadcasts) Broadcasts(ctx context.Context, a queue.AccountID, before int64,
	limit int,
) (list []queue.Broadcast, err error) {
	if before == 0 {
		before = queue.MaxID
	}
	err = bs.read(ctx, "broadcasts", func(c *conn) error {
		list, err = c.broadcasts(a, before, limit)
		return err
	})
	return list, err
}

func (c *conn) broadcasts(a queue.AccountID, before int64, limit int) ([]queue.Broadcast, error) {
	const query = "SELECT row FROM broadcast WHERE account = ? AND id < ? ORDER BY id DESC LIMIT ?"
	var list []queue.Broadcast
	err := c.query(query, func(row []driver.Value) error {
		var b queue.Broadcast
		if err := fromJSON(row[0], &b); err != nil {
			return fmt.Errorf("%w: broadcast of account %d: %w", queue.ErrCorrupt, a, err)
		}
		list = append(list, b)
		return nil
	}, int64(a), before, int64(min(limit, queue.MaxBroadcasts)))
	return list, err
}

func (bs *broadcasts) BroadcastTargets(ctx context.Context, a queue.AccountID,
	id int64,
) (ts []queue.BroadcastTarget, err error) {
	err = bs.read(ctx, "broadcast_targets", func(c *conn) error {
		ts, err = c.broadcastTargets(a, id)
		return err
	})
	return ts, err
}

func (c *conn) broadcastTargets(a queue.AccountID, id int64) ([]queue.BroadcastTarget, error) {
	const query = "SELECT targets FROM broadcast_target WHERE account = ? AND id = ? ORDER BY first"
	var ts []queue.BroadcastTarget
	err := c.query(query, func(row []driver.Value) (err error) {
		ts, err = queue.DecodeTargets(ts, blob(row[0]))
		return err
	}, int64(a), id)
	return ts, err
}
