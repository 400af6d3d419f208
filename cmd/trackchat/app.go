package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/api"
	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol/all"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

// App is the whole service in one value, so that tests run it in their own process.
type App struct {
	cfg       *Config
	log       *zap.Logger
	recent    *recentLog
	registry  *prometheus.Registry
	directory queue.Directory
	// keeps directory up to date; nil where the store cannot tell changes.
	follower  *queue.Follower
	recheck   atomic.Pointer[func()]
	moved     chan struct{} // holds a token once the directory has changed
	store     queue.Store
	loops     int   // event loops; 0: as the engine likes
	procs     int   // processors that there are for Go; 0: those that it uses
	leastFree int64 // of the embedded store, see its Options
	gateway   *gateway.Gateway
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

	// of the demo: fills the store before the directory is loaded.
	seed    func(context.Context) error
	started func() // of the demo: called when everything is up
}

// Connections of HTTP clients; an idle one takes about 20 KiB. All together get a share of the
// memory.
const (
	apiConns   = 20_000
	adminConns = 1000
	connMemory = 20 << 10
	connShare  = 4 // one part in so many of the limit of memory
)

// mostConns is how many connections the API may have with so much memory; 0: not known.
func mostConns(memory int64) int {
	if memory == 0 {
		return apiConns
	}
	return int(min(max(memory/connShare/connMemory, adminConns), apiConns))
}

var (
	errStarting = errors.New("starting")
	errStopping = errors.New("stopping")
)

