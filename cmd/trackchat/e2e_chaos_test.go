package main

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/queue/queuetest"
)

const (
	chaosTrackers = 8
	chaosFor      = time.Minute // CHAOS_FOR=10m: longer
	chaosHalfs    = 5           // connections of one device left half open
)

// chaosPlan says how long it goes on and from which seed; CHAOS_FOR and CHAOS_SEED change that.
func chaosPlan(t *testing.T) (time.Duration, uint64) {
	t.Helper()
	d, seed := chaosFor, uint64(time.Now().UnixNano())
	if s := os.Getenv("CHAOS_FOR"); s != "" {
		var err error
		d, err = time.ParseDuration(s)
		apptest.Must(t, err)
	}
	if s := os.Getenv("CHAOS_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		apptest.Must(t, err)
	}
	t.Logf("CHAOS_FOR=%s CHAOS_SEED=%d", d, seed)
	return d, seed
}

// TestChaosOnTheEmbeddedStore has devices behind a bad network and the service killed now and then:
// nothing accepted is lost, nothing is DELIVERED without the device's ack, order is kept, each text
// of a driver is there once.
func TestChaosOnTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	d, seed := chaosPlan(t)
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: chaosTrackers})
	c.Start()
	rnd := rand.New(rand.NewPCG(seed, 2))
	chaos(t, c, d, seed, func(ctx context.Context) string {
		pause(ctx, time.Duration(500+rnd.IntN(4000))*time.Millisecond)
		if ctx.Err() != nil {
			return ""
		}
		c.Kill()
		pause(ctx, time.Duration(rnd.IntN(500))*time.Millisecond)
		c.Start()
		return "killed"
	})
}

// TestChaosOnRedis has devices behind a bad network and the store behind one that stalls, cuts and
// refuses: the same must hold.
func TestChaosOnRedis(t *testing.T) {
	t.Parallel()
	d, seed := chaosPlan(t)
	proxy := queuetest.StartProxy(t, queuetest.StartRedis(t).Addr)
	c := apptest.NewChild(t,
		apptest.ChildOptions{Trackers: chaosTrackers, Redis: []string{proxy.Addr}})
	c.Start()
	rnd := rand.New(rand.NewPCG(seed, 2))
	chaos(t, c, d, seed, func(ctx context.Context) string {
		pause(ctx, time.Duration(200+rnd.IntN(1500))*time.Millisecond)
		if ctx.Err() != nil {
			return ""
		}
		switch rnd.IntN(3) {
		case 0:
			proxy.Cut()
			return "store cut"
		case 1:
			proxy.Stall()
			pause(ctx, time.Duration(rnd.IntN(1500))*time.Millisecond)
			proxy.Resume()
			return "store stalled"
		default:
			proxy.Refuse(true)
			proxy.Cut()
			pause(ctx, time.Duration(rnd.IntN(1000))*time.Millisecond)
			proxy.Refuse(false)
			return "store refused"
		}
	})
}

// chaos has texts flow both ways through bad weather while harm is done to the service again and
// again, and then compares what is stored with what happened.
func chaos(t *testing.T, c *apptest.Child, d time.Duration, seed uint64,
	harm func(context.Context) string,
) {
	t.Helper()
	l := newLedger(t, c.Client(), max(15*time.Millisecond, d/mostTexts))
	l.drivers = max(driverPause, d/mostSaid)
	networks := map[int]*weather{}
	ids := trackerIDs(1, chaosTrackers)
	for _, id := range ids {
		networks[id] = newWeather(t, c.Ports[apptest.ProtocolOf(id)], seed+uint64(id), chaosHalfs)
	}
	l.play(ids, func(id int) string { return networks[id].addr })
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	var load sync.WaitGroup
	for _, id := range ids {
		networks[id].storm.Store(true)
		load.Go(func() { l.sendAll(ctx, id) })
		if numbered(id) { // else a copy that meets its answer on the way is a text of its own
			load.Go(func() { l.sayAll(ctx, id) })
		}
	}
	done := map[string]int{}
	for ctx.Err() == nil {
		done[harm(ctx)]++
	}
	l.stop = load.Wait
	for _, w := range networks {
		w.storm.Store(false)
	}
	l.finish()
	delete(done, "")
	var faults [faultKinds]int64
	for _, w := range networks {
		for k := range faults {
			faults[k] += w.faults[k].Load()
		}
	}
	said := 0
	for _, texts := range l.said {
		said += len(texts)
	}
	t.Logf("%d texts accepted and delivered, %d of drivers stored; pieces passed %d, delayed %d, in bytes %d, stalled %d, cut %d, half open %d; %v", l.count(), said,
		faults[faultNone], faults[faultDelay], faults[faultBytes], faults[faultStall],
		faults[faultCut], faults[faultHalfOpen], done)
	if l.count() < chaosTrackers || faults[faultCut] == 0 || len(done) == 0 {
		t.Error("nothing happened")
	}
}

