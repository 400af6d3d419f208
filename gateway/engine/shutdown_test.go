package engine_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"trackchat/gateway/engine"
)

// TestShutdown ends an engine with connections in every state: each has its OnClose, and nothing is
// left behind.
func TestShutdown(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			before := descriptors(t)
			t.Run("live", func(t *testing.T) {
				s := newScript(t)
				s.data = func(_ engine.Conn, b []byte) int { return len(b) - 1 }
				stats := new(engine.Stats)
				r := start(t, k, engine.Options{Stats: stats}, s)
				conns := make([]engine.Conn, 0, 50)
				for range cap(conns) {
					nc := r.dial()
					conns = append(conns, receive(t, s.opened, "OnOpen"))
					send(t, nc, []byte("half a frame"))
				}
				conns[0].Pause()
				for err := error(nil); err == nil; { // never read by its peer
					err = conns[1].Write(make([]byte, 4<<10))
				}
				_ = conns[2].Close()
				r.shutdown()
				r.shutdown() // once more does no harm
				if len(s.ends) != len(conns) {
					t.Fatalf("%d of %d have had their OnClose", len(s.ends), len(conns))
				}
				for range conns {
					e := <-s.ends
					if want := engine.ErrShutdown; !errors.Is(e.err, want) && e.c != conns[2] {
						t.Errorf("OnClose(%v)", e.err)
					}
				}
				if p, u := stats.Partial.Load(), stats.Unsent.Load(); p != 0 || u != 0 {
					t.Errorf("%d bytes unconsumed, %d unsent", p, u)
				}
				if nc, err := net.Dial("tcp", r.addr); err == nil {
					_ = nc.Close()
					t.Error("still listening")
				}
				if err := r.eng.Serve(listen(t, "tcp", "127.0.0.1:0"), s); !errors.Is(err,
					engine.ErrShutdown) {
					t.Errorf("Serve after Shutdown: %v", err)
				}
			})
			goleak.VerifyNone(t, goleak.IgnoreCurrent())
			eventually(t, "descriptors closed", func() bool { return descriptors(t) <= before })
		})
	}
}

// TestShutdownUnused: an engine that never served.
func TestShutdownUnused(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			if err := k.make(t, engine.Options{}).Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestShutdownTimeout: a handler that does not return holds Shutdown up no longer than its context.
func TestShutdownTimeout(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			let := make(chan struct{})
			s.close = func(engine.Conn, error) { <-let }
			r := start(t, k, engine.Options{}, s)
			_ = r.dial()
			receive(t, s.opened, "OnOpen")
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-s.ends
				cancel()
			}()
			if err := r.eng.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Shutdown: %v", err)
			}
			close(let)
		})
	}
}

// TestSeveralListeners serves two handlers with one engine.
func TestSeveralListeners(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			k.tls = false
			a, b := newScript(t), newScript(t)
			r := start(t, k, engine.Options{}, a)
			ln := listen(t, "tcp", "[::1]:0")
			served := make(chan error, 1)
			go func() { served <- r.eng.Serve(ln, b) }()
			_ = r.dial()
			ca := receive(t, a.opened, "OnOpen")
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			cb := receive(t, b.opened, "OnOpen")
			if ca == cb || cb.RemoteAddr().String() != nc.LocalAddr().String() {
				t.Errorf("peer %s, want %s", cb.RemoteAddr(), nc.LocalAddr())
			}
			r.shutdown()
			if err := receive(t, served, "Serve"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestManyConnections opens and drops 5,000 connections, then finds every one ended and every
// descriptor closed.
func TestManyConnections(t *testing.T) {
	const n = 5000
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			k.tls = false // 5,000 handshakes show nothing more
			before := descriptors(t)
			s := newScript(t)
			s.data = func(c engine.Conn, b []byte) int {
				if bytes.IndexByte(b, '\n') >= 0 {
					_ = c.Write(b)
				}
				return len(b)
			}
			stats := new(engine.Stats)
			r := start(t, k, engine.Options{Stats: stats}, s)
			peers := make([]net.Conn, n)
			for i := range peers {
				peers[i] = r.dial()
			}
			for range n {
				receive(t, s.opened, "OnOpen")
			}
			for _, nc := range peers {
				send(t, nc, []byte("here\n"))
			}
			for _, nc := range peers {
				expect(t, nc, "here\n")
				_ = nc.Close()
			}
			for range n {
				receive(t, s.ends, "OnClose")
			}
			r.shutdown()
			if stats.Opened.Load() != n || stats.Closed.Load() != n || stats.Partial.Load() != 0 {
				t.Errorf("%d opened, %d closed", stats.Opened.Load(), stats.Closed.Load())
			}
			eventually(t, "descriptors closed", func() bool { return descriptors(t) <= before })
		})
	}
}

// TestLoopLag: a handler that takes its time shows.
func TestLoopLag(t *testing.T) {
	var clock, worst atomic.Int64
	asked := make(chan struct{}, 1)
	s := newScript(t)
	s.data = func(_ engine.Conn, b []byte) int {
		select { // one probe is on its way, or will be soon
		case <-asked:
		case <-time.After(time.Second):
		}
		clock.Add(int64(time.Second))
		return len(b)
	}
	o := engine.Options{
		Now: func() time.Time {
			now := clock.Load()
			select {
			case asked <- struct{}{}:
			default:
			}
			return time.Unix(0, now)
		},
		ObserveLoopLag: func(d time.Duration) { worst.Store(max(worst.Load(), int64(d))) },
		Loops:          1,
	}
	r := start(t, kinds()[0], o, s)
	nc := r.dial()
	receive(t, s.opened, "OnOpen")
	eventually(t, "the lag", func() bool {
		if !s.busy() {
			send(t, nc, []byte("x"))
		}
		return worst.Load() >= int64(time.Second)
	})
}

// TestShutdownWhileBytesCome: a paused connection that gets bytes while the loop ends has its
// OnClose too, though it would have left the loop for them.
func TestShutdownWhileBytesCome(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			for range 5 {
				s := newScript(t)
				s.data = func(c engine.Conn, b []byte) int { c.Pause(); return len(b) - 1 }
				ending, let := make(chan struct{}, 1), make(chan struct{})
				s.close = func(engine.Conn, error) {
					select {
					case ending <- struct{}{}:
						<-let
					default:
					}
				}
				r := start(t, k, engine.Options{Loops: 1}, s)
				left := r.dial()
				receive(t, s.opened, "OnOpen")
				send(t, left, []byte("kept")) // so it leaves, and Shutdown ends it first
				paused := r.dial()
				receive(t, s.opened, "OnOpen").Pause()
				eventually(t, "pause", func() bool { return !s.busy() })
				done := make(chan struct{})
				go func() {
					defer close(done)
					r.shutdown()
				}()
				receive(t, ending, "the first OnClose")
				send(t, paused, []byte("more"))
				close(let)
				receive(t, done, "Shutdown")
				if len(s.ends) != 2 {
					t.Fatalf("%d of 2 have had their OnClose", len(s.ends))
				}
			}
		})
	}
}
