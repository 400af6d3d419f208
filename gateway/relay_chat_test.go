package gateway_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/standin"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// stand starts a tracking server for a protocol and puts it behind a listener.
func (r *rig) stand(proto string, u gateway.Upstream, o standin.Options) *standin.Server {
	r.t.Helper()
	p, _ := all.Find(proto)
	if o.Protocol == nil && (proto == "teltonika" || proto == "galileosky") {
		o.Settings = settingsOf(r.t, p, "chat", "none") // the navigator is ours
	} else if o.Protocol == nil {
		o.Settings = settingsOf(r.t, p)
	}
	o.Protocol, o.Now = p, time.Now
	if o.Record == 0 {
		o.Record = 4 << 20
	}
	s, err := standin.Start(r.t.Context(), o)
	must(r.t, err)
	r.t.Cleanup(s.Close)
	u.Address = s.Addr()
	r.behind(proto, u)
	return s
}

// settingsOf are a protocol's settings, one of them with another value.
func settingsOf(t *testing.T, p *protocol.Protocol, set ...string) protocol.Settings {
	t.Helper()
	layer := map[string]string{}
	if len(set) == 2 {
		layer[set[0]] = set[1]
	}
	s, err := p.NewSettings(layer)
	must(t, err)
	return s
}

// sees waits until the tracking server has recorded something.
func (r *rig) sees(s *standin.Server, what string, ok func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if s.Await(ctx, ok) != nil {
		r.t.Fatalf("the tracking server does not see %s: %+v", what, s.Figures())
	}
}

// bound waits until the tracker's session is there.
func (r *rig) bound(n int) {
	r.t.Helper()
	eventually(r.t, func() bool { return r.gw.Sessions() == n },
		func() string { return "not the number of sessions that was expected" })
}

// chatting is how devices of a protocol are relayed.
type chatting struct {
	proto   string
	passes  bool // what the driver writes goes to the server, which answers it
	ownText bool // the server can send the driver a text of its own
	// acks of our texts come with telemetry, which the server answers.
	acksPass bool
}

func chattings() []chatting {
	return []chatting{
		{"jt808", true, true, false},
		{"wialon", true, true, false},
		{"teltonika", false, false, false},
		{"egts", true, true, true},
		{"galileosky", false, false, false},
		{"watch", false, true, false},
	}
}

func relayTracker(proto string) queue.Tracker {
	id := phone(1)
	if proto == "watch" {
		id = "3800000001"
	}
	return queue.Tracker{ID: 1, Protocol: proto, DeviceID: id}
}

// TestRelayChat sees texts go through beside a tracking server, which answers everything else and
// has texts of its own.
func TestRelayChat(t *testing.T) {
	for _, c := range chattings() {
		t.Run(c.proto, func(t *testing.T) { onBothStores(t, c.test) })
	}
}

func (c chatting) test(t *testing.T, newRig func([]queue.Tracker, ...rigOption) *rig) {
	t.Helper()
	tracker := relayTracker(c.proto)
	r := newRig([]queue.Tracker{tracker})
	s := r.stand(c.proto, gateway.Upstream{}, standin.Options{})
	waiting := r.send(1, "before the login")[0]
	d := r.login(c.proto, tracker.DeviceID)
	d.write(d.side.AppendPosition(nil, 52, 13, time.Now()))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(waiting, 1, queue.StatusDelivered)
	for _, text := range []string{"one", strings.Repeat("a long text, ", 200)} {
		id := r.send(1, text)[0]
		for r.message(id, 1).Status == queue.StatusPending {
			if err := d.read(20 * time.Millisecond); err != nil && !isTimeout(err) {
				t.Fatal(err)
			}
			for _, e := range d.seen {
				if e.Kind == protocol.DeviceText {
					d.ack(e, protocol.AckDelivered)
				}
			}
			d.seen = nil
		}
		r.become(id, 1, queue.StatusDelivered)
	}
	if c.ownText {
		_, err := s.Text(tracker.DeviceID, "of the server")
		must(t, err)
		e := d.text()
		if e.Body != "of the server" {
			t.Errorf("the device got %q", e.Body)
		}
		d.ack(e, protocol.AckDelivered)
		r.sees(s, "the ack of its text", func() bool { return s.Figures().Delivered == 1 })
	}
	if f := s.Figures(); f.Strays != 0 && !c.acksPass || f.Logins != 1 || f.Positions == 0 {
		t.Errorf("the server has seen acks of our texts, or not its own: %+v", f)
	}
	r.driverSays(d, s, c)
}

