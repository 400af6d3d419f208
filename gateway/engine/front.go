package engine

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
)

var (
	// ErrProxyLate ends a connection whose PROXY header did not come in time.
	ErrProxyLate = errors.New("engine: PROXY header did not come in time")
	// ErrProxyFull turns a connection away while as many as Front.Pending wait for their PROXY
	// header.
	ErrProxyFull = errors.New("engine: too many connections without their PROXY header")
	// ErrHandshake ends a connection whose TLS handshake failed; the reason is wrapped with it.
	ErrHandshake = errors.New("engine: TLS handshake failed")
	// ErrHandshakeLate ends a connection whose TLS handshake was not done in time, its wait for a
	// turn included.
	ErrHandshakeLate = errors.New("engine: TLS handshake not done in time")
	// ErrDescriptors turns a connection away because the last descriptors of the process are kept
	// for other things.
	ErrDescriptors = errors.New("engine: no descriptor to spare")
)

// errUnwanted ends a connection that Admit refused after its PROXY header.
var errUnwanted = errors.New("engine: refused by the handler")

const defaultFrontTimeout = 10 * time.Second

// Front is a listener whose connections begin with something else than the handler's bytes: a PROXY
// header of a balancer, then TLS. Serve takes the listener over. Admit, OnOpen and RemoteAddr know
// the peer of the header, and OnOpen comes after it.
type Front struct {
	net.Listener // TCP

	// Proxy are the networks of balancers. A peer from there must begin with a PROXY header,
	// version 1 or 2; a peer from elsewhere is served as what it is, and a header of its is nothing
	// but wrong bytes.
	Proxy []netip.Prefix
	// TLS is asked for every connection, after the header. Nil: plain TCP.
	TLS *tls.Config
	// Timeout bounds the wait for the header, which may take twice as long, and that for the
	// handshake. Default 10 s.
	Timeout time.Duration
	// Pending bounds the connections that wait for their header. 0: no bound.
	Pending int
	dialled bool // the connections are ours to others, so TLS is that of a client

	// NoProbes leaves TCP keepalive probes out, whatever Options.KeepAlive says.
	NoProbes bool
}

// trusts says whether the peer is a balancer.
func (f *Front) trusts(peer netip.AddrPort) bool {
	if f == nil {
		return false
	}
	for _, p := range f.Proxy {
		if p.Contains(peer.Addr()) {
			return true
		}
	}
	return false
}

func (f *Front) timeout() time.Duration {
	if f != nil && f.Timeout > 0 {
		return f.Timeout
	}
	return defaultFrontTimeout
}

// encrypts says whether there is TLS.
func (f *Front) encrypts() bool { return f != nil && f.TLS != nil }

// unwrapped returns the listener beneath a Front, and the Front, which is nil for other listeners.
func unwrapped(ln net.Listener) (net.Listener, *Front) {
	if f, ok := ln.(*Front); ok {
		return f.Listener, f
	}
	return ln, nil
}

// knock says whether an accepted connection may stay, and how it begins: a balancer's waits for its
// header, others are asked about now. spare says that there are descriptors to spare.
func (s *service) knock(peer netip.AddrPort, spare bool) (set flags, ok bool) {
	switch {
	case !spare:
		s.turnAway(peer, ErrDescriptors)
		return 0, false
	case !s.front.trusts(peer):
		return 0, s.admitted(peer)
	case s.front.Pending > 0 && s.unheard.Load() >= int64(s.front.Pending):
		s.turnAway(peer, ErrProxyFull)
		return 0, false
	default:
		s.unheard.Add(1)
		return unheard, true
	}
}

// turnAway tells the handler of a connection that ends before its OnOpen.
func (s *service) turnAway(peer netip.AddrPort, cause error) {
	s.core.Stats.Refused.Add(1)
	if s.refused == nil {
		return
	}
	defer func() { s.core.caught(recover()) }()
	s.refused(peer, cause)
}

// hear looks for the PROXY header of a balancer's connection at the beginning of data. Once it is
// whole, its peer is asked about and opened, and the header's length is returned; 0 asks for more
// bytes. An error ends the connection.
func (s *service) hear(c *conn, data []byte) (int, error) {
	peer, n, _, err := parseProxy(data)
	if err != nil || n == 0 {
		return 0, err
	}
	if err := s.heard(c, peer); err != nil {
		return 0, err
	}
	return n, s.open(c)
}

// heard makes the peer of a header, if it names one, that of the connection, and asks whether it
// may come in.
func (s *service) heard(c *conn, peer netip.AddrPort) error {
	c.setPeer(peer)
	if !s.admitted(c.RemoteAddr()) {
		return errUnwanted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flags &^= unheard
	s.unheard.Add(-1)
	return nil
}

// unopened deals with the end of a connection that had no OnOpen. A balancer that only looks
// whether the port is there is no news.
func (s *service) unopened(c *conn, cause error) {
	for _, news := range []error{ErrProxy, ErrProxyLate, ErrTooMuch, ErrBudget} {
		if errors.Is(cause, news) {
			s.turnAway(c.RemoteAddr(), cause)
		}
	}
}
