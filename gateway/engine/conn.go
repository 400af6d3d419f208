package engine

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// discardMost is how many bytes are thrown away at Close, see discard.
const discardMost = 64 << 10

type flags uint16

const (
	// Close was called or the connection has ended: no more writes, no more OnData.
	closed  flags = 1 << iota
	gone          // OnClose has been called or is about to be
	paused        // Pause was called last
	rerun         // Resume was called and what is kept has not been offered again yet
	trusted       // Trust was called
	slow          // the last Write was refused
	// a write failed: the connection ends when what the peer sent is delivered.
	failed
	unheard // the PROXY header is still to come, and OnOpen with it
	leaving // gnet is about to close its descriptor, but the connection goes on
	outside // it is in no loop: nothing is read
	joining // on its way back into its loop
	waiting // a timer runs for its unsent bytes
	entered // gnet has taken it once
)

// conn is a connection. It is kept small: a node holds a million of them. Only its loop reads,
// and closes the descriptor; a write holds the lock during its system call and looks for closed
// first, so the descriptor cannot become another connection's meanwhile.
type conn struct {
	mu sync.Mutex

	srv *service // static

	// guarded by mu
	g       gnet.Conn // nil outside the loop
	session any
	out     *chunk // unsent bytes
	more    *more  // nil: nothing unusual
	partial *chunk // unconsumed bytes; written by the loop only, which may read it without the lock
	fd      int32  // -1: none yet, or none any more
	limit   uint32 // unconsumed bytes that may be kept
	charged uint32 // those that are accounted for
	unsent  uint32 // bytes that may wait for the kernel
	flags   flags

	last atomic.Uint32 // core.seconds of the last read
}

// more is what few connections need.
type more struct {
	tls   *secure        // static; nil: plain
	peer  netip.AddrPort // where gnet does not know it
	cause error          // for OnClose, when the engine ended the connection
}

func newConn(srv *service) *conn {
	c := &conn{
		srv: srv, fd: -1, limit: uint32(min(srv.core.MaxPartial, math.MaxInt32)),
		unsent: uint32(min(srv.core.Unsent, math.MaxInt32)),
	}
	c.last.Store(srv.core.seconds())
	if srv.front.encrypts() {
		c.more = &more{tls: newSecure(c)}
	}
	return c
}

func (c *conn) Loop() int { return c.srv.loop.index }

func (c *conn) RemoteAddr() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peerLocked()
}

func (c *conn) LocalAddr() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.g == nil {
		return netip.AddrPort{}
	}
	return addrPort(c.g.LocalAddr())
}

func (c *conn) peerLocked() netip.AddrPort {
	switch {
	case c.more != nil && c.more.peer.IsValid():
		return c.more.peer
	case c.g != nil:
		return addrPort(c.g.RemoteAddr())
	default:
		return netip.AddrPort{}
	}
}

// addrPort returns an address of TCP, IPv4 in its 4-byte form, without a zone.
func addrPort(a net.Addr) netip.AddrPort {
	if a, ok := a.(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	return netip.AddrPort{}
}

func (c *conn) setPeer(peer netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setPeerLocked(peer)
}

func (c *conn) setPeerLocked(peer netip.AddrPort) {
	if peer.IsValid() {
		c.moreLocked().peer = peer
	}
}

func (c *conn) moreLocked() *more {
	if c.more == nil {
		c.more = &more{}
	}
	return c.more
}

// tls is static.
func (c *conn) tls() *secure {
	if c.srv.front.encrypts() {
		return c.more.tls
	}
	return nil
}

func (c *conn) LastRead() int64 { return c.srv.core.wall(c.last.Load()) }

func (c *conn) Session() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

func (c *conn) SetSession(v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = v
}

func (c *conn) Trust(maxPartial int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = uint32(min(max(maxPartial, 0), math.MaxInt32))
	if c.flags&trusted == 0 {
		c.flags |= trusted
		c.srv.core.untrusted.Add(-int64(c.charged))
	}
}

// has says whether any of the flags is set.
func (c *conn) has(f flags) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flags&f != 0
}

func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed == 0 {
		c.flushLocked()
		c.flags |= closed
		c.srv.loop.Execute(c.end) // a loop that has ended has closed everything
	}
	return nil
}

func (c *conn) Reset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed == 0 {
		c.dropOutLocked()
		if c.fd >= 0 { // on failure the peer sees an ordinary end
			_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER,
				&unix.Linger{Onoff: 1})
		}
		c.flags |= closed
		c.srv.loop.Execute(c.end)
	}
	return nil
}

// endWith ends the connection from outside the loop. A Close by this side goes before the cause.
func (c *conn) endWith(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed == 0 {
		c.causeLocked(cause)
		c.srv.loop.Execute(c.end)
	}
}

func (c *conn) causeLocked(cause error) {
	if m := c.moreLocked(); m.cause == nil {
		m.cause = cause
	}
}

// end closes the connection, in its loop. One that gnet has not taken yet ends when it has.
func (c *conn) end() {
	c.mu.Lock()
	g, out := c.g, c.flags&outside != 0
	c.mu.Unlock()
	switch {
	case g != nil:
		// what is wrong with a descriptor that is closed is of no interest.
		_ = c.srv.loop.events.Close(g)
	case out:
		c.finish(nil)
	}
}

