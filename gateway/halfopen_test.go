package gateway_test

import (
	"testing"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

// A terminal whose old connections hang half-open, of which nothing is heard any more, gets in
// however often it has to come back, and what is sent to it goes to the newest connection.
func TestHalfOpenConnectionsDoNotLockOut(t *testing.T) {
	logins := trial(t, "jt808.jsonl", "jt808-half_open_reconnects")
	r := newRig(t, []queue.Tracker{jt(116)})
	as := func(c *protocol.DeviceConfig) { c.ID = phone(116) }
	var newest *device
	for range 3 {
		for _, login := range logins {
			newest = r.connect("jt808", as)
			newest.write(login)
			newest.wait(protocol.DeviceOther) // its own serial numbers are others
		}
	}
	if len(logins) < 12 {
		t.Fatalf("%d logins", len(logins))
	}
	r.counted("logins_total", float64(3*len(logins)), "result=ok")
	id := r.send(116, "where are you")[0]
	newest.ack(newest.text(), protocol.AckDelivered)
	r.become(id, 116, queue.StatusDelivered)
}

// One that showed life before it hung is given one more chance to do so when the terminal comes
// back: it gets in with its next attempt at the latest.
func TestHalfOpenConnectionsThatHadSaidSomething(t *testing.T) {
	const most = 3
	trackers := []queue.Tracker{jt(1)}
	r := newRig(t, trackers, func(o *gateway.Options) { o.Takeovers = most })
	for range most + 1 {
		r.login("jt808", phone(1)).silent(protocol.DeviceRefused)
	}
	for n := range 5 {
		r.dial("jt808", phone(1)).gone()
		r.counted("refused_total", float64(n+1), "reason=takeovers")
		r.login("jt808", phone(1)).silent(protocol.DeviceRefused)
	}
}

// Somebody who logs in again and again, faster than any terminal, does not do so without end.
func TestTakeoversWithoutLifeAreBounded(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)}, func(o *gateway.Options) { o.Takeovers = 1 })
	var last *device
	for range 1 + 100 {
		last = r.login("wialon", phone(1))
	}
	r.dial("wialon", phone(1)).gone()
	r.counted("refused_total", 1, "reason=takeovers")
	last.silent(protocol.DeviceRefused)
}
