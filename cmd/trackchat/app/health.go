package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

const (
	checkEvery  = 10 * time.Second // while the store is fit and its calls succeed
	checkPause  = time.Second      // between two checks at least, and while the store is not fit
	checkWithin = 5 * time.Second  // a store that takes longer to say how it is, is not fit
	pingEvery   = time.Second      // for a sign of life from a store elsewhere
	pingWithin  = 2 * time.Second  // one that takes longer to give it has failed
	warnEvery   = time.Hour        // for one warning of the store
)

// storeHealth is what the last check of the store said, and the failed calls since.
type storeHealth struct {
	pending  atomic.Int64
	counted  atomic.Int64  // when pending was counted, Unix ms; 0: never
	failures atomic.Int64  // calls that failed because the store is away
	doubt    chan struct{} // holds a token once a call has failed: the store is to be checked now

	mu     sync.Mutex
	warned map[string]time.Time // guarded by mu: when a warning was logged last
}

// newStoreHealth registers the figures of the store's health and of the service's readiness.
func newStoreHealth(a *App, reg prometheus.Registerer) *storeHealth {
	h := &storeHealth{doubt: make(chan struct{}, 1), warned: make(map[string]time.Time)}
	f := promauto.With(reg)
	known := func(value func() float64) func() float64 {
		return func() float64 {
			if h.counted.Load() == 0 {
				return math.NaN()
			}
			return value()
		}
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_pending",
		Help: "Messages that are still to be delivered, as last counted: while the store is away the last " +
			"known number.",
	}, known(func() float64 { return float64(h.pending.Load()) }))
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_pending_age_seconds", Help: "How long ago trackchat_pending was counted.",
	}, known(func() float64 { return time.Since(time.UnixMilli(h.counted.Load())).Seconds() }))
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_ready", Help: "1 while the service is ready, as /readyz says.",
	}, func() float64 {
		if a.ready.Load() == nil {
			return 1
		}
		return 0
	})
	return h
}

// count takes note of what a check has counted.
func (h *storeHealth) count(r *queue.Report) {
	if r.Counted {
		h.pending.Store(r.Pending)
		h.counted.Store(time.Now().UnixMilli())
	}
}

// news reports whether a warning is to be logged: one that differs only in its figures is the same.
func (h *storeHealth) news(warning string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	kind := regexp.MustCompile(`[0-9.]+`).ReplaceAllString(warning, "#")
	if last, ok := h.warned[kind]; ok && now.Sub(last) < warnEvery {
		return false
	}
	h.warned[kind] = now
	return true
}

// storeFailed is told of each call of the store that fails. One that fails because the store is
// away makes the service not ready at once; one that its caller did not wait for may mean that,
// too.
func (a *App) storeFailed(err error) {
	away := errors.Is(err, queue.ErrUnavailable)
	late := errors.Is(err, context.DeadlineExceeded)
	if !away && !late || errors.Is(err, context.Canceled) {
		return
	}
	a.health.failures.Add(1)
	if away && !late {
		a.unfit(fmt.Errorf("the store fails: %w", err))
	}
	select {
	case a.health.doubt <- struct{}{}:
	default:
	}
}

// unfit makes the service not ready because of its store.
func (a *App) unfit(err error) {
	if a.ready.CompareAndSwap(nil, &err) {
		a.log.Error("not ready: the store is not fit for use", zap.Error(err))
	}
}

// byStore reports whether it is the store that makes the service not ready.
func byStore(why *error) bool {
	return why != nil && !errors.Is(*why, errStarting) && !errors.Is(*why, errStopping) &&
		!errors.Is(*why, errDraining)
}

// explain says better why the store is not fit: a failed call knows less than a check.
func (a *App) explain(err error) {
	if why := a.ready.Load(); byStore(why) {
		a.ready.CompareAndSwap(why, &err)
		return
	}
	a.unfit(err)
}

// fit makes the service ready again where it was the store that made it not ready.
func (a *App) fit() {
	if why := a.ready.Load(); byStore(why) && a.ready.CompareAndSwap(why, nil) {
		a.log.Info("ready again: the store is fit for use")
	}
}

// watchStore checks the store now and then, at once after a failed call, and every second while it
// is not fit.
func (a *App) watchStore(ctx context.Context) {
	for {
		if a.ready.Load() == nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(checkEvery):
			case <-a.health.doubt:
			}
		}
		a.checkStore(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkPause):
		}
	}
}

// pingStore asks a store that other processes hold for a sign of life every second, so that one
// that has gone without a word is noticed where nobody else calls it.
func (a *App) pingStore(ctx context.Context) {
	store, ok := a.store.(queue.Remote)
	if !ok {
		return
	}
	every(ctx, pingEvery, func(ctx context.Context) {
		bounded, cancel := context.WithTimeout(ctx, pingWithin)
		defer cancel()
		if err := store.Ping(bounded); err != nil && ctx.Err() == nil {
			a.storeFailed(err)
		}
	})
}

// checkStore makes the service not ready while the store is not fit for use. It is again when a
// check says so and no call has failed meanwhile.
func (a *App) checkStore(ctx context.Context) {
	failures := a.health.failures.Load()
	bounded, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.fitStore(bounded) }()
	var err error
	select {
	case err = <-ended:
	case <-bounded.Done():
		if ctx.Err() == nil { // a disk that hangs cannot be interrupted
			a.unfit(fmt.Errorf("the check of the store has not ended within %v", checkWithin))
		}
		err = <-ended
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.explain(err)
	case a.health.failures.Load() == failures:
		a.fit()
	}
}
