package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// rights is the least role of every operation.
func rights() map[string]queue.Role {
	all := map[string]queue.Role{
		"/user/auth": queue.RoleViewer, "/user/logout": queue.RoleViewer,
		"/user/password/change": queue.RoleViewer, "/user/get_info": queue.RoleViewer, "/user/session/renew": queue.RoleViewer,
		"/account/template/list": queue.RoleViewer, "/employee/list": queue.RoleViewer,
		"/tracker/chat/export": queue.RoleViewer,
	}
	for _, path := range []string{
		"list", "read", "get_state", "get_states", "group/list", "chat/list", "chat/read",
		"chat/capabilities", "chat/events", "chat/search", "chat/updated/list", "chat/last/list", "chat/unread/count", "chat/broadcast/list",
		"chat/broadcast/read",
	} {
		all["/tracker/"+path] = queue.RoleViewer
	}
	for _, action := range []string{"send", "broadcast", "cancel", "mark_read", "mark_read_all"} {
		all["/tracker/chat/"+action] = queue.RoleDispatcher
	}
	for _, path := range []string{
		"user/list", "user/create", "user/update", "user/delete", "key/list", "key/create",
		"key/update", "key/delete", "group/create", "group/update", "group/delete", "group/assign",
		"tag/assign", "template/create", "template/update", "template/delete",
	} {
		all["/account/"+path] = queue.RoleManager
	}
	return all
}

