package engine_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway/engine"
)

// echoLines answers each line with itself, one line per call or all at once.
func echoLines(all bool) func(engine.Conn, []byte) int {
	return func(c engine.Conn, buf []byte) int {
		done := 0
		for {
			i := bytes.IndexByte(buf[done:], '\n')
			if i < 0 {
				return done
			}
			if err := c.Write(buf[done : done+i+1]); err != nil {
				return len(buf)
			}
			done += i + 1
			if !all {
				return done
			}
		}
	}
}

func TestFrames(t *testing.T) {
	const text = "one\ntwo and a bit\n\nthree\n"
	long := strings.Repeat("x", 3000) + "\n"
	for _, all := range []bool{true, false} {
		t.Run(fmt.Sprintf("all=%v", all), func(t *testing.T) {
			for _, k := range kinds() {
				t.Run(k.name, func(t *testing.T) {
					s := newScript(t)
					s.data = echoLines(all)
					stats := new(engine.Stats)
					r := start(t, k, engine.Options{Stats: stats}, s)
					t.Run("byte by byte", func(t *testing.T) {
						nc := r.dial()
						for i := range len(text) {
							send(t, nc, []byte(text[i:i+1]))
						}
						expect(t, nc, text)
					})
					t.Run("several in one", func(t *testing.T) {
						nc := r.dial()
						send(t, nc, []byte(strings.Repeat(text, 500)))
						expect(t, nc, strings.Repeat(text, 500))
					})
					t.Run("every split", func(t *testing.T) {
						nc := r.dial()
						for i := range text {
							send(t, nc, []byte(text[:i]))
							expect(t, nc, text[:strings.LastIndexByte(text[:i], '\n')+1])
							send(t, nc, []byte(text[i:]))
							expect(t, nc, text[strings.LastIndexByte(text[:i], '\n')+1:])
						}
					})
					t.Run("long", func(t *testing.T) {
						nc := r.dial()
						for i := 0; i < len(long); i += 700 {
							send(t, nc, []byte(long[i:min(i+700, len(long))]))
						}
						expect(t, nc, long)
					})
					eventually(t, "partial bytes given back",
						func() bool {
							return stats.Partial.Load() == 0 &&
								stats.Unsent.Load() == 0
						})
				})
			}
		})
	}
}

// TestWholeFrames writes from many goroutines: each frame arrives whole and each writer's in order.
func TestWholeFrames(t *testing.T) {
	const writers, frames, size = 8, 400, 300
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			r := start(t, k, engine.Options{SendBuffer: 8 << 10}, s)
			// frames: less than Unsent, more than the kernel takes.
			onTheWay := make(chan struct{}, 150)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			var wg sync.WaitGroup
			t.Cleanup(wg.Wait)
			for w := range writers {
				wg.Go(func() {
					f := bytes.Repeat([]byte{byte(w)}, size)
					for i := range frames {
						binary.BigEndian.PutUint32(f, uint32(i))
						select {
						case onTheWay <- struct{}{}:
						case <-t.Context().Done():
							return
						}
						if err := c.Write(f); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			var next [writers]uint32
			f := make([]byte, size)
			for range writers * frames {
				if _, err := io.ReadFull(nc, f); err != nil {
					t.Fatal(err)
				}
				<-onTheWay
				w := f[4]
				if i := binary.BigEndian.Uint32(f); i != next[w] ||
					bytes.Count(f[4:], []byte{w}) != size-4 {
					t.Fatalf("writer %d: frame %d, want %d, or torn", w, i, next[w])
				}
				next[w]++
			}
		})
	}
}

// TestSlowPeer writes to a peer that does not read, until it is refused, then has the peer read:
// not a byte is missing.
func TestSlowPeer(t *testing.T) {
	const unsent = 32 << 10
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			stats := new(engine.Stats)
			r := start(t, k, engine.Options{Unsent: unsent, Stats: stats}, s)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			frame := make([]byte, 1000)
			if err := c.Write(make([]byte, unsent+1)); !errors.Is(err, engine.ErrSlow) {
				t.Fatalf("more than the bound at once: %v", err)
			}
			sent, err := 0, error(nil)
			for ; err == nil && sent < 64<<20; sent++ {
				binary.BigEndian.PutUint32(frame, uint32(sent))
				err = c.Write(frame)
				if held := stats.Unsent.Load(); held > unsent {
					t.Fatalf("%d bytes kept, bound %d", held, unsent)
				}
			}
			if !errors.Is(err, engine.ErrSlow) || stats.Slow.Load() != 2 {
				t.Fatalf("after %d frames: %v, %d refused", sent, err, stats.Slow.Load())
			}
			for i := range sent - 1 {
				if _, err := io.ReadFull(nc, frame); err != nil ||
					binary.BigEndian.Uint32(frame) != uint32(i) {
					t.Fatalf("frame %d of %d: %v, %x", i, sent-1, err, frame[:4])
				}
			}
			eventually(t, "unsent bytes gone", func() bool { return stats.Unsent.Load() == 0 })
			if err := c.Write([]byte("alive")); err != nil {
				t.Fatal(err)
			}
			expect(t, nc, "alive")
		})
	}
}

