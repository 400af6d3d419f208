package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// wait after the system had no descriptor or memory for a connection.
	acceptPause     = 100 * time.Millisecond
	keepAliveProbes = 3 // unanswered keepalive probes that end a connection
)

// life is how an engine comes to its end: everyone who may still add connections takes part in
// serving until Shutdown.
type life struct {
	serving sync.WaitGroup
	quit    chan struct{} // closed at Shutdown

	mu        sync.Mutex
	down      bool
	listeners map[io.Closer]struct{}
	cause     error // why it came to its end by itself
}

func newLife() *life {
	return &life{quit: make(chan struct{}), listeners: map[io.Closer]struct{}{}}
}

// enter takes part in serving, with a listener to close at Shutdown unless ln is nil. It says false
// after Shutdown. To be followed by leave.
func (l *life) enter(ln io.Closer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false
	}
	if ln != nil {
		l.listeners[ln] = struct{}{}
	}
	l.serving.Add(1)
	return true
}

func (l *life) leave(ln io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln != nil {
		delete(l.listeners, ln)
	}
	l.serving.Done()
}

// halt ends all accepting, for Shutdown or because of cause.
func (l *life) halt(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return
	}
	l.down, l.cause = true, cause
	close(l.quit)
	for ln := range l.listeners {
		_ = ln.Close() // its accept loop ends in any case
	}
}

// reason is why it came to its end by itself.
func (l *life) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

func (l *life) isDown() bool {
	select {
	case <-l.quit:
		return true
	default:
		return false
	}
}

// wait lets d pass, or less at Shutdown.
func (l *life) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.quit:
	}
}

// awaited runs wait and returns when it does, or when ctx ends.
func awaited(ctx context.Context, wait func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("engine: shutting down: %w", context.Cause(ctx))
	}
}

// exhausted says whether something failed for lack of what other connections may give back.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// acceptPaused counts that accepting has to wait, and logs the first time.
func (k *core) acceptPaused(at string, cause error) {
	if k.Stats.Pauses.Add(1) == 1 {
		k.Logger.Warn("accepting paused", zap.String("listener", at), zap.Error(cause))
	}
}