// made returns what a creation answers: an id, or a key with its id.
func (a answer) made(tb testing.TB) (id int64, keyID, key string) {
	tb.Helper()
	var got struct {
		Success bool
		ID      int64
		Value   struct{ ID, Key string }
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !got.Success {
		tb.Fatalf("%d %s", a.status, a.body)
	}
	return got.ID, got.Value.ID, got.Value.Key
}

// TestRights calls every operation as a user and with a key of every role, and as another account:
// what a role may not do is refused whatever is asked for, and nobody reaches what is another's.
func TestRights(t *testing.T) {
	w := newLiveWorld(t)
	least := rights()
	for _, path := range w.api.Routes() {
		if _, known := least[path]; !known {
			t.Errorf("%s: who may is not tested", path)
		}
	}
	roles := []queue.Role{queue.RoleManager, queue.RoleDispatcher, queue.RoleViewer}
	callers := make(map[string]queue.Role)
	for _, role := range roles {
		w.form("account/user/create", "login", role.String(), "name", "x", "password", "secret",
			"role", role.String()).made(t)
		callers[w.login(role.String(), "secret")] = role
		_, _, key := w.form("account/key/create", "name", "x", "role", role.String()).made(t)
		callers[key] = role
	}
	callers[w.login("berlin", "pass word")] = queue.RoleManager
	callers[berlinKey] = queue.RoleManager
	for hash, role := range callers {
		for path, need := range least {
			if path == "/user/auth" || path == "/user/logout" || path == "/user/session/renew" ||
				path == "/user/password/change" {
				continue // of the session itself
			}
			if path == "/tracker/chat/events" || path == "/tracker/chat/export" {
				if a := w.openStream(http.MethodGet, path+"?hash="+hash); a.status != http.StatusOK {
					t.Errorf("%s as %v: %d", path, role, a.status)
				}
				continue
			}
			a := w.formAs(hash, path[1:])
			denied := strings.Contains(a.body, `"code":13,`)
			if denied != !role.May(need) || denied && a.status != http.StatusForbidden {
				t.Errorf("%s as %v: %d %s", path, role, a.status, a.body)
			}
		}
	}
}

// TestForeignPeople: what another account has does not exist.
func TestForeignPeople(t *testing.T) {
	w := newLiveWorld(t)
	user, _, _ := w.form("account/user/create", "login", "ann", "name", "Ann").made(t)
	group, _, _ := w.form("account/group/create", "title", "North").made(t)
	template, _, _ := w.form("account/template/create", "name", "a", "text", "b").made(t)
	_, key, _ := w.form("account/key/create", "name", "ERP").made(t)
	before, _ := w.dir.Current().Account(1)
	for _, c := range [][]string{
		{"account/user/update", "user_id", itoa(user), "name", "x"},
		{"account/user/delete", "user_id", itoa(user)},
		{"account/group/update", "group_id", itoa(group), "title", "x"},
		{"account/group/delete", "group_id", itoa(group)},
		{"account/group/assign", "group_id", itoa(group), "trackers", "201"},
		{"account/template/update", "template_id", itoa(template), "name", "x"},
		{"account/template/delete", "template_id", itoa(template)},
		{"account/key/update", "key_id", key, "name", "x"},
		{"account/key/delete", "key_id", key},
	} {
		w.formAs(uralKey, c[0], c[1:]...).refused(t, 201)
	}
	w.formAs(uralKey, "account/tag/assign", "tags", "x", "trackers", "201,101").refused(t, 217)
	out, in := itoa(w.send(101, "out")), itoa(w.receive(101, "in"))
	broadcast, _ := w.reported("report", "true", "trackers", "101")
	for _, c := range []struct {
		op    string
		pairs []string
		code  int
	}{
		{"list", []string{"tracker_id", "101"}, 201},
		{"search", []string{"tracker_id", "101", "query", "out"}, 201},
		{"export", []string{"tracker_id", "101"}, 201},
		{"send", []string{"tracker_id", "101", "message", "x"}, 201},
		{"capabilities", []string{"tracker_id", "101"}, 201},
		{"read", []string{"message_id", out}, 201},
		{"cancel", []string{"message_id", out}, 201},
		{"mark_read", []string{"message_id", in}, 201},
		{"mark_read_all", []string{"trackers", "101"}, 201},
		{"updated/list", []string{"trackers", "101"}, 217},
		{"last/list", []string{"trackers", "101"}, 217},
		{"broadcast", []string{"trackers", "101", "message", "x"}, 217},
		{"broadcast", []string{"trackers", "101", "report", "true", "message", "x"}, 217},
		{"broadcast", []string{"groups", itoa(group), "message", "x"}, 217},
		{"broadcast", []string{"tags", "b", "message", "x"}, 7},
		{"broadcast/read", []string{"broadcast_id", itoa(broadcast)}, 201},
	} {
		w.formAs(uralKey, "tracker/chat/"+c.op, c.pairs...).refused(t, c.code)
	}
	w.formAs(uralKey, "tracker/read", "tracker_id", "101").refused(t, 201)
	w.formAs(uralKey, "tracker/get_state", "tracker_id", "101").refused(t, 201)
	w.formAs(uralKey, "tracker/get_states", "trackers", "101").refused(t, 217)
	w.formAs(uralKey, "account/user/create", "login", "ann", "name", "x").invalid(t, "login")
	for _, list := range []string{"account/user/list", "account/template/list", "tracker/group/list"} {
		w.formAs(uralKey, list).is(t, `{"success":true,"list":[]}`)
	}
	if a, _ := w.dir.Current().Account(1); !queue.SameAccount(a, before) {
		t.Errorf("account 1 is %+v", a)
	}
	w.form("tracker/read", "tracker_id", "101").contains(t, `"group_id":0`)
}

func (a answer) contains(tb testing.TB, want string) {
	tb.Helper()
	if a.status != http.StatusOK || !strings.Contains(a.body, want) {
		tb.Fatalf("%d %s, want %s in it", a.status, a.body, want)
	}
}

// TestUsers: who is removed, or has another password or role, is out at once, and his stream ends.
func TestUsers(t *testing.T) {
	w := newLiveWorld(t)
	id, _, _ := w.form("account/user/create", "login", "ann", "password", "secret", "name", "Ann",
		"role", "dispatcher", "locale", "de_DE").made(t)
	w.form("account/user/list").is(t, `{"success":true,"list":[{"id":`+itoa(id)+
		`,"login":"ann","name":"Ann","role":"dispatcher","locale":"de_DE"}]}`)
	ann, stays := w.login("ann", "secret"), w.login("berlin", "pass word")
	w.formAs(ann, "user/get_info").is(t, `{"success":true,"user_info":{"id":1,"login":"ann",`+
		`"title":"Fleet «1»","time_zone":"Europe/Berlin","locale":"de_DE","name":"Ann",`+
		`"role":"dispatcher"}}`)
	w.auth("ann", "pass word").refused(t, 102)

	w.form("account/user/update", "user_id", itoa(id), "role", "viewer").succeeds(t)
	w.formAs(ann, "tracker/chat/send", "tracker_id", "101", "message", "x").refused(t, 13)
	w.formAs(ann, "tracker/chat/list", "tracker_id", "101").succeeds(t)

	feed := w.stream(events(ann)).hello()
	w.form("account/user/update", "user_id", itoa(id), "password", "other").succeeds(t)
	w.formAs(ann, "user/get_info").refused(t, 4)
	feed.ended()
	w.auth("ann", "secret").refused(t, 102)
	ann = w.login("ann", "other")
	feed = w.stream(events(ann)).hello()
	w.form("account/user/delete", "user_id", itoa(id)).succeeds(t)
	w.formAs(ann, "user/get_info").refused(t, 4)
	feed.ended()
	w.auth("ann", "other").refused(t, 102)
	// Whoever comes next does not become him.
	next, _, _ := w.form("account/user/create", "login", "ann", "password", "other", "name",
		"Ann").made(t)
	if next <= id {
		t.Errorf("id %d comes again after %d", next, id)
	}
	w.formAs(ann, "user/get_info").refused(t, 4)
	w.formAs(stays, "user/get_info").succeeds(t)
}

// TestOwnPassword: everybody changes his own, and is logged in nowhere then.
func TestOwnPassword(t *testing.T) {
	w := newLiveWorld(t)
	w.form("account/user/create", "login", "ann", "password", "secret", "name", "Ann").made(t)
	for login, old := range map[string]string{"ann": "secret", "ural": "null"} {
		hash, other := w.login(login, old), w.login(login, old)
		change := func(old, password string) answer {
			return w.formAs(hash, "user/password/change", "old_password", old, "new_password",
				password)
		}
		change("wrong", "new").refused(t, 102)
		change(old, "").invalid(t, "new_password")
		change(old, strings.Repeat("x", 1025)).invalid(t, "new_password")
		w.formAs(hash, "user/get_info").succeeds(t)
		change(old, "new").succeeds(t)
		w.clock.Add(1000) // within a second
		for _, h := range []string{hash, other} {
			w.formAs(h, "user/get_info").refused(t, 4)
		}
		w.auth(login, old).refused(t, 102)
		w.login(login, "new")
	}
	w.form("user/password/change", "old_password", "a", "new_password", "b").refused(t, 13)
}

// TestKeysOfAnAccount: a key is told once, has its rights, and ends by itself.
func TestKeysOfAnAccount(t *testing.T) {
	w := newLiveWorld(t)
	_, id, key := w.form("account/key/create", "name", "ERP", "role", "dispatcher", "end",
		"2016-02-29 11:00:02").made(t)
	w.form("account/key/list").contains(t, `{"id":"`+id+
		`","name":"ERP","role":"dispatcher","end":"2016-02-29T10:00:02Z"}`)
	if a := w.form("account/key/list"); strings.Contains(a.body, key) {
		t.Error("a key is told again")
	}
	w.formAs(key, "tracker/chat/send", "tracker_id", "101", "message", "x").id(t)
	feed := w.stream(events(key)).hello()
	w.setTime("2016-02-29T10:00:02Z")
	w.formAs(key, "user/get_info").refused(t, 4)
	feed.ended()
	w.form("account/key/update", "key_id", id, "end", "").succeeds(t)
	w.formAs(key, "user/get_info").is(t, `{"success":true,"user_info":{"id":1,"login":"berlin",`+
		`"title":"Fleet «1»","time_zone":"Europe/Berlin","locale":"en_US","name":"ERP",`+
		`"role":"dispatcher"}}`)
	w.form("account/key/delete", "key_id", id).succeeds(t)
	w.formAs(key, "user/get_info").refused(t, 4)
	w.form("account/key/delete", "key_id", id).refused(t, 201)
}

// TestAuthors: who wrote a message is told with it, by the name of then.
func TestAuthors(t *testing.T) {
	w := newLiveWorld(t)
	user, _, _ := w.form("account/user/create", "login", "ann", "password", "secret", "name",
		"Ann «A.»", "role", "dispatcher").made(t)
	_, keyID, key := w.form("account/key/create", "name", "ERP", "role", "dispatcher").made(t)
	ann := w.login("ann", "secret")
	by := func(hash string, more ...string) int64 {
		return w.formAs(hash, "tracker/chat/send",
			append([]string{"tracker_id", "101", "message", "x"}, more...)...).id(t)
	}
	feed := w.stream(events(berlinKey)).hello()
	want := map[int64]string{
		by(ann):                            `,"author":{"id":"` + itoa(user) + `","name":"Ann «A.»","kind":"user"}`,
		by(w.login("berlin", "pass word")): `,"author":{"id":"0","name":"Fleet «1»","kind":"user"}`,
		by(key):                            `,"author":{"id":"` + keyID + `","name":"ERP","kind":"key"}`,
		by(key, "author", "Bob \"B\""):     `,"author":{"id":"` + keyID + `","name":"Bob \"B\"","kind":"key"}`,
		by(berlinKey):                      "",
	}
	w.form("account/user/delete", "user_id", itoa(user)).succeeds(t)
	for range want {
		e := feed.next()
		var got told
		if err := json.Unmarshal([]byte(e.data), &got); err != nil {
			t.Fatal(err)
		}
		if author := want[got.Message.ID]; !strings.HasSuffix(e.data, author+"}") ||
			author == "" && strings.Contains(e.data, "author") {
			t.Errorf("event %s, want %q", e.data, author)
		}
	}
	list := w.form("tracker/chat/list", "tracker_id", "101", "detail", "true")
	for id, author := range want {
		w.form("tracker/chat/read", "message_id", itoa(id)).contains(t, author+"}}")
		list.contains(t, author)
	}
	if a := w.form("tracker/chat/list", "tracker_id", "101"); strings.Contains(a.body, "author") {
		t.Errorf("the message object is %s", a.body)
	}
	w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "author",
		strings.Repeat("é", 101)).invalid(t, "author")
	w.formAs(w.login("berlin", "pass word"), "tracker/chat/send", "tracker_id", "101", "message",
		"x", "author", "The boss").invalid(t, "author")
	// Another author is another request.
	again := []string{"tracker_id", "101", "message", "x", "idempotency_key", "k", "author"}
	first := w.form("tracker/chat/send", append(again, "a")...).id(t)
	if id := w.form("tracker/chat/send", append(again, "a")...).id(t); id != first {
		t.Errorf("%d after %d", id, first)
	}
	w.form("tracker/chat/send", append(again, "b")...).invalid(t, "idempotency_key")
}

