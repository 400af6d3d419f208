package api

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
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

// caller is who calls: somebody with an API key of an account, or in a session of one of its users.
type caller struct {
	account *queue.Account // nil in an open operation
	key     *queue.Key     // nil: a session
	user    *queue.User    // of a session; nil: the account's own login
}

// role is what the caller may do.
func (c *caller) role() queue.Role {
	switch {
	case c.key != nil:
		return c.key.Role
	case c.user != nil:
		return c.user.Role
	default:
		return queue.RoleManager
	}
}

// author is who writes what the caller sends; nil where there is no name to tell. name, if it is
// not empty, is that of a user of the key's own program.
func (c *caller) author(name string) *queue.Author {
	switch {
	case c.key != nil && name == "" && c.key.Name == "":
		return nil
	case c.key != nil:
		return &queue.Author{
			Kind: queue.AuthorKey, ID: c.key.ID(), Name: cmp.Or(name, c.key.Name),
		}
	case c.user != nil:
		return &queue.Author{
			Kind: queue.AuthorUser, ID: strconv.FormatInt(c.user.ID, 10), Name: c.user.Name,
		}
	default:
		return &queue.Author{
			Kind: queue.AuthorUser, ID: "0", Name: cmp.Or(c.account.Title, c.account.Login),
		}
	}
}

// caller finds out whose a hash is.
func (a *API) caller(ctx context.Context, snap *queue.Snapshot, hash queue.KeyHash,
	now time.Time,
) (caller, error) {
	if account, key, ok := snap.Key(hash); ok && !key.Ended(now.UnixMilli()) {
		return caller{account: account, key: key}, nil
	}
	session, err := a.session(ctx, hash, now)
	if err != nil {
		return caller{}, err
	}
	account, user, ok := snap.Session(&session)
	if !ok {
		return caller{}, navixy.Refuse(navixy.CodeUnknownHash)
	}
	return caller{account: account, user: user}, nil
}

// session returns a session; its account is 0 where there is none.
func (a *API) session(ctx context.Context, hash queue.KeyHash, now time.Time) (queue.Session,
	error,
) {
	session, fresh, known := a.sessions.Cached(hash, now)
	if fresh {
		return session, nil
	}
	places := a.places.strangers // guesses wait for guesses
	if known {
		places = a.places.running
	}
	if err := enter(ctx, places); err != nil {
		return queue.Session{}, err
	}
	defer places.Release()
	return a.sessions.Ask(ctx, hash, now)
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
