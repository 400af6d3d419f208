package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue/queuetest"
)

// wrongRoles is a configuration with two problems.
var wrongRoles = filepath.Join("config", "testdata", "config", "roles.yaml")

// checked runs the check and returns its exit code and its lines without what differs from run to
// run.
func checked(t *testing.T, cfg *config.Config, err error, temporary string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := runCheck(t.Context(), cfg, err, &out)
	text := out.String()
	if temporary != "" {
		text = strings.ReplaceAll(text, temporary, "DIR")
	}
	var lines []string
	for line := range strings.Lines(text) {
		// The machine's disk may be slow or nearly full.
		if strings.HasPrefix(line, "warning") && (strings.Contains(line, "fsync took") ||
			strings.Contains(line, "MiB left")) {
			continue
		}
		lines = append(lines, line)
	}
	return code, strings.Join(lines, "")
}

func wantChecked(t *testing.T, cfg *config.Config, err error, wantCode int, want ...string) {
	t.Helper()
	temporary := ""
	if cfg != nil {
		temporary = filepath.Dir(cfg.Store.Path)
	}
	code, got := checked(t, cfg, err, temporary)
	if code != wantCode || got != strings.Join(want, "\n")+"\n" {
		t.Errorf("exit code %d, want %d; output:\n%s\nwant:\n%s", code, wantCode, got,
			strings.Join(want, "\n"))
	}
}

func TestCheckOfASoundConfiguration(t *testing.T) {
	cfg := apptest.Config(t, 3)
	free := []string{
		"ok      api.listen: 127.0.0.1:0 (API) is free",
		"ok      admin.listen: 127.0.0.1:0 (admin) is free",
	}
	for i, l := range cfg.Gateway.Listeners {
		free = append(free, fmt.Sprintf(
			"ok      gateway.listeners[%d].listen: 127.0.0.1:0 (%s) is free", i, l.Protocol))
	}
	sound := []string{
		"ok      configuration",
		"ok      directory DIR/directory.yaml: 1 accounts, 3 trackers",
	}
	wantChecked(t, cfg, nil, 0,
		append(append(sound, "warning store DIR/data: DIR/data/chat.db does not exist yet",
			"ok      store DIR/data"), free...)...)
	if _, err := os.Stat(cfg.Store.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the check leaves a store: %v", err)
	}
	st := apptest.OpenStore(t, cfg.Store.Path)
	apptest.Must(t, st.Close())
	wantChecked(t, cfg, nil, 0, append(append(sound, "ok      store DIR/data"), free...)...)
	// The check leaves nothing that keeps a service from starting.
	apptest.OpenStore(t, cfg.Store.Path)
}

func TestCheckSaysEverythingThatIsWrong(t *testing.T) {
	_, err := config.Load(wrongRoles, nil)
	wantChecked(
		t, nil, err, 1,
		`wrong   configuration: roles[1] (line 1): "backend" is none of api, gateway`,
		`wrong   configuration: roles[2] (line 1): "api" is given twice`,
		`        2 wrong`,
	)

	cfg := apptest.Config(t, 1)
	apptest.Must(t, os.WriteFile(cfg.Directory.File,
		[]byte("accounts:\n  - { id: 1, logn: a }\n  - { id: 1 }\n"), 0o600))
	apptest.Must(t, os.WriteFile(cfg.Store.Path, nil, 0o600))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(t, err)
	defer func() { apptest.Must(t, taken.Close()) }()
	cfg.Admin.Listen = taken.Addr().String()
	cfg.API.Listen = "192.0.2.1:8080" // an address of nobody (RFC 5737)
	cfg.Gateway.Listeners = cfg.Gateway.Listeners[:1]
	wantChecked(
		t, cfg, nil, 1,
		"ok      configuration",
		"wrong   directory DIR/directory.yaml: accounts[0].logn (line 2): unknown key, did you mean login?",
		"wrong   directory DIR/directory.yaml: accounts[1].id (line 3): 1 is that of accounts[0] (line 2) too",
		"wrong   store DIR/data: opening the lock file: open DIR/data/chat.lock: not a directory",
		"wrong   api.listen: 192.0.2.1:8080 (API): tcp 192.0.2.1:8080: bind: cannot assign requested address",
		"wrong   admin.listen: "+taken.Addr().String()+" (admin) is in use by another program",
		"ok      gateway.listeners[0].listen: 127.0.0.1:0 ("+cfg.Gateway.Listeners[0].Protocol+") is free",
		"        5 wrong",
	)
}

func TestCheckOfADamagedStore(t *testing.T) {
	cfg := apptest.Config(t, 1)
	apptest.Must(t, os.MkdirAll(cfg.Store.Path, 0o700))
	apptest.Must(t, os.WriteFile(filepath.Join(cfg.Store.Path, "chat.db"),
		[]byte(strings.Repeat("not a database ", 1000)), 0o600))
	code, got := checked(t, cfg, nil, filepath.Dir(cfg.Store.Path))
	if code != 1 || !strings.Contains(got, "wrong   store DIR/data: ") ||
		strings.Contains(got, "ok      store") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
}

