package engine_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"trackchat/gateway/engine"
)

// client is the TLS of a peer that is dialled, nil where there is none.
func (r *rig) client() *tls.Config {
	if !r.kind.tls {
		return nil
	}
	return &tls.Config{RootCAs: r.pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}
}

// connect dials the rig's own listener.
func (r *rig) connect(o engine.DialOptions, h engine.Handler) engine.Conn {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(r.tb.Context(), patience)
	defer cancel()
	c, err := r.eng.Dial(ctx, r.addr, o, h)
	if err != nil {
		r.tb.Fatal(err)
	}
	return c
}

// TestDial plays both sides with one engine.
func TestDial(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = echoLines(true)
			r := start(t, k, engine.Options{}, s)
			o := engine.DialOptions{Local: netip.MustParseAddr("127.0.0.3"), TLS: r.client()}
			peer := newScript(t)
			lines := make(chan string, 10)
			peer.data = func(_ engine.Conn, b []byte) int { lines <- string(b); return len(b) }
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c, err := r.eng.Dial(ctx, r.addr, o, peer)
			if err != nil {
				t.Fatal(err)
			}
			if receive(t, peer.opened, "OnOpen") != c ||
				receive(t, s.opened, "OnOpen").RemoteAddr().Addr().String() != "127.0.0.3" {
				t.Error("not from where it was asked for")
			}
			if err := c.Write([]byte("hello\n")); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, lines, "echo"); got != "hello\n" {
				t.Errorf("echo %q", got)
			}
			_ = c.Close()
			if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, io.EOF) {
				t.Errorf("OnClose(%v)", e.err)
			}
			if e := receive(t, peer.ends, "OnClose"); e.err != nil {
				t.Errorf("OnClose(%v)", e.err)
			}
			if _, err := r.eng.Dial(ctx, "127.0.0.1:1", engine.DialOptions{}, peer); err == nil {
				t.Error("connected to nobody")
			}
			r.shutdown()
			if _, err := r.eng.Dial(ctx, r.addr, engine.DialOptions{}, peer); !errors.Is(err,
				engine.ErrShutdown) {
				t.Errorf("Dial after Shutdown: %v", err)
			}
		})
	}
}

// TestDialHandshake sees a certificate that cannot be verified end the connection.
func TestDialHandshake(t *testing.T) {
	r := start(t, kinds()[1], engine.Options{}, newScript(t))
	peer := newScript(t)
	_, strangers := certificate(t)
	c := r.connect(engine.DialOptions{TLS: &tls.Config{
		RootCAs: strangers, ServerName: "localhost", MinVersion: tls.VersionTLS13,
	}}, peer)
	if err := c.Write([]byte("never sent\n")); err != nil {
		t.Error(err)
	}
	if e := receive(t, peer.ends, "OnClose"); !errors.Is(e.err, engine.ErrHandshake) {
		t.Errorf("OnClose(%v)", e.err)
	}
}

// TestDialBeside sees two connections be put into one loop.
func TestDialBeside(t *testing.T) {
	r := start(t, kinds()[0], engine.Options{Loops: 3}, newScript(t))
	for range 4 {
		first := r.connect(engine.DialOptions{}, newScript(t))
		second := r.connect(engine.DialOptions{Beside: first}, newScript(t))
		if first.Loop() != second.Loop() {
			t.Errorf("in loop %d beside one in %d", second.Loop(), first.Loop())
		}
	}
}

// TestDialHeader sees the header come before everything else, TLS included.
func TestDialHeader(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			s.data = echoLines(true)
			r := startFront(t, k, engine.Options{}, s, &engine.Front{Proxy: loopback})
			peer := newScript(t)
			lines := make(chan string, 10)
			peer.data = func(_ engine.Conn, b []byte) int { lines <- string(b); return len(b) }
			c := r.connect(engine.DialOptions{Header: []byte(header1), TLS: r.client()}, peer)
			if err := c.Write([]byte("hello\n")); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, lines, "echo"); got != "hello\n" {
				t.Errorf("echo %q", got)
			}
			if got := receive(t, s.opened, "OnOpen").RemoteAddr(); got.String() != "192.0.2.1:56324" {
				t.Errorf("from %s", got)
			}
		})
	}
}

