package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/panjf2000/gnet/v2/pkg/pool/goroutine"
	"golang.org/x/sys/unix"
)

// enrolling is how many accepted connections may wait for their loops: each has two
// descriptors for that moment.
const enrolling = 64

// errPoller says what gnet does not: it reports a socket as enrolled that its poller did not take.
var errPoller = errors.New("engine: the poller did not take the socket")

// Importing gnet starts a pool with two goroutines, which nothing here uses.
func init() { goroutine.DefaultWorkerPool.Release() } //nolint:gochecknoinits // so does gnet

// server is the engine.
type server struct {
	*life
	core   *core
	loops  []*loop
	next   atomic.Uint32 // which loop is the next connection's
	probes sync.WaitGroup
	stop   sync.Once

	turns  chan struct{} // has room for each socket that waits for its loop
	scarce sync.Mutex    // held by who enrolls alone, since few descriptors are left
}

// New starts an engine. An error says that the system has no event loop to give.
func New(o Options) (Engine, error) {
	e := &server{life: newLife(), core: newCore(o), turns: make(chan struct{}, enrolling)}
	for i := range e.core.Loops {
		l, err := startLoop(e.core, i, e.life)
		if err != nil {
			for _, l := range e.loops {
				l.stop()
			}
			return nil, err
		}
		e.loops = append(e.loops, l)
	}
	if e.core.ObserveLoopLag != nil && e.core.Now != nil {
		for _, l := range e.loops {
			e.probes.Go(l.probe)
		}
	}
	return e, nil
}

func (e *server) Loops() []Loop {
	loops := make([]Loop, len(e.loops))
	for i, l := range e.loops {
		loops[i] = l
	}
	return loops
}

// services returns the service as the connections of each loop have it.
func (e *server) services(h Handler, front *Front) []*service {
	terms := e.core.terms(h, front)
	each := make([]*service, len(e.loops))
	for i, l := range e.loops {
		each[i] = &service{terms: terms, loop: l}
	}
	return each
}

// turn chooses the next connection's loop.
func (e *server) turn(each []*service) *service {
	return each[e.next.Add(1)%uint32(len(each))]
}

func (e *server) Serve(ln net.Listener, h Handler) error {
	defer func() { _ = ln.Close() }() // Shutdown may have done so
	inner, front := unwrapped(ln)
	if _, ok := inner.Addr().(*net.TCPAddr); !ok {
		return fmt.Errorf("%w: %T", ErrListener, inner)
	}
	if !e.enter(ln) {
		return ErrShutdown
	}
	defer e.leave(ln)
	a := &acceptor{server: e, each: e.services(h, front), addr: ln.Addr().String()}
	defer a.enrolling.Wait()
	for {
		nc, err := inner.Accept()
		switch {
		case err == nil:
			err = a.accepted(nc)
		case e.isDown():
			return e.reason()
		case exhausted(err):
			e.core.acceptPaused(a.addr, err)
			e.wait(acceptPause)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("engine: accepting on %s: %w", a.addr, err)
		}
	}
}

// acceptor is one Serve.
type acceptor struct {
	*server
	each      []*service
	addr      string
	enrolling sync.WaitGroup
}

// accepted makes a connection of a socket, unless it is refused.
func (a *acceptor) accepted(nc net.Conn) error {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close() // nobody has seen it
		return fmt.Errorf("%w: %T", ErrListener, nc)
	}
	srv, peer, fd, limit := a.turn(a.each), addrPort(nc.RemoteAddr()), fdOf(tc), fdLimit()
	set, ok := srv.knock(peer, fd < a.core.descriptors(limit))
	if !ok {
		_ = nc.Close() // refused: nobody is interested in how that ends
		return nil
	}
	srv.tune(tc)
	c := newConn(srv)
	c.flags = set
	enroll := func() {
		if err := srv.loop.enroll(c, tc); err != nil {
			c.setPeer(peer)
			c.stillborn(err)
		}
	}
	if fd > limit-2*enrolling {
		a.alone(tc, enroll)
		return nil
	}
	a.turns <- struct{}{}
	a.enrolling.Go(func() {
		enroll()
		<-a.turns
	})
	return nil
}

// alone enrolls a socket while nobody else does, since few descriptors are left, and when there is
// one for its duplicate.
func (e *server) alone(tc *net.TCPConn, enroll func()) {
	e.scarce.Lock()
	defer e.scarce.Unlock()
	for range cap(e.turns) {
		e.turns <- struct{}{}
	}
	e.awaitDescriptor(tc)
	enroll()
	for range cap(e.turns) {
		<-e.turns
	}
}

// awaitDescriptor waits until there is one for the duplicate that gnet makes: it would close the
// connection.
func (e *server) awaitDescriptor(tc *net.TCPConn) {
	for !e.isDown() {
		fd, err := duplicate(tc)
		if err == nil {
			_ = unix.Close(fd) // frees it whatever it returns
		}
		if !exhausted(err) {
			return
		}
		e.core.acceptPaused(tc.LocalAddr().String(), err)
		e.wait(acceptPause)
	}
}

