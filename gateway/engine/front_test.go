package engine_test

import (
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"trackchat/gateway/engine"
)

var (
	loopback  = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("2001:db8::/32"),
	}
)

const (
	header1   = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 6808\r\n"
	balancers = "" // who a header without a peer belongs to
)

// headerV2 is one of version 2 as HAProxy sends it, with TLVs.
func headerV2(tb testing.TB) string {
	tb.Helper()
	b, err := hex.DecodeString("0D0A0D0A000D0A515549540A" + "2111" + "0013" + "C0000201" +
		"C6336401" + "DC04" + "1A98" + "030004FD16EE60")
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// TestProxyHeader sees handlers be told the peer of the header, however it comes.
func TestProxyHeader(t *testing.T) {
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = echoLines(true)
			asked := make(chan netip.AddrPort, 100)
			s.admit = func(peer netip.AddrPort) bool { asked <- peer; return true }
			stats := new(engine.Stats)
			r := startFront(t, k, engine.Options{Stats: stats}, s, &engine.Front{Proxy: loopback})
			for _, c := range []struct{ name, header, peer string }{
				{"version 1", header1, "192.0.2.1:56324"},
				{"version 2", headerV2(t), "192.0.2.1:56324"},
				{
					"version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::8 1 2\r\n",
					"[2001:db8::7]:1",
				},
				{"local", local, balancers},
				{"unknown", "PROXY UNKNOWN\r\n", balancers},
			} {
				for _, way := range []string{"alone", "byte by byte", "with data", "cut in data"} {
					nc := r.dialTCP()
					want := c.peer
					if want == balancers {
						want = nc.LocalAddr().String()
					}
					rest := ""
					switch {
					case way == "byte by byte":
						for i := range len(c.header) {
							send(t, nc, []byte(c.header[i:i+1]))
						}
					case way == "with data" && !k.tls:
						send(t, nc, []byte(c.header+"a line\n"))
						rest = "a line\n"
					case way == "cut in data" && !k.tls:
						send(t, nc, []byte(c.header+"a "))
						send(t, nc, []byte("line\n"))
						rest = "a line\n"
					default:
						send(t, nc, []byte(c.header))
					}
					conn := receive(t, s.opened, "OnOpen")
					if got := receive(t, asked, "Admit").String(); got != want ||
						conn.RemoteAddr().String() != want {
						t.Errorf("%s, %s: asked about %s, connection of %s, want %s", c.name, way,
							got, conn.RemoteAddr(), want)
					}
					nc = r.secure(nc)
					expect(t, nc, rest)
					send(t, nc, []byte("another\n"))
					expect(t, nc, "another\n")
					_ = nc.Close()
					receive(t, s.ends, "OnClose")
				}
			}
			if stats.Partial.Load() != 0 || len(s.refusals) != 0 {
				t.Errorf("%d bytes kept, %d refused", stats.Partial.Load(), len(s.refusals))
			}
		})
	}
}

// TestProxyHeaderAndWhatTheHandlerDoes has OnOpen pause, close or panic while data stand behind the
// header.
func TestProxyHeaderAndWhatTheHandlerDoes(t *testing.T) {
	for _, k := range kinds() {
		if k.tls {
			continue // nothing can stand behind the header
		}
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = echoLines(true)
			acts := make(chan func(engine.Conn), 1)
			s.open = func(c engine.Conn) { (<-acts)(c) }
			stats := new(engine.Stats)
			r := startFront(t, k, engine.Options{Stats: stats}, s, &engine.Front{Proxy: loopback})
			paused := make(chan engine.Conn, 1)
			acts <- func(c engine.Conn) {
				c.Pause()
				paused <- c
			}
			nc := r.dialTCP()
			send(t, nc, []byte(header1+"a line\n"))
			receive(t, paused, "OnOpen").Resume()
			expect(t, nc, "a line\n")
			_ = nc.Close()
			receive(t, s.ends, "OnClose")
			acts <- func(c engine.Conn) { _ = c.Close() }
			nc = r.dialTCP()
			send(t, nc, []byte(header1+"a line\n"))
			if e := receive(t, s.ends, "OnClose"); e.err != nil {
				t.Errorf("OnClose(%v)", e.err)
			}
			acts <- func(engine.Conn) { panic("open") }
			nc = r.dialTCP()
			send(t, nc, []byte(header1+"a line\n"))
			if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrHandler) {
				t.Errorf("OnClose(%v)", e.err)
			}
			if stats.Partial.Load() != 0 {
				t.Errorf("%d bytes kept", stats.Partial.Load())
			}
		})
	}
}

