package gateway_test

import (
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

func (r *rig) presence(t queue.TrackerID) queue.Presence {
	r.t.Helper()
	known, err := r.store.Presence(r.t.Context(), []queue.TrackerID{t})
	must(r.t, err)
	return known[t]
}

// online waits until a tracker is, or is not.
func (r *rig) online(t queue.TrackerID, want bool) queue.Presence {
	r.t.Helper()
	eventually(r.t, func() bool { return r.presence(t).Online == want },
		func() string { return "presence stays what it was" })
	return r.presence(t)
}

// TestPresence: a tracker is online from its login to the end of its session, also if the store
// cannot be told of that at once.
func TestPresence(t *testing.T) {
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	f := &faulty{Store: st}
	r := newRigOn(t, f, []queue.Tracker{jt(1)})
	must(t, st.Heartbeat(t.Context(), queue.Node{ID: r.gw.Node()}))
	before := time.Now().UnixMilli()
	d := r.login("jt808", phone(1))
	if p := r.online(1, true); p.SinceMs < before || p.SeenMs < before {
		t.Errorf("%+v after a login at %d", p, before)
	}
	f.broken.Store(true)
	must(t, d.nc.Close())
	eventually(t, func() bool { return f.releases.Load() >= 2 },
		func() string { return "the end of the session is not repeated" })
	f.broken.Store(false)
	if p := r.online(1, false); p.SinceMs < before || p.SeenMs < before/1000*1000 {
		t.Errorf("%+v", p)
	}
}

// TestSeenWhileOnline: of a device that stays connected the store learns now and then that it was
// heard of.
func TestSeenWhileOnline(t *testing.T) {
	var ahead atomic.Int64
	r := newRig(t, []queue.Tracker{jt(1)}, func(o *gateway.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	must(t, r.store.Heartbeat(t.Context(), queue.Node{ID: r.gw.Node()}))
	d := r.login("jt808", phone(1))
	login := r.online(1, true).SeenMs
	eventually(t, func() bool { return time.Now().Unix()*1000 > login },
		func() string { return "the clock stands still" })
	d.say("still here")
	d.wait(protocol.DeviceTextAck)
	ahead.Store(int64(6 * time.Minute))
	eventually(t, func() bool {
		must(t, r.store.Heartbeat(t.Context(), queue.Node{ID: r.gw.Node()}))
		p := r.presence(1)
		return p.Online && p.SeenMs > login
	}, func() string { return "not noted" })
}
