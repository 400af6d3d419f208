package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"trackchat/api"
	"trackchat/gateway/trackersim"
	"trackchat/queue/sqlitestore"
)

// runner is what a Service runs.
type runner interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	Addrs() map[string]netip.AddrPort
}

// Service is a running service.
type Service[A runner] struct {
	t     *testing.T
	app   A
	api   client
	addrs map[string]string
}

// start runs a service until the test ends.
func start[A runner](t *testing.T, app A) *Service[A] {
	t.Helper()
	must(t, app.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(t, app.Stop(ctx))
	})
	s := &Service[A]{t: t, app: app, addrs: map[string]string{}}
	for name, a := range app.Addrs() {
		s.addrs[name] = a.String()
	}
	s.api = client{t: t, base: "http://" + s.addrs["api"] + "/v2/tracker/chat/"}
	return s
}

// device plays tracker id until the test ends.
func (s *Service[A]) device(id int, change func(*trackersim.Options)) *trackersim.Tracker {
	s.t.Helper()
	return playDevice(s.t, s.addrs[protocolOf(id)], id, change)
}

// ask returns status and body of a request to the admin listener.
func (s *Service[A]) ask(method, path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addrs["admin"]+path,
		http.NoBody)
	must(s.t, err)
	return s.answered(req)
}

func (s *Service[A]) answered(req *http.Request) (int, string) {
	s.t.Helper()
	res, err := http.DefaultClient.Do(req)
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(s.t, err)
	return res.StatusCode, string(body)
}

// tell sends a request with a body to the admin listener.
func (s *Service[A]) tell(method, path, body string) (int, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addrs["admin"]+path,
		strings.NewReader(body))
	must(s.t, err)
	return s.answered(req)
}

// figure is the value of a metric without labels.
func (s *Service[A]) figure(name string) string {
	s.t.Helper()
	_, body := s.ask(http.MethodGet, "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	s.t.Fatalf("no metric %s", name)
	return ""
}

func (s *Service[A]) ready() bool {
	s.t.Helper()
	code, _ := s.ask(http.MethodGet, "/readyz")
	return code == http.StatusOK
}

// unready is what /readyz says, empty if the service is ready.
func (s *Service[A]) unready() string {
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
func (s *Service[A]) loginCode() int {
	s.t.Helper()
	c := client{s.t, "http://" + s.addrs["api"] + "/v2/user/"}
	return c.call("auth", "login", "demo", "password", "demo").Status.Code
}

// login returns the session of the account in the directory file.
func (s *Service[A]) login() string {
	s.t.Helper()
	var got struct {
		Success bool
		Hash    string
	}
	res, err := http.Get("http://" + s.addrs["api"] + "/v2/user/auth?login=demo&password=demo")
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	must(s.t, json.NewDecoder(res.Body).Decode(&got))
	if !got.Success {
		s.t.Fatal("login refused")
	}
	return got.Hash
}

// sessions asks for sessions of the fleet.
func (s *Service[A]) sessions(query string) (list []api.DeviceSession, silent []string) {
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

// presence is what tracker/list says of who is online.
func (s *Service[A]) presence() string {
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

// onRedis is a configuration of a service on a Redis, with one port for devices.
func onRedis(t *testing.T, addrs ...string) *Config {
	t.Helper()
	cfg := testConfig(t, 1)
	cfg.Store.Backend, cfg.Store.Redis.Addrs = BackendRedis, addrs
	cfg.Gateway.Listeners = cfg.Gateway.Listeners[:1]
	return cfg
}

// openStore opens a store of its own for a test.
func openStore(t *testing.T, dir string) *sqlitestore.Store {
	t.Helper()
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	return st
}
