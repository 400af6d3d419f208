// Package trackersim plays one GPS tracker over TCP, for load, demonstrations and end-to-end tests.
// It speaks through protocol.Device, so that it knows every protocol that is built in; what the
// driver and the device do is decided by Options.
//
// Ownership: Run's goroutine is the only one of a tracker. It owns the connection's state and calls
// the hooks; other goroutines leave what they want under mu and interrupt its read. A tracker that
// waits holds no read or write buffer and no ticker.
package trackersim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/protocol"
)

// Errors of a simulated tracker.
var (
	ErrRefused = errors.New("gateway refused the login")
	ErrNoLogin = errors.New("gateway did not answer the login")
	ErrTextNak = errors.New("gateway refused the driver's text")
	ErrBusy    = errors.New("too much waits already")
	ErrEnded   = errors.New("tracker has ended")
)

// Bounds of what one tracker keeps.
const (
	maxSaid = 64   // texts of the driver that wait
	maxHeld = 1024 // acks that wait for their time, and as many for a connection
	maxRefs = 128  // references that are remembered
)

// Tracker is one simulated device. Its methods may be called from any goroutine.
type Tracker struct {
	// Static after New.
	o     Options
	ended chan struct{} // closed when Run returns

	// Owned by Run.
	// lives through all connections, as the real one does: its codes and serial numbers go on.
	device protocol.Device
	rand   *rand.Rand
	refs   refs
	route  route
	timer  *time.Timer
	armed  time.Time // what timer waits for

	ran atomic.Bool

	mu      sync.Mutex
	conn    net.Conn // nil between connections
	woken   bool     // conn's read deadline is in the past
	dropped bool     // Disconnect closed conn
	said    []*saying
	late    []heldAck // to be written as soon as the device is logged in
	stats   Stats
	changed chan struct{} // closed at the next change of stats; nil: nobody waits
}

// New makes a tracker; Run brings it to life and reports what is wrong with the options.
func New(o Options) *Tracker {
	o.setDefaults()
	t := &Tracker{o: o, ended: make(chan struct{})}
	h := fnv.New64a()
	_, _ = h.Write([]byte(o.Device.ID)) // never fails
	t.rand = rand.New(rand.NewPCG(o.Seed, h.Sum64()))
	t.route = newRoute(t.rand)
	return t
}

// DeviceID returns the id that the tracker logs in with.
func (t *Tracker) DeviceID() string { return t.o.Device.ID }

// Run dials, logs in and plays the device until ctx ends, which is no error. Without
// Options.Reconnect it also returns when the connection ends: nil if Disconnect or an Action closed
// it, else the reason (ErrRefused, ErrNoLogin, or of the network). A tracker runs once.
func (t *Tracker) Run(ctx context.Context) error {
	if !t.ran.CompareAndSwap(false, true) {
		return errors.New("running a tracker that ran before")
	}
	defer close(t.ended)
	if err := t.o.check(); err != nil {
		return err
	}
	t.device = t.o.Protocol.NewDevice(t.o.Device)
	pause := t.o.ReconnectMin
	for {
		logged, err := t.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !t.o.Reconnect {
			return err
		}
		if logged {
			pause = t.o.ReconnectMin
		}
		if !wait(ctx, pause/2+time.Duration(t.rand.Int64N(int64(pause/2)+1))) {
			return nil
		}
		if !logged {
			pause = min(2*pause, t.o.ReconnectMax)
		}
	}
}

// wait reports whether ctx lasted as long as d.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connect plays one connection and tells whether it had logged in.
func (t *Tracker) connect(ctx context.Context) (logged bool, err error) {
	if t.o.Pace != nil {
		if err := t.o.Pace(ctx); err != nil {
			return false, fmt.Errorf("waiting for the turn to dial: %w", err)
		}
	}
	start := t.o.Now()
	var conn net.Conn
	dialled := make(chan struct{})
	go func() { // dialling needs a deep stack, which the tracker's own goroutine would keep
		defer close(dialled)
		conn, err = t.dial(ctx)
	}()
	<-dialled
	if err != nil {
		err = fmt.Errorf("tracker %s dialling: %w", t.o.Device.ID, err)
		if ctx.Err() == nil {
			t.report(Event{Kind: DialFailed, Err: err})
		}
		return false, err
	}
	t.mu.Lock()
	t.conn, t.woken, t.dropped = conn, false, false
	t.mu.Unlock()
	unhook := context.AfterFunc(ctx, t.abandon)
	l := newLink(t, conn, start)
	t.report(Event{Kind: Connected, Took: t.o.Now().Sub(start)})
	err = l.run(ctx)
	unhook()
	t.mu.Lock()
	t.conn = nil
	wanted := t.dropped || ctx.Err() != nil
	t.mu.Unlock()
	_ = conn.Close() // what it could say is known already
	if wanted {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("tracker %s: %w", t.o.Device.ID, err)
	}
	l.end(err)
	return l.logged, err
}

func (t *Tracker) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.o.LoginTimeout)
	defer cancel()
	d := net.Dialer{KeepAlive: -1} // a quiet tracker sends nothing at all
	if t.o.Source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: t.o.Source.AsSlice(), Zone: t.o.Source.Zone()}
	}
	if t.o.TLS != nil {
		return (&tls.Dialer{NetDialer: &d, Config: t.o.TLS}).DialContext(ctx, "tcp", t.o.Gateway)
	}
	return d.DialContext(ctx, "tcp", t.o.Gateway)
}

// Disconnect closes the connection, if there is one, without a word.
func (t *Tracker) Disconnect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		t.dropped = true
		_ = t.conn.Close() // the reader finds out
	}
}

// wake interrupts the read of Run.
func (t *Tracker) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wakeLocked()
}

func (t *Tracker) wakeLocked() {
	if t.conn != nil && !t.woken {
		t.woken = true
		_ = t.conn.SetReadDeadline(past()) // fails only on a closed connection, which wakes as well
	}
}

// abandon interrupts reads and writes for good.
func (t *Tracker) abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		_ = t.conn.SetDeadline(past())
	}
}

// rouse makes conn readable again after a wake.
func (t *Tracker) rouse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.woken {
		t.woken = false
		t.armed = time.Time{}
		_ = t.conn.SetReadDeadline(time.Time{})
	}
}

// past is a deadline that is over.
func past() time.Time { return time.Unix(1, 0) }