// weather is a proxy between devices and a gateway that behaves like a bad mobile network while it
// storms: it delays, stalls, cuts into single bytes, breaks connections, and leaves one end in the
// belief that the connection lives.
type weather struct {
	addr   string
	target string
	ln     net.Listener
	storm  atomic.Bool
	faults [faultKinds]atomic.Int64
	pipes  sync.WaitGroup

	mu  sync.Mutex // guards what follows
	rnd *rand.Rand
	// connections that may still be left half open: each becomes a takeover, of which a tracker has
	// only so many.
	halfs int
	open  map[net.Conn]struct{}
	ended bool
}

type fault int

const (
	faultNone fault = iota
	faultDelay
	faultBytes
	faultStall
	faultCut
	faultHalfOpen
	faultKinds
)

func newWeather(t *testing.T, target string, seed uint64, halfs int) *weather {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(t, err)
	w := &weather{addr: ln.Addr().String(), target: target, ln: ln, rnd: rand.New(rand.NewPCG(seed,
		1)), halfs: halfs, open: map[net.Conn]struct{}{}}
	w.pipes.Go(w.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		w.mu.Lock()
		w.ended = true
		for c := range w.open {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.pipes.Wait()
	})
	return w
}

func (w *weather) accept() {
	for {
		device, err := w.ln.Accept()
		if err != nil {
			return
		}
		gateway, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = device.Close()
			continue
		}
		if !w.enter(device, gateway) {
			return
		}
		w.pipes.Go(func() { w.pass(device, gateway) })
		w.pipes.Go(func() { w.pass(gateway, device) })
	}
}

func (w *weather) enter(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.ended {
			_ = c.Close()
			continue
		}
		w.open[c] = struct{}{}
	}
	return !w.ended
}

func (w *weather) leave(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(w.open, c)
	}
}

// next draws what happens to the next piece, and for how long.
func (w *weather) next() (fault, time.Duration) {
	if !w.storm.Load() {
		return faultNone, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f, d := faultNone, time.Duration(0)
	switch n := w.rnd.IntN(1000); {
	case n < 4 && w.halfs > 0:
		w.halfs--
		f, d = faultHalfOpen, time.Duration(200+w.rnd.IntN(1500))*time.Millisecond
	case n < 20:
		f = faultCut
	case n < 35:
		f, d = faultStall, time.Duration(100+w.rnd.IntN(900))*time.Millisecond
	case n < 120:
		f = faultBytes
	case n < 350:
		f, d = faultDelay, time.Duration(w.rnd.IntN(40))*time.Millisecond
	}
	w.faults[f].Add(1)
	return f, d
}

// pass copies one direction until it ends.
func (w *weather) pass(from, to net.Conn) {
	defer w.leave(from, to)
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		if n == 0 && err != nil {
			return
		}
		f, d := w.next()
		switch f {
		case faultCut:
			return
		case faultHalfOpen: // whoever spoke sees the end, the other one nothing for a while
			_ = from.Close()
			<-time.After(d)
			return
		case faultBytes:
			for i := range n {
				if _, err := to.Write(buf[i : i+1]); err != nil {
					return
				}
			}
			continue
		case faultDelay, faultStall:
			<-time.After(d)
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
