package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	mostUnshaken = 4 << 10  // bytes beyond which a peer whose handshake is not done is not read
	mostRecord   = 18 << 10 // bytes of one record of TLS and what is around it
	writeSlack   = 4 << 10  // unsent bytes beyond Options.Unsent that TLS itself may add
)

// secure is TLS in an event loop: crypto/tls over a transport in memory, which the loop fills. A
// handshake knows no other way than to wait, and has a goroutine; after it a read that finds no
// whole record fails with an error that crypto/tls takes for passing, and goes on when more has
// come.
type secure struct {
	c     *conn
	tc    *tls.Conn
	up    atomic.Bool // the handshake is done
	timer *time.Timer // of the handshake
	begun bool        // the peer has; owned by the loop

	writing sync.Mutex // writes are whole
	early   *chunk     // written before the end of the handshake; guarded by c.mu
	pending int        // ciphertext since the last whole record; guarded by c.mu

	mu    sync.Mutex
	in    *chunk // what the peer sent
	over  bool   // no more comes
	comes sync.Cond
}

func newSecure(c *conn) *secure {
	t := &secure{c: c}
	t.comes.L = &t.mu
	t.tc = tls.Server(memory{t}, c.srv.front.TLS)
	if c.srv.front.dialled {
		t.tc = tls.Client(memory{t}, c.srv.front.TLS)
	}
	return t
}

// begin starts the handshake, with what came behind a PROXY header.
func (t *secure) begin(data []byte) error {
	t.add(data)
	if err := t.c.keep(nil); err != nil {
		return err
	}
	t.start()
	return t.came(nil)
}

// start gives the handshake its time. That of a server takes its turn when the peer has said
// something.
func (t *secure) start() {
	t.timer = time.AfterFunc(t.c.srv.front.timeout(), func() {
		if !t.up.Load() {
			t.c.endWith(ErrHandshakeLate)
		}
	})
	if t.c.srv.front.dialled { // the client speaks first
		t.begun = true
		t.c.srv.core.shakes.add(t)
	}
}

// left is how much ciphertext nobody has taken yet.
func (t *secure) left() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in.len()
}

func (t *secure) isOver() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// shake performs the handshake.
func (t *secure) shake() {
	defer t.timer.Stop()
	c := t.c
	defer func() {
		if c.srv.core.caught(recover()) { // a certificate callback's
			c.endWith(ErrHandler)
		}
	}()
	if err := t.tc.HandshakeContext(context.Background()); err != nil {
		c.endWith(fmt.Errorf("%w: %w", ErrHandshake, err)) // nothing new to one that has ended
		return
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	c.mu.Lock()
	early := t.early
	t.early = nil
	c.srv.core.Stats.Unsent.Add(-int64(early.len()))
	t.up.Store(true)
	t.pending = t.left()
	if c.flags&(outside|paused|closed) == outside {
		c.joinLocked()
	}
	c.mu.Unlock()
	if early != nil {
		_, _ = t.tc.Write(early.bytes()) // what fails here fails for the loop too
		c.srv.core.pool.put(early)
	}
	c.srv.loop.Execute(func() { // data may have come behind the handshake
		c.apply(t.came(nil))
		if early != nil {
			c.drained()
		}
	})
}

// add takes ciphertext, and returns how much there is.
func (t *secure) add(fresh []byte) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(fresh) > 0 && !t.over {
		t.in = t.c.srv.core.pool.add(t.in, fresh)
		t.comes.Signal()
	}
	return t.in.len()
}

// came takes ciphertext in the loop, and hands on what it says.
func (t *secure) came(fresh []byte) error {
	c, n, up := t.c, t.add(fresh), t.up.Load()
	c.mu.Lock()
	if t.pending += len(fresh); !up {
		t.pending = n
	}
	wait := c.flags&(closed|paused|rerun) != 0 || !up // rerun: an order is on its way
	c.mu.Unlock()
	if n > 0 && !t.begun {
		t.begun = true
		c.srv.core.shakes.add(t)
	}
	if wait {
		return t.settle()
	}
	return t.pump()
}

// pump offers the handler all that can be decrypted.
func (t *secure) pump() error {
	c := t.c
	for !c.has(closed | paused | rerun) {
		n, err := t.tc.Read(c.srv.loop.plain)
		if n > 0 {
			c.last.Store(c.srv.core.seconds())
			c.mu.Lock()
			t.pending = t.left() // the beginning of another record may be inside crypto/tls as well
			c.mu.Unlock()
			if err := c.offer(c.srv.loop.plain[:n]); err != nil {
				return err
			}
			continue
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return t.settle()
		case errors.Is(err, io.ErrUnexpectedEOF):
			return io.EOF // without the closing alert nothing is lost: frames say where they end
		case err != nil:
			return err
		}
	}
	return t.settle()
}