// driverSays sees a driver's text be stored once, and answered once.
func (r *rig) driverSays(d *device, s *standin.Server, c chatting) {
	r.t.Helper()
	if c.proto == "watch" {
		return // whose wearer can only speak
	}
	d.say("of the driver")
	d.wait(protocol.DeviceTextAck)
	stored := func() (n int) {
		for _, m := range r.list(1) {
			if m.Status.Incoming() && m.Text == "of the driver" {
				n++
			}
		}
		return n
	}
	eventually(r.t, func() bool { return stored() == 1 },
		func() string { return "the driver's text is not stored" })
	want := 0
	if c.passes {
		want = 1
	}
	r.sees(s, "what the driver wrote", func() bool { return s.Figures().Texts == want })
	d.write(d.side.AppendPosition(nil, 52, 13, time.Now()))
	for end := false; !end; {
		for _, e := range d.seen {
			if e.Kind == protocol.DeviceTextAck {
				r.t.Error("the driver's text was answered twice")
			}
			end = end || e.Kind == protocol.DeviceOther
		}
		d.seen = nil
		if !end {
			must(r.t, d.read(patience))
		}
	}
}

// TestRelayCollision: our text has a number and no ack, the tracking server sends one of its own
// under the same number, and the device acknowledges that one. Ours stays pending, the server gets
// its ack under its number, and ours is delivered when the device acknowledges it.
func TestRelayCollision(t *testing.T) {
	for _, proto := range []string{"jt808", "egts"} {
		t.Run(proto, func(t *testing.T) {
			onBothStores(t, func(t *testing.T, newRig func([]queue.Tracker, ...rigOption) *rig) {
				t.Helper()
				collide(t, proto, newRig)
			})
		})
	}
}

func collide(t *testing.T, proto string, newRig func([]queue.Tracker, ...rigOption) *rig) {
	t.Helper()
	tracker := relayTracker(proto)
	r := newRig([]queue.Tracker{tracker}, withAcks(time.Minute, time.Minute))
	s := r.stand(proto, gateway.Upstream{}, standin.Options{})
	d := r.login(proto, tracker.DeviceID)
	r.bound(1)
	id := r.send(1, "ours")[0]
	ours := d.text()
	must(t, s.TextAs(tracker.DeviceID, "theirs", ours.Ref))
	theirs := d.text()
	if theirs.Body != "theirs" {
		t.Fatalf("the device got %q", theirs.Body)
	}
	d.ack(theirs, protocol.AckDelivered)
	r.sees(s, "the ack of its text", func() bool {
		return slices.Contains(s.Device(tracker.DeviceID).Acks, standin.Ack{
			Ref: ours.Ref, Outcome: protocol.AckDelivered, Own: true,
		})
	})
	d.silent(protocol.DeviceText)
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Fatalf("status %q by the ack of another text", m.Status)
	}
	r.clock.advance(2 * time.Minute) // ours is written again
	again := d.text()
	if again.Body != "ours" {
		t.Fatalf("the device got %q", again.Body)
	}
	d.ack(again, protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	if f := s.Figures(); f.Strays != 0 && proto != "egts" {
		t.Errorf("the server has seen acks of ours: %+v", f)
	}
}

// TestRelayLogin sees a session be bound by the tracking server's word, the directory's, and the
// password, and by nothing less.
func TestRelayLogin(t *testing.T) {
	password := wl(2, nil)
	password.Password = "right"
	blocked := wl(3, nil)
	blocked.Blocked = true
	r := newRig(t, []queue.Tracker{wl(1, nil), password, blocked})
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{Behaviour: standin.Behaviour{
		Judge: standin.Accept(func(device string) bool { return device != phone(9) }),
	}})
	secret := func(p string) func(*protocol.DeviceConfig) {
		return func(c *protocol.DeviceConfig) { c.Password = p }
	}
	position := func(d *device) { // goes through to the server
		t.Helper()
		n := s.Figures().Positions
		d.write(d.side.AppendPosition(nil, 52, 13, time.Now()))
		r.sees(s, "a position", func() bool { return s.Figures().Positions == n+1 })
	}
	for _, c := range []struct {
		name  string
		id    queue.TrackerID
		as    string
		bound int
	}{
		{"known", 1, "anything", 1},
		{"right password", 2, "right", 1},
		{"wrong password", 2, "wrong", 0},
		{"blocked", 3, "", 0},
		{"unknown", 8, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := r.login("wialon", phone(c.id), secret(c.as))
			position(d)
			r.bound(c.bound)
			must(t, d.nc.Close())
			r.bound(0)
		})
	}
	t.Run("refused by the server", func(*testing.T) {
		d := r.dial("wialon", phone(9))
		d.wait(protocol.DeviceRefused)
		r.bound(0)
	})
	t.Run("slow server", func(*testing.T) {
		s.Behave(standin.Behaviour{Silent: true})
		d := r.dial("wialon", phone(1))
		r.sees(s, "the login", func() bool { return s.Figures().Open > 0 })
		r.bound(0)
		s.Behave(standin.Behaviour{})
		_ = d
	})
}

