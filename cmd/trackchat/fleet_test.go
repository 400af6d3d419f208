package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/gateway/trackersim"
	"trackchat/queue/queuetest"
)

// where tells the trackers of sessions and the beginnings of their nodes' names.
func where(list []api.DeviceSession) string {
	var b strings.Builder
	for _, s := range list {
		name, _, _ := strings.Cut(string(s.Node), "-")
		fmt.Fprint(&b, " ", s.Tracker, name)
	}
	return b.String()
}

// TestFleetFromAnywhere administers devices on two nodes through a process that serves none.
func TestFleetFromAnywhere(t *testing.T) {
	server := queuetest.StartRedis(t)
	node := func(name string, roles ...string) *service {
		cfg := testConfig(t, 6)
		cfg.Node, cfg.Roles = name, roles
		cfg.Store.Backend, cfg.Store.Redis.Addrs = BackendRedis, []string{server.Addr}
		return startService(t, cfg)
	}
	north, south, front := node("north", RoleGateway), node("south", RoleGateway, RoleAPI),
		node("front", RoleAPI)
	for id := 1; id <= 6; id++ {
		[]*service{south, north}[id/4].device(id, nil) // 1 to 3 in the south
	}
	const all = " 1south 2south 3south 4north 5north 6north"
	for _, from := range []*service{front, north, south} {
		eventually(t, "all sessions", func() bool {
			list, silent := from.sessions("")
			return where(
				list) == all && len(silent) == 0
		})
	}
	for query, want := range map[string]string{
		"limit=2": " 1south 2south", "limit=2&after=2": " 3south 4north", "after=6": "",
		"protocol=jt808": " 1south 3south 5north", "protocol=wialon&after=2": " 4north 6north",
		"tracker_id=5": " 5north", "tracker_id=5&protocol=wialon": "", "tracker_id=77": "",
	} {
		if list, _ := front.sessions(query); where(list) != want {
			t.Errorf("%s: %s, want %s", query, where(list), want)
		}
	}
	list, _ := front.sessions("tracker_id=5")
	if s := list[0]; s.Protocol != "jt808" || !strings.HasPrefix(s.Remote, "127.0.0.1:") ||
		s.Since.IsZero() || s.LastSeen.IsZero() || s.BytesIn <= 0 {
		t.Errorf("%+v", s)
	}
	eventually(t, "online", func() bool { return front.presence() == " 1 2 3 4 5 6" })

	if code, body := front.ask(http.MethodDelete, "/admin/sessions/5"); code != http.StatusOK {
		t.Fatalf("disconnect: %d %s", code, body)
	}
	eventually(t, "disconnected and back", func() bool {
		again, _ := front.sessions("tracker_id=5")
		return len(again) == 1 && again[0].Remote != list[0].Remote
	})
	if code, body := front.ask(http.MethodDelete,
		"/admin/sessions/77"); code != http.StatusBadRequest ||
		!strings.Contains(body, `"code":201`) {
		t.Errorf("disconnecting nobody: %d %s", code, body)
	}

	nodes := func() map[string]api.Node {
		t.Helper()
		var got struct{ List []api.Node }
		if _, body := front.ask(http.MethodGet, "/admin/nodes"); json.Unmarshal([]byte(body),
			&got) != nil {
			t.Fatal(body)
		}
		byName := map[string]api.Node{}
		for _, n := range got.List {
			name, _, _ := strings.Cut(string(n.ID), "-")
			byName[name] = n
		}
		return byName
	}
	if n := nodes(); len(n) != 2 || n["north"].Started.IsZero() || n["south"].Draining {
		t.Errorf("nodes %+v", n)
	}
	eventually(t, "reported", func() bool {
		n := nodes()
		return n["north"].Sessions == 3 &&
			n["south"].Sessions == 3
	})

	if code, body := front.ask(http.MethodPost, "/admin/drain?node=nobody"); code !=
		http.StatusBadRequest || !strings.Contains(body, `"code":201`) {
		t.Errorf("draining nobody: %d %s", code, body)
	}
	if code, body := front.ask(http.MethodPost,
		"/admin/drain?node="+string(nodes()["south"].ID)); code != http.StatusOK {
		t.Fatalf("drain: %d %s", code, body)
	}
	eventually(t, "drained", func() bool {
		list,
			_ := front.sessions("")
		return where(list) == " 4north 5north 6north"
	})
	eventually(t, "offline", func() bool { return front.presence() == " 4 5 6" })
	eventually(t, "known to drain", func() bool { return nodes()["south"].Draining })
	wantUnready(t, south, "draining")
	wantUnready(t, front, "")
}

