package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"trackchat/queue"
)

const hashLength = 32

// findHash looks for the caller's hash in the body, then the query, then the Authorization header.
func findHash(p *params, h http.Header) (string, bool) {
	for _, s := range [...]*source{&p.body, &p.query} {
		for _, name := range [...]string{"hash", "session_key"} {
			if v, ok := s.get(name); ok && !v.absent() && !v.empty() {
				return v.scalar()
			}
		}
	}
	return strings.CutPrefix(h.Get("Authorization"), "NVX ")
}

// callerHash returns the hash of the caller's hash.
func callerHash(p *params, h http.Header) (queue.KeyHash, error) {
	hash, ok := findHash(p, h)
	if !ok || !isHash(hash) {
		return queue.KeyHash{}, refuse(codeWrongHash)
	}
	return queue.HashKey(hash), nil
}

func isHash(s string) bool {
	if len(s) != hashLength {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// account returns the account that a hash speaks for, and whether it is a session's rather than a
// key.
func (a *API) account(ctx context.Context, snap *queue.Snapshot, key queue.KeyHash,
	now time.Time,
) (account *queue.Account, session bool, err error) {
	if account, ok := snap.AccountByKey(key); ok {
		return account, false, nil
	}
	id, err := a.sessionAccount(ctx, key, now)
	if err != nil {
		return nil, false, err
	}
	account, ok := snap.Account(id)
	if !ok {
		return nil, false, refuse(codeUnknownHash)
	}
	return account, true, nil
}

// sessionAccount returns the account of a session, 0 where there is none.
func (a *API) sessionAccount(ctx context.Context, key queue.KeyHash,
	now time.Time,
) (queue.AccountID, error) {
	k, known := a.sessions.cached(key, now)
	if known && k.fresh(now) {
		return k.account, nil
	}
	place := a.places.strangers // guesses wait for guesses
	if known {
		place = a.places.running
	}
	if err := place.enter(ctx); err != nil {
		return 0, err
	}
	defer place.leave()
	return a.sessions.ask(ctx, key, now)
}
