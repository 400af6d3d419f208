package gateway_test

import (
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// fighters are two who know the same id.
type fighters struct {
	*rig
	proto string
	n     float64 // refused
}

func (f *fighters) login(from string) *device {
	f.t.Helper()
	f.local = from
	return f.rig.login(f.proto, phone(1))
}

func (f *fighters) refused(from string) {
	f.t.Helper()
	f.local = from
	f.rig.dial(f.proto, phone(1)).gone()
	f.n++
	f.counted("refused_total", f.n, "reason=takeovers")
}

// pass lets time go by, and the gateway notice.
func (f *fighters) pass(d time.Duration) {
	f.t.Helper()
	f.clock.advance(d)
	f.passed()
}

// acks has the device acknowledge a text.
func (f *fighters) acks(d *device) {
	f.t.Helper()
	id := f.send(1, "text")[0]
	d.ack(d.text(), protocol.AckDelivered)
	f.become(id, 1, queue.StatusDelivered)
}

const right, wrong = "127.0.0.2", "127.0.0.3"

func fight(t *testing.T, proto string) *fighters {
	t.Helper()
	tr := queue.Tracker{ID: 1, Protocol: proto, DeviceID: phone(1)}
	f := &fighters{rig: newRig(t, []queue.Tracker{tr}, func(o *gateway.Options) {
		o.Takeovers = 2
	}), proto: proto}
	for range 2 {
		f.login(wrong)
		f.login(right)
	}
	f.login(wrong)
	return f
}

// Of two who keep taking over each other's sessions the one that acknowledges texts wins: it gets
// in at once, and the other one once a minute at most.
func TestFightIsWonByWhoAcknowledges(t *testing.T) {
	for _, proto := range []string{"wialon", "jt808"} {
		t.Run(proto, func(t *testing.T) {
			f := fight(t, proto)
			f.refused(right)
			f.pass(30 * time.Second)
			good := f.login(right)
			f.acks(good)
			for range 5 {
				f.refused(wrong)
			}
			f.pass(50 * time.Second)
			f.refused(wrong)
			f.acks(good)
			f.pass(10 * time.Second)
			bad := f.login(wrong)
			good.gone()
			bad.silent(protocol.DeviceRefused) // it shows life
			good = f.login(right)
			bad.gone()
			f.refused(wrong)
			f.acks(good)
			f.pass(50 * time.Second)
			f.refused(wrong)
		})
	}
}

// As long as neither has acknowledged anything they take turns, and nobody is locked out.
func TestFightWithoutAcksIsFair(t *testing.T) {
	f := fight(t, "wialon")
	for range 4 {
		f.refused(right)
		f.refused(right)
		f.pass(30 * time.Second)
		good := f.login(right)
		good.silent(protocol.DeviceRefused) // it shows life
		f.refused(wrong)
		f.refused(wrong)
		f.pass(30 * time.Second)
		bad := f.login(wrong)
		bad.silent(protocol.DeviceRefused)
	}
}

// Somebody who logs in again and again does not keep the device out that comes from elsewhere.
func TestLoginsFromElsewhereLockNobodyOut(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)}, func(o *gateway.Options) { o.Takeovers = 1 })
	r.local = wrong
	for range 1 + 100 {
		r.login("wialon", phone(1))
	}
	r.dial("wialon", phone(1)).gone()
	r.local = right
	r.login("wialon", phone(1)).silent(protocol.DeviceRefused)
}

// twoNodes are two gateways on one store.
func twoNodes(t *testing.T) (a, b *fighters) {
	t.Helper()
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	trackers := []queue.Tracker{wl(1, nil)}
	at := func(node queue.NodeID) *fighters {
		return &fighters{rig: newRigOn(t, st, trackers, func(o *gateway.Options) {
			o.Node,
				o.Takeovers = node, 2
		}), proto: "wialon"}
	}
	return at("a"), at("b")
}

// A device whose connections hang half-open gets in however often, at whichever node it comes back.
func TestHalfOpenConnectionsAcrossNodes(t *testing.T) {
	a, b := twoNodes(t)
	last := a.login(right)
	for range 4 {
		for _, node := range []*fighters{b, a} {
			next := node.login(right)
			last.gone()
			last = next
		}
	}
	for _, node := range []*fighters{a, b} {
		ended := node.metric("closed_total", "reason=moved") + node.metric("closed_total",
			"reason=fenced")
		if n := node.metric("takeovers_total"); ended != 4 || n != 0 {
			t.Errorf("%v sessions lost to the other node, %v taken over here", ended, n)
		}
	}
}

// The same holds where the two log in at two nodes.
func TestFightAcrossNodes(t *testing.T) {
	a, b := twoNodes(t)
	good := a.login(right)
	a.acks(good)
	for range 3 {
		bad := b.login(wrong)
		good.gone()
		bad.silent(protocol.DeviceRefused) // it shows life
		good = a.login(right)
		bad.gone()
		a.acks(good)
		if n := b.metric("closed_total", "reason=moved") + b.metric("closed_total",
			"reason=fenced"); n == 2 {
			break
		}
	}
	b.refused(wrong)
	b.pass(29 * time.Second)
	b.refused(wrong)
	good.silent(protocol.DeviceRefused)
	b.pass(time.Second)
	bad := b.login(wrong)
	good.gone()
	a.acks(a.login(right))
	bad.gone()
	b.refused(wrong)
}
