package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// TestSilentMasterHoldsUpItsOwnTrackersOnly: while a master of a Cluster does not answer, trackers
// of the others log in, get their texts, acknowledge and speak.
func TestSilentMasterHoldsUpItsOwnTrackersOnly(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3, "--cluster-require-full-coverage", "no")
	st, err := redisstore.Open(t.Context(), redisstore.Options{
		Addrs: cluster.Addrs(),
		Now:   time.Now,
	})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	master := func(id queue.TrackerID) int {
		return int(st.PartitionOf(id)) * len(cluster.Nodes) /
			256
	}
	var stuck, free []queue.TrackerID // of the silent master, of others
	for id := queue.TrackerID(1); len(stuck) < 3 || len(free) < 3; id++ {
		switch {
		case master(id) == 0 && len(stuck) < 3:
			stuck = append(stuck, id)
		case master(id) != 0 && len(free) < 3:
			free = append(free, id)
		}
	}
	var trackers []queue.Tracker
	for _, id := range append(append([]queue.TrackerID(nil), stuck...), free...) {
		trackers = append(trackers, jt(id))
	}
	r := newRigOn(t, st, trackers)
	held := r.send(stuck[0], "its ack waits")[0]
	waiting, speaking, going := r.login("jt808", phone(stuck[0])), r.login("jt808",
		phone(stuck[1])), r.login("jt808", phone(free[0]))
	text := waiting.text()
	resumed := false
	cluster.Nodes[0].Pause(t)
	t.Cleanup(func() {
		if !resumed {
			cluster.Nodes[0].Resume(t)
		}
	})
	// One of each kind of work hangs: an ack, a driver's text, a login.
	waiting.ack(text, protocol.AckDelivered)
	speaking.say("waits to be stored")
	r.dial("jt808", phone(stuck[2]))
	other := r.login("jt808", phone(free[1]))
	for i := range 10 {
		want := fmt.Sprint("text ", i)
		id := r.send(free[0], want)[0]
		e := going.text()
		if e.Body != want {
			t.Fatalf("got %q, want %q", e.Body, want)
		}
		going.ack(e, protocol.AckDelivered)
		r.become(id, free[0], queue.StatusDelivered)
		other.say(want)
		other.wait(protocol.DeviceTextAck)
	}
	late := r.send(free[2], "waits for its device")[0]
	last := r.login("jt808", phone(free[2]))
	last.ack(last.text(), protocol.AckDelivered)
	r.become(late, free[2], queue.StatusDelivered)
	cluster.Nodes[0].Resume(t)
	resumed = true
	r.become(held, stuck[0], queue.StatusDelivered)
	eventually(t, func() bool { return len(r.list(stuck[1])) == 1 },
		func() string { return "the driver's text is not stored" })
}
