package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trackchat/api/admin"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestDocsCurl executes every curl line of docs/api.md as a reader would, in order, and compares
// what they call with the operations that there are.
func TestDocsCurl(t *testing.T) {
	doc, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	fleet := &fixedFleet{sessions: []admin.DeviceSession{{
		Tracker: 101, Protocol: "jt808",
		Node: "a-1",
	}}}
	w := newAdminWorld(t, func(o *admin.Options) { o.Fleet, o.Recent = fleet, recentTrouble })
	w.put("/admin/accounts/1",
		`{"login":"demo","password":"demo","keys":["`+berlinKey+`"]}`).succeeds(t)
	for _, id := range []string{"101", "102"} {
		w.put("/admin/trackers/"+id,
			`{"account":1,"label":"Truck","protocol":"jt808","device_id":"`+id+`"}`).succeeds(t)
	}
	w.put("/admin/accounts/9", `{"login":"own","password":"secret"}`).succeeds(t)
	env := append(os.Environ(), "API="+w.url+"/v2", "ADMIN="+w.admin, "KEY="+berlinKey,
		"TOKEN="+adminToken, "INCOMING="+itoa(w.receive(101, "from the driver")),
		"OUTGOING="+itoa(w.send(101, "to the driver")), "SESSION="+w.login("demo", "demo"), "SESSION2="+w.login("own", "secret"))
	var called []string
	target := regexp.MustCompile(`\$(API|ADMIN)(/[^"?]*)`)
	for line := range strings.Lines(string(doc)) {
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		called = append(called, target.FindStringSubmatch(line)[2])
		out := shell(t, line, env)
		switch {
		case strings.Contains(line, "/metrics"):
		case strings.Contains(line, "/chat/export"):
			if !strings.Contains(out, `{"tracker_id":101,"message":{`) && out != "200\n" {
				t.Errorf("%s answers %s", line, out)
			}
		case strings.Contains(line, "/events"):
			if !strings.Contains(out, "\nid: ") {
				t.Errorf("%s answers %s", line, out)
			}
		case !strings.Contains(out, `"success":true`) && !strings.Contains(out, `"tracker":{`) &&
			!strings.Contains(out, `"ready":true`) && !strings.Contains(out, `"alive":true`),
			strings.Contains(out, `"refused":[{`):
			t.Errorf("%s answers %s", line, out)
		}
		var made struct {
			Value     struct{ ID, Key string }
			Broadcast int64 `json:"broadcast_id"`
		}
		if strings.Contains(line, "/key") && json.Unmarshal([]byte(out), &made) == nil &&
			made.Value.Key != "" {
			env = append(env, "KEYID="+made.Value.ID)
		}
		if strings.Contains(line, "/broadcast") && json.Unmarshal([]byte(out), &made) == nil &&
			made.Broadcast != 0 {
			env = append(env, "BROADCAST="+itoa(made.Broadcast))
		}
	}
	for _, path := range w.api.Routes() {
		if !slices.Contains(called, path) {
			t.Errorf("no curl line calls %s", path)
		}
	}
	if fleet.drained != 1 {
		t.Errorf("drained %d times", fleet.drained)
	}
	// What the text says about the limits is what the table says.
	for _, e := range errorTable() {
		if e.code != 6 && !regexp.MustCompile(`(?m)^\|[^|]*\b`+itoa(e.code)+`\b`).Match(doc) {
			t.Errorf("code %d is not explained", e.code)
		}
	}
}

// shell runs one line and returns what it prints.
func shell(t *testing.T, line string, env []string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "sh", "-c", line)
	cmd.Env, cmd.Dir = env, t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v %s", line, err, out)
	}
	return string(out)
}

// document is openapi.json as far as the tests look at it.
type document struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Parameters  []struct {
			Name, In string
			Ref      string `json:"$ref"`
		}
		RequestBody struct {
			Content map[string]struct {
				Schema struct{ Properties map[string]any }
			}
		}
		Responses map[string]struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		}
	}
}

// spec is the document that a server serves, with a validator over it.
type spec struct {
	document
	tb       testing.TB
	compiler *jsonschema.Compiler
	checked  map[string]bool // operations whose success was validated
}

const specURL = "https://trackchat.example/openapi.json"

