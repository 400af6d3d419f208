package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/api/auth"
	"trackchat/queue"
)

// newLiveWorld is a world whose directory is in its store, so that people can log in: account 1 as
// berlin with the password "pass word", account 2 as ural with "null".
func newLiveWorld(t *testing.T, change ...func(*api.Options)) *world {
	t.Helper()
	w := newWorld(t, change...)
	list := accounts()
	for i, pw := range []string{"pass word", "null"} {
		hash, err := auth.HashPassword(pw)
		if err != nil {
			t.Fatal(err)
		}
		list[i].Password, list[i].Title = hash, fmt.Sprintf("Fleet «%d»", i+1)
	}
	if _, err := w.store.ImportDirectory(t.Context(), list, trackers(), false); err != nil {
		t.Fatal(err)
	}
	w.sync()
	return w
}

// sync brings the API's directory to what the store holds.
func (w *world) sync() {
	w.tb.Helper()
	if err := w.dir.Sync(context.Background(), w.store); err != nil {
		w.tb.Fatal(err)
	}
}

// second is another node's API on the same store and directory.
func (w *world) second() http.Handler {
	return api.New(api.Options{
		Store: w.store, Sessions: w.store, Accounts: w.store, Feed: w.store, Directory: w.dir,
		Now: w.now,
	})
}

