package api_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/api/admin"
	"trackchat/api/audit"
	"trackchat/queue"
)

// auditWorld is administration and an API with one audit. Every secret that is sent contains the
// word Canary, or is in secrets once it is known.
type auditWorld struct {
	*adminWorld
	last    int64             // id of the last entry
	vars    map[string]string // that are known only after a call
	secrets []string
	told    strings.Builder // lines and answers
}

// act is what somebody does, and what the audit has of it.
type act struct {
	route string // of administration, as openapi.json names it
	do    func() answer
	want  string
}

// entryMembers are those that are compared, in their order.
var entryMembers = []string{
	"actor", "account", "actor_id", "actor_name", "action", "object", "detail", "outcome", "code",
}

// news is the one entry that there is since the last one.
func (w *auditWorld) news() map[string]any {
	w.tb.Helper()
	var got struct{ List []map[string]any }
	a := w.get(fmt.Sprintf("/admin/audit?after=%d&limit=1000", w.last))
	d := json.NewDecoder(strings.NewReader(a.body))
	d.UseNumber()
	if err := d.Decode(&got); err != nil || len(got.List) != 1 {
		w.tb.Fatalf("%d entries, not one: %v %s", len(got.List), err, a.body)
	}
	w.told.WriteString(a.body)
	entry := got.List[0]
	id, err := entry["id"].(json.Number).Int64()
	if err != nil || id <= w.last {
		w.tb.Fatalf("id %v after %d", entry["id"], w.last)
	}
	w.last = id
	return entry
}

// line is the one line that there is since the last one, without its time.
func (w *auditWorld) line() map[string]any {
	w.tb.Helper()
	lines := w.lines.TakeAll()
	if len(lines) != 1 || lines[0].LoggerName != audit.Name {
		w.tb.Fatalf("%d lines, not one: %v", len(lines), lines)
	}
	line := lines[0].ContextMap()
	line["action"] = lines[0].Message
	_, _ = fmt.Fprintln(&w.told, line)
	return line
}

func (w *auditWorld) check(a act) {
	w.tb.Helper()
	got := a.do()
	entry, line := w.news(), w.line()
	if entry["time"] != "2016-02-29T10:00:00.25Z" || entry["remote"] == nil {
		w.tb.Errorf("%v", entry)
	}
	if id := got.header.Get("X-Request-Id"); id != "" && entry["request"] != id {
		w.tb.Errorf("request %v, not %s", entry["request"], id)
	}
	delete(entry, "id")
	delete(entry, "time")
	if fmt.Sprint(entry) != fmt.Sprint(line) {
		w.tb.Errorf("the answer has %v\nthe log has %v", entry, line)
	}
	var text []string
	for _, name := range entryMembers {
		if v, ok := entry[name]; ok {
			text = append(text, fmt.Sprint(name, "=", v))
		}
	}
	want := a.want
	for name, value := range w.vars {
		want = strings.ReplaceAll(want, "$"+name, value)
	}
	if text := strings.Join(text, " "); text != want {
		w.tb.Errorf("got  %s\nwant %s\n%s", text, want, got.body)
	}
}

// TestAudit is a table over every action that the audit has, as clients and administrators do it,
// and over what of it is refused; no secret is in it.
func TestAudit(t *testing.T) {
	fleet := &fixedFleet{sessions: []admin.DeviceSession{{Tracker: 101, Protocol: "jt808"}}}
	w := &auditWorld{
		adminWorld: newAdminWorld(t, func(o *admin.Options) { o.Fleet = fleet }),
		vars:       map[string]string{}, secrets: []string{"Canary", "argon2"},
	}
	hash := queue.HashKey(berlinKey)
	w.secrets = append(w.secrets, berlinKey, hex.EncodeToString(hash[:]))
	w.vars["KEYID"] = hex.EncodeToString(hash[:8])
	seen := map[string]bool{}
	for _, a := range append(append(w.administrators(), w.strangers()...), w.people()...) {
		seen[a.route] = true
		w.check(a)
	}
	for path, ops := range readSpec(w.world).Paths {
		for method := range ops {
			route := strings.ToUpper(method) + " " + path
			if strings.HasPrefix(path, "/admin/") && method != "get" && !seen[route] {
				t.Errorf("nobody does %s", route)
			}
		}
	}
	for _, secret := range w.secrets {
		if i := strings.Index(w.told.String(), secret); i >= 0 {
			t.Errorf("%q is told: …%s", secret, w.told.String()[max(0, i-200):i+len(secret)])
		}
	}
}

