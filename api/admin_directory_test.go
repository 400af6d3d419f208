package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"trackchat/api/admin"
	"trackchat/queue"
)

func TestAdminAccounts(t *testing.T) {
	w := newAdminWorld(t)
	w.get("/admin/accounts").is(t, `{"success":true,"list":[]}`)
	w.get("/admin/accounts/1").refused(t, 201)
	w.put("/admin/accounts/1",
		`{"login":"demo","password":"pass","title":"Démo","time_zone":"Europe/Berlin","keys":["`+berlinKey+`"]}`).is(t, `{"success":true,"result":"added"}`)
	id := fmt.Sprintf("%x", queue.HashKey(berlinKey))
	const head = `{"id":1,"login":"demo","title":"Démo","time_zone":"Europe/Berlin","keys":["`
	w.get("/admin/accounts/1").is(t, `{"success":true,"value":`+head+id+`"]}}`)
	w.form("user/get_info").is(t,
		`{"success":true,"user_info":{"id":1,"login":"demo","title":"Démo","time_zone":"Europe/Berlin","locale":"en_US"}}`)
	session := w.login("demo", "pass")

	// What was answered can be put back, and the same again changes nothing: the password stays,
	// and so do the sessions.
	w.put("/admin/accounts/1", head+id+`"]}`).is(t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/accounts/1",
		`{"id":1,"login":"demo","password":"pass","title":"Démo","time_zone":"Europe/Berlin"}`).is(
		t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/accounts/1", `{"login":"demo2","title":"T"}`).is(t,
		`{"success":true,"result":"updated"}`)
	w.formAs(session, "user/get_info").is(t,
		`{"success":true,"user_info":{"id":1,"login":"demo2","title":"T","time_zone":"UTC","locale":"en_US"}}`)
	w.auth("demo2", "pass").succeeds(t)
	w.auth("demo", "pass").refused(t, 102)
	w.put("/admin/accounts/1", `{"login":"demo2","password":"other"}`).is(t,
		`{"success":true,"result":"updated"}`)
	w.clock.Add(1000)
	w.formAs(session, "user/get_info").refused(t, 4)
	w.auth("demo2", "pass").refused(t, 102)
	w.auth("demo2", "other").succeeds(t)
	w.put("/admin/accounts/1", `{"login":"demo2","password":""}`).is(t,
		`{"success":true,"result":"updated"}`)
	w.auth("demo2", "other").refused(t, 102)

	for i := 2; i <= 6; i++ {
		w.put(fmt.Sprintf("/admin/accounts/%d", i), `{}`).is(t, `{"success":true,"result":"added"}`)
	}
	w.get("/admin/accounts?after=3&limit=2").is(t,
		`{"success":true,"list":[{"id":4,"login":"","title":"","time_zone":"UTC","keys":[]},{"id":5,"login":"","title":"","time_zone":"UTC","keys":[]}]}`)
	w.get("/admin/accounts?after=6").is(t, `{"success":true,"list":[]}`)
	w.delete("/admin/accounts/6").is(t, `{"success":true,"result":"removed"}`)
	w.delete("/admin/accounts/6").refused(t, 201)
}