// While a service runs, its store is locked and its ports are in use; that is no error.
func TestCheckBesideARunningService(t *testing.T) {
	cfg := apptest.Config(t, 1)
	addrs := startService(t, cfg).Addrs
	cfg.API.Listen, cfg.Admin.Listen = addrs["api"], addrs["admin"]
	cfg.Gateway.Listeners = cfg.Gateway.Listeners[:1]
	wantChecked(
		t, cfg, nil, 0,
		"ok      configuration",
		"ok      directory DIR/directory.yaml: 1 accounts, 1 trackers",
		"ok      store DIR/data: sound, and in use by a running service",
		"ok      api.listen: "+cfg.API.Listen+" (API) is in use, as expected while a service runs on this store",
		"ok      admin.listen: "+cfg.Admin.Listen+" (admin) is in use, as expected while a service runs on this store",
		"warning gateway.listeners[0].listen: 127.0.0.1:0 ("+cfg.Gateway.Listeners[0].Protocol+") is free, although a service runs: it was started with another configuration, or is just starting",
	)
}

// wantReady asks whether the service at an address is ready.
func wantReady(ctx context.Context, t *testing.T, address string, wantCode int, want string) {
	t.Helper()
	cfg := config.Default()
	cfg.Admin.Listen = address
	var out bytes.Buffer
	if code := runReady(ctx, cfg, nil, &out); code != wantCode ||
		!strings.Contains(out.String(), want) {
		t.Errorf("%s: exit code %d, want %d, output %q, want %q", address, code, wantCode,
			out.String(), want)
	}
}

func TestCheckReady(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	answer := func(status int, body string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(srv.Close)
		return srv.Listener.Addr().String()
	}
	ready := answer(http.StatusOK, `{"ready":true}`)
	_, port, err := net.SplitHostPort(ready)
	apptest.Must(t, err)
	for _, address := range []string{ready, ":" + port, "0.0.0.0:" + port, "localhost:" + port} {
		wantReady(t.Context(), t, address, 0, "ok      ready\n")
	}
	wantReady(t.Context(), t, answer(http.StatusServiceUnavailable,
		`{"ready":false,"problems":["starting","disk is full"]}`), 1,
		"wrong   not ready: starting\nwrong   not ready: disk is full\n")
	wantReady(t.Context(), t, answer(http.StatusNotFound, "what?"), 1,
		"/readyz answers 404 Not Found\n")
	wantReady(t.Context(), t, answer(http.StatusServiceUnavailable, "{}"), 1,
		"/readyz answers 503 Service Unavailable\n")

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(t, err)
	hasty, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantReady(hasty, t, silent.Addr().String(), 1, "wrong   no answer from "+silent.Addr().String()+": context deadline exceeded\n")
	apptest.Must(t, silent.Close())
	wantReady(t.Context(), t, silent.Addr().String(), 1,
		"no service answers at "+silent.Addr().String())

	var out bytes.Buffer
	if code := runReady(t.Context(), nil, &config.Error{Problems: []string{"colour: unknown key"}},
		&out); code != 1 || out.String() != "wrong   configuration: colour: unknown key\n        1 wrong\n" {
		t.Errorf("exit code %d, output %q", code, out.String())
	}
}

func TestCheckReadyOfAService(t *testing.T) {
	wantReady(t.Context(), t, startService(t, apptest.Config(t, 1)).Addrs["admin"], 0,
		"ok      ready\n")
}

func TestLocalAddress(t *testing.T) {
	for listen, want := range map[string]string{
		":8081": "127.0.0.1:8081", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1",
		"10.0.0.1:1": "10.0.0.1:1", "admin.example.com:1": "admin.example.com:1",
		"[::1]:1": "[::1]:1",
	} {
		if got := localAddress(listen); got != want {
			t.Errorf("%s is reached at %s, want %s", listen, got, want)
		}
	}
}

func TestCheckCommandLine(t *testing.T) {
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"check", "--colour"}, 2, "flag provided but not defined"},
		{[]string{"check", "extra"}, 2, `unexpected argument "extra"`},
		{[]string{"check", "--help"}, 0, "-ready"},
		{[]string{"check", "--config", wrongRoles}, 1, ""},
		{[]string{"check", "--ready", "--config", wrongRoles}, 1, ""},
		{[]string{"version"}, 0, ""},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), c.args, &stdout, &stderr); code != c.code ||
			!strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q: exit code %d, output %q, errors %q", c.args, code, stdout.String(),
				stderr.String())
		}
	}
}

