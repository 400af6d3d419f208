package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	acceptPause     = 100 * time.Millisecond // wait after the system had no descriptor or memory for a connection
	keepAliveProbes = 3                      // unanswered keepalive probes that end a connection
)

// std is the portable engine. Each connection has a goroutine that only waits for the socket; handlers run on a few workers, so that the
// waiting goroutines keep the smallest stack there is.
type std struct {
	core *core
	jobs chan *job
	idle sync.Pool // of *job
	quit chan struct{}

	serving sync.WaitGroup // accept loops
	running sync.WaitGroup // connections and their writers
	workers sync.WaitGroup

	mu        sync.Mutex
	started   bool
	down      bool
	listeners map[net.Listener]struct{}
	conns     map[*stdConn]struct{}
}

// NewStd returns the portable engine, which serves any listener, of TLS connections too.
func NewStd(o Options) Engine { return newStd(newCore(o)) }

func newStd(k *core) *std {
	return &std{
		core: k, jobs: make(chan *job), quit: make(chan struct{}),
		listeners: map[net.Listener]struct{}{}, conns: map[*stdConn]struct{}{},
	}
}

// enter takes part in e.serving, which starts the workers; the caller leaves by Done. It says false after Shutdown.
func (e *std) enter(ln net.Listener) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down {
		return false
	}
	if !e.started {
		e.started = true
		for range e.core.Loops {
			e.workers.Go(e.work)
		}
	}
	if ln != nil {
		e.listeners[ln] = struct{}{}
	}
	e.serving.Add(1)
	return true
}

func (e *std) Serve(ln net.Listener, h Handler) error {
	if !e.enter(ln) {
		_ = ln.Close() // it is not served, and taken over all the same
		return ErrShutdown
	}
	defer e.serving.Done()
	defer e.forget(ln)
	srv := e.core.service(h)
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			e.accepted(srv, nc)
		case e.isDown():
			return nil
		case exhausted(err):
			e.core.acceptPaused(ln.Addr(), err)
			e.wait(acceptPause)
		default:
			return fmt.Errorf("engine: accepting on %s: %w", ln.Addr(), err)
		}
	}
}

// acceptPaused counts that accepting has to wait, and logs the first time.
func (k *core) acceptPaused(at net.Addr, cause error) {
	if k.Stats.Pauses.Add(1) == 1 {
		k.Logger.Warn("accepting paused", zap.Stringer("listener", at), zap.Error(cause))
	}
}

// exhausted says whether accepting failed for lack of something that other connections may give back.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func (e *std) forget(ln net.Listener) {
	_ = ln.Close() // Shutdown may have done so
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, ln)
}

func (e *std) isDown() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.down
}

// wait lets d pass, or less at Shutdown.
func (e *std) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.quit:
	}
}

func (e *std) accepted(srv *service, nc net.Conn) {
	if !srv.admitted(peerOf(nc)) {
		_ = nc.Close() // refused: nobody is interested in how that ends
		return
	}
	e.attach(srv, nc)
}

// attach starts a connection. The caller takes part in e.serving, so that Shutdown has not come to the connections yet.
func (e *std) attach(srv *service, nc net.Conn) *stdConn {
	e.core.tune(nc)
	c := newStdConn(e, srv, nc)
	e.mu.Lock()
	e.conns[c] = struct{}{}
	e.mu.Unlock()
	e.running.Go(c.run)
	return c
}

// tune sets the options of a socket, where it is a TCP socket. They are wishes: a socket on which they fail is about to fail anyway.
func (k *core) tune(nc net.Conn) {
	if u, ok := nc.(interface{ NetConn() net.Conn }); ok { // tls.Conn
		nc = u.NetConn()
	}
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	if k.SendBuffer > 0 {
		_ = tc.SetWriteBuffer(k.SendBuffer)
	}
	_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: k.KeepAlive > 0, Idle: k.KeepAlive, Interval: k.KeepAlive, Count: keepAliveProbes})
}

func peerOf(nc net.Conn) netip.AddrPort {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	return netip.AddrPort{}
}

func (e *std) Dial(ctx context.Context, addr string, local netip.Addr, h Handler) (Conn, error) {
	if !e.enter(nil) {
		return nil, ErrShutdown
	}
	defer e.serving.Done()
	nc, err := dial(ctx, addr, local)
	if err != nil {
		return nil, err
	}
	return e.attach(e.core.service(h), nc), nil
}

func dial(ctx context.Context, addr string, local netip.Addr) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: bindLate}
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return nc, nil
}

func (e *std) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	first := !e.down
	e.down = true
	for ln := range e.listeners {
		_ = ln.Close() // ends its Serve
	}
	e.mu.Unlock()
	if first {
		close(e.quit)
	}
	return awaited(ctx, func() {
		e.serving.Wait()
		e.mu.Lock()
		for c := range e.conns {
			c.end(ErrShutdown)
		}
		e.mu.Unlock()
		e.running.Wait()
		if first {
			close(e.jobs)
		}
		e.workers.Wait()
	})
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
