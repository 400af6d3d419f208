package gateway_test

import (
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/queuetest"
)

// A clock that is set by an hour closes no session, and nothing is sent early or late. What is
// recorded goes by the clock as it is, and a message expires by it.
func TestClockIsSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{jt(1), wl(2, nil), jt(3)})
			d, unnumbered, quiet := r.login("jt808", phone(1)), r.login("wialon", phone(2)),
				r.login("jt808", phone(3))
			early := r.connect("jt808")
			r.opened(4)
			r.clock.advance(15 * time.Second)
			late := r.connect("jt808", func(c *protocol.DeviceConfig) { c.ID = phone(3) })
			r.opened(5)
			first, other := r.send(1, "first")[0], r.send(2, "unnumbered")[0]
			second := r.sendReqs(queue.SendReq{
				Tracker: 1, Text: "second",
				ExpiresMs: r.clock.now().Add(30 * time.Minute).UnixMilli(),
			})[0]
			text, once := d.text(), unnumbered.text()

			r.clock.set(by)
			r.clock.advance(8 * time.Second) // 10 s is the wait for the ack
			r.passed()
			d.silent(protocol.DeviceText)
			r.clock.advance(8 * time.Second) // 30 s is the wait for the login
			if again := d.text(); again.Ref != text.Ref {
				t.Errorf("text %d comes again as %d", text.Ref, again.Ref)
			}
			early.gone()
			unnumbered.silent(protocol.DeviceText)
			quiet.silent(protocol.DeviceText)
			late.write(late.side.AppendLogin(nil))
			late.wait(protocol.DeviceLoggedIn)

			unnumbered.ack(once, protocol.AckDelivered)
			r.become(other, 2, queue.StatusDelivered)
			d.ack(text, protocol.AckDelivered)
			r.become(first, 1, queue.StatusDelivered)
			if by > 0 {
				r.become(second, 1, queue.StatusExpired)
			} else {
				d.ack(d.text(), protocol.AckDelivered)
				r.become(second, 1, queue.StatusDelivered)
			}
			list, err := r.gw.Inspect(t.Context(), gateway.SessionQuery{Limit: 10})
			must(t, err)
			now := r.clock.now().UnixMilli()
			for _, s := range list {
				if since, seen := now-s.SinceMs, now-s.SeenMs; since < 0 || since > 60_000 ||
					seen < 0 || seen > since+1000 {
					t.Errorf("tracker %d: logged in %d ms ago, heard of %d ms ago", s.Tracker,
						since, seen)
				}
			}
			if len(list) != 3 {
				t.Errorf("%d sessions", len(list))
			}
		})
	}
}

// opened waits until so many connections have come in.
func (r *rig) opened(n float64) {
	r.t.Helper()
	eventually(r.t, func() bool { return r.metric("connections_total") == n },
		func() string { return "not accepted" })
}

// passed waits until everything that is due by now has had its turn.
func (r *rig) passed() {
	r.t.Helper()
	done := r.gw.Ticks() + 3
	eventually(r.t, func() bool { return r.gw.Ticks() >= done },
		func() string { return "before the next tick" })
}

// What codecs wait for does not come early or late either.
func TestDeadlinesOfCodecsWhenTheClockIsSet(t *testing.T) {
	waits := map[string]bool{}
	for _, p := range all.Protocols() {
		for _, by := range []time.Duration{time.Hour, -time.Hour} {
			settings, err := p.NewSettings()
			must(t, err)
			codec := p.NewCodec(settings)
			device := p.NewDevice(protocol.DeviceConfig{ID: phone(1), Settings: settings})
			for rest := device.AppendLogin(nil); len(rest) > 0; {
				n, _, err := p.Frame(rest, 0)
				if must(t, err); n == 0 {
					t.Fatalf("%s: half a frame", p.Name)
				}
				must(t, codec.Decode(rest[:n], func(e *protocol.Event) {
					codec.AppendReply(nil, e,
						protocol.OK)
				}))
				rest = rest[n:]
			}
			now := time.Now()
			_, next := codec.Poll(nil, now)
			out, later := codec.Poll(nil, queuetest.Stepped(now, by))
			if len(out) > 0 || later.Sub(next) != 0 {
				t.Errorf("%s: by %v: %x, due %v later", p.Name, by, out, later.Sub(next))
			}
			waits[p.Name] = waits[p.Name] || !next.IsZero()
		}
	}
	if !waits["teltonika"] || !waits["galileosky"] {
		t.Errorf("who waits: %v", waits)
	}
}
