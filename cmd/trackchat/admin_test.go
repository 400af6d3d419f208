package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue/queuetest"
)

// adminCLI runs trackchat's administrative commands against a running service.
type adminCLI struct {
	t   *testing.T
	url string
}

func (c adminCLI) try(args ...string) (out string, code int) {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(c.t.Context(), append(args, "--admin", c.url), &stdout, &stderr)
	return stdout.String() + stderr.String(), code
}

func (c adminCLI) run(args ...string) string {
	c.t.Helper()
	out, code := c.try(args...)
	if code != 0 {
		c.t.Fatalf("trackchat %v: %d %s", args, code, out)
	}
	return strings.TrimSpace(out)
}

// file writes text to a new file and returns its name.
func (c adminCLI) file(text string) string {
	c.t.Helper()
	name := filepath.Join(c.t.TempDir(), "input")
	apptest.Must(c.t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// onEveryStore runs a test on a service with each kind of store.
func onEveryStore(t *testing.T, trackers int, test func(t *testing.T, s *service)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, startService(t, apptest.Config(t, trackers))) })
	t.Run("redis", func(t *testing.T) {
		cfg := apptest.Config(t, trackers)
		cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis,
			[]string{queuetest.StartRedis(t).Addr}
		test(t, startService(t, cfg))
	})
}

func TestAdministrationOfALiveService(t *testing.T) { onEveryStore(t, 2, administrationLive) }

func administrationLive(t *testing.T, s *service) {
	t.Helper()
	cli := adminCLI{t, "http://" + s.Addrs["admin"]}

	// A tracker that is made while the service runs can log in and be written to at once, with a
	// key that is made for it.
	if got := cli.run("account", "put", "2",
		cli.file(`{"login":"second","password":"secret","time_zone":"Asia/Tokyo"}`)); got !=
		"added" {
		t.Errorf("account: %s", got)
	}
	var made struct{ ID, Key string }
	apptest.Must(t, json.Unmarshal([]byte(cli.run("key", "create", "2")), &made))
	object := fmt.Sprintf(`{"account":2,"protocol":%q,"device_id":%q}`, apptest.ProtocolOf(7), apptest.DeviceOf(7))
	if got := cli.run("tracker", "put", "7", cli.file(object)); got != "added" {
		t.Errorf("tracker: %s", got)
	}
	s.Device(7, nil)
	if a := s.API.Call("send", "hash", made.Key, "tracker_id", "7", "message",
		"hello"); !a.Success {
		t.Fatalf("send: %+v", a)
	}
	apptest.Eventually(t, "delivered", func() bool {
		list := s.API.Call("list", "hash", made.Key, "tracker_id", "7").List
		return len(list) == 1 && list[0].Text == "hello" && list[0].Status == "DELIVERED"
	})
	if a := s.API.Call("send", "tracker_id", "7", "message", "not mine"); a.Status.Code != 201 {
		t.Errorf("another account: %+v", a)
	}

	// Blocking closes the session, removing the tracker ends its queue.
	blocked := strings.Replace(object, "{", `{"blocked":true,`, 1)
	if got := cli.run("tracker", "put", "7", cli.file(blocked)); got != "updated" {
		t.Errorf("block: %s", got)
	}
	apptest.Eventually(t, "disconnected",
		func() bool { return apptest.Metric(t, s.Addrs["admin"], "trackchat_sessions") == 0 })
	if got := cli.run("tracker", "delete", "7"); got != "removed" {
		t.Errorf("delete: %s", got)
	}
	if out, code := cli.try("account", "get", "77"); code != 1 ||
		!strings.Contains(out, "Not found in database (201)") {
		t.Errorf("unknown account: %d %s", code, out)
	}
	if got := cli.run("key", "delete", made.ID); got != "removed" {
		t.Errorf("key: %s", got)
	}
	if a := s.API.Call("unread/count", "hash", made.Key); a.Status.Code != 4 {
		t.Errorf("a removed key: %+v", a)
	}
}

