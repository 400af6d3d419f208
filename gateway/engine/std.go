package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// std is the portable engine. Each connection has a goroutine that only waits for the socket; handlers run on a few workers, so that the
// waiting goroutines keep the smallest stack there is.
type std struct {
	*life
	core    *core
	start   func()
	jobs    chan *job
	shaking chan struct{}  // has room for one more TLS handshake
	spare   sync.Pool      // of *job
	running sync.WaitGroup // connections and their writers
	workers sync.WaitGroup

	connsMu sync.Mutex
	conns   map[*stdConn]struct{}
}

// NewStd returns the portable engine, which serves any listener, of TLS connections too.
func NewStd(o Options) Engine { return newStd(newCore(o)) }

func newStd(k *core) *std {
	e := &std{life: newLife(), core: k, jobs: make(chan *job), shaking: make(chan struct{}, k.Handshakes), conns: map[*stdConn]struct{}{}}
	e.start = sync.OnceFunc(func() {
		for range k.Loops {
			e.workers.Go(e.work)
		}
	})
	return e
}

func (e *std) Serve(ln net.Listener, h Handler) error {
	defer func() { _ = ln.Close() }() // Shutdown may have done so
	if !e.enter(ln) {
		return ErrShutdown
	}
	defer e.leave(ln)
	e.start()
	inner, front := unwrapped(ln)
	srv := e.core.service(h, front)
	for {
		nc, err := inner.Accept()
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

func (e *std) accepted(srv *service, nc net.Conn) {
	set, ok := srv.knock(peerOf(nc), fdOf(transport(nc)) < e.core.descriptors())
	if !ok {
		_ = transport(nc).Close() // refused: nobody is interested in how that ends
		return
	}
	e.attach(srv, nc, set)
}

// attach starts a connection. The caller takes part in serving, so that Shutdown has not come to the connections yet.
func (e *std) attach(srv *service, nc net.Conn, set flags) *stdConn {
	e.core.tune(nc)
	if srv.front.encrypts() {
		nc = tls.Server(nc, srv.front.TLS)
	}
	c := newStdConn(e, srv, nc)
	c.flags = set
	e.connsMu.Lock()
	e.conns[c] = struct{}{}
	e.connsMu.Unlock()
	e.running.Go(c.run)
	return c
}

// drop forgets a connection that has ended.
func (e *std) drop(c *stdConn) {
	e.connsMu.Lock()
	defer e.connsMu.Unlock()
	delete(e.conns, c)
}

// tune sets the options of a socket, where it is a TCP socket. They are wishes: a socket on which they fail is about to fail anyway.
func (k *core) tune(nc net.Conn) {
	tc, ok := transport(nc).(*net.TCPConn)
	if !ok {
		return
	}
	if k.SendBuffer > 0 {
		_ = tc.SetWriteBuffer(k.SendBuffer)
	}
	if fd := fdOf(tc); fd >= 0 && k.UserTimeout > 0 {
		setUserTimeout(fd, k.UserTimeout)
	}
	_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: k.KeepAlive > 0, Idle: k.KeepAlive, Interval: k.KeepAlive, Count: keepAliveProbes})
}

// transport is what carries nc: for TLS the connection beneath, else nc itself.
func transport(nc net.Conn) net.Conn {
	if u, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return u.NetConn()
	}
	return nc
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
	defer e.leave(nil)
	e.start()
	nc, err := dial(ctx, addr, local)
	if err != nil {
		return nil, err
	}
	return e.attach(e.core.service(h, nil), nc, 0), nil
}

func dial(ctx context.Context, addr string, local netip.Addr) (net.Conn, error) {
	d := net.Dialer{Control: bindLate}
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
	first := e.halt()
	return awaited(ctx, func() {
		e.serving.Wait()
		e.connsMu.Lock()
		for c := range e.conns {
			c.end(ErrShutdown)
		}
		e.connsMu.Unlock()
		e.running.Wait()
		if first {
			close(e.jobs)
		}
		e.workers.Wait()
	})
}
