package gateway_test

import (
	"net"
	"testing"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

// What admission counts goes back to nothing however a connection ends: otherwise it would close
// for good.
func TestDoorKeepsCount(t *testing.T) {
	const most = 3
	r := newRig(t, []queue.Tracker{jt(1), wl(2, nil), jt(3)},
		func(o *gateway.Options) { o.Limits.Unauthenticated = most })
	opened := 0.0
	came := func() {
		opened++
		eventually(t, func() bool { return r.metric("connections_total") == opened },
			func() string { return "not accepted" })
	}
	empty := func() {
		came()
		eventually(t, func() bool { return r.metric("closed_total") == opened },
			func() string { return "open" })
	}
	for range 20 {
		// a login, a refusal, half a frame, nothing at all.
		nc, err := net.Dial("tcp", r.addrs["wialon"])
		must(t, err)
		_, _ = nc.Write([]byte("#L#" + phone(2) + ";NA\r\n"))
		must(t, nc.Close())
		empty()
		r.dial("wialon", "19900000000").gone()
		empty()
		nc, err = net.Dial("tcp", r.addrs["jt808"])
		must(t, err)
		_, _ = nc.Write([]byte{0x7E, 1})
		must(t, nc.Close())
		empty()
		nc, err = net.Dial("tcp", r.addrs["jt808"])
		must(t, err)
		came()
		opened--
		tcp, ok := nc.(*net.TCPConn)
		if !ok {
			t.Fatal("no TCP")
		}
		must(t, tcp.SetLinger(0)) // a reset
		must(t, nc.Close())
		empty()
		d := r.login("jt808", phone(1))
		must(t, d.nc.Close())
		empty()
	}
	for range most - 1 {
		nc, err := net.Dial("tcp", r.addrs["jt808"])
		must(t, err)
		defer func() { _ = nc.Close() }()
		came()
	}
	r.login("jt808", phone(1)) // the last place, given back at once
	r.login("jt808", phone(3)).silent(protocol.DeviceRefused)
	if n := r.metric("refused_total", "reason=unauthenticated"); n != 0 {
		t.Errorf("%v connections refused", n)
	}
}