// login returns the session's hash.
func (w *world) login(login, password string) string {
	w.tb.Helper()
	a := w.auth(login, password)
	var got struct {
		Success    bool
		Type, Hash string
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !got.Success ||
		got.Type != "authenticated" || len(got.Hash) != 32 {
		w.tb.Fatalf("login: %d %s", a.status, a.body)
	}
	a.is(w.tb, `{"success":true,"type":"authenticated","hash":"`+got.Hash+`"}`)
	return got.Hash
}

func (w *world) auth(login, password string) answer {
	w.tb.Helper()
	return w.do(http.MethodPost, "/v2/user/auth", jsonBody(map[string]any{
		"login":    login,
		"password": password,
	}), "Content-Type", "application/json")
}

func TestSession(t *testing.T) {
	w := newLiveWorld(t)
	hash := w.login("berlin", "pass word")
	if other := w.login("berlin", "pass word"); other == hash {
		t.Error("the same hash twice")
	}
	w.formAs(hash, "user/get_info").is(t,
		`{"success":true,"user_info":{"id":1,"login":"berlin","title":"Fleet «1»","time_zone":"Europe/Berlin","locale":"en_US"}}`)
	w.formAs(strings.ToUpper(hash), "tracker/chat/send", "tracker_id", "101", "message", "hi").id(t)
	w.formAs(hash, "tracker/chat/send", "tracker_id", "201", "message", "hi").refused(t, 201)
	w.do(http.MethodGet, unreadPath, "", "Authorization", "NVX "+hash).is(t,
		`{"success":true,"value":{}}`)
	w.formAs(w.login("ural", "null"), "user/get_info/").is(t,
		`{"success":true,"user_info":{"id":2,"login":"ural","title":"Fleet «2»","time_zone":"Asia/Yekaterinburg","locale":"en_US"}}`)
	w.formAs(emptyKey, "user/get_info").is(t,
		`{"success":true,"user_info":{"id":4,"login":"empty","title":"","time_zone":"UTC","locale":"en_US"}}`)

	w.formAs(hash, "user/logout").is(t, `{"success":true}`)
	w.formAs(hash, "user/get_info").refused(t, 4)
	w.formAs(hash, "user/logout").refused(t, 4)
	w.formAs(hash, "user/session/renew").refused(t, 4)
	for op, code := range map[string]int{"user/logout": 4, "user/session/renew": 13} {
		w.form(op).refused(t, code) // a key is no session
		w.do(http.MethodGet, "/"+op, "").refused(t, 3)
		w.formAs(unknownKey, op).refused(t, 4)
	}
	w.form("user/get_info").is(t,
		`{"success":true,"user_info":{"id":1,"login":"berlin","title":"Fleet «1»","time_zone":"Europe/Berlin","locale":"en_US"}}`)
}

func TestSessionLife(t *testing.T) {
	w := newLiveWorld(t, func(o *api.Options) { o.SessionLife = time.Hour })
	hash := w.login("berlin", "pass word")
	w.clock.Add(time.Hour.Milliseconds() - 1)
	w.formAs(hash, "user/get_info").succeeds(t)
	w.formAs(hash, "user/session/renew").is(t, `{"success":true}`)
	w.clock.Add(time.Hour.Milliseconds() - 1)
	w.formAs(hash, "user/get_info").succeeds(t)
	w.clock.Add(1)
	w.formAs(hash, "user/get_info").refused(t, 4)
	w.formAs(hash, "user/session/renew").refused(t, 4)
	long := newLiveWorld(t)
	hash = long.login("berlin", "pass word")
	long.clock.Add((30*24*time.Hour - time.Millisecond).Milliseconds())
	long.formAs(hash, "user/get_info").succeeds(t)
	long.clock.Add(1)
	long.formAs(hash, "user/get_info").refused(t, 4)
}

// succeeds requires success, whatever the value.
func (a answer) succeeds(tb testing.TB) {
	tb.Helper()
	if a.status != http.StatusOK {
		tb.Errorf("%d %s", a.status, a.body)
	}
}

// TestSessionEndsOnEveryNode ends sessions in every way and asks a node that has just used them.
func TestSessionEndsOnEveryNode(t *testing.T) {
	for name, end := range map[string]func(w *world, hash string){
		"logout": func(w *world, hash string) {
			w.formAs(hash, "user/logout").is(t,
				`{"success":true}`)
		},
		"password": func(w *world, _ string) {
			a := accounts()[0]
			a.Password = "$argon2id$other"
			w.edit(queue.Edit{Kind: queue.EditPutAccount, Account: a})
		},
		"account": func(w *world, _ string) {
			list, _, err := w.store.LoadDirectory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.store.ImportDirectory(t.Context(), list[1:], nil, true); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newLiveWorld(t)
			hash, other := w.login("berlin", "pass word"), w.login("ural", "null")
			second := w.second()
			ask := func(hash string) *httptest.ResponseRecorder {
				return record(second, http.MethodGet, "/user/get_info?hash="+hash)
			}
			if a := ask(hash); a.Code != http.StatusOK {
				t.Fatalf("%d %s", a.Code, a.Body)
			}
			end(w, hash)
			w.clock.Add(999)
			if a := ask(hash); !strings.Contains(a.Body.String(), `"code":4,`) {
				t.Errorf("a second later: %d %s", a.Code, a.Body)
			}
			if a := ask(other); a.Code != http.StatusOK {
				t.Errorf("the other session: %d %s", a.Code, a.Body)
			}
		})
	}
}

func (w *world) edit(edits ...queue.Edit) {
	w.tb.Helper()
	res, err := w.store.EditDirectory(context.Background(), edits)
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			w.tb.Fatal(r.Err)
		}
	}
}

func TestAuthRefusals(t *testing.T) {
	w := newLiveWorld(t)
	for _, c := range [][2]string{
		{"berlin", "pass wor"},
		{"berlin", ""},
		{"berlin", "Pass word"},
		{"Berlin", "pass word"},
		{"nobody", "pass word"},
		{"", "pass word"},
		{"", ""},
		{"nochat", ""},
		{"nochat", "x"},
		{strings.Repeat("x", 10_000), "x"},
		{"ural", strings.Repeat("x", 10_000)},
		{"ural", "undefined"},
	} {
		w.auth(c[0], c[1]).refused(t, 102)
	}
	post := func(body string) answer {
		return w.do(http.MethodPost, "/v2/user/auth", body, "Content-Type", "application/json")
	}
	post(`{}`).invalid(t, "login", "password")
	post(`{"login":"berlin","password":null}`).invalid(t, "password")
	post(`{"login":["berlin"],"password":{}}`).invalid(t, "login", "password")
	post(`{"login":"berlin","password":"\ud800"}`).invalid(t, "password")
	post(`{"login":`).refused(t, 5)
	w.do(http.MethodDelete, "/v2/user/auth", "").refused(t, 112)
	w.do(http.MethodPost, "/v2/user/other", "").refused(t, 112)
	w.do(http.MethodPost, "/v2/user/session/other", "").refused(t, 112)
	for _, place := range []string{
		"?login=berlin&password=pass+word",
		"?login=berlin&password=pass%20word&hash=12",
	} {
		w.do(http.MethodGet, "/user/auth"+place, "").succeeds(t)
	}
}

