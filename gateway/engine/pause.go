package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// errLeave says that gnet is to close its descriptor while the connection goes on.
var errLeave = errors.New("engine: leaves its loop")

// errPeerGone says that a socket has no peer any more.
var errPeerGone = errors.New("engine: no peer any more")

func (c *conn) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flags |= paused
}

// Resume has the kept bytes offered again, in the loop.
func (c *conn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&paused == 0 || c.flags&closed != 0 {
		return
	}
	c.flags = c.flags&^paused | rerun
	if c.flags&outside != 0 {
		c.joinLocked()
		return
	}
	// also when it keeps nothing yet: it may be about to.
	c.srv.loop.Execute(func() { c.apply(c.resumed()) })
}

// resumed offers what is kept, and then has more be read.
func (c *conn) resumed() error {
	if err := c.offerKept(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.flags&closed != 0:
	case c.flags&paused != 0 && c.partial != nil: // paused again: nothing more is to be read
		return c.leaveLocked()
	case c.flags&(outside|paused) == outside: // the peer has closed meanwhile
		c.joinLocked()
	case c.flags&failed != 0:
		c.srv.loop.Execute(func() { c.apply(c.lastWords()) })
	}
	return nil
}

func (c *conn) offerKept() error {
	if err := c.offer(nil); err != nil {
		return err
	}
	if t := c.tls(); t != nil && !c.has(unheard) {
		return t.came(nil)
	}
	return nil
}

// leaveLocked has a connection leave its loop: gnet cannot stop reading, and what it reads and
// nobody takes grows without bound. Its socket lives on in a duplicate, and nothing is sent to the
// peer. Without a descriptor for that it stays, and what more comes is bounded all the same.
func (c *conn) leaveLocked() error {
	if c.g == nil || c.flags&outside != 0 || c.srv.loop.isDead() {
		return nil // gnet ends those that are in the loop at its end
	}
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil //nolint:nilerr // it stays
	}
	c.setPeerLocked(c.peerLocked())
	c.fd = int32(fd)
	c.flags |= leaving | outside
	return errLeave
}

// joinLocked has the connection enter its loop again.
func (c *conn) joinLocked() {
	if c.flags&joining == 0 {
		c.flags |= joining
		c.srv.loop.joins.add(c)
	}
}

// joins are a loop's connections on their way back. Enrolling waits for the loop, so there is a
// goroutine while there are any.
type joins struct {
	loop *loop

	mu      sync.Mutex
	list    []*conn
	working bool
}

func (j *joins) add(c *conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, c)
	if !j.working && j.loop.life.enter(nil) { // else it is closed with all others
		j.working = true
		go j.work()
	}
}

func (j *joins) take() *conn {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.list) == 0 || j.loop.life.isDown() {
		j.list, j.working = nil, false
		return nil
	}
	c := j.list[0]
	j.list[0] = nil
	j.list = j.list[1:]
	return c
}

func (j *joins) work() {
	defer j.loop.life.leave(nil)
	for c := j.take(); c != nil; c = j.take() {
		err := c.join()
		for exhausted(err) && !j.loop.life.isDown() {
			j.loop.core.acceptPaused("resumed connection", err)
			j.loop.life.wait(acceptPause)
			err = c.join()
		}
		if err != nil {
			c.mu.Lock()
			c.flags &^= joining
			c.mu.Unlock()
			c.srv.loop.Execute(func() { c.apply(c.remains(err)) })
		}
	}
}

// join enrolls a duplicate of a connection's descriptor. The old one is closed when gnet has it.
func (c *conn) join() error {
	c.mu.Lock()
	if c.flags&closed != 0 {
		c.mu.Unlock()
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("engine: resuming a connection: %w", err)
	}
	f := os.NewFile(uintptr(fd), "resumed")
	nc, err := net.FileConn(f)
	_ = f.Close() // net has made its own
	if err != nil {
		return fmt.Errorf("engine: resuming a connection: %w", err)
	}
	if nc.RemoteAddr() == nil { // gnet takes it for granted
		_ = nc.Close() // a duplicate
		return errPeerGone
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		c.srv.keepAlive(tc)
	}
	return c.srv.loop.enroll(c, nc)
}

// remains delivers what came before the peer of a connection outside its loop went, then ends it.
func (c *conn) remains(cause error) error {
	if err := c.offerKept(); err != nil {
		return err
	}
	if !errors.Is(cause, errPeerGone) {
		return cause
	}
	return c.lastWords()
}

// closeOutside ends the connections that are in no loop, at Shutdown.
func (l *loop) closeOutside() {
	for c := range l.outside {
		c.finish(nil)
	}
}