// TestProxyHeaderRefused: without a proper header a balancer's connection ends, and the handler
// never sees it.
func TestProxyHeaderRefused(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			stats := new(engine.Stats)
			r := startFront(t, k, engine.Options{Stats: stats}, s, &engine.Front{Proxy: loopback})
			wrong := map[string]string{
				"none": "#L#1;NA\r\n",
				"TLS": "\x16\x03\x01\x00\xC4\x01\x00\x00\xC0\x03\x03" +
					strings.Repeat("r", 200),
				"no end of line": "PROXY TCP4 " + strings.Repeat("1", 200),
				"no such version": "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0C" + strings.Repeat("x",
					12),
				"too long": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xFF\xFF" + strings.Repeat("x",
					60_000),
			}
			for name, bytes := range wrong {
				nc := r.dialTCP()
				_, _ = nc.Write([]byte(bytes)) // the end may come before the last byte
				if got := receive(t, s.refusals, name); !errors.Is(got.err, engine.ErrProxy) ||
					got.peer.String() != nc.LocalAddr().String() {
					t.Errorf("%s: %s refused: %v", name, got.peer, got.err)
				}
				over(t, nc)
			}
			for name, h := range map[string]string{"version 1": header1, "version 2": headerV2(t)} {
				nc := r.dialTCP()
				send(t, nc, []byte(h[:len(h)-1]))
				if err := tcp(nc).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got := receive(t, s.refusals, name); !errors.Is(got.err, engine.ErrProxy) {
					t.Errorf("%s, truncated: %v", name, got.err)
				}
				over(t, nc)
			}
			_ = r.dialTCP().Close() // a balancer that looks whether the port is there
			nc := r.dialTCP()
			send(t, nc, []byte(header1))
			receive(t, s.opened, "OnOpen")
			if len(s.refusals) != 0 || len(s.opened) != 0 || stats.Partial.Load() != 0 {
				t.Errorf("%d refused, %d opened, %d bytes kept", len(s.refusals), len(s.opened),
					stats.Partial.Load())
			}
		})
	}
}

// TestProxyHeaderLate: a header has to come in time, also one that comes byte by byte; those that
// wait are bounded; Shutdown does not wait for them.
func TestProxyHeaderLate(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = echoLines(true)
			r := startFront(t, k, engine.Options{}, s, &engine.Front{
				Proxy:   loopback,
				Timeout: 500 * time.Millisecond, Pending: 2,
			})
			begin := time.Now()
			silent, slow := r.dialTCP(), r.dialTCP()
			third := r.dialTCP()
			if got := receive(t, s.refusals, "refusal"); !errors.Is(got.err, engine.ErrProxyFull) ||
				got.peer.String() != third.LocalAddr().String() {
				t.Fatalf("refused %v", got)
			}
			over(t, third)
			for i := 0; len(s.refusals) < 2; i = min(i+1, len(header1)-2) {
				_, _ = slow.Write([]byte(header1[i : i+1]))
				if time.Since(begin) > patience {
					t.Fatal("still waiting for a header")
				}
				<-time.After(10 * time.Millisecond)
			}
			for range 2 {
				if got := <-s.refusals; !errors.Is(got.err, engine.ErrProxyLate) &&
					!errors.Is(got.err, engine.ErrProxy) {
					t.Errorf("refused %v", got)
				}
			}
			over(t, silent)
			over(t, slow)
			nc := r.dialTCP()
			send(t, nc, []byte(header1))
			receive(t, s.opened, "OnOpen")
			nc = r.secure(nc)
			send(t, nc, []byte("hello\n"))
			expect(t, nc, "hello\n")
			r.dialTCP()
			r.shutdown()
			if len(s.opened) != 0 {
				t.Error("opened without a header")
			}
		})
	}
}

// TestProxyHeaderFromElsewhere: whoever is no balancer stays who he is, whatever header he sends.
func TestProxyHeaderFromElsewhere(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = echoLines(true)
			r := startFront(t, k, engine.Options{}, s, &engine.Front{Proxy: elsewhere})
			nc := r.dial()
			send(t, nc, []byte("hello\n"))
			expect(t, nc, "hello\n")
			if c := receive(t, s.opened, "OnOpen"); c.RemoteAddr().String() != nc.LocalAddr().String() {
				t.Errorf("connection of %s", c.RemoteAddr())
			}
			liar := r.dialTCP()
			send(t, liar, []byte(header1))
			if c := receive(t, s.opened, "OnOpen"); c.RemoteAddr().String() != liar.LocalAddr().String() {
				t.Errorf("connection of %s", c.RemoteAddr())
			}
			if k.tls {
				if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrHandshake) {
					t.Errorf("OnClose(%v)", e.err)
				}
				return
			}
			expect(t, liar, header1) // nothing but bytes
		})
	}
}

// TestAdmitAfterTheHeader: a peer that a header names can be refused.
func TestAdmitAfterTheHeader(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.admit = func(peer netip.AddrPort) bool { return peer.Port() != 56324 }
			stats := new(engine.Stats)
			r := startFront(t, k, engine.Options{Stats: stats}, s, &engine.Front{
				Proxy:   loopback,
				Pending: 1,
			})
			for range 3 { // a refused one gives its place back
				nc := r.dialTCP()
				send(t, nc, []byte(header1))
				over(t, nc)
			}
			send(t, r.dialTCP(), []byte(strings.Replace(header1, "56324", "7", 1)))
			receive(t, s.opened, "OnOpen")
			if stats.Refused.Load() != 3 || len(s.refusals) != 0 {
				t.Errorf("%d refused, %d of them by the engine", stats.Refused.Load(),
					len(s.refusals))
			}
		})
	}
}

// over waits for the end of a connection that was refused.
func over(t *testing.T, nc net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(nc); len(b) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %q, %v", b, err)
	}
}
