package sqlitestore

import (
	"context"
	"database/sql/driver"

	"trackchat/queue"
)

// sessionSize is about what one takes in the write queue.
const sessionSize = 128

// sessions are logins of accounts through the API.
type sessions struct{ *database }

// PutSession: It also removes what has expired, some at a time.
func (ss *sessions) PutSession(ctx context.Context, n queue.Session) error {
	found := false
	err := ss.write(ctx, &operation{
		name: "put_session", items: 1, bytes: sessionSize, bulk: true,
		grows: true, run: func(w *writer) (err error) {
			if _, found, err = w.c.number("SELECT 1 FROM account WHERE id = ?",
				int64(n.Account)); err != nil || !found {
				return err
			}
			return w.putSession(&n)
		},
	})
	if err == nil && !found {
		err = queue.ErrNotFound
	}
	return err
}

func (w *writer) putSession(n *queue.Session) error {
	const clean = "DELETE FROM session WHERE hash IN (SELECT hash FROM session WHERE expires_ms <= ? ORDER BY expires_ms LIMIT 16)"
	if _, err := w.c.exec(clean, w.now); err != nil {
		return err
	}
	const put = "INSERT OR REPLACE INTO session (hash, account, created_ms, expires_ms, user, stamp) VALUES (?, ?, ?, ?, ?, ?)"
	if _, err := w.c.exec(put, n.Hash[:], int64(n.Account), n.CreatedMs, n.ExpiresMs,
		n.User, n.Stamp); err != nil {
		return err
	}
	const bound = "DELETE FROM session WHERE hash IN (SELECT hash FROM session WHERE account = ? AND user = ? ORDER BY created_ms DESC, hash DESC LIMIT -1 OFFSET ?)"
	_, err := w.c.exec(bound, int64(n.Account), n.User, int64(queue.MaxSessions))
	return err
}

func (ss *sessions) RenewSession(ctx context.Context, h queue.KeyHash, expiresMs int64) (bool,
	error,
) {
	return ss.changeRow(ctx, "renew_session", sessionSize, func(w *writer) (int64, error) {
		return w.c.exec("UPDATE session SET expires_ms = ? WHERE hash = ? AND expires_ms > ?",
			expiresMs, h[:], w.now)
	})
}

func (ss *sessions) EndSession(ctx context.Context, h queue.KeyHash) (bool, error) {
	return ss.changeRow(ctx, "end_session", sessionSize, func(w *writer) (int64, error) {
		return w.c.exec("DELETE FROM session WHERE hash = ? AND expires_ms > ?", h[:], w.now)
	})
}

func (ss *sessions) Sessions(ctx context.Context, hs []queue.KeyHash) ([]queue.Session, error) {
	res := make([]queue.Session, len(hs))
	now := ss.now().UnixMilli()
	err := ss.read(ctx, "sessions", func(c *conn) error {
		for i, h := range hs {
			err := c.query("SELECT account, created_ms, expires_ms, user, stamp FROM session WHERE hash = ? AND expires_ms > ?", func(row []driver.Value) error {
				res[i] = queue.Session{
					Hash: h, Account: queue.AccountID(integer(row[0])),
					CreatedMs: integer(row[1]), ExpiresMs: integer(row[2]),
					User: integer(row[3]), Stamp: text(row[4]),
				}
				return nil
			}, h[:], now)
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

// endSessions ends those of an account's own login.
func endSessions(c *conn, a queue.AccountID) error {
	_, err := c.exec("DELETE FROM session WHERE account = ? AND user = 0", int64(a))
	return err
}
