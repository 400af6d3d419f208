package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"

	"go.uber.org/zap/zaptest"
)

const (
	testKey  = "a6aa75587e5c59c32d347da438505fc3"
	patience = 30 * time.Second
)

// childVariable makes the test binary run the command line in it instead of tests, so that tests
// can kill a real process.
const childVariable = "TRACKCHAT_TEST_CHILD"

func TestMain(m *testing.M) {
	if args, child := os.LookupEnv(childVariable); child {
		_ = os.Unsetenv(childVariable)
		os.Args = append(os.Args[:1], strings.Split(args, "\x1f")...)
		main()
	}
	os.Exit(m.Run())
}

// directoryYAML describes one account and trackers 1, 3, 5 … on jt808 and 2, 4, 6 … on wialon.
func directoryYAML(trackers int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "accounts:\n  - {id: 1, login: demo, password: demo, title: Demo fleet, time_zone: Europe/Berlin, keys: [%s]}\ntrackers:\n", testKey)
	for id := 1; id <= trackers; id++ {
		fmt.Fprintf(&b, "  - {id: %d, account: 1, label: Truck %d, protocol: %s, device_id: %q, employee_id: 7, employee: {last_name: Driver %d}}\n", id, id, protocolOf(id), deviceOf(id), id)
	}
	return b.String()
}

func protocolOf(id int) string { return []string{"wialon", "jt808"}[id%2] }

func deviceOf(id int) string { return strconv.Itoa(13_800_000_000 + id) }

// testConfig is a service on free ports of this machine with its own store and directory.
func testConfig(t *testing.T, trackers int) *Config {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "directory.yaml")
	must(t, os.WriteFile(file, []byte(directoryYAML(trackers)), 0o600))
	cfg := DefaultConfig()
	cfg.Node = "test"
	cfg.Store.Path = filepath.Join(dir, "data")
	cfg.Directory.File = file
	cfg.API.Listen, cfg.Admin.Listen, cfg.API.RateLimit = "127.0.0.1:0", "127.0.0.1:0", 0
	for i := range cfg.Gateway.Listeners {
		cfg.Gateway.Listeners[i].Listen = "127.0.0.1:0"
	}
	return cfg
}

// service is a running App.
type service struct {
	t     *testing.T
	app   *App
	api   client
	addrs map[string]string
}

func startService(t *testing.T, cfg *Config, change ...func(*App)) *service {
	t.Helper()
	app, err := New(cfg, zaptest.NewLogger(t))
	must(t, err)
	for _, c := range change {
		c(app)
	}
	must(t, app.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		must(t, app.Stop(ctx))
	})
	s := &service{t: t, app: app, addrs: map[string]string{}}
	for name, a := range app.Addrs() {
		s.addrs[name] = a.String()
	}
	s.api = client{t: t, base: "http://" + s.addrs["api"] + "/v2/tracker/chat/"}
	return s
}

// device plays tracker id until the test ends.
func (s *service) device(id int, change func(*trackersim.Options)) *trackersim.Tracker {
	s.t.Helper()
	return playDevice(s.t, s.addrs[protocolOf(id)], id, change)
}

func playDevice(tb testing.TB, addr string, id int,
	change func(*trackersim.Options),
) *trackersim.Tracker {
	tb.Helper()
	p, _ := all.Find(protocolOf(id))
	settings, err := p.NewSettings()
	must(tb, err)
	o := trackersim.Options{
		Protocol: p, Gateway: addr, Now: time.Now, Reconnect: true,
		ReconnectMin: 20 * time.Millisecond, ReconnectMax: 100 * time.Millisecond,
		SayTimeout: 3 * time.Second, Device: protocol.DeviceConfig{
			ID:       deviceOf(id),
			Settings: settings,
		},
	}
	if change != nil {
		change(&o)
	}
	sim := trackersim.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = sim.Run(ctx)
	}()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	return sim
}

// stranger gives up on an answer that does not come.
var stranger = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// client calls the API as a stranger's program would.
type client struct {
	t    testing.TB
	base string
}

type answer struct {
	Success bool
	Status  struct {
		Code        int
		Description string
	}
	ID     int64
	List   []message
	Value  map[string]any
	SentTo []int64 `json:"sent_to"`
}

type message struct {
	ID         int64
	SubmitTime string  `json:"submit_time"`
	UpdateTime *string `json:"update_time"`
	Text       string
	Type       string
	Status     string
	EmployeeID *int64 `json:"employee_id"`
}

// try posts a form and returns the error of the connection, if any.
func (c client) try(op string, params url.Values) (answer, error) {
	var a answer
	if params.Get("hash") == "" {
		params.Set("hash", testKey)
	}
	res, err := stranger.PostForm(c.base+op, params)
	if err != nil {
		return a, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(body, &a)
}

func (c client) call(op string, pairs ...string) answer {
	c.t.Helper()
	params := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		params.Set(pairs[i], pairs[i+1])
	}
	a, err := c.try(op, params)
	must(c.t, err)
	return a
}

func (c client) send(tracker int, text string) int64 {
	c.t.Helper()
	a := c.call("send", "tracker_id", strconv.Itoa(tracker), "message", text)
	if !a.Success || a.ID <= 0 {
		c.t.Fatalf("send: %+v", a)
	}
	return a.ID
}

func (c client) list(tracker int) []message {
	c.t.Helper()
	a := c.call("list", "tracker_id", strconv.Itoa(tracker))
	if !a.Success {
		c.t.Fatalf("list: %+v", a)
	}
	return a.List
}

// delivered waits until a message is DELIVERED and returns it.
func (c client) delivered(tracker int, id int64) message {
	c.t.Helper()
	var found message
	eventually(c.t, "DELIVERED", func() bool {
		for _, m := range c.list(tracker) {
			if m.ID == id {
				found = m
				return m.Status == "DELIVERED"
			}
		}
		return false
	})
	return found
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(patience); !ok(); <-every.C {
		if time.Now().After(end) {
			tb.Fatalf("not %s after %s", what, patience)
		}
	}
}
