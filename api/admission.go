package api

import "context"

// Operations at a time; others wait, as long as a store may take.
const (
	maxRunning   = 1024
	maxStrangers = 64 // look-ups of hashes that this process does not know, beside them
)

// admission bounds what requests take of the store together. Nobody holds a place while the client
// is slow or a password is verified: an operation runs once its body is there and its caller is
// known.
type admission struct{ running, strangers places }

func newAdmission() admission {
	return admission{running: make(places, maxRunning), strangers: make(places, maxStrangers)}
}

// places are taken by those who came first.
type places chan struct{}

// enter waits for a place; leave gives it back.
func (p places) enter(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	default:
	}
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &refusal{code: codeTooMany, reason: reasonPlaces, retry: 1}
	}
}

func (p places) leave() { <-p }
