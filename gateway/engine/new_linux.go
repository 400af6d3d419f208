package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// mixed serves plain TCP with the reactor and everything else, TLS above all, with the std engine. Both share bounds and counters.
type mixed struct {
	reactor *reactor
	std     *std
}

// New returns the best engine for this system: the reactor, with the std engine for listeners that are not plain TCP.
func New(o Options) Engine {
	k := newCore(o)
	return &mixed{reactor: newReactor(k), std: newStd(k)}
}

func (m *mixed) Serve(ln net.Listener, h Handler) error {
	inner, front := unwrapped(ln)
	if _, ok := inner.(*net.TCPListener); ok && !front.encrypts() {
		return m.reactor.Serve(ln, h)
	}
	return m.std.Serve(ln, h)
}

func (m *mixed) Dial(ctx context.Context, addr string, local netip.Addr, h Handler) (Conn, error) {
	return m.reactor.Dial(ctx, addr, local, h)
}

func (m *mixed) Shutdown(ctx context.Context) error {
	var ofReactor, ofStd error
	var both sync.WaitGroup
	both.Go(func() { ofReactor = m.reactor.Shutdown(ctx) })
	both.Go(func() { ofStd = m.std.Shutdown(ctx) })
	both.Wait()
	return errors.Join(ofReactor, ofStd)
}

// setUserTimeout is a wish, as in tune.
func setUserTimeout(fd int, d time.Duration) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}
