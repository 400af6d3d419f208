package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
)

func TestTrackerLabels(t *testing.T) {
	w := newWorld(t)
	list := []queue.Tracker{
		{ID: 1, Account: 1, Label: "aa1", DeviceID: "1"},
		{ID: 2, Account: 1, Label: "bb2", DeviceID: "2"},
		{ID: 3, Account: 1, Label: "cc3, Ünal", DeviceID: "3"},
		{ID: 4, Account: 2, Label: "aa4", DeviceID: "4"},
	}
	w.dir.Replace(queue.NewSnapshot(accounts(), list))
	want := func(a answer, ids ...int64) {
		t.Helper()
		var got struct{ List []struct{ ID int64 } }
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		gotIDs := []int64{}
		for _, x := range got.List {
			gotIDs = append(gotIDs, x.ID)
		}
		if !slices.Equal(gotIDs, ids) {
			t.Errorf("trackers %v, want %v", gotIDs, ids)
		}
	}
	want(w.json("tracker/list", ``), 1, 2, 3)
	for _, spelling := range []string{`["aa","b"]`, `["AA","bB2"]`, `"[\"aa\",\"b\"]"`, `"aa,b"`} {
		want(w.json("tracker/list", `"labels":`+spelling), 1, 2)
	}
	for _, spelling := range []string{
		"labels=aa&labels=b", "labels[]=aa&labels[]=b", "labels=aa,b",
		"labels=" + url.QueryEscape(`["aa","b"]`),
	} {
		want(w.do(http.MethodGet, "/tracker/list?hash="+berlinKey+"&"+spelling, ""), 1, 2)
		want(w.do(http.MethodPost, "/tracker/list", "hash="+berlinKey+"&"+spelling, "Content-Type",
			formType), 1, 2)
	}
	want(w.json("tracker/list", `"labels":["3, Ü"]`), 3)
	want(w.json("tracker/list", `"labels":["ü"]`), 3)
	want(w.json("tracker/list", `"labels":["zz"]`))
	want(w.json("tracker/list", `"labels":null`), 1, 2, 3)
	many := make([]string, 1025)
	for i := range many {
		many[i] = fmt.Sprintf(`"x%d"`, i)
	}
	want(w.json("tracker/list", `"labels":[`+strings.Join(many[:1024], ",")+`]`))
	for _, bad := range []string{
		`[` + strings.Join(many, ",") + `]`, `[]`, `""`, `[""]`, `["a",null]`, `["a","a"]`, `[1]`,
		`{}`, `["` + strings.Repeat("x", 61) + `"]`, `["\ud800"]`, `"[1"`,
	} {
		w.json("tracker/list", `"labels":`+bad).invalid(t, "labels")
	}
	want(w.json("tracker/list", `"labels":["`+strings.Repeat("ü", 60)+`"]`))
}

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

// TestStates: what the platform's clients ask beside the chat says who is connected, and never
// answers an error because of a blocked tracker.
func TestStates(t *testing.T) {
	w := newWorld(t)
	const never = `"gps":{"updated":null,"signal_level":null,"location":null,"heading":null,"speed":null,"alt":null},"connection_status":"just_registered","last_update":null,` +
		`"movement_status":null,"movement_status_update":null,"ignition":null,"gsm":null,"battery_level":null}`
	state := func(status, at string) string {
		return strings.NewReplacer("just_registered", status, `"last_update":null`,
			`"last_update":`+at).Replace(never)
	}
	get := func() string { return w.form("tracker/get_state", "tracker_id", "101").body }
	const begin = `{"success":true,"user_time":"2016-02-29 11:00:00",`
	if got := get(); got != begin+`"state":{"source_id":101,`+never+`}` {
		t.Errorf("never connected: %s", got)
	}
	l := w.acquire(101)
	l.SeenMs = w.clock.Load()
	if err := w.store.Touch(context.Background(), []queue.Lease{l}); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != begin+`"state":{"source_id":101,`+state("active",
		`"2016-02-29 11:00:00"`)+`}` {
		t.Errorf("connected: %s", got)
	}
	if _, err := w.store.Release(context.Background(), []queue.Lease{l}); err != nil {
		t.Fatal(err)
	}
	offline := `"101":{"source_id":101,` + state("offline", `"2016-02-29 11:00:00"`)
	other := `"102":{"source_id":102,` + never
	w.form("tracker/get_states", "trackers", "102,103,101,102").is(t,
		begin+`"states":{`+other+`,`+offline+`}}`)
	w.form("tracker/get_states", "trackers", "101,103", "list_blocked", "true").is(t,
		begin+`"states":{`+offline+`},"blocked":[103]}`)
	w.form("tracker/get_states", "trackers", "101,201,999", "allow_not_exist", "true").is(t,
		begin+`"states":{`+offline+`},"not_exist":[201,999]}`)
	w.form("tracker/get_states", "trackers", "[]").is(t, begin+`"states":{}}`)
	all := make([]string, 0, bulkLast-bulkFirst+1)
	for id := bulkFirst; id <= bulkLast; id++ {
		all = append(all, itoa(id))
	}
	if got := w.form("tracker/get_states", "trackers", strings.Join(all, ",")).body; strings.Count(
		got, "just_registered") != len(all) {
		t.Errorf("all: %.300s", got)
	}
	w.form("tracker/get_states", "trackers", "101,201").refused(t, 217)
	w.form("tracker/get_states").invalid(t, "trackers")
	w.shaped("tracker/get_states", "trackers[a]=101").invalid(t, "trackers")
	for id, code := range map[string]int{"201": 201, "999": 201, "103": 208} {
		w.form("tracker/get_state", "tracker_id", id).refused(t, code)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	if got := get(); !strings.Contains(got, `"connection_status":null,"last_update":null`) {
		t.Errorf("without a store: %s", got)
	}
}

func TestEmployeesAndGroups(t *testing.T) {
	w := newWorld(t)
	ts := trackers()
	ts[1].Employee, ts[2].Employee, ts[7].Employee = 3, 7, 5 // 102, 103, and 201 of another account
	w.dir.Replace(queue.NewSnapshot(accounts(), ts))
	const rest = `"first_name":"","middle_name":"","last_name":"","email":"","phone":"","department_id":null}`
	w.form("employee/list").is(t,
		`{"success":true,"list":[{"id":3,"tracker_id":102,`+rest+`,{"id":7,"tracker_id":101,`+rest+`]}`)
	w.formAs(uralKey, "employee/list").is(t,
		`{"success":true,"list":[{"id":5,"tracker_id":201,`+rest+`]}`)
	w.formAs(emptyKey, "employee/list").is(t, `{"success":true,"list":[]}`)
	// The names are those of the first tracker which has any, whichever tracker is the first.
	ts[1].Employee, ts[2].EmployeeRecord = 7, &queue.EmployeeRecord{
		FirstName: `Ann "A."`,
		Phone:     "+49 1",
	}
	ts[4].Employee, ts[4].EmployeeRecord = 7, &queue.EmployeeRecord{FirstName: "Bob"}
	w.dir.Replace(queue.NewSnapshot(accounts(), ts))
	w.form("employee/list").is(t,
		`{"success":true,"list":[{"id":7,"tracker_id":101,"first_name":"Ann \"A.\"",`+
			`"middle_name":"","last_name":"","email":"","phone":"+49 1","department_id":null}]}`)
	w.form("tracker/group/list").is(t, `{"success":true,"list":[]}`)
	w.form("tracker/group/create").refused(t, 112)
	w.form("employee/read").refused(t, 112)
}
