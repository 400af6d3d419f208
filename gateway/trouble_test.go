package gateway_test

import (
	"bytes"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestRefusedDevicesAreNamed: each reason is told apart, with the device's id and how often; the
// log says it once an hour.
func TestRefusedDevicesAreNamed(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	locked, blocked := wl(1, nil), wl(3, nil)
	locked.Password, blocked.Blocked = "secret", true
	r := newRig(t, []queue.Tracker{locked, jt(2), blocked},
		func(o *gateway.Options) { o.Logger = zap.New(core) })
	for _, c := range []struct{ device, reason string }{
		{"19900000000", "unknown_device"}, {blocked.DeviceID, "blocked"}, {
			locked.DeviceID,
			"bad_credentials",
		},
	} {
		before := logs.FilterMessage("device refused").Len()
		for range 3 {
			r.dial("wialon", c.device).gone()
		}
		r.counted("logins_total", 3, "result="+c.reason)
		d := r.gw.RefusedDevices()[0]
		if d.Protocol != "wialon" || d.Device != c.device || d.Reason != c.reason || d.Times != 3 ||
			!d.Remote.IsValid() || d.FirstMs == 0 || d.LastMs < d.FirstMs || d.Speaks != "" {
			t.Errorf("%s: %+v", c.reason, d)
		}
		lines := logs.FilterMessage("device refused").All()[before:]
		if len(lines) != 1 {
			t.Fatalf("%s: %d lines", c.reason, len(lines))
		}
		if said := lines[0].ContextMap(); said["device"] != c.device || said["why"] != c.reason {
			t.Errorf("%s: the log says %v", c.reason, said)
		}
		r.clock.advance(time.Hour)
		r.dial("wialon", c.device).gone()
		eventually(t, func() bool { return logs.FilterMessage("device refused").Len() == before+2 },
			func() string { return c.reason + ": not told again after an hour" })
	}
	r.clock.advance(25 * time.Hour)
	if list := r.gw.RefusedDevices(); len(list) != 0 {
		t.Errorf("a day later still %+v", list)
	}
}

// TestWrongPortIsNamed: every protocol is recognised at the port of every other one, and so is what
// is no tracker.
func TestWrongPortIsNamed(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	looksLike := func(port, speaks, device string) {
		t.Helper()
		eventually(t, func() bool {
			for _, d := range r.gw.RefusedDevices() {
				if d.Protocol == port && d.Reason == "wrong_protocol" && d.Speaks == speaks &&
					d.Device == device {
					return true
				}
			}
			return false
		}, func() string { return speaks + " at the port of " + port + " is not named" })
	}
	const imei = "862311060000017"
	for _, speaks := range all.Protocols() {
		for _, port := range all.Protocols() {
			if port.Name == speaks.Name {
				continue
			}
			s, err := speaks.NewSettings()
			must(t, err)
			d := r.connect(port.Name)
			d.write(speaks.NewDevice(protocol.DeviceConfig{ID: imei, Settings: s}).AppendLogin(nil))
			id := imei
			if speaks.Name == "jt808" {
				id = jtID(t, imei)
			}
			looksLike(port.Name, speaks.Name, id)
		}
	}
	for _, c := range []struct{ bytes, speaks string }{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http"},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "tls"},
		{"SSH-2.0-OpenSSH_9.2\r\n", "ssh"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 4000 6808\r\n", "proxy_header"},
	} {
		for _, p := range all.Protocols() {
			r.connect(p.Name).write([]byte(c.bytes))
			looksLike(p.Name, c.speaks, "127.0.0.1")
		}
	}
	r.connect("watch").write([]byte("\xffAQSH\x00\x10\x00\x01\x02\x03"))
	looksLike("watch", "watch_cloud", "127.0.0.1")
	if n := r.metric("refused_total", "reason=wrong_protocol"); n < 40 {
		t.Errorf("%v counted", n)
	}
	before := r.metric("refused_total", "reason=wrong_protocol")
	r.login("jt808", phone(1))
	noise := r.connect("wialon")
	noise.write(bytes.Repeat([]byte("\xa5\xa5\xa5\r\n"), 16)) // the last one closes the connection
	noise.gone()
	if n := r.metric("refused_total", "reason=wrong_protocol"); n != before {
		t.Errorf("a device at its own port, or noise, counts as a wrong protocol: %v", n-before)
	}
}

// TestDeviceThatNeverAcknowledgesIsNamed until it acknowledges; one that does is not.
func TestDeviceThatNeverAcknowledgesIsNamed(t *testing.T) {
	for name, tr := range map[string]queue.Tracker{"jt808": jt(1), "wialon": wl(1, nil)} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			r := newRig(t, []queue.Tracker{tr, jt(bystander)}, withAcks(10*time.Second,
				20*time.Second),
				func(o *gateway.Options) { o.Logger = zap.New(core) })
			id := r.send(1, "hello?")[0]
			d, other := r.login(name, tr.DeviceID), r.login("jt808", phone(bystander))
			r.ready(other) // it acknowledges
			d.text()
			if list := r.gw.SilentDevices(); len(list) != 0 {
				t.Errorf("named at once: %+v", list)
			}
			eventually(t, func() bool {
				r.clock.advance(time.Second)
				return len(r.gw.SilentDevices()) == 1
			}, func() string { return "not named" })
			s := r.gw.SilentDevices()[0]
			if s.Tracker != 1 || s.Protocol != name || s.Message != id || s.Times == 0 ||
				s.SinceMs == 0 || s.LastMs <= s.SinceMs {
				t.Errorf("%+v", s)
			}
			if name == "jt808" && s.Times < 2 {
				t.Errorf("named after %d of two waits", s.Times)
			}
			said := logs.FilterMessage("device does not acknowledge its texts").All()
			if len(said) != 1 || said[0].ContextMap()["tracker"] != int64(1) {
				t.Errorf("the log says %v", said)
			}
			young := r.login(name, tr.DeviceID)
			young.ack(young.text(), protocol.AckDelivered)
			r.become(id, 1, queue.StatusDelivered)
			eventually(t, func() bool { return len(r.gw.SilentDevices()) == 0 },
				func() string { return "still named" })
		})
	}
}

// TestShortConnectionsDoNotHideASilentDevice: one that hangs up with each text unacknowledged is
// named, too, before its text is given up.
func TestShortConnectionsDoNotHideASilentDevice(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)}, withAcks(time.Hour, time.Hour))
	r.send(1, "hello?")
	for n := range 2 {
		if list := r.gw.SilentDevices(); len(list) != 0 {
			t.Errorf("named after %d connections: %+v", n, list)
		}
		d := r.login("wialon", phone(1))
		d.text()
		must(t, d.nc.Close())
		eventually(t, func() bool { return r.gw.Sessions() == 0 },
			func() string { return "connected" })
	}
	eventually(t, func() bool {
		list := r.gw.SilentDevices()
		return len(list) == 1 && list[0].Times == 2
	}, func() string { return "not named" })
}

// jtID is how a JT/T 808 login of the newest version tells a device's id.
func jtID(t *testing.T, id string) string {
	t.Helper()
	p, _ := all.Find("jt808")
	s, err := p.NewSettings()
	must(t, err)
	login := p.NewDevice(protocol.DeviceConfig{ID: id, Settings: s}).AppendLogin(nil)
	n, _, err := p.Frame(login, 0)
	must(t, err)
	var said string
	must(t, p.NewCodec(s).Decode(login[:n], func(e *protocol.Event) { said = e.DeviceID }))
	return said
}