func TestAdminKeys(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{}`).is(t, `{"success":true,"result":"added"}`)
	firstID, first := w.newKey("1")
	_, second := w.newKey("1")
	const info = `{"success":true,"user_info":{"id":1,"login":"","title":"","time_zone":"UTC","locale":"en_US"}}`
	w.formAs(first, "user/get_info").is(t, info)
	w.formAs(second, "user/get_info").is(t, info)
	w.delete("/admin/keys/"+firstID).is(t, `{"success":true,"result":"removed"}`)
	w.formAs(first, "user/get_info").refused(t, 4)
	w.formAs(second, "user/get_info").is(t, info)
	w.delete("/admin/keys/"+firstID).refused(t, 201)
	w.delete("/admin/keys/"+second).invalid(t, "id")
	w.post("/admin/accounts/7/keys", "").refused(t, 201)
	if strings.Contains(w.get("/admin/accounts").body, second) {
		t.Error("a key is told again")
	}
}

func TestAdminTrackers(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{"keys":["`+berlinKey+`"]}`).is(t,
		`{"success":true,"result":"added"}`)
	w.put("/admin/accounts/2", `{"keys":["`+uralKey+`"]}`).is(t,
		`{"success":true,"result":"added"}`)
	const full = `{"id":101,"account":1,"label":"Truck 1","protocol":"jt808","device_id":"13812345678","password":"pw","model":"m","blocked":false,"chat":true,` +
		`"features":["chat","fuel"],"employee_id":7,"employee":{"first_name":"Ann","last_name":"Lee","phone":"+49 1"},` +
		`"settings":{"part_bytes":"512"},"upstream":"tracking.example:6808"}`
	w.put("/admin/trackers/101", strings.Replace(full, `"13812`, `"0013812`, 1)).is(t,
		`{"success":true,"result":"added"}`)
	w.get("/admin/trackers/101").is(t, `{"success":true,"value":`+full+`}`)
	w.put("/admin/trackers/101", full).is(t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/trackers/101", strings.Replace(full, "Lee", "Ray", 1)).
		is(t, `{"success":true,"result":"updated"}`)
	w.form("employee/list").is(t,
		`{"success":true,"list":[{"id":7,"tracker_id":101,"first_name":"Ann",`+
			`"middle_name":"","last_name":"Ray","email":"","phone":"+49 1","department_id":null}]}`)
	w.put("/admin/trackers/101", full).is(t, `{"success":true,"result":"updated"}`)
	w.put("/admin/trackers/102",
		`{"account":1,"protocol":"jt808","device_id":"2","employee":{"phone":""}}`).
		is(t, `{"success":true,"result":"added"}`)
	const bare = `{"id":102,"account":1,"label":"","protocol":"jt808","device_id":"2","password":"","model":"","blocked":false,"chat":true,"features":["chat"],"employee_id":0,"settings":{}}`
	w.get("/admin/trackers?after=101").is(t, `{"success":true,"list":[`+bare+`]}`)

	id := w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).id(t)
	w.put("/admin/trackers/101", strings.Replace(full, `"blocked":false`, `"blocked":true`,
		1)).is(t, `{"success":true,"result":"updated"}`)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).refused(t, 208)
	// A tracker that moves takes its messages with it, leaves them, or loses them.
	move := func(to, history string) {
		t.Helper()
		body := strings.Replace(full, `"account":1`, `"history":"`+history+`","account":`+to, 1)
		w.put("/admin/trackers/101", body).is(t, `{"success":true,"result":"updated"}`)
	}
	listed := func(key string) []message {
		t.Helper()
		return w.formAs(key, "tracker/chat/list", "tracker_id", "101").list(t)
	}
	move("2", "move")
	w.json("tracker/chat/list", `"tracker_id":101`).refused(t, 201)
	if got := listed(uralKey); len(got) != 1 || got[0].ID != id {
		t.Errorf("moved: %v", got)
	}
	move("1", "keep")
	if kept, own := listed(uralKey), listed(berlinKey); len(kept) != 1 || kept[0].ID != id ||
		len(own) != 0 {
		t.Errorf("kept: %v, begun: %v", kept, own)
	}
	w.get("/admin/trackers/101").is(t, `{"success":true,"value":`+full+`}`)
	w.delete("/admin/accounts/2").invalid(t, "id")
	move("2", "drop")
	if got := listed(uralKey); len(got) != 0 {
		t.Errorf("dropped: %v", got)
	}
	w.put("/admin/trackers/101", strings.Replace(full, `{`, `{"history":"burn",`, 1)).invalid(t,
		"history")
	w.delete("/admin/accounts/2").invalid(t, "id")
	w.delete("/admin/trackers/101").is(t, `{"success":true,"result":"removed"}`)
	w.delete("/admin/trackers/101").refused(t, 201)
	w.get("/admin/trackers/101").refused(t, 201)
	w.delete("/admin/accounts/2").is(t, `{"success":true,"result":"removed"}`)
	w.put("/admin/trackers/101", full).is(t, `{"success":true,"result":"added"}`)
	w.json("tracker/chat/list", `"tracker_id":101`).is(t, `{"success":true,"list":[]}`)
}

