package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
)

// connect makes the node own trackers as a session does.
func (w *world) connect(node queue.NodeID, ts ...queue.TrackerID) []queue.Lease {
	w.tb.Helper()
	ls, err := w.store.Acquire(w.tb.Context(), node, ts)
	if err != nil {
		w.tb.Fatal(err)
	}
	return ls
}

func (w *world) beat(node queue.NodeID) {
	w.tb.Helper()
	if err := w.store.Heartbeat(w.tb.Context(), queue.Node{ID: node}); err != nil {
		w.tb.Fatal(err)
	}
}

// listed is a tracker of the API as far as its presence goes.
type listed struct {
	ID       queue.TrackerID
	Online   *bool
	LastSeen *string `json:"last_seen"`
}

func (l listed) String() string {
	text, err := json.Marshal(l)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func trackersOf(t *testing.T, a answer) map[queue.TrackerID]string {
	t.Helper()
	var got struct{ List []listed }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %.300s: %v", a.status, a.body, err)
	}
	m := map[queue.TrackerID]string{}
	for _, l := range got.List {
		m[l.ID] = l.String()
	}
	return m
}

func TestPresence(t *testing.T) {
	w := newWorld(t)
	read := func(id int, online bool, seen string) {
		t.Helper()
		want := listed{ID: queue.TrackerID(id), Online: &online}
		if seen != "" {
			want.LastSeen = &seen
		}
		if got := trackersOf(t, w.form("tracker/list"))[want.ID]; got != want.String() {
			t.Errorf("tracker/list: %s, want %s", got, want)
		}
		var one struct{ Value listed }
		if a := w.form("tracker/read", "tracker_id", fmt.Sprint(id)); json.Unmarshal([]byte(a.body),
			&one) != nil || one.Value.String() != want.String() {
			t.Errorf("tracker/read: %s, want %s", a.body, want)
		}
	}
	w.beat("a")
	read(plain, false, "")
	lease := w.connect("a", plain)[0]
	read(plain, true, "2016-02-29 11:00:00")
	read(other, false, "")
	w.setTime("2016-02-29T10:00:08Z")
	lease.SeenMs = w.now().Add(-3 * time.Second).UnixMilli()
	if err := w.store.Touch(t.Context(), []queue.Lease{lease}); err != nil {
		t.Fatal(err)
	}
	read(plain, true, "2016-02-29 11:00:05")
	a := w.do(http.MethodGet, "/tracker/read?tracker_id=101&hash="+berlinKey, "",
		"NVX-ISO-DateTime", "true")
	var iso struct{ Value listed }
	if err := json.Unmarshal([]byte(a.body), &iso); err != nil || iso.Value.LastSeen == nil ||
		*iso.Value.LastSeen != "2016-02-29T11:00:05+01:00" {
		t.Errorf("ISO: %s", a.body)
	}
	w.setTime("2016-02-29T10:00:30Z") // the node says nothing any more
	read(plain, false, "2016-02-29 11:00:05")
	w.beat("a")
	read(plain, true, "2016-02-29 11:00:05")
	if _, err := w.store.Release(t.Context(), []queue.Lease{lease}); err != nil {
		t.Fatal(err)
	}
	read(plain, false, "2016-02-29 11:00:05")
}

// TestPresenceOfMany: the store is asked in pieces, and every tracker of all of them has its own
// answer.
func TestPresenceOfMany(t *testing.T) {
	const n = 2500
	w := newWorld(t)
	var ts []queue.Tracker
	var connected []queue.TrackerID
	for id := queue.TrackerID(1); id <= n; id++ {
		ts = append(ts, queue.Tracker{ID: id, Account: 1, DeviceID: fmt.Sprint(id)})
		if id%7 == 0 {
			connected = append(connected, id)
		}
	}
	w.dir.Replace(queue.NewSnapshot(accounts(), ts))
	w.beat("a")
	w.connect("a", connected...)
	got := trackersOf(t, w.form("tracker/list"))
	if len(got) != n {
		t.Fatalf("%d trackers", len(got))
	}
	for id, text := range got {
		want := fmt.Sprintf(`{"ID":%d,"Online":false,"last_seen":null}`, id)
		if id%7 == 0 {
			want = fmt.Sprintf(`{"ID":%d,"Online":true,"last_seen":"2016-02-29 11:00:00"}`, id)
		}
		if text != want {
			t.Fatalf("%s, want %s", text, want)
		}
	}
}

// TestPresenceUnknown: a store that does not answer costs the presence, not the list.
func TestPresenceUnknown(t *testing.T) {
	asked := 0
	f := &fault{before: func(context.Context) error { asked++; return queue.ErrUnavailable }}
	w := newWorld(t, func(o *api.Options) { f.Messages, o.Store = o.Store, f })
	got := trackersOf(t, w.form("tracker/list"))
	if len(got) != 407 || got[plain] != `{"ID":101,"Online":null,"last_seen":null}` {
		t.Errorf("%d trackers, 101 is %s", len(got), got[plain])
	}
	w.formAs(uralKey, "tracker/read", "tracker_id", "202").is(t,
		`{"success":true,"value":{"id":202,"label":"Ural 2","group_id":0,`+
			`"source":{"id":202,"device_id":"202","model":"m","blocked":false,"tariff_id":1,"phone":null},"clone":false,"online":null,"last_seen":null}}`)
	if asked != 2 {
		t.Errorf("the store was asked %d times", asked)
	}
	if n := w.metric("trackchat_http_presence_unknown_total"); n != 2 {
		t.Errorf("counted %v", n)
	}
}
