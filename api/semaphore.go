package api

import "context"

// semaphore is what as many can hold at a time as it has room for; those who wait come in their
// order.
type semaphore chan struct{}

// acquire waits for a place; false: ctx ended before. release gives it back.
func (s semaphore) acquire(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	default:
	}
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// release gives back what acquire took.
func (s semaphore) release() { <-s }
