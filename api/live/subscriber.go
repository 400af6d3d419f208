package live

import (
	"sync"

	"trackchat/queue"
)

// ending says why a subscription is over.
type ending byte

const (
	endNot      ending = iota
	endSlow            // it did not take its events in time
	endRevoked         // its key is not the account's any more
	endStopping        // the service stops
)

// subscriber is one reader of an account's events. An idle one is this and nothing else.
type subscriber struct {
	// Static.
	account  queue.AccountID
	key      queue.KeyHash
	session  bool // key is a session's
	internal bool // nobody's client: not counted against the bounds, and with no key

	ready chan struct{} // holds a token while there is something to take
	// not nil: called once when it ends, so that nobody waits for a client; must not wait itself.
	cut func()

	mu      sync.Mutex // guards what follows
	waiting []*event
	over    ending
}

// add appends events; with more than limit waiting the subscription ends instead, and false says
// so.
func (s *subscriber) add(limit int, events []*event) bool {
	s.mu.Lock()
	switch {
	case s.over != endNot:
		s.mu.Unlock()
		return true
	case len(s.waiting)+len(events) > limit:
		s.mu.Unlock()
		s.end(endSlow)
		return false
	}
	s.waiting = append(s.waiting, events...)
	s.mu.Unlock()
	s.signal()
	return true
}

// end ends the subscription; what waits is dropped.
func (s *subscriber) end(why ending) {
	s.mu.Lock()
	first := s.over == endNot
	if first {
		s.over, s.waiting = why, nil
	}
	s.mu.Unlock()
	if !first {
		return
	}
	s.signal()
	if s.cut != nil {
		s.cut()
	}
}

// retire ends the subscription from its own side: nothing is cut off any more.
func (s *subscriber) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.waiting = endStopping, nil
}

func (s *subscriber) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take returns what waits, and whether the subscription is over.
func (s *subscriber) take() ([]*event, ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.waiting
	s.waiting = nil
	return list, s.over
}
