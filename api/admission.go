package api

import (
	"context"
	"io"
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

// metered is a body that is counted while it is read.
type metered struct {
	r     io.Reader
	all   *atomic.Int64
	taken int64
}

// Read refuses to go on when all bodies together are too much.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.taken += int64(n)
	if m.all.Add(int64(n)) > maxBodies {
		return n, &refusal{code: codeTooMany, retry: 1}
	}
	return n, err
}

// release gives back what was counted.
func (m *metered) release() { m.all.Add(-m.taken) }