func TestAdministrationInBulk(t *testing.T) { onEveryStore(t, 2, administrationInBulk) }

func administrationInBulk(t *testing.T, s *service) {
	t.Helper()
	cli := adminCLI{t, "http://" + s.Addrs["admin"]}
	export := cli.run("tracker", "export")
	if n := strings.Count(export, "\n"); n != 2 || strings.Contains(export, apptest.Key) {
		t.Fatalf("export: %s", export)
	}
	if got := cli.run("account", "import",
		cli.file(export)); got !=
		"3 lines; accounts: 0 added, 0 updated, 1 unchanged; trackers: 0 added, 0 updated, 2 unchanged; 0 lines refused" {
		t.Errorf("import: %s", got)
	}
	bad := `{"tracker":{"id":5,"account":1,"protocol":"telex","device_id":"5"}}` + "\n" +
		`{"tracker":{"id":6,"account":1,"protocol":"jt808","device_id":"6","settings":{"x":"y"}}}`
	out, code := cli.try("tracker", "import", cli.file(bad))
	if code != 1 || !strings.Contains(out, "line 1: protocol must be one of") ||
		!strings.Contains(out, "line 2: settings.x ") || !strings.Contains(out, "2 lines refused") {
		t.Errorf("bad import: %d %s", code, out)
	}
	var list []struct{ ID int64 }
	apptest.Must(t, json.Unmarshal([]byte(cli.run("tracker", "list", "--after", "1", "--limit", "5")),
		&list))
	if len(list) != 1 || list[0].ID != 2 {
		t.Errorf("list: %+v", list)
	}
	for _, args := range [][]string{
		{"tracker"},
		{"tracker", "get"},
		{"tracker", "get", "1", "2"},
		{"key", "list"},
		{"key", "create"},
		{"user", "list"},
		{"user", "put", "1"},
		{"user", "delete", "1"},
		{"account", "frobnicate"},
		{"tracker", "list", "--nonsense"},
	} {
		if out, code := cli.try(args...); code != 2 || out == "" {
			t.Errorf("%v: %d %s", args, code, out)
		}
	}
}

// TestPeopleOfALiveService makes users and keys by the commands, takes them along by an export, and
// reads the directory file again over them.
func TestPeopleOfALiveService(t *testing.T) { onEveryStore(t, 1, peopleLive) }

