package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trackchat/api/admin"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/queue/queuetest"
)

// where tells the trackers of sessions and the beginnings of their nodes' names.
func where(list []admin.DeviceSession) string {
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
		cfg := apptest.Config(t, 6)
		cfg.Node, cfg.Roles = name, roles
		cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, []string{server.Addr}
		return startService(t, cfg)
	}
	north, south, front := node("north", config.RoleGateway), node("south", config.RoleGateway, config.RoleAPI),
		node("front", config.RoleAPI)
	for id := 1; id <= 6; id++ {
		[]*service{south, north}[id/4].Device(id, nil) // 1 to 3 in the south
	}
	const all = " 1south 2south 3south 4north 5north 6north"
	for _, from := range []*service{front, north, south} {
		apptest.Eventually(t, "all sessions", func() bool {
			list, silent := from.Sessions("")
			return where(
				list) == all && len(silent) == 0
		})
	}
	for query, want := range map[string]string{
		"limit=2": " 1south 2south", "limit=2&after=2": " 3south 4north", "after=6": "",
		"protocol=jt808": " 1south 3south 5north", "protocol=wialon&after=2": " 4north 6north",
		"tracker_id=5": " 5north", "tracker_id=5&protocol=wialon": "", "tracker_id=77": "",
	} {
		if list, _ := front.Sessions(query); where(list) != want {
			t.Errorf("%s: %s, want %s", query, where(list), want)
		}
	}
	list, _ := front.Sessions("tracker_id=5")
	if s := list[0]; s.Protocol != "jt808" || !strings.HasPrefix(s.Remote, "127.0.0.1:") ||
		s.Since.IsZero() || s.LastSeen.IsZero() || s.BytesIn <= 0 {
		t.Errorf("%+v", s)
	}
	apptest.Eventually(t, "online", func() bool { return front.Presence() == " 1 2 3 4 5 6" })

	if code, body := front.Ask(http.MethodDelete, "/admin/sessions/5"); code != http.StatusOK {
		t.Fatalf("disconnect: %d %s", code, body)
	}
	apptest.Eventually(t, "disconnected and back", func() bool {
		again, _ := front.Sessions("tracker_id=5")
		return len(again) == 1 && again[0].Remote != list[0].Remote
	})
	if code, body := front.Ask(http.MethodDelete,
		"/admin/sessions/77"); code != http.StatusBadRequest ||
		!strings.Contains(body, `"code":201`) {
		t.Errorf("disconnecting nobody: %d %s", code, body)
	}

	nodes := func() map[string]admin.Node {
		t.Helper()
		var got struct{ List []admin.Node }
		if _, body := front.Ask(http.MethodGet, "/admin/nodes"); json.Unmarshal([]byte(body),
			&got) != nil {
			t.Fatal(body)
		}
		byName := map[string]admin.Node{}
		for _, n := range got.List {
			name, _, _ := strings.Cut(string(n.ID), "-")
			byName[name] = n
		}
		return byName
	}
	if n := nodes(); len(n) != 2 || n["north"].Started.IsZero() || n["south"].Draining {
		t.Errorf("nodes %+v", n)
	}
	apptest.Eventually(t, "reported", func() bool {
		n := nodes()
		return n["north"].Sessions == 3 &&
			n["south"].Sessions == 3
	})

	if code, body := front.Ask(http.MethodPost, "/admin/drain?node=nobody"); code !=
		http.StatusBadRequest || !strings.Contains(body, `"code":201`) {
		t.Errorf("draining nobody: %d %s", code, body)
	}
	if code, body := front.Ask(http.MethodPost,
		"/admin/drain?node="+string(nodes()["south"].ID)); code != http.StatusOK {
		t.Fatalf("drain: %d %s", code, body)
	}
	apptest.Eventually(t, "drained", func() bool {
		list,
			_ := front.Sessions("")
		return where(list) == " 4north 5north 6north"
	})
	apptest.Eventually(t, "offline", func() bool { return front.Presence() == " 4 5 6" })
	apptest.Eventually(t, "known to drain", func() bool { return nodes()["south"].Draining })
	wantUnready(t, south, "draining")
	wantUnready(t, front, "")
}

