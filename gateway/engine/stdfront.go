package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// begin takes what a Front has put before the handler's bytes, and opens the connection: after the PROXY header, before the handshake.
func (c *stdConn) begin() result {
	if c.has(unheard) {
		if err := c.hear(); err != nil {
			return result{outcome: ended, err: err}
		}
	}
	res := c.eng.do(c, jobOpen, nil)
	if tc, ok := c.nc.(*tls.Conn); ok && res.outcome != ended {
		return c.shake(tc)
	}
	return res
}

// hear reads a balancer's PROXY header and no byte more, since what follows is TLS or the handler's.
func (c *stdConn) hear() error {
	var late, done bool // under c.mu
	timer := time.AfterFunc(c.srv.front.timeout(), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !done {
			late = true
			c.kickLocked()
		}
	})
	defer timer.Stop()
	isLate := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		done = true
		return late && c.flags&closed == 0
	}
	header := make([]byte, 0, 64)
	for {
		peer, n, more, err := parseProxy(header)
		if err != nil {
			return err
		}
		if n > 0 {
			if isLate() {
				return ErrProxyLate
			}
			return c.srv.heard(c, peer)
		}
		at := len(header)
		header = append(header, make([]byte, more)...)
		got, err := transport(c.nc).Read(header[at:])
		header = header[:at+got]
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if isLate() {
				return ErrProxyLate
			}
			return err // closed by this side, which knows why
		case errors.Is(err, io.EOF):
			return endOf(len(header), readFront)
		default:
			return err
		}
	}
}

// shake performs the TLS handshake, of which only so many may be under way, so that a flood of them is bounded in memory; processors it shares with all.
func (c *stdConn) shake(tc *tls.Conn) result {
	ctx, cancel := context.WithTimeout(context.Background(), c.srv.front.timeout())
	defer cancel()
	for !c.turnToShake(ctx) {
		if c.has(closed) {
			return result{outcome: ended}
		}
		if ctx.Err() != nil {
			return result{outcome: ended, err: ErrHandshakeLate}
		}
	}
	defer func() { <-c.eng.shaking }()
	err := tc.HandshakeContext(ctx)
	switch {
	case err == nil:
		return result{outcome: again}
	case c.has(closed):
		return result{outcome: ended}
	case ctx.Err() != nil:
		return result{outcome: ended, err: ErrHandshakeLate}
	default:
		return result{outcome: ended, err: fmt.Errorf("%w: %w", ErrHandshake, err)}
	}
}

// turnToShake waits for its turn; false when something else has come first.
func (c *stdConn) turnToShake(ctx context.Context) bool {
	c.mu.Lock()
	if c.flags&closed != 0 {
		c.mu.Unlock()
		return false
	}
	wake := make(chan struct{})
	c.wake = wake
	c.mu.Unlock()
	select {
	case c.eng.shaking <- struct{}{}:
		return true
	case <-wake:
	case <-ctx.Done():
	}
	return false
}