func peopleLive(t *testing.T, s *service) {
	t.Helper()
	cli := adminCLI{t, "http://" + s.Addrs["admin"]}
	var made struct{ ID int64 }
	apptest.Must(t, json.Unmarshal([]byte(cli.run("user", "create", "1",
		cli.file(`{"login":"ann","password":"secret","name":"Ann","role":"viewer"}`))), &made))
	id := fmt.Sprint(made.ID)
	if got := cli.run("user", "put", "1", id,
		cli.file(`{"login":"ann","name":"Ann Lee","role":"dispatcher"}`)); got != "updated" {
		t.Errorf("put: %s", got)
	}
	if got := cli.run("user", "put", "1", "77",
		cli.file(`{"login":"bob","name":"Bob","role":"manager"}`)); got != "added" {
		t.Errorf("put: %s", got)
	}
	var users []struct {
		ID                int64
		Login, Name, Role string
	}
	apptest.Must(t, json.Unmarshal([]byte(cli.run("user", "list", "1")), &users))
	if got := fmt.Sprint(users); got != "[{"+id+" ann Ann Lee dispatcher} {77 bob Bob manager}]" {
		t.Errorf("users %s", got)
	}
	if out, code := cli.try("user", "create", "1",
		cli.file(`{"login":"ann","name":"Ann","role":"boss"}`)); code != 1 ||
		!strings.Contains(out, "role must be manager, dispatcher or viewer") {
		t.Errorf("a wrong role: %d %s", code, out)
	}

	var key struct{ ID, Key string }
	apptest.Must(t, json.Unmarshal([]byte(cli.run("key", "create", "1", "--name", "ERP", "--role",
		"viewer", "--end", "2099-01-01T00:00:00Z")), &key))
	if a := s.API.Call("unread/count", "hash", key.Key); !a.Success {
		t.Errorf("with the new key: %+v", a)
	}
	keys := cli.run("key", "list", "1")
	for _, want := range []string{
		key.ID, `"name": "ERP"`, `"role": "viewer"`, `"end": "2099-01-01T00:00:00Z"`,
	} {
		if !strings.Contains(keys, want) {
			t.Errorf("no %s in the keys %s", want, keys)
		}
	}
	if strings.Contains(keys, key.Key) {
		t.Error("a key is told again")
	}
	if out, code := cli.try("key", "create", "1", "--end", "tomorrow"); code != 1 ||
		!strings.Contains(out, "end must be a time such as") {
		t.Errorf("a wrong end: %d %s", code, out)
	}

	// An export brings back what was removed, with the password.
	export := cli.run("account", "export")
	if strings.Contains(export, `"secret"`) || !strings.Contains(export, `"password_hash":"$argon2id`) {
		t.Errorf("export: %s", export)
	}
	for _, args := range [][]string{
		{"user", "delete", "1", id}, {"user", "delete", "1", "77"}, {"key", "delete", key.ID},
	} {
		if got := cli.run(args...); got != "removed" {
			t.Errorf("%v: %s", args, got)
		}
		if out, code := cli.try(args...); code != 1 || !strings.Contains(out, "(201)") {
			t.Errorf("%v again: %d %s", args, code, out)
		}
	}
	if got := cli.run("user", "list", "1"); got != "[]" {
		t.Errorf("users %s", got)
	}
	cli.run("account", "import", cli.file(export))
	if again := cli.run("account", "export"); again != export {
		t.Errorf("after an export and an import:\n%s\n%s", export, again)
	}
	if a := s.API.Call("unread/count", "hash", key.Key); !a.Success {
		t.Errorf("with the key that came back: %+v", a)
	}
	reloadKeepsPeople(t, s, cli)
}

// reloadKeepsPeople: the file of the service names keys and no users.
func reloadKeepsPeople(t *testing.T, s *service, cli adminCLI) {
	t.Helper()
	users := cli.run("user", "list", "1")
	apptest.Must(t, s.App.Reload(t.Context()))
	if again := cli.run("user", "list", "1"); again != users || !strings.Contains(users, "ann") {
		t.Errorf("users %s, before the file was read again %s", again, users)
	}
	if keys := cli.run("key", "list", "1"); strings.Count(keys, "\n") != 2 {
		t.Errorf("keys %s, the file names one", keys)
	}
	if out, code := cli.try("tracker", "put", "1",
		cli.file(`{"account":1,"protocol":"jt808","device_id":"1","group_id":500}`)); code != 1 ||
		!strings.Contains(out, "group_id 500 is not a group of account 1") {
		t.Errorf("an unknown group: %d %s", code, out)
	}
	// A tracker moves without the group of the account that it leaves.
	cli.run("account", "import", cli.file(
		`{"account":{"id":1,"login":"demo","groups":[{"id":5,"title":"North"}]}}`+"\n"+
			`{"account":{"id":2}}`+"\n"+
			`{"tracker":{"id":9,"account":1,"protocol":"jt808","device_id":"9","group_id":5,"tags":["a"]}}`))
	if got := cli.run("tracker", "move", "9", "2"); got != "updated" {
		t.Errorf("move: %s", got)
	}
	if got := cli.run("tracker", "get", "9"); strings.Contains(got, "group_id") ||
		strings.Contains(got, "tags") {
		t.Errorf("moved: %s", got)
	}
}

// TestEmployeesOfALiveService: the names of directory.yaml and of the commands are those that
// employee/list tells, and an export brings them and an upstream back.
func TestEmployeesOfALiveService(t *testing.T) { onEveryStore(t, 2, employeesLive) }