// TestFleetOfOne: the embedded store's only process answers for itself.
func TestFleetOfOne(t *testing.T) {
	s := startService(t, apptest.Config(t, 2))
	s.Device(1, nil)
	s.Device(2, nil)
	apptest.Eventually(t, "both sessions", func() bool {
		list,
			_ := s.Sessions("")
		return where(list) == " 1test 2test"
	})
	apptest.Eventually(t, "online", func() bool { return s.Presence() == " 1 2" })
	if code, body := s.Ask(http.MethodGet, "/admin/nodes"); code != http.StatusOK ||
		!strings.Contains(body, `"sessions":2,"draining":false`) {
		t.Errorf("nodes: %d %s", code, body)
	}
	before, _ := s.Sessions("tracker_id=1")
	if code, body := s.Ask(http.MethodDelete, "/admin/sessions/1"); code != http.StatusOK {
		t.Fatalf("disconnect: %d %s", code, body)
	}
	apptest.Eventually(t, "disconnected and back", func() bool {
		again, _ := s.Sessions("tracker_id=1")
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
		cfg := apptest.Config(t, 4)
		cfg.Node, cfg.Roles = name, []string{role}
		cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, []string{server.Addr}
		return startService(t, cfg)
	}
	front, north := node("front", config.RoleAPI), node("north", config.RoleGateway)
	devices := map[int]*trackersim.Tracker{}
	for id := 1; id <= 4; id++ {
		devices[id] = north.Device(id, nil)
	}
	gone := func(id int, want bool) {
		t.Helper()
		asked := time.Now()
		apptest.Eventually(t, "as the directory says", func() bool {
			list, _ := front.Sessions(fmt.Sprint("tracker_id=", id))
			return (len(list) == 0) == want
		})
		t.Logf("tracker %d after %v", id, time.Since(asked))
	}
	put := func(id, device int, more string) {
		t.Helper()
		body := fmt.Sprintf(`{"account":1,"label":"Truck %d","protocol":%q,"device_id":%q%s}`, id,
			apptest.ProtocolOf(id), apptest.DeviceOf(device), more)
		if code, answer := front.Tell(http.MethodPut, fmt.Sprint("/admin/trackers/", id),
			body); code != http.StatusOK {
			t.Fatalf("%d %s", code, answer)
		}
	}
	for id := 1; id <= 4; id++ {
		gone(id, false)
	}

	put(1, 1, `,"blocked":true`)
	gone(1, true)
	if a := front.API.Call("send", "tracker_id", "1", "message", "x"); a.Status.Code != 208 {
		t.Errorf("a blocked tracker: %+v", a)
	}
	put(1, 1, "")
	gone(1, false)
	front.API.Delivered(1, front.API.Send(1, "after the block"))

	// Device 3 gets another id in its tracker: its session ends, what waits stays until the new
	// device comes.
	put(3, 33, "")
	gone(3, true)
	waiting := front.API.Send(3, "for the new device")
	apptest.PlayDevice(t, north.Addrs[apptest.ProtocolOf(3)], 33, nil)
	front.API.Delivered(3, waiting)

	// Tracker 2 goes with its queue, also if another one with its id comes after it.
	silent := front.API.Send(2, "before")
	front.API.Delivered(2, silent)
	if code, answer := front.Tell(http.MethodDelete, "/admin/trackers/2",
		""); code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	gone(2, true)
	apptest.Eventually(t, "unknown", func() bool {
		return front.API.Call("list", "tracker_id",
			"2").Status.Code == 201
	})
	put(2, 2, "")
	gone(2, false)
	if list := front.API.List(2); len(list) != 0 {
		t.Errorf("a new tracker has %+v", list)
	}
	front.API.Delivered(2, front.API.Send(2, "for the new one"))
	if n := devices[4].Stats().Disconnects; n != 0 {
		t.Errorf("a tracker that nobody changed was disconnected %d times", n)
	}
}