func (w *auditWorld) administrators() []act {
	as := func(method, template, id, body, want string) act {
		path := strings.NewReplacer("{id}", id, "{user}", "1").Replace(template)
		template, _, _ = strings.Cut(template, "?")
		return act{method + " " + template, func() answer {
			return w.call(method, path, strings.NewReader(body))
		}, "actor=admin action=" + want}
	}
	const accounts, trackers, webhook = "/admin/accounts/{id}", "/admin/trackers/{id}",
		"/admin/accounts/{id}/webhook"
	return []act{
		as("PUT", accounts, "1", `{"login":"demo","password":"Canary","keys":["`+berlinKey+`"]}`,
			"account/put object=account 1 detail=added outcome=done"),
		as("PUT", accounts, "1", `{"login":"demo"}`,
			"account/put object=account 1 detail=unchanged outcome=done"),
		as("PUT", accounts, "1", `{"login":"","password":"Canary"}`,
			"account/put object=account 1 outcome=refused code=7"),
		as("PUT", accounts, "Canary", `{}`, "account/put object=account outcome=refused code=7"),
		as("PUT", trackers, "101",
			`{"account":1,"protocol":"jt808","device_id":"1","password":"Canary"}`,
			"tracker/put object=tracker 101 detail=added outcome=done"),
		as("PUT", trackers, "102", `{"account":7,"protocol":"jt808","device_id":"2"}`,
			"tracker/put object=tracker 102 outcome=refused code=7"),
		{"POST /admin/accounts/{id}/keys", func() answer {
			id, key := w.newKey("1")
			w.vars["NEW"], w.vars["ID"] = id[:16], id
			w.secrets = append(w.secrets, id, key)
			return answer{}
		}, "actor=admin action=key/create object=account 1 detail=key $NEW outcome=done"},
		{"DELETE /admin/keys/{id}", func() answer {
			return w.call(http.MethodDelete, "/admin/keys/"+w.vars["ID"], nil)
		}, "actor=admin action=key/delete object=key $NEW detail=removed outcome=done"},
		as("POST", accounts+"/users", "1", `{"login":"ann","name":"Ann","role":"viewer","password":"Canary"}`,
			"user/create object=account 1 detail=user 1 outcome=done"),
		as("PUT", accounts+"/users/{user}", "1", `{"login":"bob","name":"Bob","role":"viewer"}`,
			"user/put object=account 1, user 1 detail=updated outcome=done"),
		as("DELETE", accounts+"/users/{user}", "1", "",
			"user/delete object=account 1, user 1 detail=removed outcome=done"),
		as("DELETE", accounts+"/users/{user}", "1", "",
			"user/delete object=account 1, user 1 outcome=refused code=201"),
		as("DELETE", "/admin/keys/{id}", berlinKey, "",
			"key/delete object=key outcome=refused code=7"),
		as("PUT", webhook, "1",
			`{"url":"https://hooks.example/Canary","secret":"Canary-0123456789"}`,
			"webhook/put object=account 1 outcome=done"),
		as("POST", webhook+"/replay", "1", "", "webhook/replay object=account 1 outcome=done"),
		as("DELETE", webhook, "1", "", "webhook/delete object=account 1 outcome=done"),
		as("DELETE", webhook, "1", "", "webhook/delete object=account 1 outcome=refused code=201"),
		as("POST", "/admin/import", "", `{"tracker":{"id":103,"account":1,"protocol":"p",`+
			`"device_id":"3"}}`+"\nCanary\n"+`{"account":{"id":1,"login":"anna","password":"Canary"}}`,
			"directory/import object=directory detail=1 added, 1 updated, 0 unchanged, 1 refused "+
				"outcome=done"),
		as("POST", "/admin/import", "", strings.Repeat(" ", 8<<20+1),
			"directory/import object=directory detail=0 added, 0 updated, 0 unchanged, 0 refused; "+
				"stopped: line 1 is longer than 8388608 bytes outcome=done"),
		as("POST", "/admin/import?Canary=1", "", "",
			"directory/import object=directory outcome=refused code=7"),
		as("DELETE", "/admin/sessions/{id}", "101", "",
			"session/delete object=tracker 101 outcome=done"),
		as("DELETE", "/admin/sessions/{id}", "999", "",
			"session/delete object=tracker 999 outcome=refused code=201"),
		as("POST", "/admin/drain", "", "", "node/drain object=node outcome=done"),
		as("POST", "/admin/drain?node=unknown", "", "",
			"node/drain object=node unknown outcome=refused code=201"),
		as("DELETE", trackers, "103", "",
			"tracker/delete object=tracker 103 detail=removed outcome=done"),
		as("DELETE", accounts, "9", "", "account/delete object=account 9 outcome=refused code=201"),
		as("DELETE", accounts, "1", "", "account/delete object=account 1 outcome=refused code=7"),
	}
}

