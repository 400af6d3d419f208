package trackersim_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/wialon"
)

func TestRefusedLoginEndsRun(t *testing.T) {
	for _, v := range those(func(v variant) bool { return !v.wordless }) {
		t.Run(v.name, func(t *testing.T) {
			d := v.desk(t)
			d.answer(func(*protocol.Event) protocol.Result { return protocol.UnknownDevice })
			r := newRecorder()
			err := ended(t, trackersim.Options{Protocol: v.p, Gateway: d.addr(), Device: v.device(t,
				"1"), OnEvent: r.add})
			if !errors.Is(err, trackersim.ErrRefused) {
				t.Errorf("Run ended with %v", err)
			}
			r.next(t, trackersim.Refused)
			if e := r.next(t, trackersim.Disconnected); !errors.Is(e.Err, trackersim.ErrRefused) {
				t.Errorf("disconnected by %v", e.Err)
			}
		})
	}
}

func TestUnansweredLoginEndsRun(t *testing.T) {
	// its backlog takes the connection, nobody reads it.
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	err = ended(t, trackersim.Options{
		Protocol: wialon.New(), Gateway: ln.Addr().String(),
		Device: protocol.DeviceConfig{ID: "1"}, LoginTimeout: 50 * time.Millisecond,
	})
	if !errors.Is(err, trackersim.ErrNoLogin) {
		t.Errorf("Run ended with %v", err)
	}
}

func TestLostConnectionIsAnErrorAndDisconnectIsNot(t *testing.T) {
	d := newDesk(t, jt808.New())
	for _, tc := range []struct {
		name string
		end  func(tr *trackersim.Tracker)
		want error
	}{
		{"gateway closes", func(*trackersim.Tracker) {
			d.mu.Lock()
			_ = d.conns[0].Close()
			d.mu.Unlock()
		}, io.EOF},
		{"tracker disconnects", (*trackersim.Tracker).Disconnect, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := trackersim.New(trackersim.Options{
				Protocol: d.p, Gateway: d.addr(), Now: time.Now,
				Device: protocol.DeviceConfig{ID: "1", Settings: d.settings},
			})
			result := make(chan error, 1)
			go func() { result <- tr.Run(context.WithoutCancel(t.Context())) }()
			await(t, tr, "login", loggedIn)
			tc.end(tr)
			if err := <-result; !errors.Is(err, tc.want) {
				t.Errorf("Run ended with %v, want %v", err, tc.want)
			}
		})
	}
}

func TestReconnectsWhenTheGatewayComesBack(t *testing.T) {
	d := newDesk(t, jt808.New())
	addr := d.addr()
	d.close()
	r := newRecorder()
	tr, _ := run(t, trackersim.Options{
		Protocol: d.p, Gateway: addr, Device: protocol.DeviceConfig{ID: "1"}, OnEvent: r.add,
		Reconnect: true, ReconnectMin: time.Millisecond, ReconnectMax: 10 * time.Millisecond,
	})
	if e := r.next(t, trackersim.DialFailed); !errors.Is(e.Err, syscall.ECONNREFUSED) {
		t.Errorf("dial failed with %v", e.Err)
	}
	r.next(t, trackersim.DialFailed)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	back := &desk{t: t, p: d.p, ln: ln, settings: d.settings, change: make(chan struct{})}
	back.group.Go(back.accept)
	t.Cleanup(back.close)
	await(t, tr, "login", loggedIn)
	if n := len(back.await(protocol.KindRegister, 1)); n != 1 {
		t.Errorf("%d registrations", n)
	}
	tr.Disconnect()
	await(t, tr, "second login", func(s trackersim.Stats) bool { return s.Logins == 2 })
	if n := len(back.await(protocol.KindRegister, 1)); n != 1 {
		t.Errorf("%d registrations: the device forgot its code", n)
	}
}

