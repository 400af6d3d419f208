package api_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAuditOfPeople is a table over what managers change.
func TestAuditOfPeople(t *testing.T) {
	w := &auditWorld{
		adminWorld: newAdminWorld(t), vars: map[string]string{},
		secrets: []string{"Canary", berlinKey},
	}
	w.put("/admin/accounts/1", `{"login":"demo","password":"Canary","keys":["`+berlinKey+`"]}`).
		succeeds(t)
	w.put("/admin/trackers/101", `{"account":1,"protocol":"jt808","device_id":"1"}`).succeeds(t)
	for hash, actor := range map[string]string{
		berlinKey:                 "actor=key account=1 actor_id=6db7a36af666ba46",
		w.login("demo", "Canary"): "actor=user account=1 actor_name=demo",
	} {
		w.secrets = append(w.secrets, hash)
		w.auditPeople(t, hash, actor)
	}
	for _, secret := range w.secrets {
		if strings.Contains(w.told.String(), secret) {
			t.Errorf("%q is told", secret)
		}
	}
}

func (w *auditWorld) auditPeople(t *testing.T, hash, actor string) {
	t.Helper()
	w.lines.TakeAll()
	w.catchUp()
	id := "" // of what was made last
	for _, c := range []struct{ op, pairs, want string }{
		{"user/create", "login=ann&name=Canary&password=Canary", "object=user $ID outcome=done"},
		{"user/update", "user_id=$ID&password=Canary-2", "object=user $ID outcome=done"},
		{"user/update", "user_id=$ID&role=Canary", "object=user $ID outcome=refused code=7"},
		{"user/delete", "user_id=$ID", "object=user $ID outcome=done"},
		{"user/delete", "user_id=$ID", "object=user $ID outcome=refused code=201"},
		{"key/create", "name=Canary", "object=key $ID outcome=done"},
		{"key/update", "key_id=$ID&name=x", "object=key $ID outcome=done"},
		{"key/delete", "key_id=$ID", "object=key $ID outcome=done"},
		{"key/delete", "key_id=" + berlinKey, "outcome=refused code=201"},
		{"group/create", "title=Canary", "object=group $ID outcome=done"},
		{"group/update", "group_id=$ID&title=x", "object=group $ID outcome=done"},
		{"group/assign", "group_id=$ID&trackers=101", "object=group $ID detail=trackers [101] outcome=done"},
		{"group/delete", "group_id=$ID", "object=group $ID outcome=done"},
		{"tag/assign", "tags=x&trackers=101", "object=tags detail=trackers [101] outcome=done"},
		{"template/create", "name=Canary&text=Canary", "object=template $ID outcome=done"},
		{"template/update", "template_id=$ID&text=x", "object=template $ID outcome=done"},
		{"template/delete", "template_id=$ID", "object=template $ID outcome=done"},
	} {
		var pairs []string
		for pair := range strings.SplitSeq(c.pairs, "&") {
			name, value, _ := strings.Cut(pair, "=")
			pairs = append(pairs, name, strings.ReplaceAll(value, "$ID", id))
		}
		w.check(act{do: func() answer {
			a := w.formAs(hash, "account/"+c.op, pairs...)
			if strings.HasSuffix(c.op, "/create") {
				n, keyID, key := a.made(t)
				if id = keyID; id == "" {
					id = itoa(n)
				} else {
					w.secrets = append(w.secrets, key)
				}
			}
			w.vars["ID"] = id
			return a
		}, want: actor + " action=" + c.op + " " + c.want})
	}
	refused := w.formAs(hash, "account/group/assign", "group_id", "77", "trackers", "101")
	refused.refused(t, 201)
	w.catchUp()
}

// catchUp leaves out what the audit has so far.
func (w *auditWorld) catchUp() {
	w.tb.Helper()
	var got struct{ List []struct{ ID int64 } }
	a := w.get("/admin/audit?limit=1")
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.List) != 1 {
		w.tb.Fatalf("%v %s", err, a.body)
	}
	w.last = got.List[0].ID
}