// enter is the connection's arrival in its loop, the first one or one after a pause.
func (c *conn) enter(g gnet.Conn) gnet.Action {
	c.mu.Lock()
	if c.flags&gone != 0 {
		c.mu.Unlock()
		return gnet.Close
	}
	old := int(c.fd)
	c.g, c.fd = g, int32(g.Fd())
	c.flags = c.flags&^(outside|joining) | entered
	waits := c.flags&unheard != 0
	c.mu.Unlock()
	switch {
	case old >= 0:
		_ = unix.Close(old) // frees it whatever it returns
		delete(c.srv.loop.outside, c)
		return c.after(c.resumed())
	case waits:
		c.srv.loop.unheard.await(c)
		return gnet.None
	default:
		return c.after(c.opened())
	}
}

// opened makes the first call of the handler.
func (c *conn) opened() error {
	err := c.srv.open(c)
	if t := c.tls(); t != nil && err == nil {
		t.start()
	}
	return err
}

// after is what gnet does next.
func (c *conn) after(err error) gnet.Action {
	switch {
	case err == nil:
		return gnet.None
	case errors.Is(err, errLeave):
		return gnet.Close
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.causeLocked(err)
	return gnet.Close
}

// apply does what gnet does after its own calls.
func (c *conn) apply(err error) {
	if c.after(err) == gnet.Close {
		c.end()
	}
}

// leftLoop is told when gnet is about to close its descriptor: because the connection leaves the
// loop, because it ends, or because the peer has closed.
func (c *conn) leftLoop(cause error) {
	c.mu.Lock()
	if c.flags&gone != 0 {
		c.mu.Unlock()
		return
	}
	if cause != nil && c.flags&(paused|rerun) != 0 && c.flags&(closed|leaving) == 0 {
		_ = c.leaveLocked() // the peer's end is noticed when all that came before has been offered
	}
	if c.flags&leaving != 0 {
		c.flags &^= leaving
		c.g = nil
		c.srv.loop.outside[c] = struct{}{}
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.finish(cause)
}

// finish makes the last call of the handler. The descriptor is closed here when the connection is
// outside its loop, else by gnet, which then does so next.
func (c *conn) finish(cause error) {
	c.mu.Lock()
	if c.flags&gone != 0 {
		c.mu.Unlock()
		return
	}
	own := c.flags&closed != 0
	cause = c.reasonLocked(cause)
	c.flushLocked()
	c.flags |= closed
	c.mu.Unlock()
	if t := c.tls(); t != nil {
		cause = t.end(cause, own)
	}
	if !own && !c.has(unheard) {
		c.srv.rest(c, c.partial.bytes())
	}
	c.mu.Lock()
	c.endLocked()
	fd, opened, out := int(c.fd), c.flags&unheard == 0, c.flags&outside != 0
	c.setPeerLocked(c.peerLocked())
	c.fd = -1
	c.mu.Unlock()
	if own || errors.Is(cause, ErrShutdown) {
		c.discard(fd)
	}
	if out {
		_ = unix.Close(fd) // frees it whatever it returns
		delete(c.srv.loop.outside, c)
	}
	if opened {
		c.srv.close(c, cause)
	} else {
		c.srv.unheard.Add(-1)
		c.srv.unopened(c, cause)
	}
	c.mu.Lock()
	c.g = nil
	c.mu.Unlock()
}

// reasonLocked is what OnClose is told; cause is gnet's word.
func (c *conn) reasonLocked(cause error) error {
	switch {
	case c.flags&closed != 0 && c.flags&slow != 0:
		return ErrSlow
	case c.flags&closed != 0:
		return nil
	case c.more != nil && c.more.cause != nil:
		return c.more.cause
	case cause == nil:
		return ErrShutdown // nobody else closes a connection without a word
	case c.flags&unheard != 0 && c.partial != nil && errors.Is(cause, io.EOF):
		return fmt.Errorf("%w: it ends too early", ErrProxy)
	default:
		return cause
	}
}

// endLocked marks the connection as ended and gives its buffers back.
func (c *conn) endLocked() {
	c.flags |= closed | gone
	c.dropOutLocked()
	c.srv.core.pool.put(c.partial)
	c.partial = nil
	if c.more != nil && c.more.tls != nil {
		c.more.tls.pending = 0
	}
	_ = c.accountLocked() // giving back cannot fail
}

// discard reads what the peer sent since: closing a socket with unread bytes would make the kernel
// drop the last frames that it has not sent.
func (c *conn) discard(fd int) {
	buf := c.srv.loop.plain
	for n := 0; n < discardMost && fd >= 0; {
		m, err := unix.Read(fd, buf)
		if err != nil || m <= 0 {
			return
		}
		n += m
	}
}

// stillborn keeps the promise that OnOpen and OnClose follow Admit, where gnet did not take the
// socket.
func (c *conn) stillborn(cause error) {
	c.mu.Lock()
	if c.flags&(entered|gone) != 0 { // its loop has ended just then, and has seen to it
		c.mu.Unlock()
		return
	}
	c.flags |= closed
	opened := c.flags&unheard == 0
	c.endLocked()
	c.mu.Unlock()
	tell := func() {
		if !opened {
			c.srv.unheard.Add(-1)
			return
		}
		_ = c.srv.open(c) // it is at its end anyway
		c.srv.close(c, cause)
	}
	if !c.srv.loop.Execute(tell) {
		c.srv.loop.after.Lock()
		defer c.srv.loop.after.Unlock()
		tell()
	}
}
