package gateway_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"

	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/queue"
)

// TestEndsBeforeTheFirstFrame: a handshake that fails and one that takes too long are told apart,
// and so is what begins no frame.
func TestEndsBeforeTheFirstFrame(t *testing.T) {
	r := newRig(t, nil)
	conf := &tls.Config{MinVersion: tls.VersionTLS12} // nobody gets as far as to need a certificate
	_, secure := r.fronted("wialon", 0, &engine.Front{TLS: conf, Timeout: 50 * time.Millisecond})
	for _, c := range []struct{ addr, says, reason string }{
		{secure, "", "tls_timeout"},
		{secure, "#L#1;NA\r\n", "tls_handshake"},
		{r.addrs["teltonika"], "\x01", "framing"},
		{r.addrs["teltonika"], "\x00\x00\x00\x00\xff\xff\xff\xff", "frame_too_long"},
	} {
		nc, err := net.Dial("tcp", c.addr)
		must(t, err)
		_, err = nc.Write([]byte(c.says))
		must(t, err)
		r.counted("closed_total", 1, "reason="+c.reason)
		must(t, nc.Close())
	}
}

// TestReasonsOfTheEngine: what the engine turns away by itself is counted under names of its own.
func TestReasonsOfTheEngine(t *testing.T) {
	r := newRig(t, nil)
	l, _ := r.fronted("wialon", 0, &engine.Front{})
	for cause, reason := range map[error]string{
		engine.ErrDescriptors: "descriptors", engine.ErrProxyLate: "proxy_timeout",
		engine.ErrProxyFull: "proxy_pending",
		engine.ErrProxy:     "proxy_header", engine.ErrBudget: "budget",
	} {
		l.Refused(netip.MustParseAddrPort("192.0.2.1:4711"), cause)
		if n := r.metric("refused_total", "reason="+reason); n != 1 {
			t.Errorf("%v: %v of %s", cause, n, reason)
		}
	}
}

// TestRefusalsBeginAtZero: the first refusal of a reason is a rise that an alert can see.
func TestRefusalsBeginAtZero(t *testing.T) {
	r := newRig(t, nil)
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "trackchat_refused_total" {
				counted[m.GetLabel()[0].GetValue()] = true
			}
		}
	}
	for _, reason := range []string{
		"max_conns", "per_ip", "accept_rate", "unauthenticated", "unsent", "memory", "shutdown",
		"descriptors", "budget", "proxy_header", "proxy_timeout", "proxy_pending",
		"login_timeout", "no_login", "garbage", "wrong_protocol", "frames_per_second",
		"texts_per_minute",
		"unknown_device", "blocked", "other_device", "bad_credentials", "registration",
		"login_attempts", "takeovers", "troubles",
	} {
		if !counted[reason] {
			t.Errorf("%s is not counted from the start", reason)
		}
	}
}

// TestRefusedTerminalMayRegisterAgain: a JT/T 808 connection that was refused stays for 10 s, any
// other one ends at once.
func TestRefusedTerminalMayRegisterAgain(t *testing.T) {
	locked := jt(1)
	locked.Password = "secret"
	r := newRig(t, []queue.Tracker{locked})
	d := r.dial("jt808", phone(1), as(1, "2013", "guess"))
	d.wait(protocol.DeviceRefused)
	r.clock.advance(9 * time.Second)
	r.passed()
	if n := r.metric("closed_total"); n != 0 {
		t.Fatal("closed before its time")
	}
	d.side = r.connect("jt808", as(1, "2013", "secret")).side
	d.write(d.side.AppendLogin(nil))
	d.wait(protocol.DeviceLoggedIn)
	d = r.dial("jt808", phone(1), as(1, "2013", "guess"))
	d.wait(protocol.DeviceRefused)
	r.clock.advance(11 * time.Second)
	r.passed()
	d.side = r.connect("jt808", as(1, "2013", "secret")).side
	_, _ = d.nc.Write(d.side.AppendLogin(nil)) // too late
	d.gone()
	r.dial("wialon", phone(1)).gone()
}
