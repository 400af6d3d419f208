package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestTrackerMovesToAnotherAccount: whatever is called, and whatever is pending or on the way,
// neither account gets to see a message of the other's.
func TestTrackerMovesToAnotherAccount(t *testing.T) {
	onEveryStore(t, 2, func(t *testing.T, s *service) { t.Helper(); trackerMoves(t, s) })
}

func trackerMoves(t *testing.T, s *service) {
	t.Helper()
	cli := adminCLI{t, "http://" + s.addrs["admin"]}
	const second = "00000000000000000000000000000002"
	cli.run("account", "import",
		cli.file(fmt.Sprintf(
			`{"account":{"id":2,"login":"second","password":"secret","keys":[%q]}}`, second)))
	as := func(key, op string, args ...string) answer {
		return s.api.call(op, append([]string{"hash", key}, args...)...)
	}

	device := s.device(1, nil)
	delivered := s.api.send(1, "delivered to the first")
	s.api.delivered(1, delivered)
	must(t, device.Say(t.Context(), "said to the first"))
	eventually(t, "the driver's text", func() bool { return len(s.api.list(1)) == 2 })
	before := s.api.list(1)
	pending := s.api.send(2, "pending of the first") // its device is not there

	for _, id := range []string{"1", "2"} {
		if got := cli.run("tracker", "move", id, "2"); got != "updated" {
			t.Fatalf("move: %s", got)
		}
	}
	// The second account begins with nothing, and reaches nothing by id.
	if a := as(second, "list", "tracker_id", "1"); !a.Success || len(a.List) != 0 {
		t.Fatalf("the second account lists %+v", a)
	}
	for _, m := range append(before, s.api.list(2)...) {
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
	for _, op := range []string{"unread/count", "updated/list"} {
		if a := as(second, op, "trackers", "[1]"); !a.Success || len(a.Value) != 0 {
			t.Errorf("%s: %+v", op, a)
		}
	}
	// The first one reads what it had, and does not get what comes.
	eventually(t, "the end of what was pending", func() bool {
		a := s.api.call("read", "message_id", fmt.Sprint(pending))
		delivery, _ := a.Value["delivery"].(map[string]any)
		return delivery["state"] == "FAILED" &&
			delivery["reason"] == "tracker moved to another account"
	})
	if a := s.api.call("send", "tracker_id", "1", "message", "not mine any more"); a.Status.Code !=
		201 {
		t.Errorf("the first account sends: %+v", a)
	}
	s.device(2, nil)
	fresh := as(second, "send", "tracker_id", "2", "message", "to the second")
	eventually(t, "delivery to the second device", func() bool {
		list := as(second, "list", "tracker_id", "2").List
		return len(list) == 1 && list[0].ID == fresh.ID && list[0].Status == "DELIVERED"
	})
	fresh = as(second, "send", "tracker_id", "1", "message", "to the second")
	eventually(t, "delivery for the second account", func() bool {
		list := as(second, "list", "tracker_id", "1").List
		return len(list) == 1 && list[0].ID == fresh.ID && list[0].Status == "DELIVERED"
	})
	eventually(t, "a text that the new session takes", func() bool {
		return device.Say(t.Context(),
			"said to the second") == nil
	})
	eventually(t, "the driver's text to the second", func() bool {
		return len(as(second, "list",
			"tracker_id", "1").List) == 2
	})
	if a := as(second, "unread/count"); !a.Success || fmt.Sprint(a.Value) != "map[1:1]" {
		t.Errorf("unread of the second: %+v", a)
	}
	if a := s.api.call("mark_read_all"); !a.Success {
		t.Errorf("%+v", a)
	}
	if after := s.api.list(1); len(after) != len(before) {
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
	if a := s.api.call("list", "tracker_id", "1"); !a.Success || len(a.List) != 0 {
		t.Errorf("after drop: %+v", a)
	}
	if out, code := cli.try("tracker", "move", "1", "2", "--history", "burn"); code != 1 ||
		!strings.Contains(out, "history must be keep, move or drop") {
		t.Errorf("%d %s", code, out)
	}
}
