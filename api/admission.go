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
type admission struct{ running, strangers semaphore }

func newAdmission() admission {
	return admission{running: make(semaphore, maxRunning), strangers: make(semaphore, maxStrangers)}
}

// enter waits for one of the places.
func enter(ctx context.Context, places semaphore) error {
	if !places.acquire(ctx) {
		return &refusal{code: codeTooMany, reason: reasonPlaces, retry: 1}
	}
	return nil
}