// settle accounts for what is left. A connection that is paused with anything left leaves its loop
// until Resume, and one whose peer says too much before its handshake is done until then.
func (t *secure) settle() error {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&closed != 0 {
		return nil
	}
	if !t.up.Load() {
		t.pending = t.left() // the handshake may have taken it meanwhile
	}
	err := c.accountLocked()
	if err == nil && (t.pending > 0 && c.flags&paused != 0 || t.pending > mostUnshaken &&
		!t.up.Load()) {
		err = c.leaveLocked()
	}
	if most := int(c.limit) + 2*c.srv.core.readCap() + mostRecord; err == nil && t.pending > most {
		return ErrTooMuch // it could not leave
	}
	return err
}

// write encrypts p. What it becomes must be within the bound, and one write comes after the other.
func (t *secure) write(p []byte) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	c := t.c
	c.mu.Lock()
	if c.flags&(closed|failed) != 0 {
		c.mu.Unlock()
		return ErrClosed
	}
	const record = 64 // and its share of what a record adds: records are small at first
	err := c.roomLocked(c.out.len()+t.early.len(), len(p)+len(p)/16+record)
	up := t.up.Load()
	if err == nil && !up {
		t.early = c.srv.core.pool.add(t.early, p)
		c.srv.core.Stats.Unsent.Add(int64(len(p)))
	}
	c.mu.Unlock()
	if err != nil || !up {
		return err
	}
	if _, err := t.tc.Write(p); err != nil {
		return fmt.Errorf("engine: write: %w", err)
	}
	return nil
}

// end is part of finish. It returns why the connection has ended.
func (t *secure) end(cause error, own bool) error {
	if t.timer != nil {
		t.timer.Stop()
	}
	c := t.c
	t.mu.Lock()
	t.over = true
	c.srv.core.pool.put(t.in)
	t.in = nil
	t.comes.Broadcast()
	t.mu.Unlock()
	c.mu.Lock()
	stuck := c.out != nil
	c.srv.core.Stats.Unsent.Add(-int64(t.early.len()))
	c.srv.core.pool.put(t.early)
	t.early = nil
	c.mu.Unlock()
	if t.up.Load() && !stuck {
		_ = t.tc.CloseWrite() // the alert is a courtesy
	}
	if !t.up.Load() && !own && errors.Is(cause, io.EOF) {
		return fmt.Errorf("%w: %w", ErrHandshake, cause)
	}
	return cause
}

// memory is the transport beneath crypto/tls.
type memory struct{ t *secure }

func (m memory) Read(p []byte) (int, error) {
	n, err := m.t.take(p)
	if n > 0 && !m.t.up.Load() {
		c := m.t.c
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flags&(outside|paused|closed) == outside { // there is room again
			c.joinLocked()
		}
	}
	return n, err
}

// take hands out what the peer sent. Before the end of the handshake it waits for that.
func (t *secure) take(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.in.len() == 0 {
		switch {
		case t.over:
			return 0, io.EOF
		case t.up.Load():
			return 0, os.ErrDeadlineExceeded // crypto/tls takes it for passing
		}
		t.comes.Wait()
	}
	n := copy(p, t.in.bytes())
	t.in.off += n
	if t.in.len() == 0 {
		t.c.srv.core.pool.put(t.in)
		t.in = nil
	}
	return n, nil
}

// Write takes ciphertext, for which write has seen that there is room. What crypto/tls says by
// itself, an answer to a new key for instance, has a bound of its own.
func (m memory) Write(p []byte) (int, error) {
	c := m.t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&(gone|failed) != 0 {
		return 0, ErrClosed
	}
	if c.out != nil && c.out.len()+len(p)-writeSlack > int(c.unsent) {
		return 0, c.failLocked(ErrSlow)
	}
	if err := c.putLocked(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the waiting for bytes.
func (m memory) Close() error {
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	m.t.over = true
	m.t.comes.Broadcast()
	return nil
}

func (m memory) LocalAddr() net.Addr { return &net.TCPAddr{} }
func (m memory) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(m.t.c.RemoteAddr())
}
func (m memory) SetDeadline(time.Time) error      { return nil }
func (m memory) SetReadDeadline(time.Time) error  { return nil }
func (m memory) SetWriteDeadline(time.Time) error { return nil }