// enroll gives the loop a socket, of which gnet takes a duplicate, and waits until it is there.
func (l *loop) enroll(c *conn, nc net.Conn) error {
	if l.isDead() {
		_ = nc.Close() // as gnet does
		return ErrLoop
	}
	e := &enrolment{c: c}
	done := make(chan error, 1)
	go func() {
		_, err := l.client.EnrollContext(nc, e)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("engine: enrolling a connection: %w", err)
		}
	case <-l.ended:
		return ErrLoop // gnet would wait for ever
	}
	if !e.taken {
		return errPoller
	}
	return nil
}

// enrolment is how OnOpen tells enroll that gnet has taken a socket.
type enrolment struct {
	c     *conn
	taken bool // written in the loop before EnrollContext returns
}

// Dial lets package net connect.
func (e *server) Dial(ctx context.Context, addr string, o DialOptions, h Handler) (Conn, error) {
	if !e.enter(nil) {
		return nil, ErrShutdown
	}
	defer e.leave(nil)
	d := net.Dialer{Control: bindLate}
	if o.Local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(o.Local, 0))
	}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if err := greet(ctx, nc, o.Header); err != nil {
		_ = nc.Close() // nobody has seen it
		return nil, err
	}
	var front *Front
	if o.TLS != nil {
		front = &Front{TLS: o.TLS, Timeout: o.Timeout, dialled: true}
	}
	srv := &service{terms: e.core.terms(h, front), loop: e.loopFor(o.Beside)}
	if tc, ok := nc.(*net.TCPConn); ok {
		srv.tune(tc)
	}
	c := newConn(srv)
	if err := srv.loop.enroll(c, nc); err != nil {
		return nil, err
	}
	return c, nil
}

// greet writes what the peer of a new connection gets first.
func greet(ctx context.Context, nc net.Conn, header []byte) error {
	if len(header) == 0 {
		return nil
	}
	if by, ok := ctx.Deadline(); ok {
		_ = nc.SetWriteDeadline(by) // fails only on a closed connection
	}
	if _, err := nc.Write(header); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}

// loopFor is the loop of a connection, or that whose turn it is where there is none.
func (e *server) loopFor(beside Conn) *loop {
	at := e.next.Add(1) % uint32(len(e.loops))
	if beside != nil {
		at = uint32(beside.Loop())
	}
	return e.loops[at]
}

func (e *server) Shutdown(ctx context.Context) error {
	e.halt(nil)
	return awaited(ctx, func() {
		e.serving.Wait()
		e.stop.Do(func() {
			var all sync.WaitGroup
			for _, l := range e.loops {
				all.Go(l.stop)
			}
			all.Wait()
			e.probes.Wait()
			e.core.shakes.work.Wait()
		})
	})
}

// tune sets the options of a socket. They are wishes: a socket on which they fail is about to fail
// anyway.
func (t *terms) tune(tc *net.TCPConn) {
	k := t.core
	if k.SendBuffer > 0 {
		_ = tc.SetWriteBuffer(k.SendBuffer)
	}
	if fd := fdOf(tc); fd >= 0 && k.UserTimeout > 0 {
		setUserTimeout(fd, k.UserTimeout)
	}
	t.keepAlive(tc)
}

// keepAlive is part of tune, and needed again for each socket that package net makes of a
// descriptor.
func (t *terms) keepAlive(tc *net.TCPConn) {
	every := t.core.KeepAlive
	_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: every > 0 && (t.front == nil || !t.front.NoProbes),
		Idle:   every, Interval: every, Count: keepAliveProbes,
	})
}

// descriptors is the number below which the descriptor of an accepted connection must be. The
// kernel gives the lowest number that is free, so one beyond it says that nearly all are in use.
// The limit may change while the process runs.
func (k *core) descriptors(limit int) int {
	switch {
	case k.Spare < 0:
		return math.MaxInt
	case k.Spare > 0:
		return limit - k.Spare
	default:
		return limit - min(max(limit/50, 8), 512)
	}
}

// fdLimit is the process's.
func fdLimit() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

// control calls f with a socket's descriptor.
func control(tc *net.TCPConn, f func(fd int)) {
	raw, err := tc.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // fails on a closed connection, which has none
}

// fdOf returns the descriptor of a connection, -1 if it is closed. It is good for a look only.
func fdOf(tc *net.TCPConn) int {
	fd := -1
	control(tc, func(n int) { fd = n })
	return fd
}

// duplicate returns another descriptor for the same socket.
func duplicate(tc *net.TCPConn) (fd int, err error) {
	fd, err = -1, syscall.EBADF
	control(tc, func(n int) { fd, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0) })
	return fd, err
}