func readSpec(w *world) *spec {
	w.tb.Helper()
	a := w.do(http.MethodGet, "/openapi.json", "")
	s := &spec{tb: w.tb, compiler: jsonschema.NewCompiler(), checked: map[string]bool{}}
	raw, err := jsonschema.UnmarshalJSON(strings.NewReader(a.body))
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := json.Unmarshal([]byte(a.body), &s.document); err != nil {
		w.tb.Fatal(err)
	}
	if err := s.compiler.AddResource(specURL, raw); err != nil {
		w.tb.Fatal(err)
	}
	s.compiler.AssertFormat()
	return s
}

// valid holds an answer to the schema of its operation and status.
func (s *spec) valid(method, path string, a answer) {
	s.tb.Helper()
	op, ok := s.Paths[path][strings.ToLower(method)]
	if !ok {
		s.tb.Fatalf("%s %s is not described", method, path)
	}
	status := fmt.Sprint(a.status)
	if _, ok := op.Responses[status]; !ok {
		status = "default"
	}
	if a.status == http.StatusOK {
		s.checked[method+" "+path] = true
	}
	for media := range op.Responses[status].Content {
		if !strings.HasPrefix(a.header.Get("Content-Type"), media) {
			if len(op.Responses[status].Content) > 1 {
				continue // one of them; which is up to the caller to want
			}
			s.tb.Errorf("%s %s: %s, described as %s", method, path, a.header.Get("Content-Type"),
				media)
		}
		pointer := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
		schema, err := s.compiler.Compile(specURL + "#/paths/" + pointer.Replace(path) + "/" +
			strings.ToLower(method) + "/responses/" + status + "/content/" +
			pointer.Replace(media) + "/schema")
		if err != nil {
			s.tb.Fatal(err)
		}
		bodies := []string{a.body}
		if media == "application/x-ndjson" {
			bodies = strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
		}
		if slices.Contains([]string{"text/plain", "text/event-stream", "text/csv"}, media) {
			bodies = nil
		}
		for _, body := range bodies {
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
			if err != nil {
				s.tb.Fatalf("%s %s: %v in %s", method, path, err, body)
			}
			if err := schema.Validate(v); err != nil {
				s.tb.Errorf("%s %s answers %.300s: %v", method, path, body, err)
			}
		}
	}
}

