// Package engine carries TCP connections: it accepts them, hands their bytes to a Handler and
// writes without ever blocking the caller. Connections live in the event loops of
// github.com/panjf2000/gnet/v2, plain ones and those with TLS alike, without a goroutine each.
//
// What gnet has no bound or no word for is done here, by its public API: package net accepts and
// the sockets are enrolled, writes go straight to the socket and what it does not take waits within
// Options.Unsent, and a connection that is not to be read leaves its loop until it is.
package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
)

var (
	// ErrClosed is what Write returns once the connection is closed from either side.
	ErrClosed = errors.New("engine: connection closed")
	// ErrSlow says that the peer does not read: its unsent bytes would pass Options.Unsent.
	// Write took nothing of what it was given.
	ErrSlow = errors.New("engine: peer too slow")
	// ErrTooMuch closes a connection that keeps more unconsumed bytes than its limit.
	ErrTooMuch = errors.New("engine: too many unconsumed bytes")
	// ErrBudget closes a connection whose unconsumed bytes would pass the budget that all
	// untrusted connections share.
	ErrBudget = errors.New("engine: budget for untrusted connections exhausted")
	// ErrHandler closes a connection whose handler panicked or claimed to have consumed bytes
	// that it was not given.
	ErrHandler = errors.New("engine: handler failed")
	// ErrShutdown closes the connections that are left at Shutdown, and is what Serve and Dial
	// return after it.
	ErrShutdown = errors.New("engine: shut down")
	// ErrListener says that a listener's connections are not those of package net's TCP.
	ErrListener = errors.New("engine: not a TCP listener")
	// ErrLoop is what Serve returns when an event loop has ended by itself.
	ErrLoop = errors.New("engine: event loop ended")
)

// Conn is one connection. Every method may be called from any goroutine, also from inside the
// handler and after the connection has closed.
type Conn interface {
	// Loop is the number of the event loop that the connection belongs to, for all its life:
	// its place in Engine.Loops.
	Loop() int
	// RemoteAddr is the peer, IPv4 in its 4-byte form, without a zone; behind a balancer the one
	// that its PROXY header names.
	RemoteAddr() netip.AddrPort
	// LocalAddr is this side's address in the same form, the zero value where it is not known (any
	// more).
	LocalAddr() netip.AddrPort

	// Write sends all of p or nothing: what the kernel does not take at once is copied and sent
	// later, after everything written before it. It never blocks. ErrSlow when the unsent bytes
	// would pass Options.Unsent (the caller decides whether to close), ErrClosed after the
	// connection has closed, otherwise the error of the transport, in which case OnClose is on
	// its way.
	Write(p []byte) error
	// Close is idempotent and never blocks. Unsent bytes are offered to the peer once more; then
	// the connection ends and OnClose follows with a nil error, or with ErrSlow if the last Write
	// was refused. OnClose never runs inside Close. It always returns nil.
	Close() error
	// Reset ends the connection at once: unsent bytes are dropped, and the peer is told that it
	// broke (RST). OnClose follows with a nil error. It always returns nil.
	Reset() error
	// Unsent is how many bytes wait for the kernel to take them.
	Unsent() int
	// LimitUnsent takes the place of Options.Unsent for this connection.
	LimitUnsent(n int)

	// Pause stops reading. Bytes that came already stay with the connection, the rest stays in
	// the kernel. A peer that closes meanwhile is noticed after Resume, when its last bytes have
	// been delivered.
	Pause()
	// Resume starts reading again, and first offers OnData what it left unconsumed.
	Resume()

	// Trust marks the peer as known: up to maxPartial unconsumed bytes are kept from now on, and
	// they no longer count against the budget of untrusted connections.
	Trust(maxPartial int)
	// LastRead is when bytes last came, in Unix seconds by Options.Now as it is now, also where
	// that has been set since; until the first byte, when the connection was opened.
	LastRead() int64

	// Session returns what SetSession stored last, or nil.
	Session() any
	// SetSession stores a value of the caller's.
	SetSession(s any)
}

// Handler receives what happens on the connections of a listener. All calls for one connection are
// made by its event loop, one after the other. No call may wait for anything: it holds up other
// connections. A panic ends the connection it was about with ErrHandler, and no other.
type Handler interface {
	// OnOpen is the first call for a connection.
	OnOpen(c Conn)
	// OnData is offered all bytes that are not consumed yet, and returns how many it consumed. It
	// is called again at once while it consumes some and leaves others; 0 asks for more bytes.
	// buf is valid until the return.
	OnData(c Conn, buf []byte) (consumed int)
	// OnClose is the last call and comes exactly once for every OnOpen. err is nil after Close,
	// io.EOF when the peer closed, one of this package's errors, or that of the transport.
	OnClose(c Conn, err error)
}

// Admitter is implemented by a Handler that refuses peers before anything is allocated for them.
type Admitter interface {
	// Admit is asked once for each accepted peer. After false the socket is closed at once; after
	// true OnOpen and OnClose always follow. Calls for one listener never overlap.
	Admit(remote netip.AddrPort) bool
}

// Refuser is implemented by a Handler that wants to know of peers that the engine turns away by
// itself. No other call is made for them.
type Refuser interface {
	// Refused is told the reason: ErrProxy, ErrProxyLate, ErrProxyFull, ErrDescriptors,
	// ErrTooMuch or ErrBudget. Calls may overlap.
	Refused(remote netip.AddrPort, cause error)
}

// Drainer is implemented by a Handler that waits for slow peers.
type Drainer interface {
	// OnDrained says that the last of a connection's unsent bytes has gone, where some had to wait.
	OnDrained(c Conn)
}

// Rester is implemented by a Handler that wants the last bytes of a peer that has ended the
// connection, although it asked for more.
type Rester interface {
	// OnRest is given what was never consumed, before OnClose.
	OnRest(c Conn, buf []byte)
}

// Loop is one event loop: all that it runs, it runs one after the other.
type Loop interface {
	// Execute has the loop run f, after all it was given before, and does not wait for that. It
	// may be called from any goroutine. It returns false when the loop has ended: f never runs.
	// f must not wait for anything.
	Execute(f func()) bool
}

// DialOptions are those of one Dial. The zero value asks for nothing.
type DialOptions struct {
	Local  netip.Addr // to connect from
	Beside Conn       // whose loop the connection shall be in
	Header []byte     // what the peer gets first, before TLS
	TLS    *tls.Config
	// Timeout bounds the TLS handshake. Default 10 s.
	Timeout time.Duration
}

// Engine carries connections until it is shut down.
type Engine interface {
	// Loops are the event loops, always the same ones.
	Loops() []Loop
	// Serve accepts connections until Shutdown, then returns nil. It may run for several
	// listeners at a time. It takes ln over: ln is closed when Serve returns, and must not be used
	// by others. A *Front is served with what it puts before the handler's bytes.
	Serve(ln net.Listener, h Handler) error
	// Dial connects to addr ("host:port"). OnOpen may come before the return of Dial or after it; with
	// TLS it comes before the handshake, whose failure is told by OnClose.
	Dial(ctx context.Context, addr string, o DialOptions, h Handler) (Conn, error)
	// Shutdown stops accepting, closes every connection with ErrShutdown and waits until each has
	// had its OnClose. When ctx ends first, it returns the context's error and the rest goes on in
	// the background.
	Shutdown(ctx context.Context) error
}