// TestRelayFollowsTheDirectory sees a device get its chat without a new connection when the
// directory names it, and lose it when that ends.
func TestRelayFollowsTheDirectory(t *testing.T) {
	r := newRig(t, nil)
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{})
	d := r.login("wialon", phone(1))
	r.bound(0)
	r.directory([]queue.Tracker{wl(1, nil)})
	r.gw.Recheck()
	r.bound(1)
	id := r.send(1, "welcome")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	if f := s.Figures(); f.Connections != 1 || f.Strays != 0 {
		t.Errorf("%+v", f)
	}
	wrong := wl(2, nil)
	wrong.Password = "right"
	r.directory([]queue.Tracker{wl(1, nil), wrong})
	r.login("wialon", phone(2), func(c *protocol.DeviceConfig) { c.Password = "wrong" })
	for range 3 { // nothing has changed for it
		r.gw.Recheck()
	}
	r.directory([]queue.Tracker{wl(1, nil), wl(2, nil)})
	r.gw.Recheck()
	r.bound(2)
	if n := r.metric("logins_total", "result=bad_credentials"); n != 1 {
		t.Errorf("the wrong password was tried %v times", n)
	}
}

// TestRelayRefusesStrangers sees unknown: refuse turn away who is not in the directory, before the
// tracking server hears of it.
func TestRelayRefusesStrangers(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr(), RefuseUnknown: true})
	d := r.dial("wialon", phone(8))
	d.gone()
	s.nobody()
	if n := r.metric("refused_total", "reason=unknown_device"); n != 1 {
		t.Errorf("%v refusals are counted", n)
	}
	d = r.connect("wialon")
	login := d.side.AppendLogin(nil) // of tracker 1
	d.write(login[:4])
	r.lookAfter(3) // it has come
	r.clock.advance(5 * time.Second)
	r.lookAfter(2)
	d.write(login[4:])
	c := s.next(r)
	c.expect([]byte("#L#"))
}

// TestRelayByTracker sees a tracker's own upstream take the place of the listener's, and none leave
// the gateway the server.
func TestRelayByTracker(t *testing.T) {
	other := newTracking(t)
	none, own := wl(1, nil), wl(2, nil)
	none.Upstream, own.Upstream = queue.UpstreamNone, other.addr()
	r := newRig(t, []queue.Tracker{none, own})
	s := newTracking(t)
	t.Run("no upstream at the listener", func(*testing.T) {
		r.dial("wialon", phone(2))
		other.next(r).expect([]byte("#L#"))
	})
	l := r.behind("wialon", gateway.Upstream{Address: s.addr()})
	t.Run("none", func(*testing.T) {
		d := r.login("wialon", phone(1))
		d.write(d.side.AppendPosition(nil, 52, 13, time.Now()))
		d.wait(protocol.DeviceOther)
		r.bound(1)
	})
	t.Run("its own", func(*testing.T) {
		r.dial("wialon", phone(2))
		other.next(r).expect([]byte("#L#"))
	})
	t.Run("the listener's", func(*testing.T) {
		r.dial("wialon", phone(3))
		s.next(r).expect([]byte("#L#"))
	})
	t.Run("taken away", func(*testing.T) {
		l.SetUpstream(nil)
		d := r.dial("wialon", phone(3))
		d.wait(protocol.DeviceRefused) // by the gateway itself
	})
	s.nobody()
	other.nobody()
}

// TestRelayTerminalInUse sees texts fail whose driver's terminal the tracking server uses itself.
func TestRelayTerminalInUse(t *testing.T) {
	for _, proto := range []string{"teltonika", "galileosky"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			tracker := relayTracker(proto)
			r := newRig(t, []queue.Tracker{tracker})
			p, _ := all.Find(proto)
			s := r.stand(proto, gateway.Upstream{}, standin.Options{
				Protocol: p, Settings: settingsOf(t, p),
			})
			d := r.login(proto, tracker.DeviceID)
			d.write(d.side.AppendPosition(nil, 52, 13, time.Now()))
			eventually(t, func() bool {
				_ = d.read(20 * time.Millisecond) // the server's handshake with the terminal
				return r.metric("relay_conflicts_total") == 1
			}, func() string { return "no conflict is counted" })
			id := r.send(1, "never shown")[0]
			if m := r.become(id, 1, queue.StatusFailed); m.Reason.String() !=
				"terminal in use by the tracking server" {
				t.Errorf("reason %q", m.Reason)
			}
			_, err := s.Text(tracker.DeviceID, "of the server")
			for err != nil { // its handshake is not over
				_ = d.read(20 * time.Millisecond)
				_, err = s.Text(tracker.DeviceID, "of the server")
			}
			if e := d.text(); e.Body != "of the server" {
				t.Errorf("the device got %q", e.Body)
			}
		})
	}
}
