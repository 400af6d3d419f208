package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	closeGrace  = time.Second // how long unsent bytes of a closed connection may take to leave
	streamRead  = 4 << 10     // read buffer of a transport that has no descriptor to wait for
	streamWrite = 8 << 10     // bytes that a blocking write takes at a time, as it does not tell how far it is
	discardMost = 64 << 10    // bytes thrown away at Close, see discard
)

// stdConn is a connection of the std engine. Its goroutine waits for the socket and is the only one to read; it lends the socket to a
// worker for as long as there is something to read.
type stdConn struct {
	state
	eng *std
	nc  net.Conn
	raw syscall.RawConn // nil: wait in nc.Read, write by nc.Write only

	// guarded by state.mu
	writing  bool          // a writer goroutine drains out
	inflight int           // bytes that it has taken out of out
	written  chan struct{} // closed by the writer at its end, if somebody waits
	wake     chan struct{} // closed by Resume and Close while the goroutine is parked
	cause    error         // for OnClose, when this side ended the connection
	broken   error         // a write failed

	// owned by the goroutine, lent to the worker
	fd     uintptr // of raw, while a worker may read it
	res    result
	stash  []byte // bytes read from nc that recv has not passed on
	stored *chunk // where stash lives
	rerr   error  // how reading nc ended
}

func newStdConn(e *std, srv *service, nc net.Conn) *stdConn {
	c := &stdConn{eng: e, nc: nc, raw: rawOf(nc)}
	c.init(srv, peerOf(nc))
	return c
}

func (c *stdConn) base() *state { return &c.state }

// run is the life of the connection.
func (c *stdConn) run() {
	res := c.begin()
	for res.outcome != ended {
		switch {
		case c.has(closed):
			res = result{outcome: ended}
		case res.outcome == parked:
			c.park()
			res.outcome = again
		default:
			res = c.turn()
		}
	}
	c.finish(res.err)
}

// turn waits until there is something to read and has it read.
func (c *stdConn) turn() result {
	if c.raw == nil {
		res := c.eng.do(c, jobPump, nil)
		if res.outcome == idle {
			return c.fill()
		}
		return res
	}
	c.res = result{outcome: again}
	if err := c.raw.Read(c.readable); err != nil {
		return c.kicked(err)
	}
	return c.res
}

// readable has a worker read what there is. Its false makes RawConn.Read wait for more, and no buffer is held meanwhile.
func (c *stdConn) readable(fd uintptr) bool {
	c.fd = fd
	c.res = c.eng.do(c, jobPump, nil)
	if err := c.failed(); err != nil && c.res.outcome == idle {
		c.res = result{outcome: ended, err: err}
	}
	return c.res.outcome != idle
}

// fill waits for bytes of a transport without a descriptor.
func (c *stdConn) fill() result {
	if c.rerr != nil {
		return result{outcome: ended, err: c.rerr}
	}
	c.stored = c.srv.core.pool.get(streamRead)
	b := c.stored.b[:cap(c.stored.b)]
	n, err := c.nc.Read(b)
	c.stash = b[:n]
	if n == 0 {
		c.srv.core.pool.put(c.stored)
		c.stored = nil
	}
	if err == nil {
		return result{outcome: again}
	}
	if res := c.kicked(err); res.outcome == ended {
		c.rerr = res.err
	}
	return result{outcome: again}
}

// recv passes on what fill read, or reads the descriptor that readable was given.
func (c *stdConn) recv(p []byte) (int, error) {
	if c.raw != nil {
		return readFD(c.fd, p)
	}
	n := copy(p, c.stash)
	c.stash = c.stash[n:]
	if n == 0 {
		return 0, syscall.EAGAIN
	}
	if len(c.stash) == 0 {
		c.srv.core.pool.put(c.stored)
		c.stash, c.stored = nil, nil
	}
	return n, nil
}

// kick gets the goroutine out of its wait for the socket: see kicked. The caller holds the lock.
func (c *stdConn) kickLocked() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) } // fails only when the wait is over anyway