// TestSlowPeerClosed closes a connection after a refusal: OnClose says why, and the buffer is given
// back though the peer never reads.
func TestSlowPeerClosed(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			stats := new(engine.Stats)
			r := start(t, k, engine.Options{Stats: stats}, s)
			_ = r.dial()
			c := receive(t, s.opened, "OnOpen")
			frame := make([]byte, 8000)
			var err error
			for err == nil {
				err = c.Write(frame)
			}
			if !errors.Is(err, engine.ErrSlow) {
				t.Fatal(err)
			}
			_ = c.Close()
			if got := receive(t, s.ends, "OnClose"); !errors.Is(got.err, engine.ErrSlow) {
				t.Errorf("OnClose(%v)", got.err)
			}
			eventually(t, "unsent bytes given back",
				func() bool { return stats.Unsent.Load() == 0 })
		})
	}
}

// TestLastWords writes and closes at once, with bytes of the peer unread: the peer gets them all
// the same.
func TestLastWords(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			greeted := make(chan engine.Conn, 1)
			s.data = func(c engine.Conn, b []byte) int {
				c.Pause()
				greeted <- c
				return len(b)
			}
			r := start(t, k, engine.Options{}, s)
			for range 20 {
				nc := r.dial()
				send(t, nc, []byte("x"))
				c := receive(t, greeted, "OnData") // so TLS has shaken hands
				send(t, nc, make([]byte, 40_000))
				if err := c.Write([]byte("refused")); err != nil {
					t.Error(err)
				}
				_ = c.Close()
				expect(t, nc, "refused")
				if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("after the last words: %v", err)
				}
			}
		})
	}
}

func TestHalfClose(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			var got atomic.Int64
			s.data = func(_ engine.Conn, b []byte) int { got.Add(int64(len(b))); return len(b) }
			r := start(t, k, engine.Options{}, s)
			for _, n := range []int{1, 100, 300_000} {
				got.Store(0)
				nc := r.dial()
				send(t, nc, make([]byte, n))
				if cw, ok := nc.(interface{ CloseWrite() error }); !ok || cw.CloseWrite() != nil {
					t.Fatal("cannot half-close")
				}
				if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, io.EOF) ||
					got.Load() != int64(n) {
					t.Errorf("OnClose(%v) after %d bytes, want EOF after %d", e.err, got.Load(), n)
				}
			}
		})
	}
}

// TestAttributes: what a Conn tells about itself.
func TestAttributes(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			var clock atomic.Int64
			clock.Store(1000)
			s := newScript(t)
			r := start(t, k, engine.Options{Now: func() time.Time {
				return time.Unix(clock.Load(),
					0)
			}}, s)
			a, b := r.dial(), r.dial()
			ca, cb := receive(t, s.opened, "OnOpen"), receive(t, s.opened, "OnOpen")
			if ca.RemoteAddr() != netip.MustParseAddrPort(a.LocalAddr().String()) {
				ca, cb = cb, ca
			}
			if got := cb.RemoteAddr().String(); got != b.LocalAddr().String() {
				t.Errorf("RemoteAddr %s, want %s", got, b.LocalAddr())
			}
			if ca.Session() != nil {
				t.Error("a session from nowhere")
			}
			ca.SetSession("of a")
			if ca.Session() != "of a" || cb.Session() != nil {
				t.Errorf("sessions %v and %v", ca.Session(), cb.Session())
			}
			clock.Store(2000)
			send(t, a, []byte("x"))
			eventually(t, "LastRead", func() bool { return ca.LastRead() == 2000 })
			if cb.LastRead() != 1000 {
				t.Errorf("LastRead %d without a read", cb.LastRead())
			}
		})
	}
}
