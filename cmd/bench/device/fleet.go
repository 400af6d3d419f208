// Package device simulates trackers that speak MQTT 3.1.1 or JT/T 808. Each acknowledges every text
// by itself, also after it has reconnected.
package device

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/cmd/bench/ledger"
)

// Names of what devices speak.
const (
	MQTT   = "mqtt"
	JTT808 = "jt808"
)

const (
	dialTimeout  = 10 * time.Second
	loginTimeout = 60 * time.Second
	// betweenDials is how long a device waits before it connects again.
	betweenDials = 100 * time.Millisecond
	// deafBuffer is the receive buffer that a deaf device asks for, bytes.
	deafBuffer = 4096
	readBuffer = 1024 // bytes of each device
)

// Options describe a fleet.
type Options struct {
	Speak   string // MQTT or JTT808
	Gateway string // address that the devices connect to
	Count   int
	Deaf    int  // the first so many devices read nothing after their login
	AckQoS  byte // MQTT: of the application's acknowledgement, 0 or 1
}

// firstID is the number of the SIM card of device 0.
const firstID = 13800000001

// ID is the number that a device's SIM card has.
func ID(index int) string { return strconv.Itoa(firstID + index) }

// Index is the device that has a number, which may have zeros before it.
func Index(id string) (index int, ok bool) {
	n, err := strconv.Atoi(id)
	return n - firstID, err == nil && n >= firstID
}

// Fleet is a number of devices.
type Fleet struct {
	o       Options
	ledger  *ledger.Ledger
	devices []*device

	loggedIn atomic.Int64
	lost     atomic.Int64 // connections that ended by themselves
	lastAck  atomic.Int64 // of the ledger's clock
	refusal  atomic.Pointer[error]
}

// side is the protocol of one device. It lives through several connections.
type side interface {
	// talk logs in and serves texts until the connection ends. It calls in after the login; a deaf
	// device ends there.
	talk(ctx context.Context, c net.Conn, in func()) error
}

type device struct {
	fleet *Fleet
	index int
	side  side
}

var errRefused = errors.New("login refused")

// New makes a fleet whose texts are of a ledger.
func New(o Options, l *ledger.Ledger) (*Fleet, error) {
	f := &Fleet{o: o, ledger: l}
	for i := range o.Count {
		d := &device{fleet: f, index: i}
		switch o.Speak {
		case MQTT:
			d.side = &mqttSide{d: d, waiting: map[uint16]string{}}
		case JTT808:
			s, err := newJTT808(d)
			if err != nil {
				return nil, err
			}
			d.side = s
		default:
			return nil, errors.New("devices do not speak " + o.Speak)
		}
		f.devices = append(f.devices, d)
	}
	return f, nil
}

// LoggedIn is the number of devices that are logged in.
func (f *Fleet) LoggedIn() int { return int(f.loggedIn.Load()) }

// Lost is the number of connections that have ended by themselves.
func (f *Fleet) Lost() int { return int(f.lost.Load()) }

// LastAck is when the newest acknowledgement was written, on the ledger's clock.
func (f *Fleet) LastAck() int64 { return f.lastAck.Load() }

// Trouble is the newest reason why a device could not log in.
func (f *Fleet) Trouble() error {
	if e := f.refusal.Load(); e != nil {
		return *e
	}
	return nil
}

// Connect connects all devices, and each again whose connection ends; at most atOnce are logging in
// at a time. The function that it returns disconnects them and waits for that.
func (f *Fleet) Connect(ctx context.Context, atOnce int) (disconnect func()) {
	ctx, cancel := context.WithCancel(ctx)
	gate := make(chan struct{}, max(atOnce, 1))
	var all sync.WaitGroup
	for _, d := range f.devices {
		all.Go(func() { d.keep(ctx, gate) })
	}
	return func() {
		cancel()
		all.Wait()
	}
}

func (d *device) deaf() bool { return d.index < d.fleet.o.Deaf }

func (d *device) keep(ctx context.Context, gate chan struct{}) {
	for ctx.Err() == nil {
		if err := d.connect(ctx, gate); err != nil && ctx.Err() == nil {
			d.fleet.refusal.Store(&err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenDials):
		}
	}
}

// connect serves one connection. An error says why the device could not log in.
func (d *device) connect(ctx context.Context, gate chan struct{}) error {
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	waiting := true
	leave := func() {
		if waiting {
			waiting = false
			<-gate
		}
	}
	defer leave()
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", d.fleet.o.Gateway)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // ends the reading
	defer c.Close()
	if tcp, ok := c.(*net.TCPConn); ok && d.deaf() {
		_ = tcp.SetReadBuffer(deafBuffer) // a wish
	}
	if err := c.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return err
	}
	loggedIn := false
	err = d.side.talk(ctx, c, func() {
		if loggedIn {
			return
		}
		loggedIn = true
		_ = c.SetDeadline(time.Time{}) // fails where the reading fails
		leave()
		d.fleet.loggedIn.Add(1)
	})
	if !loggedIn {
		return err
	}
	if d.deaf() && err == nil {
		<-ctx.Done()
	}
	d.fleet.loggedIn.Add(-1)
	if ctx.Err() == nil {
		d.fleet.lost.Add(1)
	}
	return nil
}

// arrive notes a text of the run.
func (d *device) arrive(text []byte) (seq int64, ours bool) {
	if seq, ours = d.fleet.ledger.Find(d.index, text); ours {
		d.fleet.ledger.Arrive(seq)
	}
	return seq, ours
}

// acked notes that acknowledgements are written.
func (d *device) acked(texts []int64) {
	for _, seq := range texts {
		d.fleet.ledger.Ack(seq)
	}
	if len(texts) > 0 {
		d.fleet.lastAck.Store(d.fleet.ledger.Now())
	}
}
