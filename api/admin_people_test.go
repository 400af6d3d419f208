package api_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/api/auth"
	"trackchat/queue"
)

// stored is an account as the store has it.
func (w *adminWorld) stored(id queue.AccountID) *queue.Account {
	w.tb.Helper()
	list, err := w.store.Accounts(w.tb.Context(), id-1, 1)
	if err != nil || len(list) != 1 || list[0].ID != id {
		w.tb.Fatalf("account %d: %+v, %v", id, list, err)
	}
	return &list[0]
}

const (
	updated = `{"success":true,"result":"updated"}`
	removed = `{"success":true,"result":"removed"}`
)

func TestAdminPeople(t *testing.T) {
	w := newAdminWorld(t)
	id := fmt.Sprintf("%x", queue.HashKey(berlinKey))
	named := fmt.Sprintf("%x", queue.HashKey(uralKey))
	w.put("/admin/accounts/1", `{"login":"demo","keys":["`+berlinKey+`",{"key":"`+uralKey+
		`","name":"ERP","role":"dispatcher","end":"2030-01-01T01:00:00.5+01:00"}],`+
		`"users":[{"id":1,"login":"ann","password":"secret","name":"Ann","role":"viewer","locale":"de_DE"},`+
		`{"id":4,"login":"bob","name":"Bob","role":"manager"}],`+
		`"groups":[{"id":2,"title":"North","color":"FF6DDC"}],`+
		`"templates":[{"id":3,"name":"Call","text":"Call {label}\nnow","choices":["yes"],"ttl":60}]}`).
		is(t, `{"success":true,"result":"added"}`)
	const head = `{"id":1,"login":"demo","title":"","time_zone":"UTC","keys":["`
	full := head + id + `",{"id":"` + named +
		`","name":"ERP","role":"dispatcher","end":"2030-01-01T00:00:00.5Z"}],` +
		`"users":[{"id":1,"login":"ann","name":"Ann","role":"viewer","locale":"de_DE"},` +
		`{"id":4,"login":"bob","name":"Bob","role":"manager"}],` +
		`"groups":[{"id":2,"title":"North","color":"FF6DDC"}],` +
		`"templates":[{"id":3,"name":"Call","text":"Call {label}\nnow","choices":["yes"],"ttl":60}]}`
	w.get("/admin/accounts/1").is(t, `{"success":true,"value":`+full+`}`)
	w.get("/admin/accounts").is(t, `{"success":true,"list":[`+full+`]}`)
	hash := w.stored(1).AllUsers()[0].Password
	if !auth.VerifyPassword(hash, "secret") || w.stored(1).AllUsers()[1].Password != "" {
		t.Fatalf("users %+v", w.stored(1).AllUsers())
	}

	// What was answered can be put back, and what is absent stays.
	w.put("/admin/accounts/1", full).is(t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/accounts/1", `{"login":"demo"}`).is(t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/accounts/1", strings.Replace(full, `"ann"`, `"ann","password":"secret"`, 1)).
		is(t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/accounts/1", strings.Replace(full, `"ann"`, `"anna","password":"other"`, 1)).
		is(t, updated)
	if u := w.stored(1).AllUsers()[0]; u.Login != "anna" ||
		!auth.VerifyPassword(u.Password, "other") {
		t.Errorf("user %+v", u)
	}
	w.put("/admin/accounts/1", strings.Replace(full, `"ann"`, `"ann","password_hash":"`+hash+`"`,
		1)).is(t, updated)
	if u := w.stored(1).AllUsers()[0]; u.Password != hash {
		t.Errorf("user %+v", u)
	}
	w.put("/admin/accounts/1", `{"login":"demo","users":[],"keys":[]}`).is(t, updated)
	w.get("/admin/accounts/1").is(t, `{"success":true,"value":`+head[:len(head)-1]+`],`+
		full[strings.Index(full, `"groups"`):]+`}`)
}

func TestAdminPeopleRefusals(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{"login":"demo","keys":["`+berlinKey+`"],`+
		`"users":[{"id":1,"login":"ann","name":"Ann","role":"viewer"}]}`).succeeds(t)
	before := w.get("/admin/accounts/1").body
	const user = `{"id":%d,"login":"u%d","name":"U","role":"viewer"%s}`
	users := func(n int, more string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(user, i+1, i+1, more)
		}
		return `{"users":[` + strings.Join(list, ",") + `]}`
	}
	long := strings.Repeat("ж", 101)
	for body, names := range map[string]string{
		`{"keys":[5]}`:    "keys",
		`{"keys":[null]}`: "keys[0]",
		`{"keys":[{}]}`:   "keys[0]",
		`{"keys":[{"key":"` + uralKey + `","id":"` + strings.Repeat("0", 64) + `"}]}`: "keys[0]",
		`{"keys":[{"key":"` + uralKey + `","rights":1}]}`:                             "rights",
		`{"keys":[{"key":"` + uralKey + `","name":5}]}`:                               "keys.name",
		`{"keys":[{"key":"` + uralKey + `","name":"` + long + `","role":"boss","end":"tomorrow"}]}`: "" +
			"keys[0].role keys[0].end keys[0].name",
		`{"keys":[{"key":"` + uralKey + `","end":"1970-01-01T00:00:00Z"}]}`:  "keys[0].end",
		`{"keys":["` + strings.Repeat(uralKey+`","`, 1000) + uralKey + `"]}`: "keys",
		`{"users":[{}]}`:      "users[0].role users[0].id users[0].login users[0].name",
		`{"users":[{"x":1}]}`: "x",
		`{"users":[{"id":1,"login":"a","name":"A","role":"viewer","locale":"de DE","password":"` +
			strings.Repeat("x", 1025) + `"}]}`: "users[0].password users[0].locale",
		`{"users":[{"id":1,"login":"a","name":"A","role":"viewer","password_hash":"x"}]}`: "" +
			"users[0].password_hash",
		`{"users":[{"id":1,"login":"a","name":"A","role":"viewer","password":"","password_hash":""}]}`: "" +
			"users[0].password",
		`{"login":"me","users":[{"id":1,"login":"me","name":"A","role":"viewer"}]}`: "login",
		users(1001, ""):                                          "users",
		users(51, `,"password":"x"`):                             "users",
		`{"groups":[{"id":1,"title":""}]}`:                       "groups[0].title",
		`{"templates":[{"id":1,"name":"n","text":"","ttl":-1}]}`: "templates[0].text templates[0].ttl",
		`{"last_id":-1}`:                                         "last_id",
	} {
		w.put("/admin/accounts/1", body).invalid(t, strings.Fields(names)...)
	}
	w.put("/admin/accounts/2", `{"users":[{"id":1,"login":"ann","name":"A","role":"viewer"}]}`).
		invalid(t, "login")
	w.put("/admin/accounts/2", `{"users":[{"id":1,"login":"demo","name":"A","role":"viewer"}]}`).
		invalid(t, "login")
	w.get("/admin/accounts/1").is(t, before)

	w.put("/admin/accounts/3", users(1000, "")).succeeds(t)
	w.post("/admin/accounts/3/users", `{"login":"more","name":"M","role":"viewer"}`).refused(t, 267)
	w.put("/admin/accounts/3/users/1001", `{"login":"more","name":"M","role":"viewer"}`).
		refused(t, 267)
	w.put("/admin/accounts/3/users/1000", `{"login":"other","name":"M","role":"viewer"}`).
		is(t, updated)
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"%032x"`, i)
	}
	w.put("/admin/accounts/3", `{"keys":[`+strings.Join(keys, ",")+`]}`).is(t, updated)
	w.post("/admin/accounts/3/keys", "").refused(t, 267)
	w.put("/admin/accounts/4", `{"last_id":9007199254740991}`).succeeds(t)
	w.post("/admin/accounts/4/users", `{"login":"last","name":"L","role":"viewer"}`).refused(t, 267)
	if n := len(w.stored(3).Keys); n != 1000 {
		t.Errorf("%d keys", n)
	}
}

func TestAdminUsers(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{"login":"demo","groups":[{"id":6,"title":"North"}]}`).succeeds(t)
	w.post("/admin/accounts/1/users",
		`{"login":"ann","password":"secret","name":"Ann","role":"viewer"}`).
		is(t, `{"success":true,"value":{"id":7}}`)
	hash := w.stored(1).AllUsers()[0].Password
	if !auth.VerifyPassword(hash, "secret") {
		t.Fatalf("hash %q", hash)
	}
	const ann = `{"id":7,"login":"ann","name":"Ann Lee","role":"dispatcher","locale":"de_DE"`
	w.put("/admin/accounts/1/users/7", ann+`}`).is(t, updated)
	w.put("/admin/accounts/1/users/7", ann+`}`).is(t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/accounts/1/users/7", ann+`,"password":"secret"}`).
		is(t, `{"success":true,"result":"unchanged"}`)
	w.put("/admin/accounts/1/users/9", `{"login":"bob","name":"Bob","role":"manager"}`).
		is(t, `{"success":true,"result":"added"}`)
	w.get("/admin/accounts/1").is(t,
		`{"success":true,"value":{"id":1,"login":"demo","title":"","time_zone":"UTC","keys":[],`+
			`"users":[`+ann+`},{"id":9,"login":"bob","name":"Bob","role":"manager"}],`+
			`"groups":[{"id":6,"title":"North"}]}}`)
	w.put("/admin/accounts/1/users/7", ann+`,"password":""}`).is(t, updated)
	if u := w.stored(1).AllUsers()[0]; u.Password != "" {
		t.Errorf("user %+v", u)
	}
	w.put("/admin/accounts/1/users/7", ann+`,"password_hash":"`+hash+`"}`).is(t, updated)
	if u := w.stored(1).AllUsers()[0]; u.Password != hash {
		t.Errorf("user %+v", u)
	}

	w.post("/admin/accounts/1/users", `{"id":3,"login":"x","name":"X","role":"viewer"}`).
		invalid(t, "id")
	w.post("/admin/accounts/1/users", `{}`).invalid(t, "role", "login", "name")
	w.post("/admin/accounts/1/users", `{"login":"bob","name":"X","role":"viewer"}`).
		invalid(t, "login")
	w.post("/admin/accounts/1/users", ``).refused(t, 5)
	w.post("/admin/accounts/2/users", `{"login":"x","name":"X","role":"viewer"}`).refused(t, 201)
	w.put("/admin/accounts/1/users/7", `{"id":8}`).invalid(t, "id")
	w.put("/admin/accounts/1/users/x", `{}`).invalid(t, "user")
	w.delete("/admin/accounts/2/users/7").refused(t, 201)
	w.delete("/admin/accounts/1/users/8").refused(t, 201)
	w.delete("/admin/accounts/1/users/9").is(t, removed)
	w.delete("/admin/accounts/1/users/7").is(t, removed)
	w.delete("/admin/accounts/1/users/7").refused(t, 201)
	// No id is given again.
	w.post("/admin/accounts/1/users", `{"login":"ann","name":"Ann","role":"viewer"}`).
		is(t, `{"success":true,"value":{"id":10}}`)
}

func TestAdminNamedKeys(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{}`).succeeds(t)
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	w.post("/admin/accounts/1/keys",
		`{"name":"ERP","role":"viewer","end":"`+end.Format(time.RFC3339)+`"}`).succeeds(t)
	w.post("/admin/accounts/1/keys", ``).succeeds(t)
	keys := w.stored(1).Keys
	want := queue.Key{
		Hash: keys[0].Hash, Name: "ERP", Role: queue.RoleViewer, EndMs: end.UnixMilli(),
	}
	if len(keys) != 2 || keys[0] != want || keys[1] != (queue.Key{Hash: keys[1].Hash}) {
		t.Fatalf("keys %+v, want first %+v", keys, want)
	}
	w.get("/admin/accounts/1").is(t, fmt.Sprintf(
		`{"success":true,"value":{"id":1,"login":"","title":"","time_zone":"UTC","keys":[`+
			`{"id":"%x","name":"ERP","role":"viewer","end":"%s"},"%x"]}}`,
		keys[0].Hash, end.Format(time.RFC3339), keys[1].Hash))
	for body, names := range map[string]string{
		`{"name":"` + strings.Repeat("x", 101) + `","role":"boss","end":"x"}`: "role end name",
		`{"end":"2020-01-01T00:00:00Z"}`:                                      "end",
		`{"key":"` + uralKey + `"}`:                                           "key",
	} {
		w.post("/admin/accounts/1/keys", body).invalid(t, strings.Fields(names)...)
	}

	// Keys are made and removed at once, and none is lost or comes back.
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			id, _ := w.newKey("1")
			w.delete("/admin/keys/"+id).is(t, removed)
			w.newKey("1")
		})
	}
	all.Wait()
	if n := len(w.stored(1).Keys); n != 10 {
		t.Errorf("%d keys", n)
	}
	w.delete(fmt.Sprintf("/admin/keys/%x", keys[0].Hash)).is(t, removed)
	w.delete(fmt.Sprintf("/admin/keys/%x", keys[0].Hash)).refused(t, 201)
	if got := w.stored(1).Keys; queue.KeyIndex(got, keys[1].Hash) != 0 || len(got) != 9 {
		t.Errorf("keys %+v", got)
	}
}

func TestAdminSorting(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{"groups":[{"id":2,"title":"North"}]}`).succeeds(t)
	w.put("/admin/accounts/2", `{}`).succeeds(t)
	const head = `{"id":101,"account":1,"label":"","protocol":"jt808","device_id":"1","password":"","model":"","blocked":false,"chat":true,"features":["chat"],"employee_id":0,"settings":{}`
	put := func(sorting string) answer { return w.put("/admin/trackers/101", head+sorting+`}`) }
	is := func(sorting string) {
		t.Helper()
		w.get("/admin/trackers/101").is(t, `{"success":true,"value":`+head+sorting+`}}`)
	}
	put(`,"group_id":2,"tags":["frigo","нов"]`).is(t, `{"success":true,"result":"added"}`)
	is(`,"group_id":2,"tags":["frigo","нов"]`)
	put(``).is(t, `{"success":true,"result":"unchanged"}`)
	put(`,"tags":["x"]`).is(t, updated)
	is(`,"tags":["x"]`)
	put(`,"group_id":3`).invalid(t, "group_id")
	tags := `,"tags":["` + strings.Repeat("x", 41) + `","a","a"`
	put(tags+`]`).invalid(t, "tags[0]", "tags[2]")
	for i := range 18 {
		tags += fmt.Sprintf(`,"t%d"`, i)
	}
	put(tags+`],"group_id":-1`).invalid(t, "group_id", "tags", "tags[0]", "tags[2]")
	put(`,"group_id":"2"`).invalid(t, "group_id")
	put(`,"group_id":2`).is(t, updated)
	is(`,"group_id":2`)
	w.put("/admin/trackers/101", strings.Replace(head, `"account":1`, `"account":2`, 1)+
		`,"group_id":2}`).invalid(t, "group_id")
	put(`,"group_id":0,"tags":[]`).is(t, updated)
	is(``)

	// In an import each line sees those before it.
	s := w.importAll(strings.NewReader(`{"tracker":` + head + `,"group_id":5}}` + "\n" +
		`{"account":{"id":1,"groups":[{"id":5,"title":"South"}]}}` + "\n" +
		`{"tracker":` + head + `,"group_id":5}}`))
	if len(s.Summary.Refused) != 1 || s.Summary.Refused[0].Line != 1 ||
		s.Summary.Refused[0].Errors[0].Parameter != "group_id" || s.Summary.Trackers.Updated != 1 {
		t.Errorf("import %+v", s.Summary)
	}
	is(`,"group_id":5`)
}

// TestAdminExportOfPeople: an export is imported without loss, into a store that is empty and into
// one that has changed since.
func TestAdminExportOfPeople(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/1", `{"login":"demo","keys":["`+berlinKey+`",{"key":"`+uralKey+
		`","name":"ERP","role":"dispatcher","end":"2030-01-01T00:00:00.001Z"}],`+
		`"users":[{"id":1,"login":"ann","password":"secret","name":"Ann","role":"viewer"},`+
		`{"id":8,"login":"bob","name":"Bob","role":"manager","locale":"de_DE"}],`+
		`"groups":[{"id":2,"title":"North","color":"FF6DDC"}],`+
		`"templates":[{"id":3,"name":"Call","text":"<{label}>\n","choices":["yes"],"ttl":60}]}`).
		succeeds(t)
	w.delete("/admin/accounts/1/users/8").is(t, removed) // whose id is not given again
	w.put("/admin/accounts/2", `{}`).succeeds(t)
	for id, sorting := range []string{`"group_id":2,"tags":["a"]`, `"tags":[]`} {
		w.put(fmt.Sprintf("/admin/trackers/%d", 101+id), fmt.Sprintf(
			`{"account":1,"protocol":"jt808","device_id":"%d",%s}`, 1+id, sorting)).succeeds(t)
	}
	out := w.get("/admin/export")
	if strings.Contains(out.body, uralKey) || strings.Contains(out.body, `"secret"`) {
		t.Error("the export holds secrets in the clear")
	}
	same := func(w *adminWorld) {
		t.Helper()
		if s := w.importAll(strings.NewReader(out.body)); len(s.Summary.Refused) != 0 {
			t.Fatalf("import %+v", s.Summary)
		}
		if again := w.get("/admin/export"); again.body != out.body {
			t.Errorf("the export of the import differs:\n%s\n%s", out.body, again.body)
		}
	}
	same(w)
	other := newAdminWorld(t)
	same(other)
	for id := queue.AccountID(1); id <= 2; id++ {
		if a, b := w.stored(id), other.stored(id); !queue.SameAccount(a, b) {
			t.Errorf("%+v with %+v became %+v with %+v", a, a.People, b, b.People)
		}
	}
	w.put("/admin/accounts/2", `{"keys":["`+unknownKey+`"],"groups":[{"id":1,"title":"x"}],`+
		`"users":[{"id":2,"login":"new","password":"x","name":"N","role":"viewer"}]}`).is(t, updated)
	w.put("/admin/accounts/1", `{"keys":[],"users":[],"groups":[],"templates":[]}`).is(t, updated)
	w.put("/admin/trackers/102",
		`{"account":1,"protocol":"jt808","device_id":"2","tags":["x"]}`).is(t, updated)
	s := w.importAll(strings.NewReader(out.body))
	if len(s.Summary.Refused) != 0 || len(w.stored(2).AllUsers()) != 0 ||
		len(w.stored(2).Keys) != 0 || len(w.stored(1).AllUsers()) != 1 {
		t.Errorf("import over changes: %+v", s.Summary)
	}
}

// TestAdminImportKeepsPasswordsOfUsers also of those that a line before has made.
func TestAdminImportKeepsPasswordsOfUsers(t *testing.T) {
	w := newAdminWorld(t)
	const line = `{"account":{"id":1,"title":"%s","users":[{"id":1,"login":"ann","name":"Ann","role":"viewer"%s}]}}` + "\n"
	s := w.importAll(strings.NewReader(fmt.Sprintf(line, "a", `,"password":"secret"`) +
		fmt.Sprintf(line, "b", "") + `{"account":{"id":1,"title":"c"}}`))
	if s.Summary.Accounts.Added != 1 || s.Summary.Accounts.Updated != 2 {
		t.Fatalf("import %+v", s.Summary)
	}
	if a := w.stored(1); a.Title != "c" ||
		!auth.VerifyPassword(a.AllUsers()[0].Password, "secret") {
		t.Errorf("%+v, %+v", a, a.People)
	}
}

// TestAdminLargestAccount: an account at every bound is exported and imported in one line.
func TestAdminLargestAccount(t *testing.T) {
	w := newAdminWorld(t)
	name := func(i int) string { return strings.Repeat("<", 96) + fmt.Sprintf("%04d", i) }
	hash, err := auth.HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	a := queue.Account{ID: 1, TimeZone: "UTC", People: new(queue.People)}
	for i := 1; i <= queue.MaxUsers; i++ {
		id := int64(i)
		a.Keys = append(a.Keys, queue.Key{
			Hash: queue.HashKey(fmt.Sprint(i)), Name: name(i), Role: queue.RoleViewer, EndMs: 1,
		})
		a.People.Users = append(a.People.Users, queue.User{
			ID: id, Login: name(i), Password: hash, Name: name(i), Role: queue.RoleDispatcher,
			Locale: "zh_Hans_CN",
		})
		a.People.Groups = append(a.People.Groups,
			queue.Group{ID: id, Title: name(i), Color: "ffffff"})
	}
	choices := slices.Repeat([]string{strings.Repeat("<", queue.MaxChoice)}, queue.MaxChoices)
	for i := 1; i <= queue.MaxTemplates; i++ {
		a.People.Templates = append(a.People.Templates, queue.Template{
			ID: int64(i), Name: name(i), Text: strings.Repeat("<", queue.MaxTemplateText),
			Choices: choices, TTL: queue.MaxTTL,
		})
	}
	res, err := w.store.EditDirectory(t.Context(),
		[]queue.Edit{{Kind: queue.EditPutAccount, Account: a}})
	if err = errors.Join(err, res[0].Err); err != nil {
		t.Fatal(err)
	}
	out := w.get("/admin/export").body
	other := newAdminWorld(t)
	s := other.importAll(strings.NewReader(out))
	if b := other.stored(1); s.Summary.Accounts.Added != 1 || len(b.Keys) != queue.MaxKeys ||
		len(b.AllTemplates()) != queue.MaxTemplates {
		t.Errorf("import of %d bytes: %+v", len(out), s.Summary)
	}
	t.Logf("%d bytes", len(out))
}
