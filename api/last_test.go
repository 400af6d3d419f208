package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// redisWorld is an API on a Redis of its own.
func redisWorld(t *testing.T) (*world, queue.Store) {
	t.Helper()
	server := queuetest.StartRedis(t)
	st, err := redisstore.Open(t.Context(), redisstore.Options{
		Addrs: []string{server.Addr}, MaxPending: maxPending, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return newWorld(t, func(o *api.Options) { o.Store, o.Feed, o.Now = st, st, time.Now }), st
}

// TestLastList: each tracker's newest message, in either direction and as read shows it, whatever
// has become of it.
func TestLastList(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (*world, queue.Store){
		"embedded": func(t *testing.T) (*world, queue.Store) {
			t.Helper()
			w := newWorld(t)
			return w, w.store
		},
		"redis": redisWorld,
	} {
		t.Run(name, func(t *testing.T) {
			w, st := open(t)
			testLastList(t, w, st)
		})
	}
}

func testLastList(t *testing.T, w *world, st queue.Store) {
	t.Helper()
	send := func(tracker queue.TrackerID, text string) int64 {
		t.Helper()
		rs, err := st.Send(t.Context(), []queue.SendReq{{Tracker: tracker, Text: text}})
		if err != nil || rs[0].Err != nil {
			t.Fatal(err, rs)
		}
		return rs[0].ID
	}
	value := func(id int64) string {
		t.Helper()
		a := w.form("tracker/chat/read", "message_id", itoa(id))
		return strings.TrimSuffix(strings.TrimPrefix(a.body, `{"success":true,"value":`), "}")
	}
	w.form("tracker/chat/last/list", "trackers", "102,101").is(t, `{"success":true,"value":{}}`)
	send(102, "first")
	done := send(102, "\"second\" <é>")
	if rs, err := st.Ack(t.Context(), []queue.AckReq{{Tracker: 102, ID: done}}); err != nil ||
		rs[0] != queue.AckDelivered {
		t.Fatal(err, rs)
	}
	send(101, "asked")
	rs, err := st.Receive(t.Context(), []queue.Incoming{{Tracker: 101, Text: "answered"}})
	if err != nil || rs[0].Err != nil {
		t.Fatal(err, rs)
	}
	w.form("tracker/chat/last/list", "trackers", "1001,102,101,102,104").is(t,
		fmt.Sprintf(`{"success":true,"value":{"102":%s,"101":%s}}`, value(done), value(rs[0].ID)))
	for id := queue.TrackerID(bulkFirst); id < bulkFirst+maxLast; id++ {
		send(id, fmt.Sprint("to ", id))
	}
	ids := make([]int64, maxLast)
	for i := range ids {
		ids[i] = int64(bulkFirst + i)
	}
	a := w.json("tracker/chat/last/list", `"trackers":`+jsonText(ids))
	for _, id := range ids {
		if !strings.Contains(a.body, fmt.Sprintf(`"text":"to %d"`, id)) {
			t.Errorf("nothing of tracker %d", id)
		}
	}
}

// maxLast is how many trackers may be asked about at once.
const maxLast = 300

// TestLastListFails: where one of the reads fails, the answer is that and nothing else, and the
// store is asked for few at a time.
func TestLastListFails(t *testing.T) {
	var running, most, calls atomic.Int32
	w := newWorld(t, func(o *api.Options) {
		o.Store = &fault{Messages: o.Store, before: func(ctx context.Context) error {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if ctx.Err() == nil && calls.Add(1) == 20 {
				return errors.New("broken")
			}
			return nil
		}}
	})
	ids := make([]int64, maxLast)
	for i := range ids {
		ids[i] = int64(bulkFirst + i)
		w.send(queue.TrackerID(ids[i]), "x")
	}
	w.json("tracker/chat/last/list", `"trackers":`+jsonText(ids)).refused(t, 14)
	if n := most.Load(); n > 8 {
		t.Errorf("%d reads at a time", n)
	}
	if n := calls.Load(); n > 40 {
		t.Errorf("%d reads, although one had failed", n)
	}
}
