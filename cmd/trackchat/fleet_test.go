package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/queue/queuetest"
)

// sessions asks for sessions of the fleet.
func (s *service) sessions(query string) (list []api.DeviceSession, silent []string) {
	s.t.Helper()
	code, body := s.ask(http.MethodGet, "/admin/sessions?"+query)
	var got struct {
		List   []api.DeviceSession
		Silent []string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		s.t.Fatalf("%d %s: %v", code, body, err)
	}
	return got.List, got.Silent
}

// where tells the trackers of sessions and the beginnings of their nodes' names.
func where(list []api.DeviceSession) string {
	var b strings.Builder
	for _, s := range list {
		name, _, _ := strings.Cut(string(s.Node), "-")
		fmt.Fprint(&b, " ", s.Tracker, name)
	}
	return b.String()
}

// presence is what tracker/list says of who is online.
func (s *service) presence() string {
	s.t.Helper()
	res, err := stranger.Get("http://" + s.addrs["api"] + "/tracker/list?hash=" + testKey)
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	var got struct {
		List []struct {
			ID       int
			Online   bool
			LastSeen *string `json:"last_seen"`
		}
	}
	must(s.t, json.NewDecoder(res.Body).Decode(&got))
	var b strings.Builder
	for _, t := range got.List {
		if t.Online && t.LastSeen != nil {
			fmt.Fprint(&b, " ", t.ID)
		}
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
	wantReady(t.Context(), t, south.addrs["admin"], 1, "draining")
	wantReady(t.Context(), t, front.addrs["admin"], 0, "")
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
