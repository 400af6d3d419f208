package api

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

// sessions finds the accounts that session hashes speak for.
type sessions struct {
	store queue.SessionStore

	mu    sync.Mutex
	known map[queue.KeyHash]knownSession // guarded by mu
}

// knownSession is what the store said at some moment.
type knownSession struct {
	account   queue.AccountID
	expiresMs int64
	asked     time.Time
}

func newSessions(store queue.SessionStore) *sessions {
	return &sessions{store: store, known: make(map[queue.KeyHash]knownSession)}
}

// fresh reports whether what the store said still counts.
func (k *knownSession) fresh(now time.Time) bool {
	age := now.Sub(k.asked)
	return age >= 0 && age < sessionFresh
}

// cached returns what is known of a session that has not expired, however old that is.
func (s *sessions) cached(h queue.KeyHash, now time.Time) (knownSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known[h]
	return k, ok && k.expiresMs > now.UnixMilli()
}

// ask returns the account of a session, 0 where there is none, as the store says. Only sessions
// that exist are remembered, so that guessing fills nothing.
func (s *sessions) ask(ctx context.Context, h queue.KeyHash, now time.Time) (queue.AccountID,
	error,
) {
	found, err := s.store.Sessions(ctx, []queue.KeyHash{h})
	if err != nil {
		return 0, fmt.Errorf("looking up a session: %w", err)
	}
	if found[0].Account == 0 {
		s.forget(h)
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known[h]; !ok && len(s.known) >= maxCachedSessions {
		s.makeRoom(now)
	}
	s.known[h] = knownSession{found[0].Account, found[0].ExpiresMs, now}
	return found[0].Account, nil
}

func (s *sessions) forget(h queue.KeyHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, h)
}

// makeRoom drops some entries, those that are too old to be used first.
func (s *sessions) makeRoom(now time.Time) {
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