func TestAdminRefusals(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{"login":"demo","keys":["`+berlinKey+`"]}`).is(t,
		`{"success":true,"result":"added"}`)
	w.put("/admin/trackers/101", `{"account":1,"protocol":"jt808","device_id":"1"}`).is(t,
		`{"success":true,"result":"added"}`)
	long := strings.Repeat("x", 256)
	for body, names := range map[string]string{
		`{"id":2}`:                 "id",
		`{"login":"` + long + `"}`: "login",
		`{"login":"a\u0000b","title":"` + long +
			`","time_zone":"Nowhere","keys":["12"]}`: "login title time_zone keys[0]",
		`{"time_zone":""}`:                                "time_zone",
		`{"time_zone":"Local"}`:                           "time_zone",
		`{"password":"x"}`:                                "login",
		`{"login":"x","password":1}`:                      "password",
		`{"login":1}`:                                     "login",
		`{"unknown":1}`:                                   "unknown",
		`{"login":"x","password_hash":"plain"}`:           "password_hash",
		`{"login":"x","password":"a","password_hash":""}`: "password",
		`{"login":"x","password":"` + strings.Repeat("x", 1025) + `"}`: "password",
		`{"keys":["` + unknownKey + `","` + unknownKey + `"]}`:         "keys",
		`{"keys":{}}`: "keys",
	} {
		w.put("/admin/accounts/1", body).invalid(t, strings.Fields(names)...)
	}
	w.put("/admin/accounts/2", `{"login":"demo"}`).invalid(t, "login")
	w.put("/admin/accounts/2", `{"keys":["`+berlinKey+`"]}`).invalid(t, "keys")
	good := `"account":1,"protocol":"jt808","device_id":"2"`
	for body, names := range map[string]string{
		`{}`:                                   "account device_id protocol",
		`{` + good + `,"id":3}`:                "id",
		`{` + good + `,"employee_id":-1}`:      "employee_id",
		`{` + good + `,"features":["a b",""]}`: "features[0] features[1]",
		`{` + good + `,"label":"` + long + `","model":"\n"}`: "label model",
		`{"account":1,"protocol":"morse","device_id":"2"}`:   "protocol",
		`{"account":1,"protocol":"jt808","device_id":"000"}`: "device_id",
		`{"account":1,"protocol":"jt808","device_id":"a b"}`: "device_id",
		`{"account":1,"protocol":"jt808","device_id":"01"}`:  "device_id",
		`{"account":9,"protocol":"jt808","device_id":"2"}`:   "account",
		`{"account":0,"protocol":"jt808","device_id":"2"}`:   "account",
		`{"account":"1","protocol":"jt808","device_id":"2"}`: "account",
		`{` + good + `,"settings":{"a":1}}`:                  "settings",
		`{` + good + `,"password":"` + long + `"}`:           "password",
		`{` + good + `,"upstream":"tracking.example"}`:       "upstream",
		`{` + good + `,"upstream":":6808"}`:                  "upstream",
		`{` + good + `,"upstream":{}}`:                       "upstream",
	} {
		w.put("/admin/trackers/102", body).invalid(t, strings.Fields(names)...)
	}
	for employee, names := range map[string]string{
		`"employee":{"last_name":"x"}`:                        "employee_id",
		`"employee_id":7,"employee":{"surname":"x"}`:          "surname",
		`"employee_id":7,"employee":{"phone":1}`:              "employee.phone",
		`"employee_id":7,"employee":"Ann"`:                    "employee",
		`"employee_id":7,"employee":{"first_name":"a\u0000"}`: "employee.first_name",
		`"employee_id":7,"employee":{"last_name":"` + long[:101] + `","phone":"` + long[:33] +
			`"}`: "employee.last_name employee.phone",
	} {
		w.put("/admin/trackers/102", `{`+good+`,`+employee+`}`).invalid(t, strings.Fields(names)...)
	}
	w.put("/admin/trackers/102",
		`{`+good+`,"employee_id":7,"employee":{"first_name":"`+strings.Repeat("ж", 100)+`"}}`).
		is(t, `{"success":true,"result":"added"}`)
	for _, body := range []string{``, `[]`, `{`, `{}x`, `{}{}`, `null`, `{"id":` +
		strings.Repeat("[", 100) + `}`} {
		w.put("/admin/accounts/1", body).refused(t, 5)
	}
	w.put("/admin/accounts/1", `{"title":"`+strings.Repeat("x", 8<<20)+`"}`).refused(t, 9)
	for _, path := range []string{
		"/admin/accounts/0", "/admin/accounts/x", "/admin/trackers/-1",
		"/admin/trackers/9007199254740992", "/admin/accounts/1x",
	} {
		w.get(path).invalid(t, "id")
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?after=x"} {
		w.get("/admin/accounts"+query).refused(t, 7)
		w.get("/admin/trackers"+query).refused(t, 7)
	}
	w.get("/admin/accounts?a=%zz").refused(t, 5)
	for _, path := range []string{"/admin/", "/admin/x", "/admin/accounts/1/x", "/admin/nodes"} {
		w.get(path).refused(t, 111)
	}
	w.post("/admin/accounts", `{}`).refused(t, 112)
	w.get("/admin/import").refused(t, 112)
	w.delete("/admin/export").refused(t, 112)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
		w.admin+"/admin/accounts", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("without a token: %d", resp.StatusCode)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.get("/admin/accounts").refused(t, 14)
	w.put("/admin/accounts/1", `{}`).refused(t, 14)
	w.get("/admin/export").refused(t, 14)
}