// New prepares a service; Start brings it up.
func New(cfg *Config, log *zap.Logger) (*App, error) {
	registry := prometheus.NewRegistry()
	seen := newRecentLog(registry)
	a := &App{
		cfg: cfg, log: seen.watch(log), recent: seen, registry: registry,
		addrs: map[string]netip.AddrPort{}, failed: make(chan error, 1), drain: make(chan struct{},
			1),
	}
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
		a.startEndingMoved,
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
	if a.started != nil {
		a.started()
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
	a.recent.folds.flush()
	return errors.Join(errs...)
}

// Failed receives the error of a part that ended by itself.
func (a *App) Failed() <-chan error { return a.failed }

// Addrs returns the addresses that are listened on: "api", "admin" and each protocol by its name
// (the first listener of it).
func (a *App) Addrs() map[string]netip.AddrPort { return a.addrs }

func (a *App) onStop(f func(context.Context) error) { a.undo = append(a.undo, f) }

// loadDirectory imports the directory file, if one is configured, and takes the store's accounts
// and trackers as the current ones.
func (a *App) loadDirectory(ctx context.Context) error {
	if a.seed != nil {
		if err := a.seed(ctx); err != nil {
			return fmt.Errorf("seeding the directory: %w", err)
		}
	}
	if file := a.cfg.Directory.File; file != "" {
		stats, err := ImportDirectory(ctx, a.store, file, a.cfg.Directory.Prune)
		if err != nil {
			return fmt.Errorf("importing %s: %w", file, err)
		}
		a.log.Info("directory imported", zap.String("file", file), zap.Any("stats", stats))
	}
	return a.follower.Sync(ctx)
}

// startDirectory is loadDirectory for a start: where the store has no room for what the file
// changes, what it holds already serves.
func (a *App) startDirectory(ctx context.Context) error {
	err := a.loadDirectory(ctx)
	if errors.Is(err, queue.ErrOverloaded) {
		a.log.Error("the directory file is not taken over until the next reload", zap.Error(err))
		return a.follower.Sync(ctx)
	}
	return err
}

// Reload reads the certificates and the directory file again and closes the sessions of trackers
// that are no longer allowed. What cannot be read stays as it was.
func (a *App) Reload(ctx context.Context) error {
	certs := a.certs.refresh(true)
	if err := a.loadDirectory(ctx); err != nil {
		return errors.Join(certs, err)
	}
	if a.gateway != nil {
		a.gateway.Recheck()
	}
	return certs
}

// startGateway listens on every port before the first device is let in, so that all ports in use
// are told at once.
func (a *App) startGateway(ctx context.Context) error {
	if !a.cfg.HasRole(RoleGateway) {
		return nil
	}
	c := &a.cfg.Gateway
	eng, err := newEngine(engine.Options{ //nolint:contextcheck // it outlives the start
		Loops: a.loops, Unsent: orOff(c.Limits.Unsent, math.MaxInt),
		SendBuffer: orOff(c.Limits.SendBuffer, -1), Now: time.Now, Logger: a.log,
		KeepAlive: keepAlive, UserTimeout: userTimeout,
	}, a.registry)
	if err != nil {
		return fmt.Errorf("preparing the gateway: %w", err)
	}
	a.onStop(eng.Shutdown) // a second time does no harm
	gw, err := gateway.New(gateway.Options{
		Node: nodeID(a.cfg.Node), Engine: eng, Store: a.store, Directory: &a.directory,
		Protocols: all.Protocols(), Registerer: a.registry, Logger: a.log, Now: time.Now,
		LoginTimeout: c.LoginTimeout.D(), IdleTimeout: c.IdleTimeout.D(),
		AckTimeout: durations(c.AckTimeout), RetryIdle: c.RetryIdle.D(),
		MaxAttempts: c.MaxAttempts, Repoll: c.Repoll.D(), Full: a.memory.short,
		Limits: gateway.Limits{
			Unauthenticated: c.Limits.Unauthenticated, PerIP: c.Limits.PerIP,
			AcceptRate:      c.Limits.AcceptRate,
			FramesPerSecond: c.Limits.FramesPerSecond, TextsPerMinute: c.Limits.TextsPerMinute,
		},
	})
	if err != nil {
		return fmt.Errorf("preparing the gateway: %w", err)
	}
	a.gateway = gw
	recheck := gw.Recheck
	a.recheck.Store(&recheck)
	if err := a.startReporting(ctx); err != nil {
		return err
	}
	if err := gw.Start(ctx); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	a.onStop(gw.Close)
	a.serving.Store(gw)
	if err := a.startAnswering(ctx); err != nil {
		return err
	}
	ports, err := a.listenDevices(ctx)
	if err != nil {
		return err
	}
	a.onStop(eng.Shutdown)
	a.onStop(func(ctx context.Context) error {
		quiet, cancel := context.WithTimeout(ctx, quiesceWithin)
		defer cancel()
		if err := gw.Quiesce(quiet); err != nil {
			a.log.Warn("not everything in hand could be stored before the connections close",
				zap.Error(err))
		}
		a.drainToStop(ctx)
		return nil
	})
	a.startDraining(ctx)
	for _, p := range ports {
		a.background("listener", func() error { return p.listener.Serve(p.ln) })
	}
	return nil
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

func (a *App) startAPI(ctx context.Context) error {
	if !a.cfg.HasRole(RoleAPI) {
		return nil
	}
	c := &a.cfg.API
	a.handler = api.New(api.Options{
		Store: a.store, Directory: &a.directory, Now: time.Now, Logger: a.log,
		Registerer: a.registry,
		RateLimit:  c.RateLimit, MaxBody: int64(c.MaxBody), Timeout: c.Timeout.D(),
		CORSOrigins: c.CORSOrigins,
		Full:        a.memory.short, Sessions: a.store, SessionLife: c.SessionLife.D(),
		Feed:           a.store,
		FeedBuffer:     c.FeedBuffer,
		Capabilities:   newCapabilities(a.cfg.Gateway.Listeners).of,
		TrustedProxies: prefixes(c.TrustedProxies),
		MemoryLimit:    a.memory.total(), Processors: a.procs,
	})
	a.onStop(func(context.Context) error {
		a.handler.Close()
		return nil
	})
	a.api = api.NewServer(a.handler, a.log)
	// streams end at once, so that the stop does not wait for their clients.
	a.api.RegisterOnShutdown(a.handler.Close)
	if c.TLSCert != "" {
		conf, err := a.certs.config(c.TLSCert, c.TLSKey, "")
		if err != nil {
			return fmt.Errorf("api: %w", err)
		}
		a.api.TLSConfig = conf
	}
	return a.serveHTTP(ctx, "api", a.api, c.Listen, mostConns(a.memory.total()))
}

func (a *App) startAdmin(ctx context.Context) error {
	h := api.NewAdmin(a.adminOptions())
	a.admin = api.NewServer(h, a.log)
	return a.serveHTTP(ctx, "admin", a.admin, a.cfg.Admin.Listen, adminConns)
}

func (a *App) serveHTTP(ctx context.Context, name string, srv *http.Server, listen string,
	most int,
) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("%s.listen: %w", name, err)
	}
	a.addrs[name] = address(ln)
	ln = a.clients.Listen(ln, name, most, srv.TLSConfig != nil)
	a.onStop(func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, clientsWithin)
		defer cancel()
		if err := srv.Shutdown(bounded); err != nil {
			a.log.Info("clients that did not finish are cut off", zap.String("listener", name))
			return srv.Close()
		}
		return nil
	})
	a.background(name, func() error {
		if srv.TLSConfig != nil {
			return srv.ServeTLS(ln, "", "")
		}
		return srv.Serve(ln)
	})
	return nil
}

// notReady says why the service cannot be used now.
func (a *App) notReady(context.Context) error {
	if why := a.ready.Load(); why != nil {
		return *why
	}
	return nil
}

func address(ln net.Listener) netip.AddrPort {
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// nodeID names this run of this node; a node that was started again never inherits its old
// sessions.
func nodeID(name string) queue.NodeID {
	var nonce [4]byte
	_, _ = rand.Read(nonce[:]) // never fails
	const longest = 32 - 1 - 2*len(nonce)
	return queue.NodeID(name[:min(len(name), longest)] + "-" + hex.EncodeToString(nonce[:]))
}

// orOff translates a limit of which 0 means off to the engine's way of saying that.
func orOff(limit Size, off int) int {
	if limit == 0 {
		return off
	}
	return int(limit)
}

func durations(ds []Duration) []time.Duration {
	out := make([]time.Duration, len(ds))
	for i, d := range ds {
		out[i] = d.D()
	}
	return out
}