// kicked tells a kick from the end of the stream.
func (c *stdConn) kicked(err error) result {
	if errors.Is(err, io.ErrUnexpectedEOF) { // TLS without its closing alert: nothing is lost, frames say themselves where they end
		err = io.EOF
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return result{outcome: ended, err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed == 0 {
		_ = c.nc.SetReadDeadline(time.Time{}) // as in kickLocked
	}
	return result{outcome: again}
}

// park waits for Resume or the end.
func (c *stdConn) park() {
	c.mu.Lock()
	if c.flags&closed != 0 || c.flags&paused == 0 {
		c.mu.Unlock()
		return
	}
	wake := make(chan struct{})
	c.wake = wake
	c.mu.Unlock()
	<-wake
}

func (c *stdConn) unparkLocked() {
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

func (c *stdConn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&paused == 0 {
		return
	}
	c.flags = c.flags&^paused | rerun
	c.unparkLocked()
	if c.partial != nil {
		c.kickLocked()
	}
}

func (c *stdConn) Close() error {
	c.mu.Lock()
	cause := c.causeLocked()
	c.mu.Unlock()
	c.end(cause)
	return nil
}

// end makes the goroutine finish, with cause for OnClose.
func (c *stdConn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed != 0 {
		return
	}
	c.flags |= closed
	c.cause = cause
	c.unparkLocked()
	c.kickLocked()
}

// finish closes the socket. cause is how reading ended; a close by this side goes before it.
func (c *stdConn) finish(cause error) {
	c.mu.Lock()
	own := c.flags&closed != 0
	c.flags |= closed
	if own {
		cause = c.cause
	}
	var written chan struct{}
	if c.writing && own {
		written = make(chan struct{})
		c.written = written
	}
	c.mu.Unlock()
	if written != nil {
		t := time.NewTimer(closeGrace)
		select {
		case <-written:
		case <-t.C:
		}
		t.Stop()
	}
	if own {
		c.discard()
	}
	opened := !c.has(unheard)
	if !opened {
		c.srv.unheard.Add(-1) // before the peer learns of the end, as it may come again at once
	}
	c.shut()
	c.mu.Lock()
	c.endLocked()
	c.mu.Unlock()
	c.srv.core.pool.put(c.stored)
	c.eng.drop(c)
	if !opened {
		c.srv.unopened(c, cause)
		return
	}
	c.eng.do(c, jobClose, cause)
}

// shut closes the socket. A TLS alert would have to wait behind bytes that do not leave, so it is sent only when there are none.
func (c *stdConn) shut() {
	c.mu.Lock()
	stuck := c.writing
	c.mu.Unlock()
	if stuck {
		_ = transport(c.nc).Close() // nothing can be done about a failing close
	}
	_ = c.nc.Close() // as above
}

// discard reads what the peer sent since: closing a socket with unread bytes would make the kernel drop the last frames it has not sent.
func (c *stdConn) discard() {
	raw := rawOf(transport(c.nc))
	if raw == nil {
		return
	}
	c.mu.Lock()
	_ = c.nc.SetReadDeadline(time.Time{}) // RawConn.Read refuses to run after a deadline; it will not wait here
	c.mu.Unlock()
	_ = raw.Read(func(fd uintptr) bool { // an error only says that there is nothing to discard
		ch := c.srv.core.pool.get(streamRead)
		defer c.srv.core.pool.put(ch)
		for range discardMost / streamRead {
			if n, err := readFD(fd, ch.b[:cap(ch.b)]); err != nil || n == 0 {
				break
			}
		}
		return true
	})
}

func (c *stdConn) Write(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed != 0 || c.broken != nil {
		return ErrClosed
	}
	if err := c.roomLocked(c.inflight+c.out.len(), len(p)); err != nil {
		return err
	}
	if c.raw != nil && !c.writing {
		n, err := writeFD(c.raw, p)
		if err != nil {
			return c.breakLocked(err)
		}
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	c.queueLocked(p)
	if !c.writing {
		c.writing = true
		c.eng.running.Go(c.drain)
	}
	return nil
}

// breakLocked notes that writing failed and has the goroutine deliver what still comes in, then end. A read of a transport without a
// descriptor is not disturbed, lest that be lost: it is about to fail like the write.
func (c *stdConn) breakLocked(err error) error {
	c.broken = fmt.Errorf("engine: write: %w", err)
	c.dropOutLocked()
	if c.raw != nil {
		c.kickLocked()
	}
	return c.broken
}

func (c *stdConn) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// drain is the writer: it lives while there are unsent bytes.
func (c *stdConn) drain() {
	for {
		c.mu.Lock()
		ch := c.out
		c.out, c.inflight = nil, ch.len()
		if ch == nil {
			c.writing = false
			if c.written != nil {
				close(c.written)
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		var err error
		for ch.len() > 0 {
			piece := ch.bytes()[:min(ch.len(), streamWrite)]
			if err == nil { // else the rest is dropped
				_, err = c.nc.Write(piece)
			}
			ch.off += len(piece)
			c.mu.Lock()
			c.inflight -= len(piece)
			c.mu.Unlock()
			c.srv.core.Stats.Unsent.Add(-int64(len(piece)))
		}
		c.srv.core.pool.put(ch)
		c.mu.Lock()
		if err != nil && c.broken == nil {
			_ = c.breakLocked(err) // the next Write fails
		}
		c.mu.Unlock()
	}
}
