package redisstore

import (
	"context"
	"encoding/hex"
	"fmt"

	"trackchat/queue"
)

// A session lies with the directory, so that a change of its account can end it in the same step:
// {chat:dir}:s:<key> is a STRING "account created expires", with " user stamp" after it where it is
// not that of the account's own login, that expires with the session,
// {chat:dir}:l:<account> a ZSET of an account's sessions by their creation, in which expired ones
// may remain.

func sessionKey(h queue.KeyHash) string { return dirTag + ":s:" + hex.EncodeToString(h[:]) }

func (s *dirStore) PutSession(ctx context.Context, n queue.Session) error {
	if err := s.roomIn(dirQuery().slot); err != nil {
		return err
	}
	more := ""
	if n.User != 0 || n.Stamp != "" {
		more = fmt.Sprintf(" %d %s", n.User, n.Stamp)
	}
	found, err := s.dirRun(ctx, "put_session", scriptPutSession,
		rowKey(dirAccounts, int64(n.Account)), s.scriptClock(), int64(n.Account),
		hex.EncodeToString(n.Hash[:]), n.CreatedMs, n.ExpiresMs, queue.MaxSessions,
		more)
	if err == nil && !found {
		err = queue.ErrNotFound
	}
	return err
}

func (s *dirStore) RenewSession(ctx context.Context, h queue.KeyHash, expiresMs int64) (bool,
	error,
) {
	return s.dirRun(ctx, "renew_session", scriptRenewSession, hex.EncodeToString(h[:]),
		s.scriptClock(), expiresMs)
}

// EndSession: Repeated because its answer was lost, it says false.
func (s *dirStore) EndSession(ctx context.Context, h queue.KeyHash) (bool, error) {
	return s.dirRun(ctx, "end_session", scriptEndSession, hex.EncodeToString(h[:]), s.scriptClock())
}

func (s *dirStore) Sessions(ctx context.Context, hs []queue.KeyHash) ([]queue.Session, error) {
	qs := make([]*query, len(hs))
	for i, h := range hs {
		qs[i] = dirQuery("get", sessionKey(h))
	}
	if err := s.ask(ctx, "sessions", qs); err != nil {
		return nil, err
	}
	now := int64(0) // Redis removes what has expired by its own clock
	if s.opts.clock != nil {
		now = s.opts.clock().UnixMilli()
	}
	res := make([]queue.Session, len(hs))
	for i, q := range qs {
		text, ok := q.reply.(string)
		if !ok {
			continue
		}
		n := queue.Session{Hash: hs[i]}
		if got, err := fmt.Sscan(text, &n.Account, &n.CreatedMs, &n.ExpiresMs, &n.User,
			&n.Stamp); err != nil && got != 3 {
			return nil, fmt.Errorf("%w: session: %w", queue.ErrCorrupt, err)
		}
		if n.ExpiresMs > now {
			res[i] = n
		}
	}
	return res, nil
}
