package apptest

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

	"trackchat/api/admin"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/queue/sqlitestore"
)

// Runner is what a Service runs.
type Runner interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	Addrs() map[string]netip.AddrPort
}

// Service is a running service.
type Service[A Runner] struct {
	T     *testing.T
	App   A
	API   Client
	Addrs map[string]string
}

// Start runs a service until the test ends.
func Start[A Runner](t *testing.T, app A) *Service[A] {
	t.Helper()
	Must(t, app.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		Must(t, app.Stop(ctx))
	})
	s := &Service[A]{T: t, App: app, Addrs: map[string]string{}}
	for name, a := range app.Addrs() {
		s.Addrs[name] = a.String()
	}
	s.API = Client{T: t, Base: "http://" + s.Addrs["api"] + "/v2/tracker/chat/"}
	return s
}

// Device plays tracker id until the test ends.
func (s *Service[A]) Device(id int, change func(*trackersim.Options)) *trackersim.Tracker {
	s.T.Helper()
	return PlayDevice(s.T, s.Addrs[ProtocolOf(id)], id, change)
}

// Ask returns status and body of a request to the admin listener.
func (s *Service[A]) Ask(method, path string) (int, string) {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), method, "http://"+s.Addrs["admin"]+path,
		http.NoBody)
	Must(s.T, err)
	return s.Answered(req)
}

func (s *Service[A]) Answered(req *http.Request) (int, string) {
	s.T.Helper()
	res, err := http.DefaultClient.Do(req)
	Must(s.T, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	Must(s.T, err)
	return res.StatusCode, string(body)
}

// Tell sends a request with a body to the admin listener.
func (s *Service[A]) Tell(method, path, body string) (int, string) {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addrs["admin"]+path,
		strings.NewReader(body))
	Must(s.T, err)
	return s.Answered(req)
}

// Figure is the value of a metric without labels.
func (s *Service[A]) Figure(name string) string {
	s.T.Helper()
	_, body := s.Ask(http.MethodGet, "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	s.T.Fatalf("no metric %s", name)
	return ""
}

func (s *Service[A]) Ready() bool {
	s.T.Helper()
	code, _ := s.Ask(http.MethodGet, "/readyz")
	return code == http.StatusOK
}

// Unready is what /readyz says, empty if the service is ready.
func (s *Service[A]) Unready() string {
	s.T.Helper()
	res, err := http.Get("http://" + s.Addrs["admin"] + "/readyz")
	Must(s.T, err)
	defer func() { _ = res.Body.Close() }()
	var a struct {
		Ready    bool
		Problems []string
	}
	Must(s.T, json.NewDecoder(res.Body).Decode(&a))
	if a.Ready != (res.StatusCode == http.StatusOK) {
		s.T.Errorf("%s, but ready is %v", res.Status, a.Ready)
	}
	return strings.Join(a.Problems, "\n")
}

// LoginCode is the code that user/auth answers.
func (s *Service[A]) LoginCode() int {
	s.T.Helper()
	c := Client{s.T, "http://" + s.Addrs["api"] + "/v2/user/"}
	return c.Call("auth", "login", "demo", "password", "demo").Status.Code
}

// Login returns the session of the account in the directory file.
func (s *Service[A]) Login() string {
	s.T.Helper()
	var got struct {
		Success bool
		Hash    string
	}
	res, err := http.Get("http://" + s.Addrs["api"] + "/v2/user/auth?login=demo&password=demo")
	Must(s.T, err)
	defer func() { _ = res.Body.Close() }()
	Must(s.T, json.NewDecoder(res.Body).Decode(&got))
	if !got.Success {
		s.T.Fatal("login refused")
	}
	return got.Hash
}

// Sessions asks for sessions of the fleet.
func (s *Service[A]) Sessions(query string) (list []admin.DeviceSession, silent []string) {
	s.T.Helper()
	code, body := s.Ask(http.MethodGet, "/admin/sessions?"+query)
	var got struct {
		List   []admin.DeviceSession
		Silent []string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		s.T.Fatalf("%d %s: %v", code, body, err)
	}
	return got.List, got.Silent
}

// Presence is what tracker/list says of who is online.
func (s *Service[A]) Presence() string {
	s.T.Helper()
	res, err := HTTP.Get("http://" + s.Addrs["api"] + "/tracker/list?hash=" + Key)
	Must(s.T, err)
	defer func() { _ = res.Body.Close() }()
	var got struct {
		List []struct {
			ID       int
			Online   bool
			LastSeen *string `json:"last_seen"`
		}
	}
	Must(s.T, json.NewDecoder(res.Body).Decode(&got))
	var b strings.Builder
	for _, t := range got.List {
		if t.Online && t.LastSeen != nil {
			fmt.Fprint(&b, " ", t.ID)
		}
	}
	return b.String()
}

// OnRedis is a configuration of a service on a Redis, with one port for devices.
func OnRedis(t *testing.T, addrs ...string) *config.Config {
	t.Helper()
	cfg := Config(t, 1)
	cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, addrs
	cfg.Gateway.Listeners = cfg.Gateway.Listeners[:1]
	return cfg
}

// OpenStore opens a store of its own for a test.
func OpenStore(t *testing.T, dir string) *sqlitestore.Store {
	t.Helper()
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	Must(t, err)
	t.Cleanup(func() { Must(t, st.Close()) })
	return st
}