// fixedFleet answers what it was given: the interface has no other side in this package.
type fixedFleet struct {
	sessions []admin.DeviceSession
	silent   []queue.NodeID
	asked    []admin.SessionQuery
	drained  int
}

func (f *fixedFleet) Sessions(_ context.Context, q admin.SessionQuery) (admin.SessionPage, error) {
	f.asked = append(f.asked, q)
	return admin.SessionPage{Sessions: f.sessions, Silent: f.silent}, nil
}

func (f *fixedFleet) Disconnect(_ context.Context, t queue.TrackerID) (bool, error) {
	return len(f.sessions) > 0 && f.sessions[0].Tracker == t, nil
}

func (f *fixedFleet) Nodes(context.Context) ([]admin.Node, error) {
	return []admin.Node{{ID: "a-1", Sessions: len(f.sessions)}}, nil
}

func (f *fixedFleet) Drain(_ context.Context, node queue.NodeID) error {
	if node == "unknown" {
		return queue.ErrNotFound
	}
	f.drained++
	return nil
}

func TestAdminFleet(t *testing.T) {
	fleet := &fixedFleet{}
	w := newAdminWorld(t, func(o *admin.Options) { o.Fleet = fleet })
	w.get("/admin/sessions").is(t, `{"success":true,"list":[]}`)
	fleet.sessions = []admin.DeviceSession{{
		Tracker: 101, Protocol: "jt808", Node: "a-1",
		Remote: "192.0.2.1:5", Since: w.now(), LastSeen: w.now(), InFlight: 1, BytesIn: 2,
		BytesOut: 3,
	}}
	w.get("/admin/sessions?tracker_id=101&protocol=jt808&after=5&limit=7").is(t,
		`{"success":true,"list":[{"tracker_id":101,"protocol":"jt808","node":"a-1","remote":"192.0.2.1:5",`+
			`"since":"2016-02-29T10:00:00.25Z","last_seen":"2016-02-29T10:00:00.25Z","in_flight":1,"bytes_in":2,"bytes_out":3}]}`)
	if got := fleet.asked[1]; got != (admin.SessionQuery{
		Tracker: 101, Protocol: "jt808", After: 5,
		Limit: 7,
	}) {
		t.Errorf("asked %+v", got)
	}
	fleet.sessions, fleet.silent = nil, []queue.NodeID{"b-2"}
	w.get("/admin/sessions").is(t, `{"success":true,"list":[],"silent":["b-2"]}`)
	fleet.sessions, fleet.silent = []admin.DeviceSession{{Tracker: 101}}, nil
	w.get("/admin/sessions?tracker_id=x&limit=0").refused(t, 7)
	w.delete("/admin/sessions/101").is(t, `{"success":true}`)
	w.delete("/admin/sessions/102").refused(t, 201)
	w.get("/admin/nodes").is(t,
		`{"success":true,"list":[{"id":"a-1","started":"0001-01-01T00:00:00Z","reported":"0001-01-01T00:00:00Z","sessions":1,"draining":false}]}`)
	w.get("/admin/drain").refused(t, 112)
	w.post("/admin/drain", "").is(t, `{"success":true}`)
	w.post("/admin/drain?node=a-1", "").is(t, `{"success":true}`)
	w.post("/admin/drain?node=unknown", "").refused(t, 201)
	if fleet.drained != 2 {
		t.Errorf("drained %d times", fleet.drained)
	}
}

