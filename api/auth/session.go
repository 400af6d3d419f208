package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"trackchat/queue"
)

const (
	// how long what the store said counts: a session that ends is unknown everywhere within a
	// second.
	sessionFresh      = 500 * time.Millisecond
	maxCachedSessions = 65_536
)

// Sessions begins and ends sessions, and finds the accounts that they speak for.
type Sessions struct {
	store queue.SessionStore
	life  time.Duration

	mu    sync.Mutex
	known map[queue.KeyHash]knownSession // guarded by mu
}

// knownSession is what the store said at some moment.
type knownSession struct {
	session queue.Session
	asked   time.Time
}

// NewSessions returns the sessions of a store; life is how long one lasts that is not renewed.
func NewSessions(store queue.SessionStore, life time.Duration) *Sessions {
	return &Sessions{store: store, life: life, known: make(map[queue.KeyHash]knownSession)}
}

// Begin makes a session of an account, or of its user, and returns its hash. The error is
// queue.ErrNotFound for an account that is not there any more.
func (s *Sessions) Begin(ctx context.Context, account queue.AccountID, user *queue.User,
	now time.Time,
) (string, error) {
	hash := NewKey()
	n := queue.Session{
		Hash: queue.HashKey(hash), Account: account,
		CreatedMs: now.UnixMilli(), ExpiresMs: now.Add(s.life).UnixMilli(),
	}
	if user != nil {
		n.User, n.Stamp = user.ID, user.Stamp()
	}
	if err := s.store.PutSession(ctx, n); err != nil {
		return "", fmt.Errorf("storing a session: %w", err)
	}
	return hash, nil
}

// End ends a session.
func (s *Sessions) End(ctx context.Context, h queue.KeyHash) error {
	if _, err := s.store.EndSession(ctx, h); err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	s.forget(h)
	return nil
}

// Renew lets a session live its whole life again from now on; false: there is none.
func (s *Sessions) Renew(ctx context.Context, h queue.KeyHash, now time.Time) (bool, error) {
	done, err := s.store.RenewSession(ctx, h, now.Add(s.life).UnixMilli())
	if err != nil {
		return false, fmt.Errorf("renewing a session: %w", err)
	}
	s.forget(h)
	return done, nil
}

// Cached returns what is known of a session that has not expired, however old that is; fresh says
// that the store need not be asked again.
func (s *Sessions) Cached(h queue.KeyHash, now time.Time) (n queue.Session, fresh, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known[h]
	if !ok || k.session.ExpiresMs <= now.UnixMilli() {
		return queue.Session{}, false, false
	}
	age := now.Sub(k.asked)
	return k.session, age >= 0 && age < sessionFresh, true
}

// Ask returns a session as the store says; Account is 0 where there is none. Only sessions that
// exist are remembered, so that guessing fills nothing.
func (s *Sessions) Ask(ctx context.Context, h queue.KeyHash, now time.Time) (queue.Session,
	error,
) {
	found, err := s.store.Sessions(ctx, []queue.KeyHash{h})
	if err != nil {
		return queue.Session{}, fmt.Errorf("looking up a session: %w", err)
	}
	if found[0].Account == 0 {
		s.forget(h)
		return queue.Session{}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known[h]; !ok && len(s.known) >= maxCachedSessions {
		s.makeRoom(now)
	}
	s.known[h] = knownSession{found[0], now}
	return found[0], nil
}

func (s *Sessions) forget(h queue.KeyHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, h)
}

// makeRoom drops some entries, those that are too old to be used first.
func (s *Sessions) makeRoom(now time.Time) {
	var victim queue.KeyHash
	seen, removed := 0, false
	for h, k := range s.known {
		if now.Sub(k.asked) >= sessionFresh {
			delete(s.known, h)
			removed = true
		}
		victim = h
		if seen++; seen == scanned {
			break
		}
	}
	if !removed {
		delete(s.known, victim)
	}
}
