package redisstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"trackchat/queue"
)

// A session lies with the directory, so that a change of its account can end it in the same step:
// {chat:dir}:s:<key> is a STRING "whose created expires" that expires with the session. Whose it is
// is the account, or of a user u<account>:<user>:<stamp>, which an earlier version cannot read,
// lest it takes the user for the account itself. {chat:dir}:l:<account> and
// {chat:dir}:l:<account>:<user> are ZSETs of their sessions by their creation, in which expired
// ones may remain.

func sessionKey(h queue.KeyHash) string { return dirTag + ":s:" + hex.EncodeToString(h[:]) }

func (s *dirStore) PutSession(ctx context.Context, n queue.Session) error {
	if err := s.roomIn(dirQuery().slot); err != nil {
		return err
	}
	who := decimal(n.Account)
	if n.User != 0 {
		who = fmt.Sprintf("u%d:%d:%s", n.Account, n.User, n.Stamp)
	}
	found, err := s.dirRun(ctx, "put_session", scriptPutSession,
		rowKey(dirAccounts, int64(n.Account)), s.scriptClock(), int64(n.Account),
		hex.EncodeToString(n.Hash[:]), n.CreatedMs, n.ExpiresMs, queue.MaxSessions, who)
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
		n, err := decodeSession(text)
		if err != nil {
			return nil, fmt.Errorf("%w: session: %w", queue.ErrCorrupt, err)
		}
		n.Hash = hs[i]
		if n.ExpiresMs > now {
			res[i] = n
		}
	}
	return res, nil
}

func decodeSession(text string) (n queue.Session, err error) {
	var who string
	if _, err := fmt.Sscan(text, &who, &n.CreatedMs, &n.ExpiresMs); err != nil {
		return n, err
	}
	rest, user := strings.CutPrefix(who, "u")
	if !user {
		_, err = fmt.Sscan(who, &n.Account)
		return n, err
	}
	parts := strings.SplitN(rest, ":", 3)
	if len(parts) != 3 {
		return n, fmt.Errorf("of %q", who)
	}
	n.Stamp = parts[2]
	_, err = fmt.Sscan(parts[0]+" "+parts[1], &n.Account, &n.User)
	return n, err
}