// TestAdminRefusesWhatItDoesNotKnow: nothing that an administrator asks for is swallowed, wherever
// something is written.
func TestAdminRefusesWhatItDoesNotKnow(t *testing.T) {
	fleet := &fixedFleet{sessions: []admin.DeviceSession{{Tracker: 101}}}
	w := newAdminWorld(t, func(o *admin.Options) { o.Fleet = fleet })
	w.put("/admin/accounts/1", `{}`).succeeds(t)
	w.put("/admin/accounts/3", `{}`).succeeds(t)
	w.put("/admin/trackers/101", `{"account":1,"protocol":"jt808","device_id":"1"}`).succeeds(t)
	w.put("/admin/accounts/1/webhook", `{"url":"https://hooks.example/"}`).succeeds(t)
	id, key := w.newKey("3")
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/admin/accounts/3/keys", ""},
		{"PUT", "/admin/accounts/1", `"title":"x",`},
		{"PUT", "/admin/trackers/101", `"account":1,"protocol":"jt808","device_id":"2",`},
		{"PUT", "/admin/accounts/1/webhook", `"url":"https://other.example/",`},
		{"POST", "/admin/accounts/1/webhook/replay", ""},
		{"POST", "/admin/drain", ""},
		{"DELETE", "/admin/sessions/101", ""},
		{"DELETE", "/admin/accounts/1/webhook", ""},
		{"DELETE", "/admin/keys/" + id, ""},
		{"DELETE", "/admin/trackers/101", ""},
		{"DELETE", "/admin/accounts/1", ""},
	} {
		body := "{" + strings.TrimSuffix(c.body, ",") + "}"
		w.call(c.method, c.path, strings.NewReader("{"+c.body+`"rights":["read"]}`)).invalid(t,
			"rights")
		w.call(c.method, c.path+"?expires=1", strings.NewReader(body)).invalid(t, "expires")
		w.call(c.method, c.path, strings.NewReader("rights=read")).refused(t, 5)
	}
	w.call("POST", "/admin/import?prune=true", strings.NewReader(`{"account":{"id":2}}`)).invalid(t,
		"prune")
	w.get("/admin/accounts/2").refused(t, 201)
	if fleet.drained != 0 ||
		!strings.Contains(w.get("/admin/trackers/101").body, `"device_id":"1"`) ||
		strings.Count(w.get("/admin/accounts/3").body, id) != 1 {
		t.Error("something was done")
	}
	w.formAs(key, "user/get_info").succeeds(t)
	w.put("/admin/accounts/1", "\ufeff"+`{"title":"with a byte order mark"}`).succeeds(t)
	w.post("/admin/accounts/1/keys", " {} ").succeeds(t)
	w.post("/admin/drain?node=", "").succeeds(t)
}
