// Package apptest runs a trackchat for tests, in the test's process or in one of its own, and talks
// to it as strangers do.
package apptest

import (
	"bufio"
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

	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"
)

// Key is the API key of the account of DirectoryYAML, Patience how long anything may take.
const (
	Key      = "a6aa75587e5c59c32d347da438505fc3"
	Patience = 30 * time.Second
)

// DirectoryYAML describes one account and trackers 1, 3, 5 … on jt808 and 2, 4, 6 … on wialon.
func DirectoryYAML(trackers int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "accounts:\n  - {id: 1, login: demo, password: demo, title: Demo fleet, time_zone: Europe/Berlin, keys: [%s]}\ntrackers:\n", Key)
	for id := 1; id <= trackers; id++ {
		fmt.Fprintf(&b, "  - {id: %d, account: 1, label: Truck %d, protocol: %s, device_id: %q, employee_id: 7, employee: {last_name: Driver %d}}\n", id, id, ProtocolOf(id), DeviceOf(id), id)
	}
	return b.String()
}

// ProtocolOf is the protocol of a tracker of DirectoryYAML.
func ProtocolOf(id int) string { return []string{"wialon", "jt808"}[id%2] }

// DeviceOf is the device id of a tracker of DirectoryYAML.
func DeviceOf(id int) string { return strconv.Itoa(13_800_000_000 + id) }

// Config is a service on free ports of this machine with its own store and directory.
func Config(t *testing.T, trackers int) *config.Config {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "directory.yaml")
	Must(t, os.WriteFile(file, []byte(DirectoryYAML(trackers)), 0o600))
	cfg := config.Default()
	cfg.Node = "test"
	cfg.Store.Path = filepath.Join(dir, "data")
	cfg.Directory.File = file
	cfg.API.Listen, cfg.Admin.Listen, cfg.API.RateLimit = "127.0.0.1:0", "127.0.0.1:0", 0
	for i := range cfg.Gateway.Listeners {
		cfg.Gateway.Listeners[i].Listen = "127.0.0.1:0"
		cfg.Gateway.Listeners[i].DiscardPositions = true // trackchat check does not warn
	}
	return cfg
}

// PlayDevice plays tracker id at a listener until the test ends.
func PlayDevice(tb testing.TB, addr string, id int,
	change func(*trackersim.Options),
) *trackersim.Tracker {
	tb.Helper()
	p, _ := all.Find(ProtocolOf(id))
	settings, err := p.NewSettings()
	Must(tb, err)
	o := trackersim.Options{
		Protocol: p, Gateway: addr, Now: time.Now, Reconnect: true,
		ReconnectMin: 20 * time.Millisecond, ReconnectMax: 100 * time.Millisecond,
		SayTimeout: 3 * time.Second, Device: protocol.DeviceConfig{
			ID:       DeviceOf(id),
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

// HTTP gives up on an answer that does not come.
var HTTP = &http.Client{Timeout: Patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// Client calls the API as a stranger's program would.
type Client struct {
	T    testing.TB
	Base string
}

// Answer is what the API answers.
type Answer struct {
	Success bool
	Status  struct {
		Code        int
		Description string
	}
	ID     int64
	List   []Message
	Value  map[string]any
	SentTo []int64 `json:"sent_to"`
}

// Message is a message as the API lists it.
type Message struct {
	ID         int64
	SubmitTime string  `json:"submit_time"`
	UpdateTime *string `json:"update_time"`
	Text       string
	Type       string
	Status     string
	EmployeeID *int64 `json:"employee_id"`
}

// Try posts a form and returns the error of the connection, if any.
func (c Client) Try(op string, params url.Values) (Answer, error) {
	var a Answer
	if params.Get("hash") == "" {
		params.Set("hash", Key)
	}
	res, err := HTTP.PostForm(c.Base+op, params)
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

func (c Client) Call(op string, pairs ...string) Answer {
	c.T.Helper()
	params := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		params.Set(pairs[i], pairs[i+1])
	}
	a, err := c.Try(op, params)
	Must(c.T, err)
	return a
}

func (c Client) Send(tracker int, text string) int64 {
	c.T.Helper()
	a := c.Call("send", "tracker_id", strconv.Itoa(tracker), "message", text)
	if !a.Success || a.ID <= 0 {
		c.T.Fatalf("send: %+v", a)
	}
	return a.ID
}

func (c Client) List(tracker int) []Message {
	c.T.Helper()
	a := c.Call("list", "tracker_id", strconv.Itoa(tracker))
	if !a.Success {
		c.T.Fatalf("list: %+v", a)
	}
	return a.List
}

// Delivered waits until a message is DELIVERED and returns it.
func (c Client) Delivered(tracker int, id int64) Message {
	c.T.Helper()
	var found Message
	Eventually(c.T, "DELIVERED", func() bool {
		for _, m := range c.List(tracker) {
			if m.ID == id {
				found = m
				return m.Status == "DELIVERED"
			}
		}
		return false
	})
	return found
}

// Must fails the test on an error.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Eventually waits for something to become true.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(Patience); !ok(); <-every.C {
		if time.Now().After(end) {
			tb.Fatalf("not %s after %s", what, Patience)
		}
	}
}

// Metric is child.metric at any admin listener.
func Metric(tb testing.TB, admin, name string, labels ...string) float64 {
	tb.Helper()
	res, err := http.Get("http://" + admin + "/metrics")
	Must(tb, err)
	defer func() { _ = res.Body.Close() }()
	sum, found := 0.0, false
	lines := bufio.NewScanner(res.Body)
next:
	for lines.Scan() {
		sample, value, _ := strings.Cut(lines.Text(), " ")
		if base, _, _ := strings.Cut(sample, "{"); base != name {
			continue
		}
		found = true
		for _, label := range labels {
			if !strings.Contains(sample, label) {
				continue next
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		Must(tb, err)
		sum += v
	}
	Must(tb, lines.Err())
	if !found && len(labels) == 0 {
		tb.Fatalf("no metric %s", name)
	}
	return sum
}

// Shipped is a file of the repository's configs.
func Shipped(name string) string {
	root := "."
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return filepath.Join(root, "configs", name)
		}
		root = filepath.Join("..", root)
	}
}
