package engine_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"trackchat/gateway/engine"
)

func tlsKind() kind { return kind{"tls", true} }

// TestHandshakeFails: what is no handshake, or takes too long, ends the connection with the reason.
func TestHandshakeFails(t *testing.T) {
	s := newScript(t)
	r := startFront(t, tlsKind(), engine.Options{}, s,
		&engine.Front{Timeout: 200 * time.Millisecond})
	silent := r.dialTCP()
	if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrHandshakeLate) {
		t.Errorf("silent: OnClose(%v)", e.err)
	}
	over(t, silent)
	send(t, r.dialTCP(), []byte("#L#1;NA\r\n"))
	if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrHandshake) {
		t.Errorf("no TLS: OnClose(%v)", e.err)
	}
	_ = r.dialTCP().Close()
	if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrHandshake) {
		t.Errorf("gone: OnClose(%v)", e.err)
	}
}

// TestHandshakesAreBounded: one that stalls keeps its place until its time is over; then the next
// one's turn comes. Close and Shutdown reach those that wait.
func TestHandshakesAreBounded(t *testing.T) {
	s := newScript(t)
	s.data = echoLines(true)
	r := startFront(t, tlsKind(), engine.Options{Handshakes: 1}, s,
		&engine.Front{Timeout: 400 * time.Millisecond})
	r.dialTCP()
	stalled := receive(t, s.opened, "OnOpen")
	r.dialTCP()
	waiting := receive(t, s.opened, "OnOpen")
	_ = waiting.Close()
	for range 2 {
		if e := receive(t, s.ends, "OnClose"); e.c == waiting && e.err != nil ||
			e.c == stalled && !errors.Is(e.err, engine.ErrHandshakeLate) {
			t.Errorf("OnClose(%v)", e.err)
		}
	}
	nc := r.dial()
	send(t, nc, []byte("hello\n"))
	expect(t, nc, "hello\n")
	receive(t, s.opened, "OnOpen")
	r.dialTCP()
	receive(t, s.opened, "OnOpen")
	r.dialTCP()
	receive(t, s.opened, "OnOpen")
	r.shutdown()
	for range 3 {
		if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrShutdown) {
			t.Errorf("OnClose(%v)", e.err)
		}
	}
}

// TestHandshakesAreShared: peers of one address that begin and stall leave places to others, and
// those that say nothing take none.
func TestHandshakesAreShared(t *testing.T) {
	s := newScript(t)
	s.data = echoLines(true)
	r := startFront(t, tlsKind(), engine.Options{Handshakes: 4}, s,
		&engine.Front{Timeout: patience})
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for i := range 20 {
		nc, err := other.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		receive(t, s.opened, "OnOpen")
		if i >= 10 {
			send(t, nc, []byte{0x16})
		}
	}
	for range 5 {
		nc := r.dial()
		send(t, nc, []byte("hello\n"))
		expect(t, nc, "hello\n")
		receive(t, s.opened, "OnOpen")
	}
	r.shutdown()
}