// TestReset sees a connection that is reset be told apart from one that was closed, by both sides.
func TestReset(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			r := start(t, k, engine.Options{}, s)
			peer := newScript(t)
			c := r.connect(engine.DialOptions{TLS: r.client()}, peer)
			receive(t, s.opened, "OnOpen")
			if err := c.Reset(); err != nil {
				t.Error(err)
			}
			_ = c.Reset()
			if e := receive(t, peer.ends, "OnClose"); e.err != nil {
				t.Errorf("OnClose(%v) after Reset", e.err)
			}
			e := receive(t, s.ends, "OnClose")
			if !errors.Is(e.err, syscall.ECONNRESET) && !k.tls {
				t.Errorf("OnClose(%v) of the peer", e.err)
			}
			if err := c.Write([]byte("x")); !errors.Is(err, engine.ErrClosed) {
				t.Errorf("Write after Reset: %v", err)
			}
		})
	}
}

// drainScript waits for slow peers.
type drainScript struct {
	*script
	drained chan engine.Conn
}

func (d *drainScript) OnDrained(c engine.Conn) { d.drained <- c }

// TestDrained sees a writer be told when a slow peer has caught up, and its own bound hold.
func TestDrained(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			h := &drainScript{newScript(t), make(chan engine.Conn, 100)}
			r := start(t, k, engine.Options{Unsent: 16 << 10}, h)
			nc := r.dial()
			c := receive(t, h.opened, "OnOpen")
			const most, piece = 8 << 20, 256 << 10
			c.LimitUnsent(most)
			written := 0
			for c.Unsent() == 0 { // what the kernel takes says nothing of the peer
				if err := c.Write([]byte(strings.Repeat("x", piece))); err != nil {
					t.Fatal(err)
				}
				written += piece
			}
			if err := c.Write(make([]byte, most)); !errors.Is(err, engine.ErrSlow) {
				t.Errorf("beyond the bound: %v", err)
			}
			select {
			case <-h.drained:
				t.Error("drained although the peer has read nothing")
			default:
			}
			if _, err := io.CopyN(io.Discard, nc, int64(written)); err != nil {
				t.Fatal(err)
			}
			if receive(t, h.drained, "OnDrained") != c || c.Unsent() != 0 {
				t.Errorf("drained with %d bytes unsent", c.Unsent())
			}
			_ = c.Close()
		})
	}
}

// restScript wants what peers leave unfinished.
type restScript struct {
	*script
	rest chan string
}

func (d *restScript) OnRest(_ engine.Conn, buf []byte) { d.rest <- string(buf) }

// TestRest sees what a peer has left unfinished be handed out when it ends the connection, and not
// when this side does.
func TestRest(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			h := &restScript{newScript(t), make(chan string, 10)}
			lines := make(chan struct{}, 10)
			h.data = func(_ engine.Conn, b []byte) int {
				n := strings.IndexByte(string(b), '\n') + 1
				if n > 0 {
					lines <- struct{}{}
				}
				return n
			}
			r := start(t, k, engine.Options{}, h)
			nc := r.dial()
			send(t, nc, []byte("a line\nthe begin"))
			receive(t, lines, "the line")
			_ = tcp(nc).CloseWrite()
			if got := receive(t, h.rest, "OnRest"); got != "the begin" {
				t.Errorf("left %q", got)
			}
			receive(t, h.ends, "OnClose")
			receive(t, h.opened, "OnOpen")
			own := r.dial()
			send(t, own, []byte("x"))
			c := receive(t, h.opened, "OnOpen")
			_ = c.Close()
			receive(t, h.ends, "OnClose")
			select {
			case got := <-h.rest:
				t.Errorf("%q left although this side has closed", got)
			default:
			}
		})
	}
}

// TestNotDrained sees a writer not be told that bytes have gone which a peer that is no more cannot
// get.
func TestNotDrained(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			h := &drainScript{newScript(t), make(chan engine.Conn, 100)}
			r := start(t, k, engine.Options{}, h)
			nc := r.dial()
			c := receive(t, h.opened, "OnOpen")
			c.LimitUnsent(32 << 20)
			c.Pause() // so that its end is noticed by writing
			more := make([]byte, 16<<20)
			if err := c.Write(more); err != nil { // the kernel does not take all of it
				t.Fatal(err)
			}
			if err := tcp(nc).SetLinger(0); err != nil {
				t.Error(err)
			}
			_ = tcp(nc).Close()
			eventually(t, "unsent bytes dropped", func() bool { return c.Unsent() == 0 })
			c.Resume()
			if e := receive(t, h.ends, "OnClose"); e.err == nil {
				t.Error("an end without a reason")
			}
			if len(h.drained) > 0 {
				t.Error("drained, although the bytes are lost")
			}
		})
	}
}
