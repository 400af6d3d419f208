package engine_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway/engine"
)

// TestPause stops reading in the middle of a stream, from the handler and from outside: everything
// arrives once, in order.
func TestPause(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			lines := make(chan string, 1)
			stats := new(engine.Stats)
			s.open = func(c engine.Conn) { c.Trust(1 << 10) }
			s.data = func(c engine.Conn, b []byte) int {
				// one line at a time, with a pause after each
				i := bytes.IndexByte(b, '\n')
				if i < 0 {
					return 0
				}
				c.Pause()
				lines <- string(b[:i+1])
				return i + 1
			}
			r := start(t, k, engine.Options{Stats: stats}, s)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			const line, count = "0123456789012345678901234567890123456789\n", 3000
			sent := make(chan error, 1)
			go func() {
				_, err := nc.Write([]byte(strings.Repeat(line, count)))
				_ = nc.Close()
				sent <- err
			}()
			for i := range count {
				if got := receive(t, lines, "the next line"); got != line {
					t.Fatalf("line %d: %q", i, got)
				}
				if stats.Partial.Load() > 70<<10 {
					t.Fatalf("%d bytes kept while paused", stats.Partial.Load())
				}
				c.Resume()
			}
			if err := receive(t, sent, "peer's write"); err != nil {
				t.Fatal(err)
			}
			if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, io.EOF) || len(lines) != 0 {
				t.Errorf("OnClose(%v), %d lines too many", e.err, len(lines))
			}
			if stats.Partial.Load() != 0 {
				t.Errorf("%d bytes still kept", stats.Partial.Load())
			}
		})
	}
}

// TestResumeOffersAgain has the handler refuse whole frames: Resume offers them again though
// nothing new comes, and though Pause was never seen by the reader.
func TestResumeOffersAgain(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			var full atomic.Bool
			full.Store(true)
			calls := make(chan string, 100)
			s.data = func(c engine.Conn, b []byte) int {
				consumed := len(b)
				if full.Load() {
					c.Pause()
					consumed = 0
				}
				calls <- string(b)
				return consumed
			}
			r := start(t, k, engine.Options{}, s)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			send(t, nc, []byte("frames"))
			for i := range 50 {
				if got := receive(t, calls, "OnData"); got != "frames" {
					t.Fatalf("offered %q", got)
				}
				full.Store(i < 48)
				c.Resume()
			}
			send(t, nc, []byte("!"))
			if got := receive(t, calls, "OnData"); got != "!" {
				t.Fatalf("offered %q after everything was consumed", got)
			}
		})
	}
}

// TestPausedPeerKeepsLittle: before Trust a paused connection keeps no more than its limit,
// whatever the peer sends.
func TestPausedPeerKeepsLittle(t *testing.T) {
	const limit = 2000
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			paused := make(chan int, 10)
			s.data = func(c engine.Conn, b []byte) int {
				c.Pause()
				paused <- len(b)
				return 0
			}
			stats := new(engine.Stats)
			r := start(t, k, engine.Options{MaxPartial: limit, Stats: stats}, s)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			send(t, nc, make([]byte, 30_000))
			if n := receive(t, paused, "OnData"); n > limit+1 {
				t.Errorf("offered %d bytes, limit %d", n, limit)
			}
			eventually(t, "kept", func() bool { return stats.Partial.Load() > 0 })
			most := int64(limit + 1)
			if k.tls {
				most += 8 << 10 // ciphertext
			}
			if stats.Partial.Load() > most {
				t.Errorf("%d bytes kept", stats.Partial.Load())
			}
			_ = c.Close()
			receive(t, s.ends, "OnClose")
			if stats.Partial.Load() != 0 {
				t.Errorf("%d bytes kept after the end", stats.Partial.Load())
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			var asked []netip.AddrPort
			var mu sync.Mutex
			s.admit = func(peer netip.AddrPort) bool {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, peer)
				if len(asked) == 4 {
					panic("admit")
				}
				return len(asked)%2 == 1
			}
			stats := new(engine.Stats)
			r := start(t, k, engine.Options{Stats: stats}, s)
			for i := range 4 {
				nc := r.dialTCP()
				if i%2 == 0 {
					if c := receive(t, s.opened, "OnOpen"); c.RemoteAddr().String() != nc.LocalAddr().String() {
						t.Errorf("admitted %s, connected %s", c.RemoteAddr(), nc.LocalAddr())
					}
				} else if _, err := nc.Read(make([]byte, 1)); err == nil {
					t.Error("a refused connection speaks")
				}
				mu.Lock()
				if got := asked[i].String(); len(asked) != i+1 || got != nc.LocalAddr().String() {
					t.Errorf("asked about %s, connected %s", got, nc.LocalAddr())
				}
				mu.Unlock()
			}
			r.shutdown()
			if stats.Refused.Load() != 2 || stats.Opened.Load() != 2 || stats.Panics.Load() != 1 ||
				len(s.opened) != 0 {
				t.Errorf("%d refused, %d opened, %d panics", stats.Refused.Load(),
					stats.Opened.Load(), stats.Panics.Load())
			}
		})
	}
}