// TestGroupsAndTags sorts trackers; a group that is gone leaves its trackers in none.
func TestGroupsAndTags(t *testing.T) {
	w := newLiveWorld(t)
	north, _, _ := w.form("account/group/create", "title", "North", "color", "00ff00").made(t)
	south, _, _ := w.form("account/group/create", "title", "South").made(t)
	w.form("tracker/group/list").is(t, `{"success":true,"list":[{"id":`+itoa(north)+
		`,"title":"North","color":"00ff00"},{"id":`+itoa(south)+
		`,"title":"South","color":"808080"}]}`)
	w.form("account/group/assign", "group_id", itoa(north), "trackers", "101,102").succeeds(t)
	w.form("account/tag/assign", "tags", "reefer,нов", "trackers", "102").succeeds(t)
	w.form("tracker/read", "tracker_id", "101").contains(t, `"group_id":`+itoa(north)+`,"source"`)
	w.form("tracker/read", "tracker_id", "102").contains(t, `"tags":["reefer","нов"]`)
	w.form("account/group/assign", "group_id", "0", "trackers", "101").succeeds(t)
	w.form("tracker/read", "tracker_id", "101").contains(t, `"group_id":0`)
	w.form("account/group/delete", "group_id", itoa(north)).succeeds(t)
	w.form("tracker/read", "tracker_id", "102").contains(t, `"group_id":0`)
	w.form("account/group/assign", "group_id", itoa(north), "trackers", "101").refused(t, 201)
	w.form("account/group/assign", "group_id", itoa(south), "trackers", "101,201").refused(t, 217)
	w.form("tracker/read", "tracker_id", "101").contains(t, `"group_id":0`) // all or none
	w.form("account/tag/assign", "trackers", "102").invalid(t, "tags")
	w.form("account/tag/assign", "tags", "", "trackers", "102").succeeds(t)
	if a := w.form("tracker/read", "tracker_id", "102"); strings.Contains(a.body, "tags") {
		t.Errorf("tags are left: %s", a.body)
	}
	w.form("account/tag/assign", "tags", "a,a", "trackers", "101").invalid(t, "tags[1]")
	w.form("account/tag/assign", "tags", strings.Repeat("é", 41), "trackers", "101").invalid(t,
		"tags[0]")
	many := make([]string, 21)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	w.form("account/tag/assign", "tags", strings.Join(many, ","), "trackers", "101").invalid(t,
		"tags")
}

