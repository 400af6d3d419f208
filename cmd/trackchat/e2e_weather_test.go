package main

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
	must(t, err)
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