// TestAuthAttempts guesses until nobody may, and waits until one may again.
func TestAuthAttempts(t *testing.T) {
	w := newLiveWorld(t)
	second := w.second()
	try := func(peer, login, password string) (code int, after string) { // 0: success
		r := record(second, http.MethodGet, "/user/auth?login="+login+"&password="+password, "peer",
			peer)
		var got struct{ Status struct{ Code int } }
		if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return got.Status.Code, r.Header().Get("Retry-After")
	}
	const good, bad = "pass+word", "x"
	const home, elsewhere = "192.0.2.7:1000", "192.0.2.8:1000"
	for i := range 10 {
		if i%3 == 0 { // the right password costs nothing
			if code, _ := try(home, "berlin", good); code != 0 {
				t.Fatalf("right password after %d wrong ones: %d", i, code)
			}
		}
		if code, _ := try(home, "berlin", bad); code != 102 {
			t.Fatalf("wrong password %d: %d", i, code)
		}
	}
	for range 3 {
		if code, after := try(home, "berlin", good); code != 105 || after != "30" {
			t.Errorf("after ten failures: %d, Retry-After %q", code, after)
		}
	}
	for _, c := range [][2]string{{elsewhere, "berlin"}, {"[2001:db8::1]:5", "berlin"}} {
		if code, _ := try(c[0], c[1], good); code != 0 {
			t.Errorf("from %s as %s: %d", c[0], c[1], code)
		}
	}
	if code, _ := try(home, "ural", "null"); code != 0 {
		t.Error("another login from there is refused")
	}
	w.clock.Add((30 * time.Second).Milliseconds())
	if code, _ := try(home, "berlin", good); code != 0 {
		t.Error("refused after the wait")
	}
	// An unknown login is limited like a known one.
	for range 10 {
		try(home, "ghost", bad)
	}
	if code, _ := try(home, "ghost", bad); code != 105 {
		t.Errorf("unknown login: %d", code)
	}
	// Many addresses that guess one password, and one that guesses for many logins.
	for i := range 50 {
		try(fmt.Sprintf("198.51.100.%d:1", i), "island", bad)
	}
	if code, after := try("203.0.113.1:1", "island", bad); code != 105 || after != "10" {
		t.Errorf("one login from everywhere: %d, Retry-After %q", code, after)
	}
	for i := range 50 {
		try("[2001:db8:1:1::1]:1", fmt.Sprintf("login%d", i), bad)
	}
	if code, after := try("[2001:db8:1:1:ffff::2]:1", "berlin", good); code != 105 || after != "1" {
		t.Errorf("all logins from one network: %d, Retry-After %q", code, after)
	}
	if code, _ := try("[2001:db8:1:2::1]:1", "berlin", good); code != 0 {
		t.Errorf("from the next network: %d", code)
	}
}

func TestRequestID(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"abc-1_2.X", strings.Repeat("x", 64)} {
		if got := w.do(http.MethodGet, "/nothing", "", "X-Request-Id",
			id).header.Get("X-Request-Id"); got != id {
			t.Errorf("%q became %q", id, got)
		}
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "a b", "a\"b", "é", strings.Repeat("x", 65)} {
		got := w.do(http.MethodGet, "/nothing", "", "X-Request-Id", id).header.Get("X-Request-Id")
		if got == "" || got == id || seen[got] {
			t.Errorf("%q became %q", id, got)
		}
		seen[got] = true
	}
}