func employeesLive(t *testing.T, s *service) {
	t.Helper()
	cli := adminCLI{t, "http://" + s.Addrs["admin"]}
	want := func(first, last, phone string) {
		t.Helper()
		text := fmt.Sprintf(
			`{"success":true,"list":[{"id":7,"tracker_id":1,"first_name":%q,"middle_name":"",`+
				`"last_name":%q,"email":"","phone":%q,"department_id":null}]}`, first, last, phone)
		apptest.Eventually(t, text, func() bool {
			res, err := http.Get("http://" + s.Addrs["api"] + "/v2/employee/list?hash=" + apptest.Key)
			apptest.Must(t, err)
			got, err := io.ReadAll(res.Body)
			apptest.Must(t, errors.Join(err, res.Body.Close()))
			return string(got) == text
		})
	}
	want("", "Driver 1", "")
	const object = `{"account":1,"protocol":"jt808","device_id":"13800000001","employee_id":7`
	put := func(more string) {
		t.Helper()
		if got := cli.run("tracker", "put", "1", cli.file(object+more)); got != "updated" {
			t.Errorf("put%s: %s", more, got)
		}
	}
	put(`,"employee":{"first_name":"Ann","last_name":"Lee","phone":"+49 1"},"upstream":"a.example:1"}`)
	want("Ann", "Lee", "+49 1")
	export := cli.run("tracker", "export")
	put(`}`)
	want("", "Driver 2", "")
	if got := cli.run("tracker", "import", cli.file(export)); !strings.Contains(got,
		"1 updated, 1 unchanged") {
		t.Errorf("import: %s", got)
	}
	want("Ann", "Lee", "+49 1")
	if got := cli.run("tracker", "get", "1"); !strings.Contains(got, `"a.example:1"`) {
		t.Errorf("no upstream after an export and an import: %s", got)
	}
}

// TestSessionsOfPeople logs in with the password of the directory file, and out.
func TestSessionsOfPeople(t *testing.T) { onEveryStore(t, 1, sessionsOfPeople) }

func sessionsOfPeople(t *testing.T, s *service) {
	t.Helper()
	hash := s.Login()
	s.API.Base = strings.TrimSuffix(s.API.Base, "tracker/chat/")
	if a := s.API.Call("tracker/list", "hash", hash); !a.Success {
		t.Errorf("with the session: %+v", a)
	}
	if a := s.API.Call("user/logout", "hash", hash); !a.Success {
		t.Errorf("logout: %+v", a)
	}
	if a := s.API.Call("tracker/list", "hash", hash); a.Status.Code != 4 {
		t.Errorf("after the logout: %+v", a)
	}
}

// TestTrackerMovesToAnotherAccount: whatever is called, and whatever is pending or on the way,
// neither account gets to see a message of the other's.
func TestTrackerMovesToAnotherAccount(t *testing.T) {
	onEveryStore(t, 2, func(t *testing.T, s *service) { t.Helper(); trackerMoves(t, s) })
}