// strangers guess the token, which may be a secret of somewhere else.
func (w *auditWorld) strangers() []act {
	return []act{{"GET /admin/accounts", func() answer {
		req, err := http.NewRequestWithContext(w.tb.Context(), http.MethodGet,
			w.admin+"/admin/accounts", http.NoBody)
		if err != nil {
			w.tb.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer Canary")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			w.tb.Fatal(err)
		}
		_ = resp.Body.Close()
		return answer{status: resp.StatusCode}
	}, "actor=admin action=admin/auth outcome=refused code=11"}}
}

// people are those of account 1, which the import has called anna.
func (w *auditWorld) people() []act {
	const byAnna = "actor=user account=1 actor_name=anna action="
	const byKey = "actor=key account=1 actor_id=$KEYID action="
	send := func() {
		w.vars["MESSAGE"] = itoa(w.form("tracker/chat/send", "tracker_id", "101", "message",
			"Canary").id(w.tb))
	}
	cancel := func(hash, message string) func() answer {
		return func() answer {
			return w.formAs(strings.ReplaceAll(hash, "$SESSION", w.vars["SESSION"]),
				"tracker/chat/cancel", "message_id",
				strings.ReplaceAll(message, "$MESSAGE", w.vars["MESSAGE"]))
		}
	}
	auth := func(login, password string) func() answer {
		return func() answer { return w.auth(login, password) }
	}
	return []act{
		{"", func() answer {
			a := w.auth("anna", "Canary")
			var got struct{ Hash string }
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Hash == "" {
				w.tb.Fatal(a.body)
			}
			w.vars["SESSION"], w.secrets = got.Hash, append(w.secrets, got.Hash)
			return a
		}, byAnna + "user/auth outcome=done"},
		{"", auth("anna", "Canary-2"), byAnna + "user/auth outcome=refused code=102"},
		{
			"", auth("nobody\n\u202e", "Canary-3"),
			"actor=user actor_name=nobody�� action=user/auth outcome=refused code=102",
		},
		{
			"", func() answer { send(); return cancel(berlinKey, "$MESSAGE")() },
			byKey + "message/cancel object=message $MESSAGE outcome=done",
		},
		{
			"", cancel(berlinKey, "$MESSAGE"),
			byKey + "message/cancel object=message $MESSAGE detail=unchanged outcome=done",
		},
		{
			"", cancel(berlinKey, "999"),
			byKey + "message/cancel object=message 999 outcome=refused code=201",
		},
		{"", cancel(berlinKey, "Canary"), byKey + "message/cancel outcome=refused code=7"},
		{
			"", func() answer { send(); return cancel("$SESSION", "$MESSAGE")() },
			byAnna + "message/cancel object=message $MESSAGE outcome=done",
		},
		{
			"", func() answer { return w.form("user/logout") },
			byKey + "user/logout outcome=refused code=4",
		},
		{
			"", func() answer { return w.formAs(w.vars["SESSION"], "user/logout") },
			byAnna + "user/logout outcome=done",
		},
	}
}

// TestAuditOfGuessing: whatever is guessed, and from how many places, the audit stays short, and
// what was done stays in it. Who does not say who he is, is in it only as a login.
func TestAuditOfGuessing(t *testing.T) {
	w := newLiveWorld(t, func(o *api.Options) { o.TrustedProxies = trustedProxies() })
	for i := range 300 {
		w.do(http.MethodPost, "/v2/user/auth", jsonBody(map[string]any{
			"login": fmt.Sprint(i, strings.Repeat("x", 1000)), "password": "Canary",
		}), "Content-Type", "application/json", "X-Forwarded-For",
			fmt.Sprintf("198.51.%d.%d", i%2, i%100))
		w.formAs(unknownKey, "tracker/chat/cancel", "message_id", "1").refused(t, 4)
		w.do(http.MethodDelete, "/v2/tracker/chat/cancel", "").refused(t, 112)
	}
	w.audit.Flush()
	list := w.audit.Recent(0, 1000)
	lines := w.lines.TakeAll()
	if len(list) != len(lines) || len(list) == 0 || len(list) > 33*6 {
		t.Errorf("%d entries, %d lines", len(list), len(lines))
	}
	counted := 0
	for _, e := range list {
		counted += max(e.Repeated, 1)
		if e.Action != "user/auth" || len(e.Name) > 310 {
			t.Errorf("%+v", e)
		}
	}
	if counted != 300 {
		t.Errorf("%d of 300 are counted", counted)
	}
}
