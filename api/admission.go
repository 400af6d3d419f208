package api

import (
	"context"
	"sync/atomic"
)

// Bounds of all requests together.
const (
	maxRunning = 1024      // operations at a time; others wait, as long as a store may take
	maxBodies  = 256 << 20 // bytes of bodies that have arrived and are not parsed yet
)

// admission bounds what requests take together. Nobody holds a place while the client is slow: a body counts as it arrives, and an operation runs once it is there.
type admission struct {
	running chan struct{}
	bodies  atomic.Int64
}

func newAdmission() *admission { return &admission{running: make(chan struct{}, maxRunning)} }

// enter waits for a place; leave gives it back.
func (a *admission) enter(ctx context.Context) error {
	select {
	case a.running <- struct{}{}:
		return nil
	default:
	}
	select {
	case a.running <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &refusal{code: codeTooMany, retry: 1}
	}
}

func (a *admission) leave() { <-a.running }