// TestOpenAPIDescribesTheHandlers compares the document with the handlers in both directions, but
// for what is administrative, which the tests of api/admin compare.
func TestOpenAPIDescribesTheHandlers(t *testing.T) {
	w := newLiveWorld(t)
	s := readSpec(w)
	if s.OpenAPI != "3.1.0" {
		t.Errorf("version %q", s.OpenAPI)
	}
	described := map[string]bool{}
	for path, ops := range s.Paths {
		for method := range ops {
			if !strings.HasPrefix(path, "/admin/") {
				described[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	want := []string{"GET /openapi.json", "GET /healthz", "GET /readyz", "GET /metrics"}
	for _, path := range w.api.Routes() {
		want = append(want, "GET "+path, "POST "+path)
	}
	for _, route := range want {
		if !described[route] {
			t.Errorf("%s is not described", route)
		}
		delete(described, route)
	}
	for route := range described {
		t.Errorf("%s is described and not there", route)
	}
	ids := map[string]bool{}
	for path, ops := range s.Paths {
		for method, op := range ops {
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operation id %q", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
}

// TestOpenAPIParameters gives every described parameter a value that it cannot have, and nothing is
// refused that is not described.
func TestOpenAPIParameters(t *testing.T) {
	w := newLiveWorld(t)
	s := readSpec(w)
	for _, path := range w.api.Routes() {
		if path == "/user/auth" {
			continue // takes any text
		}
		var names []string
		for _, p := range s.Paths[path]["get"].Parameters {
			names = append(names, p.Name)
		}
		slices.Sort(names)
		var inBody []string
		for name := range s.Paths[path]["post"].RequestBody.Content["application/json"].Schema.Properties {
			if name != "hash" {
				inBody = append(inBody, name)
			}
		}
		slices.Sort(inBody)
		if !slices.Equal(names, inBody) {
			t.Errorf("%s: parameters %v of the query, %v of the body", path, names, inBody)
		}
		members := map[string]any{"hash": berlinKey}
		for _, name := range names {
			members[name] = map[string]any{}
		}
		var got struct{ Errors []struct{ Parameter string } }
		a := w.do(http.MethodPost, path, jsonBody(members), "Content-Type", "application/json")
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		var refused []string
		for _, e := range got.Errors {
			refused = append(refused, e.Parameter)
		}
		slices.Sort(refused)
		if !slices.Equal(refused, names) {
			t.Errorf("%s: described %v, refused %v: %s", path, names, refused, a.body)
		}
	}
}

// TestOpenAPIAnswers validates real answers of every operation, successes and refusals.
func TestOpenAPIAnswers(t *testing.T) {
	fleet := &fixedFleet{sessions: []admin.DeviceSession{{
		Tracker: 101, Protocol: "jt808",
		Node: "a-1", Remote: "192.0.2.1:5",
	}}}
	w := newAdminWorld(t, func(o *admin.Options) {
		o.Fleet, o.Recent, o.Trouble = fleet,
			recentTrouble, deviceTrouble
	})
	s := readSpec(w.world)
	admin := func(method, template, path, body string) {
		s.valid(method, template, w.call(method, path, strings.NewReader(body)))
	}
	admin("PUT", "/admin/accounts/{id}", "/admin/accounts/1",
		`{"login":"demo","password":"pass","time_zone":"Asia/Tokyo","keys":["`+berlinKey+`"]}`)
	admin("PUT", "/admin/accounts/{id}", "/admin/accounts/1", `{"login":5}`)
	admin("GET", "/admin/accounts", "/admin/accounts?limit=3", "")
	admin("GET", "/admin/accounts/{id}", "/admin/accounts/1", "")
	admin("PUT", "/admin/trackers/{id}", "/admin/trackers/101",
		`{"account":1,"protocol":"jt808","device_id":"1","employee_id":7,"employee":{"first_name":"Ann"},"settings":{"a":"b"},"upstream":"none"}`)
	admin("GET", "/admin/trackers", "/admin/trackers", "")
	admin("GET", "/admin/trackers/{id}", "/admin/trackers/101", "")
	admin("GET", "/admin/trackers/{id}", "/admin/trackers/999", "")
	admin("POST", "/admin/accounts/{id}/keys", "/admin/accounts/1/keys", "")
	for _, user := range []string{`{"login":"ann","password":"x","name":"Ann","role":"viewer"}`, `{}`} {
		admin("POST", "/admin/accounts/{id}/users", "/admin/accounts/1/users", user)
	}
	const user = "/admin/accounts/{id}/users/{user}"
	admin("PUT", user, "/admin/accounts/1/users/2", `{"login":"bob","name":"Bob","role":"viewer"}`)
	admin("POST", "/admin/accounts/{id}/keys", "/admin/accounts/1/keys",
		`{"name":"ERP","role":"viewer","end":"2099-01-01T00:00:00Z"}`)
	admin("PUT", "/admin/accounts/{id}", "/admin/accounts/1", `{"groups":[{"id":3,"title":"North"}],`+
		`"templates":[{"id":4,"name":"Call","text":"Call {label}","choices":["yes"],"ttl":60}]}`)
	admin("PUT", "/admin/trackers/{id}", "/admin/trackers/101",
		`{"account":1,"protocol":"jt808","device_id":"1","group_id":3,"tags":["a"]}`)
	for _, path := range []string{"/admin/accounts", "/admin/trackers", "/admin/export"} {
		admin("GET", path, path, "")
	}
	admin("DELETE", user, "/admin/accounts/1/users/2", "")
	admin("PUT", "/admin/accounts/{id}", "/admin/accounts/1", `{"login":"demo","password":"pass"}`)
	id, _ := w.newKey("1")
	admin("DELETE", "/admin/keys/{id}", "/admin/keys/"+id, "")
	admin("POST", "/admin/import", "/admin/import",
		`{"tracker":{"id":102,"account":1,"protocol":"p","device_id":"2"}}`+"\nnonsense\n"+`{"tracker":{"id":103,"account":1,"protocol":"p","device_id":"3"}}`)
	admin("GET", "/admin/export", "/admin/export", "")
	for _, body := range []string{
		`{"url":"https://hooks.example/"}`,
		`{"url":"gopher://hooks.example/"}`,
		`{"url":"https://hooks.example/","secret":"0123456789abcdef"}`,
	} {
		admin("PUT", "/admin/accounts/{id}/webhook", "/admin/accounts/1/webhook", body)
	}
	admin("GET", "/admin/accounts/{id}/webhook", "/admin/accounts/1/webhook", "")
	admin("POST", "/admin/accounts/{id}/webhook/replay", "/admin/accounts/1/webhook/replay",
		`{"since":"2026-05-28T00:00:00Z"}`)
	admin("POST", "/admin/accounts/{id}/webhook/replay", "/admin/accounts/1/webhook/replay", "")
	admin("DELETE", "/admin/accounts/{id}/webhook", "/admin/accounts/1/webhook", "")
	admin("DELETE", "/admin/trackers/{id}", "/admin/trackers/103", "")
	admin("DELETE", "/admin/accounts/{id}", "/admin/accounts/1", "")
	admin("PUT", "/admin/accounts/{id}", "/admin/accounts/2", `{}`)
	admin("DELETE", "/admin/accounts/{id}", "/admin/accounts/2", "")
	admin("GET", "/admin/sessions", "/admin/sessions", "")
	admin("DELETE", "/admin/sessions/{id}", "/admin/sessions/101", "")
	admin("GET", "/admin/nodes", "/admin/nodes", "")
	admin("GET", "/admin/errors", "/admin/errors", "")
	admin("GET", "/admin/audit", "/admin/audit?limit=1000", "")
	admin("GET", "/admin/audit", "/admin/audit?limit=2000", "")
	admin("POST", "/admin/drain", "/admin/drain", "")
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		admin("GET", path, path, "")
	}
	s.valid("GET", "/openapi.json", w.do(http.MethodGet, "/openapi.json", ""))

	both := func(path string, pairs ...string) {
		s.valid("POST", path, w.form(strings.TrimPrefix(path, "/"), pairs...))
		query := "?hash=" + berlinKey
		for i := 0; i < len(pairs); i += 2 {
			query += "&" + pairs[i] + "=" + strings.ReplaceAll(pairs[i+1], " ", "+")
		}
		s.valid("GET", path, w.do(http.MethodGet, path+query, ""))
		s.valid("POST", path, w.formAs(unknownKey, path[1:]))
	}
	in := w.receive(101, "from the driver")
	w.ack(101, w.send(101, "delivered"))
	both("/tracker/chat/send", "tracker_id", "101", "message", "pending")
	both("/tracker/chat/capabilities", "tracker_id", "101")
	both("/tracker/chat/send", "tracker_id", "101", "message", "😀", "strict", "true")
	both("/tracker/chat/send", "tracker_id", "101", "message", "stop", "urgent", "true")
	both("/tracker/chat/list", "tracker_id", "101")
	both("/tracker/chat/list", "tracker_id", "101", "iso_datetime", "true", "limit", "2000")
	both("/tracker/chat/list", "tracker_id", "101", "iso_datetime", "true")
	both("/tracker/chat/list", "tracker_id", "101", "detail", "true")
	both("/tracker/chat/search", "tracker_id", "101", "query", "PEND")
	both("/tracker/chat/search", "tracker_id", "101", "query", "e", "limit", "1", "iso_datetime",
		"1")
	for _, format := range []string{"csv", "ndjson"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			s.valid(method, "/tracker/chat/export", w.download(method, "hash="+berlinKey+
				"&iso_datetime=1&format="+format))
			s.valid(method, "/tracker/chat/export", w.download(method, "hash="+unknownKey))
		}
	}
	both("/tracker/chat/broadcast", "trackers", "101,102", "message", "all")
	both("/tracker/chat/broadcast", "all", "true", "message", "all")
	both("/tracker/chat/broadcast/list")
	var kept struct{ List []struct{ ID int64 } }
	if err := json.Unmarshal([]byte(w.form("tracker/chat/broadcast/list").body), &kept); err != nil {
		t.Fatal(err)
	}
	both("/tracker/chat/broadcast/read", "broadcast_id", itoa(kept.List[0].ID))
	both("/tracker/chat/read", "message_id", itoa(in))
	answer := w.json("tracker/chat/send",
		`"tracker_id":101,"message":"detail","ttl":"60","choices":"yes,no","reply_to":`+itoa(
			in)).id(t)
	both("/tracker/chat/read", "message_id", itoa(answer))
	both("/tracker/chat/cancel", "message_id", itoa(answer))
	both("/tracker/chat/updated/list", "trackers", "101,102")
	both("/tracker/chat/last/list", "trackers", "101,102")
	both("/tracker/chat/unread/count")
	both("/tracker/chat/mark_read", "message_id", itoa(in))
	both("/tracker/chat/mark_read_all")
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		s.valid(method, "/tracker/chat/events", w.openStream(method,
			"/tracker/chat/events?hash="+berlinKey))
	}
	both("/tracker/list")
	both("/tracker/read", "tracker_id", "101")
	both("/tracker/get_state", "tracker_id", "101")
	both("/tracker/get_states", "trackers", "101,102,9", "allow_not_exist", "true", "list_blocked",
		"1", "iso_datetime", "1")
	both("/tracker/group/list")
	both("/employee/list")
	key := berlinKey
	value := func(body string) string { // of what was made
		var made struct {
			ID    int64
			Value struct{ ID string }
		}
		_ = json.Unmarshal([]byte(body), &made)
		return cmp.Or(made.Value.ID, itoa(made.ID))
	}
	for _, kind := range [][]string{
		{"user", "login", "zoe", "name", "Zoe", "role", "manager"},
		{"group", "title", "North"},
		{"template", "name", "call", "text", "Call me", "choices", "yes,no", "ttl", "60"},
		{"key", "name", "ERP", "end", "2030-01-01 00:00:00"},
	} {
		path, idOf := "/account/"+kind[0]+"/", kind[0]+"_id"
		query := "?hash=" + key
		for i := 1; i < len(kind); i += 2 {
			query += "&" + kind[i] + "=" + strings.ReplaceAll(kind[i+1], "zoe", "zoey")
		}
		byPost, byGet := w.form(path[1:]+"create", kind[1:]...),
			w.do(http.MethodGet, path+"create"+strings.ReplaceAll(query, " ", "+"), "")
		s.valid("POST", path+"create", byPost)
		s.valid("GET", path+"create", byGet)
		id := value(byPost.body)
		both(path+"update", append([]string{idOf, id}, kind[1:]...)...)
		if kind[0] == "group" {
			both("/tracker/group/list")
			both("/account/group/assign", "group_id", id, "trackers", "101")
			both("/account/tag/assign", "tags", "a,b", "trackers", "101")
			both("/tracker/read", "tracker_id", "101")
		} else {
			both(path + "list")
		}
		s.valid("POST", path+"delete", w.form(path[1:]+"delete", idOf, id))
		s.valid("GET", path+"delete", w.do(http.MethodGet, path+"delete?hash="+key+"&"+idOf+"="+
			value(byGet.body), ""))
	}
	both("/user/get_info")
	both("/user/auth", "login", "demo", "password", "pass")
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		hash := w.login("demo", "pass")
		s.valid(method, "/user/password/change", w.do(method, "/user/password/change?old_password=pass&new_password=pass",
			"", "Authorization", "NVX "+hash))
		for _, path := range []string{"/user/session/renew", "/user/logout"} {
			hash := w.login("demo", "pass")
			s.valid(method, path, w.do(method, path, "", "Authorization", "NVX "+hash))
			s.valid(method, path, w.do(method, path, "", "Authorization", "NVX "+berlinKey))
		}
	}
	for path, ops := range s.Paths {
		for method := range ops {
			if route := strings.ToUpper(method) + " " + path; !s.checked[route] {
				t.Errorf("no successful answer of %s was validated", route)
			}
		}
	}
}

// TestOpenAPIIsServed compares the file with what is served, also to other origins.
func TestOpenAPIIsServed(t *testing.T) {
	file, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	a := w.do(http.MethodGet, "/openapi.json", "")
	if a.body != string(file) || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", a.status, a.header)
	}
	w.do(http.MethodPost, "/openapi.json", "").refused(t, 111)
}