func TestBeatsAndReportsPositions(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			d := v.desk(t)
			tr, _ := run(t, trackersim.Options{
				Protocol: v.p, Gateway: d.addr(), Device: v.device(t, "1"),
				HeartbeatEvery: 5 * time.Millisecond, PositionEvery: 7 * time.Millisecond,
			})
			d.await(protocol.KindHeartbeat, 3)
			d.await(protocol.KindPosition, 3)
			await(t, tr, "signs of life",
				func(s trackersim.Stats) bool { return s.Heartbeats >= 3 && s.Positions >= 3 })
		})
	}
}

func TestSourceAddress(t *testing.T) {
	d := newDesk(t, wialon.New())
	tr, _ := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(),
		Device: protocol.DeviceConfig{ID: "1"}, Source: netip.MustParseAddr("127.0.0.9"),
	})
	await(t, tr, "login", loggedIn)
	d.mu.Lock()
	defer d.mu.Unlock()
	if host, _, err := net.SplitHostPort(d.conns[0].RemoteAddr().String()); err != nil ||
		host != "127.0.0.9" {
		t.Errorf("connected from %s (%v)", host, err)
	}
}

// A gateway that reads nothing blocks the device's writes, not the end of Run.
func TestEndsWhileAWriteBlocks(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	tr, stop := run(t, trackersim.Options{
		Protocol: wialon.New(), Gateway: ln.Addr().String(),
		Device: protocol.DeviceConfig{ID: "1"},
	})
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("#AL#1\r\n")); err != nil {
		t.Fatal(err)
	}
	await(t, tr, "login", loggedIn)
	said := make(chan error, 1)
	// more than any socket buffer.
	go func() { said <- tr.Say(context.WithoutCancel(t.Context()), strings.Repeat("x", 64<<20)) }()
	if _, err := io.ReadFull(conn, make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if err := <-said; !errors.Is(err, trackersim.ErrEnded) {
		t.Errorf("Say ended with %v", err)
	}
	if s := tr.Stats(); s.SaidCopies != 0 {
		t.Errorf("a text counts as written that was not: %+v", s)
	}
}

func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	d := newDesk(t, jt808.New())
	d.wrap(func(c net.Conn) net.Conn {
		return tls.Server(c,
			&tls.Config{Certificates: web.TLS.Certificates})
	})
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	tr, stop := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(), Device: protocol.DeviceConfig{ID: "1"},
		TLS: &tls.Config{RootCAs: roots}, HeartbeatEvery: 5 * time.Millisecond,
	})
	check(t, tr.Say(patient(t), "in private"))
	d.send(9, "hello", 1)
	d.await(protocol.KindAck, 1)
	d.await(protocol.KindHeartbeat, 2)
	check(t, stop())
}

func TestWrongOptions(t *testing.T) {
	good := trackersim.Options{
		Protocol: jt808.New(), Gateway: "127.0.0.1:1",
		Device: protocol.DeviceConfig{ID: "1"}, Now: time.Now,
	}
	for name, spoil := range map[string]func(o *trackersim.Options){
		"no protocol":       func(o *trackersim.Options) { o.Protocol = nil },
		"no gateway":        func(o *trackersim.Options) { o.Gateway = "" },
		"no id":             func(o *trackersim.Options) { o.Device.ID = "" },
		"no clock":          func(o *trackersim.Options) { o.Now = nil },
		"probability":       func(o *trackersim.Options) { o.NoAck = 1.5 },
		"negative duration": func(o *trackersim.Options) { o.AckDelay = -1 },
	} {
		o := good
		spoil(&o)
		if err := trackersim.New(o).Run(t.Context()); err == nil ||
			errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: Run ended with %v", name, err)
		}
	}
	tr := trackersim.New(good)
	first := tr.Run(t.Context())
	if again := tr.Run(t.Context()); again == nil || !errors.Is(first, syscall.ECONNREFUSED) ||
		errors.Is(again, syscall.ECONNREFUSED) {
		t.Errorf("ran twice: %v, %v", first, again)
	}
}
