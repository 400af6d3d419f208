package gateway_test

import (
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

func TestInspect(t *testing.T) {
	var all []queue.Tracker
	for id := queue.TrackerID(1); id <= 20; id++ {
		tr := jt(id)
		if id%4 == 0 {
			tr = wl(id, nil)
		}
		all = append(all, tr)
	}
	r := newRig(t, all)
	before := time.Now().UnixMilli()
	devices := map[queue.TrackerID]*device{}
	for id := queue.TrackerID(20); id >= 1; id-- {
		proto := "jt808"
		if id%4 == 0 {
			proto = "wialon"
		}
		devices[id] = r.login(proto, phone(id))
	}
	ids := func(q gateway.SessionQuery) (list []queue.TrackerID) {
		t.Helper()
		found, err := r.gw.Inspect(t.Context(), q)
		must(t, err)
		for _, s := range found {
			list = append(list, s.Tracker)
		}
		return list
	}
	want := func(got []queue.TrackerID, want ...queue.TrackerID) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("sessions %v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("sessions %v, want %v", got, want)
			}
		}
	}
	want(ids(gateway.SessionQuery{Limit: 3}), 1, 2, 3)
	want(ids(gateway.SessionQuery{Limit: 3, After: 17}), 18, 19, 20)
	want(ids(gateway.SessionQuery{Limit: 3, After: 18}), 19, 20)
	want(ids(gateway.SessionQuery{Limit: 3, After: 20}))
	want(ids(gateway.SessionQuery{Limit: 100, Protocol: "wialon"}), 4, 8, 12, 16, 20)
	want(ids(gateway.SessionQuery{Limit: 1, Protocol: "wialon", After: 4}), 8)
	want(ids(gateway.SessionQuery{Limit: 9, Tracker: 5}), 5)
	want(ids(gateway.SessionQuery{Limit: 9, Tracker: 5, Protocol: "wialon"}))
	want(ids(gateway.SessionQuery{Limit: 9, Tracker: 77}))

	r.send(5, "in flight")
	d := devices[5]
	e := d.text()
	of5 := func() gateway.SessionInfo {
		t.Helper()
		found, err := r.gw.Inspect(t.Context(), gateway.SessionQuery{Tracker: 5, Limit: 1})
		must(t, err)
		if len(found) != 1 {
			t.Fatalf("sessions %+v", found)
		}
		return found[0]
	}
	s := of5()
	if s.Protocol != "jt808" || s.Remote.String() != d.nc.LocalAddr().String() ||
		s.SinceMs < before || s.SeenMs < before/1000*1000 || s.InFlight != 1 {
		t.Errorf("%+v of a device at %v", s, d.nc.LocalAddr())
	}
	// as soon as TCP has acknowledged it.
	eventually(t, func() bool { s = of5(); return s.BytesIn > 0 && s.BytesOut > 0 },
		func() string { return "no traffic" })
	d.ack(e, protocol.AckDelivered)
	eventually(t, func() bool { return of5().InFlight == 0 },
		func() string { return "still in flight" })
	if after := of5(); after.BytesIn <= s.BytesIn {
		t.Errorf("%d bytes came before an ack, %d after", s.BytesIn, after.BytesIn)
	}
	must(t, d.nc.Close())
	eventually(t, func() bool { return len(ids(gateway.SessionQuery{Tracker: 5, Limit: 1})) == 0 },
		func() string { return "still there" })
}