// TestPeopleBounds: the thousandth is taken, one more changes nothing.
func TestPeopleBounds(t *testing.T) {
	w := newLiveWorld(t)
	people := &queue.People{}
	for i := range 1000 {
		n := strconv.Itoa(i)
		people.Users = append(people.Users, queue.User{ID: people.NextID(), Login: n, Name: n})
		people.Groups = append(people.Groups, queue.Group{ID: people.NextID(), Title: n})
	}
	for range 200 {
		people.Templates = append(people.Templates,
			queue.Template{ID: people.NextID(), Name: "x", Text: "x"})
	}
	people.Users, people.Groups = people.Users[:999], people.Groups[:999]
	people.Templates = people.Templates[:199]
	w.edit(queue.Edit{
		Kind: queue.EditChangeAccount, Account: queue.Account{ID: 1},
		Change: func(a *queue.Account) error {
			a.People = people
			for i := range 998 {
				a.Keys = append(slices.Clip(a.Keys),
					queue.Key{Hash: queue.HashKey(strconv.Itoa(i))})
			}
			return nil
		},
	})
	w.sync()
	for _, c := range [][]string{
		{"account/user/create", "login", "the last", "name", "x"},
		{"account/group/create", "title", "x"},
		{"account/template/create", "name", "x", "text", "x"},
		{"account/key/create", "name", "x"},
	} {
		w.form(c[0], c[1:]...).made(t)
		before, _ := w.dir.Current().Account(1)
		more := append([]string(nil), c[1:]...)
		more[1] = "one more"
		w.form(c[0], more...).refused(t, 267)
		if a, _ := w.dir.Current().Account(1); !queue.SameAccount(a, before) {
			t.Errorf("%s: the account has changed", c[0])
		}
	}
}

