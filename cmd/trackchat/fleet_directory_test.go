package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/queue/queuetest"
)

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

// tell sends a request with a body to the admin listener.
func (s *service) tell(method, path, body string) (int, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addrs["admin"]+path,
		strings.NewReader(body))
	must(s.t, err)
	return s.answered(req)
}