func TestVersion(t *testing.T) {
	if v := version(); !strings.HasPrefix(v, "trackchat ") || !strings.Contains(v, " go1.") ||
		strings.Count(v, "\n") != 1 {
		t.Errorf("version %q", v)
	}
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.3"}}
	if got := describeBuild(info); !strings.HasPrefix(got, "trackchat v1.2.3 go1.26.0 ") {
		t.Errorf("without revision: %q", got)
	}
	info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: "abc123"}, {
		Key:   "vcs.time",
		Value: "2026-01-02T03:04:05Z",
	}, {Key: "vcs.modified", Value: "true"}}
	if got := describeBuild(info); !strings.HasPrefix(got,
		"trackchat v1.2.3 (revision abc123, 2026-01-02T03:04:05Z, modified) go1.26.0 ") {
		t.Errorf("with revision: %q", got)
	}
	if got := describeBuild(new(debug.BuildInfo)); !strings.HasPrefix(got,
		"trackchat (unknown version) go1.") {
		t.Errorf("unknown: %q", got)
	}
}

// freePorts are the lines about the ports of onRedis.
func freePorts(cfg *config.Config) []string {
	return []string{
		"ok      api.listen: 127.0.0.1:0 (API) is free",
		"ok      admin.listen: 127.0.0.1:0 (admin) is free",
		fmt.Sprintf("ok      gateway.listeners[0].listen: 127.0.0.1:0 (%s) is free",
			cfg.Gateway.Listeners[0].Protocol),
	}
}

func TestCheckOfRedis(t *testing.T) {
	server := queuetest.StartRedis(t)
	cfg := apptest.OnRedis(t, server.Addr)
	head := []string{
		"ok      configuration",
		"ok      directory DIR/directory.yaml: 1 accounts, 1 trackers",
	}
	wantChecked(t, cfg, nil, 0,
		append(append(head, "warning store redis holds no store yet: a service that starts begins a new one", "ok      store redis "+server.Addr), freePorts(cfg)...)...)
	if keys := server.Must(t, "DBSIZE"); keys != "0" {
		t.Errorf("the check leaves %s keys", keys)
	}

	server.Must(t, "CONFIG", "SET", "appendfsync", "everysec", "maxmemory-policy", "allkeys-lru",
		"client-output-buffer-limit", "pubsub 1mb 1mb 1")
	lines := append(
		head,
		"wrong   store redis "+server.Addr+`: appendfsync is "everysec", which is weaker than configured`,
		"wrong   store redis "+server.Addr+`: maxmemory-policy is "allkeys-lru", which throws messages away; noeviction is needed`,
		"warning store redis "+server.Addr+": client-output-buffer-limit for pubsub is 1048576 bytes; less than 33554432 may cut wakes",
		"warning store redis holds no store yet: a service that starts begins a new one",
	)
	wantChecked(t, cfg, nil, 1, append(append(lines, freePorts(cfg)...), "        2 wrong")...)

	cfg.Store.Durability = config.DurabilityEverysec
	server.Must(t, "CONFIG", "SET", "maxmemory-policy", "noeviction", "client-output-buffer-limit",
		"pubsub 64mb 64mb 1")
	server.Must(t, "HSET", "chat:meta", "partitions", "16")
	wantChecked(t, cfg, nil, 1,
		append(append(append(head,
			"wrong   store redis "+server.Addr+`: partitions of the stored data is "16", this program's is "256"`), freePorts(cfg)...), "        1 wrong")...)
}

func TestCheckOfARedisCluster(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	code, got := checked(t, apptest.OnRedis(t, cluster.Addrs()...), nil, "")
	if code != 0 || !strings.Contains(got, "ok      store redis "+strings.Join(cluster.Addrs(),
		", ")+"\n") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	for _, n := range cluster.Nodes {
		n.Must(t, "CLUSTER", "DELSLOTSRANGE", "0", "127")
	}
	code, got = checked(t, apptest.OnRedis(t, cluster.Addrs()...), nil, "")
	if code != 1 || !strings.Contains(got,
		"wrong   store redis no master serves 2 of 256 partitions\n") {
		t.Errorf("two partitions without a master: exit code %d:\n%s", code, got)
	}
}

func TestCheckOfNoRedis(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(t, err)
	addr := taken.Addr().String()
	apptest.Must(t, taken.Close())
	code, got := checked(t, apptest.OnRedis(t, addr), nil, "")
	if code != 1 || !strings.Contains(got, "wrong   store redis "+addr+": does not answer") ||
		strings.Contains(got, "ok      store") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
}

// Beside a running service its ports are in use, which is no error; another program there is one.
func TestCheckBesideARunningServiceOnRedis(t *testing.T) {
	cfg := apptest.OnRedis(t, queuetest.StartRedis(t).Addr)
	addrs := startService(t, cfg).Addrs
	cfg.API.Listen, cfg.Admin.Listen = addrs["api"], addrs["admin"]
	code, got := checked(t, cfg, nil, "")
	if code != 0 || strings.Count(got,
		"is in use, as expected while a service runs on this store") != 2 {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	cfg.Admin.Listen = stranger.Listener.Addr().String()
	code, got = checked(t, cfg, nil, "")
	if code != 1 || !strings.Contains(got,
		cfg.Admin.Listen+" (admin) is in use by another program") {
		t.Errorf("a stranger: exit code %d:\n%s", code, got)
	}
}
