package engine_test

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway/engine"
)

// The numbers here are those of SECURITY.md.

// TestBudgetByDefault: 16 MiB of unread bytes are kept for all connections before Trust.
func TestBudgetByDefault(t *testing.T) {
	const each, conns = 256 << 10, 64
	s := newScript(t)
	s.data = func(engine.Conn, []byte) int { return 0 }
	stats := new(engine.Stats)
	r := start(t, kinds()[0], engine.Options{MaxPartial: each, Stats: stats}, s)
	for range conns {
		send(t, r.dialTCP(), make([]byte, each))
	}
	eventually(t, "16 MiB kept", func() bool {
		return stats.Partial.Load() == 16<<20 ||
			len(s.ends) > 0
	})
	if len(s.ends) > 0 {
		t.Fatalf("a connection ended with %d bytes kept: %v", stats.Partial.Load(), (<-s.ends).err)
	}
	send(t, r.dialTCP(), []byte{1})
	if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrBudget) {
		t.Errorf("OnClose(%v)", e.err)
	}
}

// TestHandshakesByDefault: 1,024 are under way at a time, and those of one address leave as many
// places free as they take.
func TestHandshakesByDefault(t *testing.T) {
	cert, _ := certificate(t)
	var underWay atomic.Int32
	over := make(chan struct{})
	conf := &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			underWay.Add(1)
			<-over
			return nil, errors.New("over")
		},
	}
	s := newScript(t)
	r := startFront(t, tlsKind(), engine.Options{Loops: 1}, s, &engine.Front{
		TLS:     conf,
		Timeout: time.Hour,
	})
	hello := clientHello(t)
	begin := func(from string, n int) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		for range n {
			nc, err := d.Dial("tcp", r.addr)
			must(t, err)
			t.Cleanup(func() { _ = nc.Close() })
			receive(t, s.opened, "OnOpen")
			send(t, nc, hello)
		}
	}
	release := sync.OnceFunc(func() { close(over) })
	t.Cleanup(release)
	begin("127.0.0.2", 512+8)
	eventually(t, "half of them under way", func() bool { return underWay.Load() == 512 })
	begin("127.0.0.3", 1) // the only loop comes to it when it has been to the others
	eventually(t, "another address's under way", func() bool { return underWay.Load() == 513 })
	release()
	for range 512 + 8 + 1 {
		if e := receive(t, s.ends, "OnClose"); !errors.Is(e.err, engine.ErrHandshake) {
			t.Fatalf("OnClose(%v)", e.err)
		}
	}
}

// clientHello is how a peer begins.
func clientHello(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	go func() {
		_ = tls.Client(near, &tls.Config{
			ServerName: "localhost",
			MinVersion: tls.VersionTLS13,
		}).Handshake()
	}()
	b := make([]byte, 4<<10)
	n, err := far.Read(b)
	must(t, err)
	return b[:n]
}

// TestFrontTimeoutByDefault: a handshake has 10 s, and a PROXY header 10 to 20 s. Where nobody
// comes before it that is 20 s.
func TestFrontTimeoutByDefault(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		kind  kind
		front engine.Front
		want  time.Duration
		cause error
	}{
		{"handshake", tlsKind(), engine.Front{}, 10 * time.Second, engine.ErrHandshakeLate},
		{
			"header", kinds()[0],
			engine.Front{Proxy: loopback},
			20 * time.Second,
			engine.ErrProxyLate,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t)
			r := startFront(t, c.kind, engine.Options{}, s, &c.front)
			begin := time.Now()
			r.dialTCP()
			var cause error
			select {
			case e := <-s.ends:
				cause = e.err
			case refused := <-s.refusals:
				cause = refused.err
			}
			if took := time.Since(begin); !errors.Is(cause, c.cause) || took < c.want ||
				took >= 2*c.want {
				t.Errorf("ended after %s, want %s: %v", took, c.want, cause)
			}
		})
	}
}