// TestFleetOfOne: the embedded store's only process answers for itself.
func TestFleetOfOne(t *testing.T) {
	s := startService(t, testConfig(t, 2))
	s.device(1, nil)
	s.device(2, nil)
	eventually(t, "both sessions", func() bool {
		list,
			_ := s.sessions("")
		return where(list) == " 1test 2test"
	})
	eventually(t, "online", func() bool { return s.presence() == " 1 2" })
	if code, body := s.ask(http.MethodGet, "/admin/nodes"); code != http.StatusOK ||
		!strings.Contains(body, `"sessions":2,"draining":false`) {
		t.Errorf("nodes: %d %s", code, body)
	}
	before, _ := s.sessions("tracker_id=1")
	if code, body := s.ask(http.MethodDelete, "/admin/sessions/1"); code != http.StatusOK {
		t.Fatalf("disconnect: %d %s", code, body)
	}
	eventually(t, "disconnected and back", func() bool {
		again, _ := s.sessions("tracker_id=1")
		return len(again) == 1 && again[0].Remote != before[0].Remote
	})
}

// TestDirectoryChangesReachEveryNode blocks, moves and removes trackers through a process that
// serves no devices while they are connected to another one: their sessions end at once. What waits
// for a tracker that is blocked or moved is kept and goes to whoever logs in for it next; what
// waits for a removed one is never sent.
func TestDirectoryChangesReachEveryNode(t *testing.T) {
	server := queuetest.StartRedis(t)
	node := func(name, role string) *service {
		cfg := testConfig(t, 4)
		cfg.Node, cfg.Roles = name, []string{role}
		cfg.Store.Backend, cfg.Store.Redis.Addrs = BackendRedis, []string{server.Addr}
		return startService(t, cfg)
	}
	front, north := node("front", RoleAPI), node("north", RoleGateway)
	devices := map[int]*trackersim.Tracker{}
	for id := 1; id <= 4; id++ {
		devices[id] = north.device(id, nil)
	}
	gone := func(id int, want bool) {
		t.Helper()
		asked := time.Now()
		eventually(t, "as the directory says", func() bool {
			list, _ := front.sessions(fmt.Sprint("tracker_id=", id))
			return (len(list) == 0) == want
		})
		t.Logf("tracker %d after %v", id, time.Since(asked))
	}
	put := func(id, device int, more string) {
		t.Helper()
		body := fmt.Sprintf(`{"account":1,"label":"Truck %d","protocol":%q,"device_id":%q%s}`, id,
			protocolOf(id), deviceOf(device), more)
		if code, answer := front.tell(http.MethodPut, fmt.Sprint("/admin/trackers/", id),
			body); code != http.StatusOK {
			t.Fatalf("%d %s", code, answer)
		}
	}
	for id := 1; id <= 4; id++ {
		gone(id, false)
	}

	put(1, 1, `,"blocked":true`)
	gone(1, true)
	if a := front.api.call("send", "tracker_id", "1", "message", "x"); a.Status.Code != 208 {
		t.Errorf("a blocked tracker: %+v", a)
	}
	put(1, 1, "")
	gone(1, false)
	front.api.delivered(1, front.api.send(1, "after the block"))

	// Device 3 gets another id in its tracker: its session ends, what waits stays until the new
	// device comes.
	put(3, 33, "")
	gone(3, true)
	waiting := front.api.send(3, "for the new device")
	playDevice(t, north.addrs[protocolOf(3)], 33, nil)
	front.api.delivered(3, waiting)

	// Tracker 2 goes with its queue, also if another one with its id comes after it.
	silent := front.api.send(2, "before")
	front.api.delivered(2, silent)
	if code, answer := front.tell(http.MethodDelete, "/admin/trackers/2",
		""); code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	gone(2, true)
	eventually(t, "unknown", func() bool {
		return front.api.call("list", "tracker_id",
			"2").Status.Code == 201
	})
	put(2, 2, "")
	gone(2, false)
	if list := front.api.list(2); len(list) != 0 {
		t.Errorf("a new tracker has %+v", list)
	}
	front.api.delivered(2, front.api.send(2, "for the new one"))
	if n := devices[4].Stats().Disconnects; n != 0 {
		t.Errorf("a tracker that nobody changed was disconnected %d times", n)
	}
}
