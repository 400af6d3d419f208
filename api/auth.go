package api

import (
	"context"
	"net/http"
	"time"

	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

// callerHash returns the hash of the caller's hash.
func callerHash(p *navixy.Params, h http.Header) (queue.KeyHash, error) {
	hash, ok := p.Hash(h)
	if !ok || !auth.IsKey(hash) {
		return queue.KeyHash{}, navixy.Refuse(navixy.CodeWrongHash)
	}
	return queue.HashKey(hash), nil
}

// account returns the account that a hash speaks for, and whether it is a session's rather than a
// key.
func (a *API) account(ctx context.Context, snap *queue.Snapshot, key queue.KeyHash,
	now time.Time,
) (account *queue.Account, session bool, err error) {
	if account, _, ok := snap.Key(key); ok {
		return account, false, nil
	}
	id, err := a.sessionAccount(ctx, key, now)
	if err != nil {
		return nil, false, err
	}
	account, ok := snap.Account(id)
	if !ok {
		return nil, false, navixy.Refuse(navixy.CodeUnknownHash)
	}
	return account, true, nil
}

// sessionAccount returns the account of a session, 0 where there is none.
func (a *API) sessionAccount(ctx context.Context, key queue.KeyHash,
	now time.Time,
) (queue.AccountID, error) {
	account, fresh, known := a.sessions.Cached(key, now)
	if fresh {
		return account, nil
	}
	places := a.places.strangers // guesses wait for guesses
	if known {
		places = a.places.running
	}
	if err := enter(ctx, places); err != nil {
		return 0, err
	}
	defer places.Release()
	return a.sessions.Ask(ctx, key, now)
}

// Operations at a time; others wait, as long as a store may take.
const (
	maxRunning   = 1024
	maxStrangers = 64 // look-ups of hashes that this process does not know, beside them
)

// admission bounds what requests take of the store together. Nobody holds a place while the client
// is slow or a password is verified: an operation runs once its body is there and its caller is
// known.
type admission struct{ running, strangers auth.Semaphore }

func newAdmission() admission {
	return admission{
		running:   make(auth.Semaphore, maxRunning),
		strangers: make(auth.Semaphore, maxStrangers),
	}
}

// enter waits for one of the places.
func enter(ctx context.Context, places auth.Semaphore) error {
	if !places.Acquire(ctx) {
		return &navixy.Refusal{Code: navixy.CodeTooMany, Reason: reasonPlaces, Retry: 1}
	}
	return nil
}