func trackerMoves(t *testing.T, s *service) {
	t.Helper()
	cli := adminCLI{t, "http://" + s.Addrs["admin"]}
	const second = "00000000000000000000000000000002"
	cli.run("account", "import",
		cli.file(fmt.Sprintf(
			`{"account":{"id":2,"login":"second","password":"secret","keys":[%q]}}`, second)))
	as := func(key, op string, args ...string) apptest.Answer {
		return s.API.Call(op, append([]string{"hash", key}, args...)...)
	}

	device := s.Device(1, nil)
	delivered := s.API.Send(1, "delivered to the first")
	s.API.Delivered(1, delivered)
	apptest.Must(t, device.Say(t.Context(), "said to the first"))
	apptest.Eventually(t, "the driver's text", func() bool { return len(s.API.List(1)) == 2 })
	before := s.API.List(1)
	pending := s.API.Send(2, "pending of the first") // its device is not there

	for _, id := range []string{"1", "2"} {
		if got := cli.run("tracker", "move", id, "2"); got != "updated" {
			t.Fatalf("move: %s", got)
		}
	}
	// The second account begins with nothing, and reaches nothing by id.
	if a := as(second, "list", "tracker_id", "1"); !a.Success || len(a.List) != 0 {
		t.Fatalf("the second account lists %+v", a)
	}
	for _, m := range append(before, s.API.List(2)...) {
		id := fmt.Sprint(m.ID)
		for _, op := range []string{"read", "cancel", "mark_read"} {
			if a := as(second, op, "message_id", id); a.Status.Code != 201 {
				t.Errorf("the second account: %s of message %s: %+v", op, id, a)
			}
		}
		if a := as(second, "send", "tracker_id", "1", "message", "x", "reply_to",
			id); a.Status.Code != 7 {
			t.Errorf("an answer to the other account's message: %+v", a)
		}
	}
	for _, op := range []string{"unread/count", "updated/list", "last/list"} {
		if a := as(second, op, "trackers", "[1]"); !a.Success || len(a.Value) != 0 {
			t.Errorf("%s: %+v", op, a)
		}
	}
	// The first one reads what it had, and does not get what comes.
	apptest.Eventually(t, "the end of what was pending", func() bool {
		a := s.API.Call("read", "message_id", fmt.Sprint(pending))
		delivery, _ := a.Value["delivery"].(map[string]any)
		return delivery["state"] == "FAILED" &&
			delivery["reason"] == "tracker moved to another account"
	})
	if a := s.API.Call("send", "tracker_id", "1", "message", "not mine any more"); a.Status.Code !=
		201 {
		t.Errorf("the first account sends: %+v", a)
	}
	s.Device(2, nil)
	fresh := as(second, "send", "tracker_id", "2", "message", "to the second")
	apptest.Eventually(t, "delivery to the second device", func() bool {
		list := as(second, "list", "tracker_id", "2").List
		return len(list) == 1 && list[0].ID == fresh.ID && list[0].Status == "DELIVERED"
	})
	fresh = as(second, "send", "tracker_id", "1", "message", "to the second")
	apptest.Eventually(t, "delivery for the second account", func() bool {
		list := as(second, "list", "tracker_id", "1").List
		return len(list) == 1 && list[0].ID == fresh.ID && list[0].Status == "DELIVERED"
	})
	apptest.Eventually(t, "a text that the new session takes", func() bool {
		return device.Say(t.Context(),
			"said to the second") == nil
	})
	apptest.Eventually(t, "the driver's text to the second", func() bool {
		return len(as(second, "list",
			"tracker_id", "1").List) == 2
	})
	if a := as(second, "unread/count"); !a.Success || fmt.Sprint(a.Value) != "map[1:1]" {
		t.Errorf("unread of the second: %+v", a)
	}
	if a := s.API.Call("mark_read_all"); !a.Success {
		t.Errorf("%+v", a)
	}
	if after := s.API.List(1); len(after) != len(before) {
		t.Errorf("the first account lists %+v, had %+v", after, before)
	}
	if a := as(second, "unread/count"); fmt.Sprint(a.Value) != "map[1:1]" {
		t.Errorf("unread of the second after the first has read all: %+v", a)
	}
	if out := cli.run("tracker", "get", "1"); strings.Contains(out, "history") {
		t.Errorf("get: %s", out)
	}
	if got := cli.run("tracker", "move", "1", "1", "--history", "drop"); got != "updated" {
		t.Fatalf("move back: %s", got)
	}
	if a := s.API.Call("list", "tracker_id", "1"); !a.Success || len(a.List) != 0 {
		t.Errorf("after drop: %+v", a)
	}
	if out, code := cli.try("tracker", "move", "1", "2", "--history", "burn"); code != 1 ||
		!strings.Contains(out, "history must be keep, move or drop") {
		t.Errorf("%d %s", code, out)
	}
}
