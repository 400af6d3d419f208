package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acceptor accepts for the loops of a reactor, which get the connections in turn.
type acceptor struct {
	reactor *reactor
	srv     *service
	each    []*service // one a loop
	addr    net.Addr
	file    *os.File // the listening socket, in Go's runtime poller
	raw     syscall.RawConn
	most    int   // accepted descriptors are below this
	err     error // why drain stopped
}

// newAcceptor takes over a listener.
func newAcceptor(r *reactor, ln *net.TCPListener, srv *service) (*acceptor, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("engine: taking over a listener: %w", err)
	}
	fd, err := duplicate(raw)
	if err != nil {
		return nil, fmt.Errorf("engine: taking over a listener: %w", err)
	}
	a := &acceptor{reactor: r, srv: srv, each: r.each(srv), addr: ln.Addr(), file: os.NewFile(uintptr(fd), "listener")}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		_ = a.file.Close() // the first error says what is wrong
		return nil, fmt.Errorf("engine: preparing a listener: %w", err)
	}
	return a, nil
}

// duplicate returns another descriptor for the same socket.
func duplicate(raw syscall.RawConn) (fd int, err error) {
	rawErr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = rawErr
	}
	return fd, err
}

// tuneFD sets the options of an accepted socket. They are wishes, as in tune. That it would inherit them from the listener cannot be relied on:
// by default package net listens with Multipath TCP, which does not pass them on.
func (k *core) tuneFD(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if k.SendBuffer > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, k.SendBuffer)
	}
	if k.UserTimeout > 0 {
		setUserTimeout(fd, k.UserTimeout)
	}
	if idle := int(k.KeepAlive / time.Second); idle > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, idle)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, idle)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes)
	}
}

// run accepts until Shutdown. Without a descriptor or memory for another connection it pauses instead of spinning.
func (a *acceptor) run() error {
	for {
		a.err = nil
		err := a.raw.Read(a.drain)
		if a.reactor.isDown() {
			return nil
		}
		if err == nil {
			err = a.err
		}
		if !exhausted(err) {
			return fmt.Errorf("engine: accepting on %s: %w", a.addr, err)
		}
		a.reactor.core.acceptPaused(a.addr, err)
		a.reactor.wait(acceptPause)
	}
}

// drain accepts what waits; false waits for more.
func (a *acceptor) drain(fd uintptr) bool {
	a.most = a.reactor.core.descriptors()
	for !a.reactor.isDown() {
		nfd, peer, err := unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			a.accepted(nfd, peer)
		case errors.Is(err, unix.EAGAIN):
			return false
		case !passing(err):
			a.err = err
			return true
		}
	}
	return true
}

// passing tells the errors of accept that are about the one connection it would have returned, see accept(2), "Error handling".
func passing(err error) bool {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	switch no {
	case unix.EINTR, unix.ECONNABORTED, unix.EPERM, unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET,
		unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH:
		return true
	default:
		return false
	}
}

func (a *acceptor) accepted(fd int, sa unix.Sockaddr) {
	var peer netip.AddrPort
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		peer = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		peer = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	set, ok := a.srv.knock(peer, fd < a.most)
	if !ok {
		_ = unix.Close(fd) // refused: nobody is interested in how that ends
		return
	}
	a.reactor.core.tuneFD(fd)
	a.reactor.attach(a.each, fd, peer, set)
}
