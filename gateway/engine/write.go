package engine

import (
	"errors"
	"fmt"
	"io"
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
	if n > c.srv.core.Unsent-pending {
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
		c.srv.loop.Execute(func() { c.srv.loop.stalled.add(c) })
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
	mostStall  = 256 * time.Millisecond
)

// stalled are a loop's connections with unsent bytes. gnet tells when a socket takes bytes again
// only to its own buffer, which has no bound and nobody to tell how far it is. So they are tried
// again and again, the less often the longer their peers do not read: one that reads gets 64 KiB
// and more every 2 ms, and one that does not costs a system call four times a second.
type stalled struct {
	loop  *loop
	list  []stall
	timer *time.Timer
	armed bool
}

type stall struct {
	c     *conn
	pause time.Duration
	left  time.Duration // until the next try
}

// add is called in the loop.
func (s *stalled) add(c *conn) {
	s.list = append(s.list, stall{c: c, pause: leastStall, left: leastStall})
	s.arm()
}

func (s *stalled) arm() {
	if s.armed || len(s.list) == 0 {
		return
	}
	next := mostStall
	for i := range s.list {
		next = min(next, s.list[i].left)
	}
	s.armed = true
	s.timer = time.AfterFunc(next, func() { s.loop.Execute(func() { s.try(next) }) })
}

// try sends what it can after a pause.
func (s *stalled) try(passed time.Duration) {
	s.armed = false
	kept := s.list[:0]
	for _, e := range s.list {
		if e.left -= passed; e.left <= 0 && !e.again() {
			continue
		}
		kept = append(kept, e)
	}
	clear(s.list[len(kept):])
	s.list = kept
	if len(kept) == 0 {
		s.list = nil
	}
	s.arm()
}

// again says whether there are unsent bytes left.
func (e *stall) again() bool {
	c := e.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushLocked() {
		e.pause = leastStall
	} else {
		e.pause = min(2*e.pause, mostStall)
	}
	e.left = e.pause
	if c.out == nil || c.flags&closed != 0 {
		c.flags &^= waiting
		return false
	}
	return true
}

// end is called when the loop has ended.
func (s *stalled) end() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
