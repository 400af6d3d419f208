package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// loopConn is a connection of the reactor. Only its loop reads and closes the descriptor; writes may come from anywhere, under the lock.
// A write holds the lock during its system call and looks for closed first, so the descriptor cannot become another connection's meanwhile.
type loopConn struct {
	state

	// static
	fd int32

	// guarded by state.mu
	failed uint16 // errno of a write; 0 for none

	// owned by the loop
	queued bool // is in loop.again
}

func newLoopConn(srv *service, fd int, peer netip.AddrPort) *loopConn {
	c := &loopConn{fd: int32(fd)}
	c.init(srv, peer)
	return c
}

func (c *loopConn) base() *state { return &c.state }

func (c *loopConn) recv(p []byte) (int, error) { return unix.Read(int(c.fd), p) }

func (c *loopConn) Write(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed != 0 || c.failed != 0 {
		return ErrClosed
	}
	pending := c.out.len()
	if err := c.roomLocked(pending, len(p)); err != nil {
		return err
	}
	if pending == 0 {
		n, err := c.sendLocked(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	if len(p) > 0 {
		c.queueLocked(p)
	}
	return nil
}

// sendLocked writes what the kernel takes. After an error, the loop delivers what the peer still sent and then ends the connection.
func (c *loopConn) sendLocked(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(int(c.fd), p[n:])
		switch {
		case err == nil:
			n += m
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		default:
			no := unix.EIO
			_ = errors.As(err, &no) // what it is not stays EIO
			c.failed = uint16(no)
			c.dropOutLocked()
			c.srv.loop.post(order{c, orderPump})
			return n, fmt.Errorf("engine: write: %w", err)
		}
	}
	return n, nil
}

// flushLocked sends what was put aside, as far as the kernel takes it.
func (c *loopConn) flushLocked() {
	if c.out == nil {
		return
	}
	n, err := c.sendLocked(c.out.bytes())
	if err != nil {
		return // sendLocked has seen to it
	}
	c.srv.core.Stats.Unsent.Add(-int64(n))
	c.out.off += n
	if c.out.len() == 0 {
		c.srv.core.pool.put(c.out)
		c.out = nil
	}
}

func (c *loopConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

func (c *loopConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed != 0 {
		return nil
	}
	c.flushLocked()
	c.flags |= closed
	c.srv.loop.post(order{c, orderClose})
	return nil
}

func (c *loopConn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&paused == 0 || c.flags&closed != 0 {
		return
	}
	c.flags = c.flags&^paused | rerun
	c.srv.loop.post(order{c, orderPump})
}

// broken returns the error of a failed write.
func (c *loopConn) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == 0 {
		return nil
	}
	return fmt.Errorf("engine: write: %w", syscall.Errno(c.failed))
}
