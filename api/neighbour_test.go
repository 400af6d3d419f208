package api_test

import (
	"context"
	"strings"
	"testing"

	"trackchat/queue"
)

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
