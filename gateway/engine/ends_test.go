package engine_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"trackchat/gateway/engine"
)

// ending is a way for a connection to end.
type ending struct {
	name  string
	setup func(s *script)
	// nil: connects and does no more, not even a TLS handshake.
	peer func(nc net.Conn, c engine.Conn)
	want error // nil: as after Close
}

// errReset stands for whatever the transport reports after a reset.
var errReset = errors.New("any error of the transport")

func say(text string) func(net.Conn, engine.Conn) {
	// what arrives is seen at the other side.
	return func(nc net.Conn, _ engine.Conn) { _, _ = nc.Write([]byte(text)) }
}

func endings() []ending {
	end := func(c engine.Conn) { _ = c.Close() }
	hangUp := func(nc net.Conn) { _ = nc.Close() }
	reset := func(nc net.Conn) {
		_ = tcp(nc).SetLinger(0) // a failure shows as an end without reset
		_ = tcp(nc).Close()
	}
	return []ending{
		{"close in OnOpen", func(s *script) { s.open = end }, nil, nil},
		{"close in OnData", func(s *script) {
			s.data = func(c engine.Conn,
				b []byte,
			) int {
				end(c)
				return len(b)
			}
		}, say("x"), nil},
		{"close in OnData, bytes left", func(s *script) {
			s.data = func(c engine.Conn,
				_ []byte,
			) int {
				end(c)
				return 1
			}
		}, say("xyz"), nil},
		{
			"close in OnClose", func(s *script) {
				s.close = func(c engine.Conn,
					_ error,
				) {
					end(c)
				}
			},
			func(nc net.Conn, _ engine.Conn) { hangUp(nc) }, io.EOF,
		},
		{"close twice", nil, func(_ net.Conn, c engine.Conn) { end(c); end(c) }, nil},
		{"close from many", nil, func(_ net.Conn, c engine.Conn) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { end(c) })
			}
			wg.Wait()
		}, nil},
		{"close while paused", nil, func(_ net.Conn, c engine.Conn) {
			c.Pause()
			end(c)
			c.Resume()
		}, nil},
		{"peer closes after nothing", nil, func(nc net.Conn, _ engine.Conn) { hangUp(nc) }, io.EOF},
		{
			"peer closes after half a frame", func(s *script) { s.data = echoLines(true) },
			func(nc net.Conn, c engine.Conn) { say("half")(nc, c); hangUp(nc) }, io.EOF,
		},
		{"peer closes after a frame", nil, func(nc net.Conn, c engine.Conn) {
			say("whole\n")(nc,
				c)
			hangUp(nc)
		}, io.EOF},
		{"peer closes while paused", nil, func(nc net.Conn,
			c engine.Conn,
		) {
			c.Pause()
			hangUp(nc)
			c.Resume()
		}, io.EOF},
		{
			"peer goes without a word", nil, func(nc net.Conn,
				_ engine.Conn,
			) {
				_ = tcp(nc).Close()
			},
			io.EOF,
		},
		{"reset", nil, func(nc net.Conn, _ engine.Conn) { reset(nc) }, errReset},
		{
			"panic in OnOpen", func(s *script) { s.open = func(engine.Conn) { panic("open") } },
			nil,
			engine.ErrHandler,
		},
		{"panic in OnData", func(s *script) {
			s.data = func(engine.Conn,
				[]byte,
			) int {
				panic("data")
			}
		}, say("x"), engine.ErrHandler},
		{"panic in OnClose", func(s *script) {
			s.close = func(engine.Conn,
				error,
			) {
				panic("close")
			}
		}, func(_ net.Conn, c engine.Conn) { end(c) }, nil},
		{"too much consumed", func(s *script) {
			s.data = func(_ engine.Conn,
				b []byte,
			) int {
				return len(b) + 1
			}
		}, say("x"), engine.ErrHandler},
		{"less than nothing consumed", func(s *script) {
			s.data = func(engine.Conn,
				[]byte,
			) int {
				return -1
			}
		}, say("x"), engine.ErrHandler},
	}
}

// TestEnds goes through the ways a connection may end.
func TestEnds(t *testing.T) {
	for _, k := range kinds() {
		for _, tc := range endings() {
			t.Run(k.name+"/"+tc.name, func(t *testing.T) {
				s := newScript(t)
				if tc.setup != nil {
					tc.setup(s)
				}
				stats := new(engine.Stats)
				r := start(t, k, engine.Options{Stats: stats}, s)
				var nc net.Conn
				if tc.peer != nil {
					nc = r.dial()
				} else {
					_ = r.dialTCP()
				}
				c := receive(t, s.opened, "OnOpen")
				if tc.peer != nil {
					tc.peer(nc, c)
				}
				if got := receive(t, s.ends, "OnClose"); !matches(got.err, tc.want) || got.c != c {
					t.Errorf("OnClose(%v), want %v", got.err, tc.want)
				}
				if err := c.Write([]byte("late")); !errors.Is(err, engine.ErrClosed) {
					t.Errorf("Write after the end: %v", err)
				}
				c.Pause()
				c.Resume()
				c.Trust(1)
				r.shutdown()
				if len(s.ends) != 0 || stats.Opened.Load() != stats.Closed.Load() ||
					stats.Partial.Load() != 0 {
					t.Errorf("after Shutdown: %d more ends, %d opened, %d closed, %d bytes kept",
						len(s.ends), stats.Opened.Load(), stats.Closed.Load(), stats.Partial.Load())
				}
			})
		}
	}
}

func matches(err, want error) bool {
	if errors.Is(want, errReset) {
		return err != nil && !errors.Is(err, io.EOF)
	}
	return errors.Is(err, want)
}

// TestWriteAfterReset writes to a peer that has gone while reading is paused: what it sent before
// is delivered, then the connection ends.
func TestWriteAfterReset(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			got := make(chan string, 10)
			s.data = func(c engine.Conn, b []byte) int {
				if string(b) == "first" {
					c.Pause()
				}
				got <- string(b)
				return len(b)
			}
			r := start(t, k, engine.Options{}, s)
			nc := r.dial()
			send(t, nc, []byte("first"))
			c := receive(t, s.opened, "OnOpen")
			_ = receive(t, got, "first bytes")
			send(t, nc, []byte("last"))
			_ = tcp(nc).Close() // with nobody there, the first write is answered by a reset
			eventually(t, "write error", func() bool { return c.Write([]byte("x")) != nil })
			if len(s.ends) != 0 {
				t.Error("ended while paused")
			}
			c.Resume()
			if b := receive(t, got, "last bytes"); b != "last" {
				t.Errorf("got %q", b)
			}
			if e := receive(t, s.ends, "OnClose"); e.err == nil {
				t.Error("OnClose(nil), but nobody called Close")
			}
			r.shutdown()
		})
	}
}
