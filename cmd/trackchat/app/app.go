// Package app is the running service: it opens the store, the ports and everything behind them,
// and keeps all of it going until it is stopped.
package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/api"
	"trackchat/api/audit"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

// App is the whole service in one value, so that tests run it in their own process.
type App struct {
	cfg       *config.Config
	log       *zap.Logger
	recent    *recentLog
	audit     *audit.Log
	registry  *prometheus.Registry
	directory queue.Directory
	recheck   atomic.Pointer[func()]
	moved     chan struct{} // holds a token once the directory has changed
	store     queue.Store
	loops     int   // event loops; 0: as the engine likes
	procs     int   // processors that there are for Go; 0: those that it uses
	leastFree int64 // of the embedded store, see its Options
	gateway   *gateway.Gateway
	listeners []*gateway.Listener // as they are configured; of a gateway that runs
	relays    relays
	serving   atomic.Pointer[gateway.Gateway] // gateway once it runs, for who may ask at any time
	api       *http.Server
	handler   *api.API // of api
	admin     *http.Server
	addrs     map[string]netip.AddrPort
	certs     *certificates
	clients   *api.Conns
	memory    *memory
	health    *storeHealth
	expired   prometheus.Counter
	ready     atomic.Pointer[error] // why the service is not ready; nil: it is
	drain     chan struct{}         // holds a token once the sessions are to be closed
	failed    chan error
	undo      []func(context.Context) error // of what was started, in order
	work      sync.WaitGroup

	// Seed, if there is one, fills the store before the directory is loaded.
	Seed    func(context.Context, queue.Store) error
	Started func() // called when everything is up
	// ConfigFile is read again at Reload, and when it changes, for the upstreams of its listeners.
	// Empty: they stay as they are.
	ConfigFile string
}

var (
	errStarting = errors.New("starting")
	errStopping = errors.New("stopping")
)

// New prepares a service; Start brings it up.
func New(cfg *config.Config, log *zap.Logger) (*App, error) {
	registry := prometheus.NewRegistry()
	seen := newRecentLog(registry)
	a := &App{
		cfg: cfg, log: seen.watch(log), recent: seen, registry: registry,
		addrs: map[string]netip.AddrPort{}, failed: make(chan error, 1), drain: make(chan struct{},
			1),
	}
	a.audit = audit.New(a.log, time.Now)
	a.moved = make(chan struct{}, 1)
	if err := errors.Join(
		a.registry.Register(collectors.NewGoCollector()),
		a.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	); err != nil {
		return nil, fmt.Errorf("registering collectors: %w", err)
	}
	a.health = newStoreHealth(a, a.registry)
	a.expired = promauto.With(a.registry).NewCounter(prometheus.CounterOpts{
		Name: "trackchat_expired_total",
		Help: "Messages whose time ran out before their tracker's session came to them.",
	})
	a.memory = newMemory(a.log, a.registry)
	a.certs, a.clients = newCertificates(a.log, a.registry), api.NewConns(a.registry,
		a.memory.total())
	a.ready.Store(&errStarting)
	return a, nil
}

// Start opens the store, then the ports; the admin listener comes first and goes last, so that it
// can be asked all the time. After an error everything that was started is stopped again.
func (a *App) Start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		a.openStore, a.startMemory, a.startAdmin, a.startDirectory, a.startGateway,
		a.startFollowing, a.startAPI, a.startWebhooks, a.startCertificates, a.startMaintenance,
		a.startEndingMoved, a.startFollowingUpstreams,
	} {
		if err := step(ctx); err != nil {
			return errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
		}
	}
	a.ready.CompareAndSwap(&errStarting, nil) // unless the store is not fit for use
	accounts, trackers := a.directory.Current().Len()
	state := "trackchat is ready"
	if a.ready.Load() != nil {
		state = "trackchat has started, and is not ready"
	}
	a.log.Info(state, zap.Int("accounts", accounts), zap.Int("trackers", trackers),
		zap.Any("listen", a.addrs))
	if accounts == 0 {
		a.log.Warn("nobody can sign in yet: make an account with trackchat account put, a key with " +
			"trackchat key create, a tracker with trackchat tracker put; README has the three commands")
	}
	if a.Started != nil {
		a.Started()
	}
	return nil
}

// Stop ends the service in order: readiness off, no new work, what devices and clients have said
// stored, everything closed. A second call does nothing.
func (a *App) Stop(ctx context.Context) error {
	a.ready.Store(&errStopping)
	var errs []error
	for len(a.undo) > 0 {
		last := len(a.undo) - 1
		undo := a.undo[last]
		a.undo = a.undo[:last]
		errs = append(errs, undo(ctx))
	}
	a.work.Wait()
	a.audit.Flush()
	a.recent.folds.flush()
	return errors.Join(errs...)
}

// Failed receives the error of a part that ended by itself.
func (a *App) Failed() <-chan error { return a.failed }

// Addrs returns the addresses that are listened on: "api", "admin" and each protocol by its name
// (the first listener of it).
func (a *App) Addrs() map[string]netip.AddrPort { return a.addrs }

func (a *App) onStop(f func(context.Context) error) { a.undo = append(a.undo, f) }

// Reload reads the certificates, the upstreams and the directory file again and closes the sessions
// of trackers that are no longer allowed. What cannot be read stays as it was.
func (a *App) Reload(ctx context.Context) error {
	certs := errors.Join(a.certs.refresh(true), a.readUpstreams(true))
	if err := a.loadDirectory(ctx); err != nil {
		return errors.Join(certs, err)
	}
	if a.gateway != nil {
		a.gateway.Recheck()
	}
	return certs
}

// meanwhile runs part of the service from now until it is stopped.
func (a *App) meanwhile(ctx context.Context, f func(context.Context)) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(run)
	}()
	a.onStop(func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// every calls f again and again until ctx ends.
func every(ctx context.Context, d time.Duration, f func(context.Context)) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f(ctx)
		}
	}
}

// background runs part of the service; if it fails, the service fails.
func (a *App) background(what string, f func() error) {
	a.work.Go(func() {
		err := f()
		if err == nil || errors.Is(err, http.ErrServerClosed) ||
			errors.Is(err, engine.ErrShutdown) {
			return
		}
		select {
		case a.failed <- fmt.Errorf("%s: %w", what, err):
		default:
		}
	})
}