// TestPeopleInput: what is wrong is named, and nothing of it is done.
func TestPeopleInput(t *testing.T) {
	w := newLiveWorld(t)
	long := strings.Repeat("é", 101)
	user, _, _ := w.form("account/user/create", "login", "ann", "name", "Ann").made(t)
	for _, c := range []struct {
		op    string
		pairs []string
		wrong []string
	}{
		{"user/create", nil, []string{"login", "name"}},
		{"user/create", []string{"login", long, "name", "\x00"}, []string{"login", "name"}},
		{"user/create", []string{"login", "berlin", "name", "x"}, []string{"login"}},
		{"user/create", []string{"login", "ural", "name", "x"}, []string{"login"}},
		{"user/create", []string{"login", "b", "name", "x", "role", "admin"}, []string{"role"}},
		{"user/create", []string{"login", "b", "name", "x", "rolle", "viewer"}, []string{"rolle"}},
		{
			"user/create",
			[]string{"login", "b", "name", "x", "password", strings.Repeat("x", 1025)},
			[]string{"password"},
		},
		{"user/update", []string{"user_id", itoa(user), "login", ""}, []string{"login"}},
		{"user/update", []string{"user_id", itoa(user), "locale", "<b>"}, []string{"locale"}},
		{"key/create", []string{"name", long}, []string{"name"}},
		{"key/create", []string{"name", "x", "end", "soon"}, []string{"end"}},
		{"key/create", []string{"name", "x", "end", "1969-12-31 12:00:00"}, []string{"end"}},
		{"key/create", []string{"name", "x", "end", "2016-02-29 11:00:00"}, []string{"end"}},
		{"group/create", []string{"title", "x", "color", "red"}, []string{"color"}},
		{"template/create", []string{"name", "x", "text", " "}, []string{"text"}},
		{
			"template/create",
			[]string{"name", "x", "text", strings.Repeat("x", 2001), "ttl", "-1"},
			[]string{"ttl", "text"},
		},
		{
			"template/create",
			[]string{"name", "x", "text", "x", "choices", "1,2,3,4,5,6,7,8,9"},
			[]string{"choices"},
		},
	} {
		before, _ := w.dir.Current().Account(1)
		w.form("account/"+c.op, c.pairs...).invalid(t, c.wrong...)
		if a, _ := w.dir.Current().Account(1); !queue.SameAccount(a, before) {
			t.Errorf("%s %v: the account has changed", c.op, c.pairs)
		}
	}
	w.form("account/user/update", "user_id", "77", "name", "x").refused(t, 201)
	w.form("account/user/delete", "user_id", "77").refused(t, 201)
}

// TestUsersOnAnotherNode: what one node does holds on the other within a second.
func TestUsersOnAnotherNode(t *testing.T) {
	w := newLiveWorld(t)
	other := &world{
		tb: t, dir: new(queue.Directory), reg: prometheus.NewRegistry(), store: w.store,
	}
	other.clock.Store(w.clock.Load())
	other.serve()
	go other.dir.Follow(t.Context(), w.store, func(error) {})
	id, _, _ := w.form("account/user/create", "login", "ann", "password", "secret", "name",
		"Ann").made(t)
	ann := w.login("ann", "secret")
	knows := func() bool { return other.formAs(ann, "user/get_info").status == http.StatusOK }
	if !eventually(knows) {
		t.Fatal("the other node does not know the user")
	}
	w.form("account/user/delete", "user_id", itoa(id)).succeeds(t)
	if !eventually(func() bool { return !knows() }) {
		t.Fatal("the other node still knows the user")
	}
}
