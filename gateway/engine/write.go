package engine

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

func (c *conn) Write(p []byte) error {
	if t := c.tls(); t != nil {
		return t.write(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&(closed|failed) != 0 {
		return ErrClosed
	}
	if err := c.roomLocked(c.out.len(), len(p)); err != nil {
		return err
	}
	return c.putLocked(p)
}

// roomLocked says whether n more unsent bytes beside the pending ones are within the bound, and
// remembers a refusal for Close.
func (c *conn) roomLocked(pending, n int) error {
	if n > int(c.unsent)-pending {
		c.flags |= slow
		c.srv.core.Stats.Slow.Add(1)
		return ErrSlow
	}
	c.flags &^= slow
	return nil
}

// putLocked sends p behind what is unsent.
func (c *conn) putLocked(p []byte) error {
	if c.out == nil {
		n, err := c.sendLocked(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	c.out = c.srv.core.pool.add(c.out, p)
	c.srv.core.Stats.Unsent.Add(int64(len(p)))
	if c.flags&waiting == 0 {
		c.flags |= waiting
		c.retry(leastStall)
	}
	return nil
}

// sendLocked writes what the kernel takes. After an error, the loop delivers what the peer still
// sent and then ends the connection.
func (c *conn) sendLocked(p []byte) (n int, err error) {
	for n < len(p) && c.fd >= 0 {
		m, err := unix.Write(int(c.fd), p[n:])
		switch {
		case err == nil:
			n += m
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		default:
			return n, c.failLocked(fmt.Errorf("engine: write: %w", err))
		}
	}
	return n, nil
}

// failLocked makes err the reason why the connection ends, when what the peer sent is delivered.
func (c *conn) failLocked(err error) error {
	if c.flags&(failed|closed) == 0 {
		c.flags |= failed
		c.dropOutLocked()
		c.causeLocked(err)
		c.srv.loop.Execute(func() { c.apply(c.lastWords()) })
	}
	return err
}

// lastWords delivers what a peer sent that cannot be written to, or has gone while it was not read;
// then the connection ends. gnet would do the same if it could be relied on to be told. While the
// connection is paused, or what it keeps is to be offered again first, that has to wait.
func (c *conn) lastWords() error {
	for range lastReads {
		c.mu.Lock()
		wait := c.flags&(closed|paused|rerun|joining) != 0 || c.fd < 0
		fd := int(c.fd)
		c.mu.Unlock()
		if wait {
			return nil
		}
		buf := c.srv.core.pool.get(c.srv.core.readCap())
		n, err := unix.Read(fd, buf.b[:cap(buf.b)])
		if n > 0 {
			err = c.came(buf.b[:n])
		}
		c.srv.core.pool.put(buf)
		switch {
		case err != nil:
			return err // also when there is nothing to read: the cause is known
		case n <= 0:
			return io.EOF
		}
	}
	return ErrClosed
}

// lastReads bounds what is read of a peer that cannot be written to.
const lastReads = 64

func (c *conn) Unsent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.out.len()
	if t := c.tls(); t != nil {
		n += t.early.len()
	}
	return n
}

func (c *conn) LimitUnsent(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsent = uint32(min(max(n, 0), math.MaxInt32))
}

// flushLocked sends what was put aside, as far as the kernel takes it, and says whether that was
// anything.
func (c *conn) flushLocked() bool {
	if c.out == nil || c.flags&failed != 0 {
		return false
	}
	n, err := c.sendLocked(c.out.bytes())
	if err != nil {
		return false // sendLocked has seen to it
	}
	c.srv.core.Stats.Unsent.Add(-int64(n))
	c.out.off += n
	if c.out.len() == 0 {
		c.srv.core.pool.put(c.out)
		c.out = nil
	}
	return n > 0
}

// dropOutLocked forgets the unsent bytes.
func (c *conn) dropOutLocked() {
	c.srv.core.Stats.Unsent.Add(-int64(c.out.len()))
	c.srv.core.pool.put(c.out)
	c.out = nil
}

// How long a connection with unsent bytes is left alone before the next try.
const (
	leastStall = 2 * time.Millisecond
	mostStall  = 512 * time.Millisecond
)

// retry has a connection with unsent bytes be tried again after a pause. gnet tells when a socket
// takes bytes again only to its own buffer, which has no bound and tells nobody how far it is. So
// there is a timer for each connection whose peer does not read: one that reads gets 64 KiB and
// more every 2 ms, one that does not costs a system call twice a second.
func (c *conn) retry(pause time.Duration) {
	time.AfterFunc(pause, func() { c.srv.loop.Execute(func() { c.again(pause) }) })
}

// again sends what can be sent after a pause.
func (c *conn) again(pause time.Duration) {
	if c.sendOn(pause) {
		c.drained()
	}
}

// sendOn reports whether nothing waits any more: it has gone, or is lost.
func (c *conn) sendOn(pause time.Duration) (done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushLocked() {
		pause = leastStall
	} else {
		pause = min(2*pause, mostStall)
	}
	if c.out == nil || c.flags&closed != 0 {
		c.flags &^= waiting
		return true
	}
	c.retry(pause)
	return false
}

// drained tells a handler that waits for it, in the loop.
func (c *conn) drained() {
	if d, ok := c.srv.handler.(Drainer); ok && c.Unsent() == 0 &&
		!c.has(closed|failed|gone) {
		defer func() {
			if c.srv.core.caught(recover()) {
				c.apply(ErrHandler)
			}
		}()
		d.OnDrained(c)
	}
}
