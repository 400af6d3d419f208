package gateway_test

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

// knock connects from an address and says nothing, and waits until it is in.
func (r *rig) knock(from, proto string) *device {
	r.t.Helper()
	r.local = from
	defer func() { r.local = "" }()
	in := r.metric("connections_total")
	d := r.connect(proto)
	r.counted("connections_total", in+1)
	return d
}

// Where there is no room for another connection without a login, the oldest one goes of the address
// that has most of them.
func TestNewcomersAreGivenRoom(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil), wl(2, nil), wl(3, nil), wl(4, nil)},
		func(o *gateway.Options) { o.Limits.Unauthenticated = 4 })
	first := r.knock("127.0.0.3", "wialon")
	oldest := r.knock("127.0.0.2", "wialon")
	second := r.knock("127.0.0.2", "jt808")
	third := r.knock("127.0.0.2", "wialon")
	fourth := r.knock("127.0.0.4", "wialon")
	oldest.gone()
	r.counted("refused_total", 1, "reason=unauthenticated")
	r.counted("closed_total", 1, "reason=crowded")
	for id, d := range map[queue.TrackerID]*device{1: first, 2: third, 3: fourth} {
		// which gives their places back
		d.write([]byte("#L#" + phone(id) + ";NA\r\n"))
		d.wait(protocol.DeviceLoggedIn)
	}
	for range 3 {
		r.knock("127.0.0.5", "wialon")
	}
	r.knock("127.0.0.5", "wialon")
	r.counted("closed_total", 2, "reason=crowded")
	second.write([]byte{0x7E}) // it is there yet
	r.counted("refused_total", 2, "reason=unauthenticated")
	for range 3 {
		first.silent(protocol.DeviceRefused)
	}
}

// Somebody who connects as fast as he can, and says nothing, keeps no device out.
func TestFloodFromOneAddress(t *testing.T) {
	const devices = 60
	var trackers []queue.Tracker
	for id := range queue.TrackerID(devices) {
		trackers = append(trackers, wl(id+1, nil))
	}
	r := newRig(t, trackers, func(o *gateway.Options) {
		o.Limits.Unauthenticated, o.Limits.AcceptRate = 40, 5000
	})
	stop := make(chan struct{})
	var flood sync.WaitGroup
	var idle []net.Conn
	flood.Go(func() {
		dialer := net.Dialer{
			LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")},
			Timeout:   patience,
		}
		for range 20_000 {
			select {
			case <-stop:
				return
			default:
			}
			nc, err := dialer.Dial("tcp", r.addrs["wialon"])
			if err != nil {
				t.Errorf("flooding: %v", err)
				return
			}
			if idle = append(idle, nc); len(idle) >= 200 { // they are closed long since
				_ = idle[0].Close()
				idle = idle[1:]
			}
		}
	})
	r.reaches("refused_total", 100, "reason=unauthenticated")
	var in []*device
	for i, tr := range trackers {
		r.local = fmt.Sprintf("127.0.1.%d", i+1)
		in = append(in, r.login("wialon", tr.DeviceID))
	}
	close(stop)
	flood.Wait()
	t.Logf("%.0f connections were given up for %d logins", r.metric("refused_total",
		"reason=unauthenticated"), devices)
	for _, nc := range idle {
		must(t, nc.Close())
	}
	for _, d := range in {
		d.silent(protocol.DeviceRefused)
	}
	eventually(t, func() bool {
		return r.metric("closed_total") == r.metric(
			"connections_total")-devices
	}, func() string { return "open" })
	r.local = "127.0.0.2" // nothing is left of it
	r.login("wialon", phone(1))
}

// An address of IPv6 stands for the 64 bits that one customer has.
func TestNewcomersOfOneNetwork(t *testing.T) {
	r := newRig(t, nil, func(o *gateway.Options) { o.Limits.Unauthenticated = 6 })
	addr := r.balanced("wialon", 0)
	from := func(peer string) net.Conn {
		t.Helper()
		in := r.metric("connections_total")
		nc, err := net.Dial("tcp", addr)
		must(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		_, err = fmt.Fprintf(nc, "PROXY %s 1 2\r\n", peer)
		must(t, err)
		r.counted("connections_total", in+1)
		return nc
	}
	for range 2 {
		from("TCP4 192.0.2.1 198.51.100.1")
	}
	first := from("TCP6 2001:db8:0:1::1 2001:db8::1")
	from("TCP6 2001:db8:0:1:ffff::1 2001:db8::1")
	from("TCP6 2001:db8:0:1::3 2001:db8::1")
	from("TCP6 2001:db8:0:2::1 2001:db8::1")
	from("TCP4 192.0.2.2 198.51.100.1")
	must(t, first.SetReadDeadline(time.Now().Add(patience)))
	if n, err := first.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("it says something")
	} else if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the oldest of the fullest network stays")
	}
	r.counted("closed_total", 1, "reason=crowded")
}

// One address leaves a fifth of the connections of a second to the others.
func TestAcceptRateIsShared(t *testing.T) {
	at := time.Now()
	r := newRig(t, nil, func(o *gateway.Options) {
		o.Limits.AcceptRate, o.Now = 10, func() time.Time { return at }
	})
	dial := func(from string) {
		t.Helper()
		r.local = from
		d := r.connect("wialon")
		t.Cleanup(func() { _ = d.nc.Close() })
	}
	for range 20 {
		dial("127.0.0.2")
	}
	r.counted("refused_total", 11, "reason=accept_rate")
	dial("127.0.0.3")
	r.counted("connections_total", 10)
	dial("127.0.0.3")
	r.counted("refused_total", 12, "reason=accept_rate")
}
