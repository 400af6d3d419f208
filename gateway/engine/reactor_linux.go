package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// reactor is the engine of event loops.
type reactor struct {
	*life
	core    *core
	start   func() error
	table   table
	next    atomic.Uint32 // which loop is the next connection's
	loops   []*loop
	running sync.WaitGroup // loops
}

// NewReactor returns the engine of event loops. It serves *net.TCPListener only.
func NewReactor(o Options) Engine { return newReactor(newCore(o)) }

func newReactor(k *core) *reactor {
	r := &reactor{life: newLife(), core: k}
	r.start = sync.OnceValue(r.makeLoops)
	return r
}

func (r *reactor) makeLoops() error {
	loops := make([]*loop, 0, r.core.Loops)
	for range r.core.Loops {
		l, err := newLoop(r.core, &r.table)
		if err != nil {
			for _, l := range loops {
				l.release()
			}
			return err
		}
		loops = append(loops, l)
	}
	r.loops = loops
	for _, l := range loops {
		r.running.Go(l.run)
	}
	return nil
}

func (r *reactor) Serve(ln net.Listener, h Handler) error {
	defer func() { _ = ln.Close() }() // the reactor has its own descriptor
	inner, front := unwrapped(ln)
	tcp, ok := inner.(*net.TCPListener)
	if !ok || front.encrypts() {
		return fmt.Errorf("%w: %T", ErrListener, ln)
	}
	if !r.enter(nil) {
		return ErrShutdown
	}
	defer r.leave(nil)
	if err := r.start(); err != nil {
		return err
	}
	a, err := newAcceptor(r, tcp, r.core.service(h, front))
	if err != nil {
		return err
	}
	defer func() { _ = a.file.Close() }() // Shutdown may have done so
	if err := tcp.Close(); err != nil {
		return fmt.Errorf("engine: taking over a listener: %w", err)
	}
	if !r.enter(a.file) {
		return nil
	}
	defer r.leave(a.file)
	return a.run()
}

// each returns the service as the connections of each loop have it. The caller takes part in serving, so the loops are there.
func (r *reactor) each(srv *service) []*service {
	each := make([]*service, len(r.loops))
	for i, l := range r.loops {
		each[i] = &service{terms: srv.terms, loop: l}
	}
	return each
}

// attach gives a socket to the next loop.
func (r *reactor) attach(each []*service, fd int, peer netip.AddrPort, set flags) *loopConn {
	srv := each[int(r.next.Add(1))%len(each)]
	c := newLoopConn(srv, fd, peer)
	c.flags = set
	srv.loop.post(order{c, orderOpen})
	return c
}

// Dial lets package net connect and then takes a descriptor of the socket over.
func (r *reactor) Dial(ctx context.Context, addr string, local netip.Addr, h Handler) (Conn, error) {
	if !r.enter(nil) {
		return nil, ErrShutdown
	}
	defer r.leave(nil)
	if err := r.start(); err != nil {
		return nil, err
	}
	nc, err := dial(ctx, addr, local)
	if err != nil {
		return nil, err
	}
	defer func() { _ = nc.Close() }() // the connection lives on in the duplicate
	r.core.tune(nc)
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("engine: dialing %s: %T has no descriptor", addr, nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("engine: dialing %s: %w", addr, err)
	}
	fd, err := duplicate(raw)
	if err != nil {
		return nil, fmt.Errorf("engine: dialing %s: %w", addr, err)
	}
	return r.attach(r.each(r.core.service(h, nil)), fd, peerOf(nc), 0), nil
}

// bindLate lets the kernel choose the local port when it knows the destination, so that one local address is good for more connections
// than it has ports. Where that is not to be had, the port is chosen early.
func bindLate(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}

func (r *reactor) Shutdown(ctx context.Context) error {
	r.halt()
	return awaited(ctx, func() {
		r.serving.Wait()
		for _, l := range r.loops {
			l.post(order{kind: orderStop})
		}
		r.running.Wait()
	})
}
