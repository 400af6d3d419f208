package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/gateway/trackersim"
	"trackchat/queue/queuetest"
)

// unready is what /readyz says, empty if the service is ready.
func (s *service) unready() string {
	s.t.Helper()
	res, err := http.Get("http://" + s.addrs["admin"] + "/readyz")
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	var a struct {
		Ready    bool
		Problems []string
	}
	must(s.t, json.NewDecoder(res.Body).Decode(&a))
	if a.Ready != (res.StatusCode == http.StatusOK) {
		s.t.Errorf("%s, but ready is %v", res.Status, a.Ready)
	}
	return strings.Join(a.Problems, "\n")
}

// loginCode is the code that user/auth answers.
func (s *service) loginCode() int {
	s.t.Helper()
	c := client{s.t, "http://" + s.addrs["api"] + "/v2/user/"}
	return c.call("auth", "login", "demo", "password", "demo").Status.Code
}

// TestRedisIsEmptied: to clients and devices it is an outage, not a world without accounts,
// trackers and messages; an operator ends it.
func TestRedisIsEmptied(t *testing.T) {
	server := queuetest.StartRedis(t)
	cfg := onRedis(t, server.Addr)
	s := startService(t, cfg)
	s.device(1, func(o *trackersim.Options) { o.Reconnect = false })
	id := s.api.send(1, "before")
	s.api.delivered(1, id)
	hash := s.login()

	server.Must(t, "FLUSHALL")
	for op, want := range map[string]int{"send": 8, "list": 14} {
		if a := s.api.call(op, "tracker_id", "1", "message", "x"); a.Status.Code != want {
			t.Errorf("%s: %+v, want code %d", op, a, want)
		}
	}
	if a := s.api.call("list", "tracker_id", "1", "hash", hash); a.Status.Code != 14 {
		t.Errorf("with a session: %+v", a)
	}
	if code := s.loginCode(); code != 14 {
		t.Errorf("login: code %d", code)
	}
	if accounts, trackers := s.app.directory.Current().Len(); accounts != 1 || trackers != 1 {
		t.Errorf("the directory has %d accounts and %d trackers", accounts, trackers)
	}
	s.app.checkStore(t.Context())
	if got := s.unready(); !strings.Contains(got, "trackchat check --adopt") {
		t.Errorf("ready: %q", got)
	}
	found := false
	for _, r := range s.app.recent.recent() {
		found = found || r.Level == "error" &&
			r.Message == "Redis is not the store that this service knows"
	}
	if !found {
		t.Error("the operations view does not say it")
	}
	if n := s.app.gateway.Sessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
	if keys := server.Must(t, "DBSIZE"); keys != "0" {
		t.Errorf("%s keys were written: %s", keys, server.Must(t, "KEYS", "*"))
	}

	var out bytes.Buffer
	if code := runAdopt(t.Context(), cfg, nil, &out); code != 0 ||
		!strings.Contains(out.String(), "ok      store redis "+server.Addr+": adopted") {
		t.Errorf("adopting: exit code %d\n%s", code, out.String())
	}
	eventually(t, "ready", func() bool { s.app.checkStore(t.Context()); return s.unready() == "" })
	must(t, s.app.Reload(t.Context()))
	if again := s.api.send(1, "after"); again <= id {
		t.Errorf("id %d after %d", again, id)
	}
	if ms := s.api.list(1); len(ms) != 1 {
		t.Errorf("%+v", ms)
	}
}

// TestDatabaseIsRemoved: a start beside the log of a database that is gone is refused, `check` says
// why, and `check --adopt` goes on without it.
func TestDatabaseIsRemoved(t *testing.T) {
	c := newChild(t, childOptions{trackers: 1})
	c.start()
	id := c.client().send(1, "before")
	c.kill()
	file := filepath.Join(c.dir, "data", "chat.db")
	must(t, os.Rename(file, file+".away"))
	for _, args := range [][]string{{"serve"}, {"check"}} {
		out, err := command(append(args, "--config", c.config())...).CombinedOutput()
		if err == nil || !bytes.Contains(out,
			[]byte("chat.db is missing, but its write-ahead log")) ||
			!bytes.Contains(out, []byte("trackchat check --adopt")) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	must(t, os.Rename(file+".away", file))
	c.start()
	if ms := c.client().list(1); len(ms) != 1 || ms[0].ID != id {
		t.Errorf("brought back: %+v", ms)
	}
	c.kill()

	must(t, os.Remove(file))
	if out, err := command("check", "--adopt", "--config", c.config()).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("adopted, although")) {
		t.Errorf("adopting: %v\n%s", err, out)
	}
	c.start()
	if ms := c.client().list(1); len(ms) != 0 {
		t.Errorf("%+v", ms)
	}
	if again := c.client().send(1, "after"); again <= id {
		t.Errorf("id %d after %d", again, id)
	}
	if out, err := command("check", "--adopt", "--config", c.config()).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("in use")) {
		t.Errorf("adopting what a service uses: %v\n%s", err, out)
	}
}

// TestStartOnANearlyFullDisk: what is there is served, nothing new is taken, and the service says
// so.
func TestStartOnANearlyFullDisk(t *testing.T) {
	cfg := testConfig(t, 1)
	s := startService(t, cfg)
	id := s.api.send(1, "before")
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	must(t, s.app.Stop(ctx))

	// there is no room for the change.
	must(t, os.WriteFile(cfg.Directory.File, []byte(directoryYAML(2)), 0o600))
	s = startService(t, cfg, func(a *App) { a.leastFree = 1 << 60 })
	if ms := s.api.list(1); len(ms) != 1 || ms[0].ID != id {
		t.Errorf("%+v", ms)
	}
	if a := s.api.call("send", "tracker_id", "1", "message", "x"); a.Status.Code != 8 {
		t.Errorf("send: %+v", a)
	}
	if got := s.unready(); !strings.Contains(got, "MiB left") {
		t.Errorf("ready: %q", got)
	}
}