// TestPartialLimit sends frames without end: the limit is what MaxPartial says, or Trust later.
func TestPartialLimit(t *testing.T) {
	const before, after = 1000, 100_000
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			offered := make(chan int, 1_000_000)
			s.data = func(_ engine.Conn, b []byte) int { offered <- len(b); return 0 }
			stats := new(engine.Stats)
			r := start(t, k, engine.Options{MaxPartial: before, Stats: stats}, s)
			await := func(n int) {
				t.Helper()
				for receive(t, offered, "OnData") != n {
				}
			}
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			send(t, nc, make([]byte, before))
			await(before)
			c.Trust(after)
			send(t, nc, make([]byte, after-before))
			await(after)
			if got := stats.Partial.Load(); got > after {
				t.Errorf("%d bytes kept", got)
			}
			select {
			case e := <-s.ends:
				t.Fatalf("OnClose(%v) within the limit", e.err)
			default:
			}
			send(t, nc, []byte("x"))
			if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrTooMuch) {
				t.Errorf("OnClose(%v)", e.err)
			}
			nc = r.dial()
			send(t, nc, make([]byte, before+1))
			if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrTooMuch) {
				t.Errorf("before Trust: OnClose(%v)", e.err)
			}
			if stats.TooMuch.Load() != 2 || stats.Partial.Load() != 0 {
				t.Errorf("%d counted, %d bytes kept", stats.TooMuch.Load(), stats.Partial.Load())
			}
		})
	}
}

// TestBudget fills what untrusted connections may keep together; trusted ones do not count.
func TestBudget(t *testing.T) {
	const each, budget = 10_000, 25_000 // room for a handshake as well
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = func(engine.Conn, []byte) int { return 0 }
			stats := new(engine.Stats)
			r := start(t, k, engine.Options{MaxPartial: each, PartialBudget: budget, Stats: stats},
				s)
			kept := int64(0)
			fill := func() engine.Conn {
				t.Helper()
				nc := r.dial()
				c := receive(t, s.opened, "OnOpen")
				send(t, nc, make([]byte, each))
				kept += each
				return c
			}
			settled := func() {
				t.Helper()
				eventually(t, "bytes kept", func() bool { return stats.Partial.Load() == kept })
			}
			first := fill()
			settled()
			_ = fill()
			settled()
			first.Trust(each)
			_ = fill() // takes the place of the first
			settled()
			refused := fill()
			if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrBudget) ||
				e.c != refused {
				t.Errorf("OnClose(%v)", e.err)
			}
			kept -= each
			settled()
			_ = first.Close()
			if e := receive(t, s.ends, "OnClose"); e.err != nil {
				t.Errorf("OnClose(%v)", e.err)
			}
			kept -= each
			settled()
			if stats.Budget.Load() != 1 {
				t.Errorf("%d counted", stats.Budget.Load())
			}
		})
	}
}

// TestCallsNeverOverlap stirs a few connections from all sides; the script watches the order of
// calls.
func TestCallsNeverOverlap(t *testing.T) {
	const conns, rounds = 8, 300
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			var read atomic.Int64
			s.data = func(c engine.Conn, b []byte) int {
				if read.Add(1)%7 == 0 {
					c.Pause()
					go c.Resume()
				}
				return (len(b) + 1) / 2
			}
			r := start(t, k, engine.Options{}, s)
			var wg sync.WaitGroup
			for range conns {
				nc := r.dial()
				c := receive(t, s.opened, "OnOpen")
				wg.Go(func() {
					for range rounds {
						if _, err := nc.Write([]byte("some bytes")); err != nil {
							return // closed by the other side
						}
					}
					_ = nc.Close()
				})
				wg.Go(func() { _, _ = io.Copy(io.Discard, nc) })
				for range 2 {
					wg.Go(func() {
						for i := range rounds {
							c.Pause()
							_ = c.Write([]byte("answer"))
							c.Resume()
							if i == rounds-1 {
								_ = c.Close()
							}
						}
					})
				}
			}
			for range conns {
				receive(t, s.ends, "OnClose")
			}
			wg.Wait()
		})
	}
}

// TestLateEvents replaces connections as fast as possible while their descriptors are in use:
// nobody sees another's bytes.
func TestLateEvents(t *testing.T) {
	const workers, rounds = 8, 200
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = func(c engine.Conn, b []byte) int {
				if len(b) < 2 {
					return 0
				}
				if old, ok := c.Session().(byte); ok && old != b[0] {
					t.Errorf("connection of %c got a byte of %c", old, b[0])
				}
				c.SetSession(b[0])
				_ = c.Write(b[:1])
				if b[1] == '!' {
					_ = c.Close()
					go func() { _ = c.Write([]byte("?")) }() // must reach nobody
				}
				return 2
			}
			r := start(t, k, engine.Options{}, s)
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					me := byte('a' + w)
					for range rounds {
						nc, err := net.Dial("tcp", r.addr)
						if err != nil {
							t.Error(err)
							return
						}
						if k.tls {
							_ = nc.Close() // the handshake would be all there is to see
							continue
						}
						_ = nc.SetDeadline(time.Now().Add(patience))
						_, _ = nc.Write([]byte{me, '.', me, '.', me, '!', me, '!'})
						got, _ := io.ReadAll(nc) // the end may come as a reset
						if len(bytes.Trim(got, string(me))) != 0 || len(got) == 0 {
							t.Errorf("%c got %q", me, got)
						}
						_ = nc.Close()
					}
				})
			}
			wg.Wait()
		})
	}
}
