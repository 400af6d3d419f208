package load

import (
	"context"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/gateway/engine"

	"golang.org/x/time/rate"
)

const (
	dialers  = 64
	beatTick = 50 * time.Millisecond
)

// devices is all simulated devices.
type devices struct {
	// static
	o        *Options
	ledger   *ledger
	eng      engine.Engine
	devices  []device
	sources  []netip.Addr
	toDevice *latency // scheduled to arrived, of the devices that acknowledge
	limiter  *rate.Limiter
	healthy  int // devices that acknowledge

	dial    chan *device // each is in it at most once
	group   sync.WaitGroup
	ending  atomic.Bool
	changed chan struct{} // somebody logged in, or something arrived or was acknowledged

	online, logins, refused, failed, lost atomic.Int64
	lastError                             atomic.Pointer[error]
	lastAck                               atomic.Int64 // Unix ns
}

func newDevices(o *Options, l *ledger, eng engine.Engine) *devices {
	c := &devices{
		o: o, ledger: l, eng: eng, devices: make([]device, o.trackers()), sources: o.sources(),
		toDevice: newLatency(),
		limiter:  rate.NewLimiter(rate.Limit(o.ConnectRate), max(int(o.ConnectRate/100), 1)),
		dial:     make(chan *device, o.trackers()), changed: make(chan struct{}, 1),
	}
	for i := range c.devices {
		d := &c.devices[i]
		d.fleet, d.index, d.text = c, i, -1
		_, share := math.Modf(float64(i+1) * math.Phi) // spreads any share evenly
		switch {
		case share < o.NoAck:
			d.habit = neverAcks
		case share < o.NoAck+o.NoRead:
			d.habit = neverReads
		default:
			c.healthy++
		}
	}
	return c
}

// connect starts to bring every device on line and to keep it there until ctx ends.
func (c *devices) connect(ctx context.Context) {
	for i := range c.devices {
		c.dial <- &c.devices[i]
	}
	for range min(dialers, len(c.devices)) {
		c.group.Go(func() { c.dialing(ctx) })
	}
	if c.o.HeartbeatEvery > 0 {
		c.group.Go(func() { c.beating(ctx) })
	}
}

func (c *devices) dialing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-c.dial:
			if c.limiter.Wait(ctx) != nil {
				return
			}
			var source netip.Addr
			if len(c.sources) > 0 {
				source = c.sources[d.index%len(c.sources)]
			}
			at, o := c.o.Gateways[d.index%len(c.o.Gateways)], engine.DialOptions{Local: source}
			if _, err := c.eng.Dial(ctx, at, o, d); err != nil && ctx.Err() == nil {
				c.failed.Add(1)
				c.lastError.Store(&err)
				c.again(d)
			}
		}
	}
}

// again dials a device after a pause, unless the run is over.
func (c *devices) again(d *device) {
	time.AfterFunc(reconnect/2+rand.N(reconnect/2), func() {
		if !c.ending.Load() {
			c.dial <- d
		}
	})
}

// gone notes the end of a connection.
func (c *devices) gone(d *device, was bool, err error) {
	if was {
		c.online.Add(-1)
	}
	if c.ending.Load() {
		return
	}
	if was {
		c.lost.Add(1)
	} else {
		c.failed.Add(1)
	}
	if err != nil {
		c.lastError.Store(&err)
	}
	c.again(d)
}

func (c *devices) loggedIn(d *device) {
	c.online.Add(1)
	c.logins.Add(1)
	if d.habit == neverReads {
		d.conn.Pause()
	}
	c.signal()
}

func (c *devices) arrived(d *device, r *record, request int) {
	now := time.Now()
	if c.ledger.arrive(r, now) && d.habit == acknowledges {
		c.toDevice.add(c.ledger.since(now) - c.ledger.due(request))
	}
}

func (c *devices) acknowledged(r *record) {
	if r.set(acked) {
		c.ledger.acked.Add(1)
		c.lastAck.Store(time.Now().UnixNano())
		c.signal()
	}
}

func (c *devices) signal() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// await waits until done says so, at most for d; it tells which.
func (c *devices) await(ctx context.Context, d time.Duration, done func() bool) bool {
	limit := time.NewTimer(d)
	defer limit.Stop()
	every := time.NewTicker(100 * time.Millisecond) // for what is not signalled
	defer every.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return false
		case <-limit.C:
			return done()
		case <-c.changed:
		case <-every.C:
		}
	}
	return true
}

// beating lets the devices beat one after the other, so that their heartbeats are spread over the
// interval.
func (c *devices) beating(ctx context.Context) {
	every := time.NewTicker(beatTick)
	defer every.Stop()
	start, next := time.Now(), int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			due := int64(float64(len(c.devices)) * (float64(now.Sub(start)) / float64(
				c.o.HeartbeatEvery)))
			for ; next < due; next++ {
				c.devices[next%int64(len(c.devices))].beat()
			}
		}
	}
}
