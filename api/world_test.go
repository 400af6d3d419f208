package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"trackchat/api"
	"trackchat/api/audit"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const (
	berlinKey = "a6aa75587e5c59c32d347da438505fc3" // account 1, Europe/Berlin
	uralKey   = "00000000000000000000000000000002" // account 2, Asia/Yekaterinburg
	// account 3, UTC, its tracker has no chat tariff.
	noChatKey = "00000000000000000000000000000003"
	emptyKey  = "00000000000000000000000000000004" // account 4, without trackers
	// account 5, Australia/Lord_Howe: clocks change by 30 minutes.
	islandKey  = "00000000000000000000000000000005"
	unknownKey = "ffffffffffffffffffffffffffffffff"
)

// Trackers of account 1; 201 and 202 are of account 2, 301 of account 3, 501 of account 5.
const (
	plain       = 101 // employee 7
	other       = 102
	blocked     = 103
	mute        = 104 // its model has no chat
	cheap       = 105 // its tariff has no chat
	blockedMute = 106 // and neither model nor tariff
	cheapMute   = 107
	foreign     = 201
	unknown     = 999
	bulkFirst   = 1001 // to 1400, account 1
	bulkLast    = 1400
)

func accounts() []queue.Account {
	return []queue.Account{
		{
			ID: 1, Login: "berlin", TimeZone: "Europe/Berlin",
			Keys: []queue.Key{{Hash: queue.HashKey(berlinKey)}},
		},
		{
			ID: 2, Login: "ural", TimeZone: "Asia/Yekaterinburg",
			Keys: []queue.Key{{Hash: queue.HashKey(uralKey)}},
		},
		{ID: 3, Login: "nochat", TimeZone: "UTC", Keys: []queue.Key{{Hash: queue.HashKey(noChatKey)}}},
		{ID: 4, Login: "empty", Keys: []queue.Key{{Hash: queue.HashKey(emptyKey)}}},
		{
			ID: 5, Login: "island", TimeZone: "Australia/Lord_Howe",
			Keys: []queue.Key{{Hash: queue.HashKey(islandKey)}},
		},
	}
}

func trackers() []queue.Tracker {
	chat := []string{queue.FeatureChat}
	ts := []queue.Tracker{
		{
			ID: plain, Account: 1, Label: `Truck "1" <é>`, Protocol: "jt808",
			DeviceID: "13812345678",
			Model:    "jt808", Chat: true, Features: chat, Employee: 7,
		},
		{
			ID: other, Account: 1, Label: "Truck 2", Protocol: "wialon",
			DeviceID: "356307042441013",
			Model:    "w", Chat: true, Features: chat,
		},
		{
			ID: blocked, Account: 1, Label: "b", Protocol: "jt808", DeviceID: "103", Model: "m",
			Chat: true, Features: chat, Blocked: true,
		},
		{
			ID: mute, Account: 1, Label: "m", Protocol: "jt808", DeviceID: "104", Model: "m",
			Features: chat,
		},
		{
			ID: cheap, Account: 1, Label: "c", Protocol: "jt808", DeviceID: "105", Model: "m",
			Chat: true, Features: []string{"video"},
		},
		{
			ID: blockedMute, Account: 1, Label: "bm", Protocol: "jt808", DeviceID: "106",
			Model:   "m",
			Blocked: true,
		},
		{ID: cheapMute, Account: 1, Label: "cm", Protocol: "jt808", DeviceID: "107", Model: "m"},
		{
			ID: foreign, Account: 2, Label: "Ural 1", Protocol: "jt808", DeviceID: "201",
			Model: "m",
			Chat:  true, Features: chat,
		},
		{
			ID: 202, Account: 2, Label: "Ural 2", Protocol: "jt808", DeviceID: "202", Model: "m",
			Chat: true, Features: chat,
		},
		{
			ID: 301, Account: 3, Label: "x", Protocol: "jt808", DeviceID: "301", Model: "m",
			Chat: true,
		},
		{
			ID: 501, Account: 5, Label: "y", Protocol: "jt808", DeviceID: "501", Model: "m",
			Chat: true, Features: chat,
		},
	}
	for id := queue.TrackerID(bulkFirst); id <= bulkLast; id++ {
		ts = append(ts, queue.Tracker{
			ID: id, Account: 1, Label: "bulk", Protocol: "jt808",
			DeviceID: strconv.Itoa(int(id)), Model: "m", Chat: true, Features: chat,
		})
	}
	return ts
}

// capabilities makes jt808 lose what is Arabic or outside the basic plane, and wialon nothing; of
// other protocols nothing is known.
func capabilities(t *queue.Tracker) (api.Capabilities, bool) {
	c := api.Capabilities{Protocol: t.Protocol, PartBytes: 500, MaxCharacters: 4_000_000}
	c.Asks = func(text string, choices []string) error {
		if len(choices) > 0 && len(text) > 255 {
			return errors.New("answers beside more than 255 bytes of text")
		}
		return nil
	}
	switch t.Protocol {
	case "jt808":
		c.Charset, c.Choices, c.Delivered, c.Urgent = "gbk", 8, true, true
		c.Lost = func(r rune) bool { return r > 0xFFFF || unicode.Is(unicode.Arabic, r) }
	case "wialon":
		c.Charset, c.MaxCharacters, c.ReadReceipts = "utf8", 700, true
		c.Lost = func(rune) bool { return false }
	default:
		return c, false
	}
	return c, true
}

// world is an API on a real store behind a real listener.
type world struct {
	tb    testing.TB
	store *sqlitestore.Store
	dir   *queue.Directory
	reg   *prometheus.Registry
	audit *audit.Log
	lines *observer.ObservedLogs // of the audit
	api   *api.API
	url   string
	clock atomic.Int64 // Unix milliseconds
}

const maxPending = 5000

func newWorld(tb testing.TB, change ...func(*api.Options)) *world {
	tb.Helper()
	w := &world{tb: tb, dir: new(queue.Directory), reg: prometheus.NewRegistry()}
	w.setTime("2016-02-29T10:00:00.250Z")
	core, lines := observer.New(zap.DebugLevel)
	w.audit, w.lines = audit.New(zap.New(core), w.now), lines
	store, err := sqlitestore.Open(context.Background(), sqlitestore.Options{
		Path: tb.TempDir(), Now: w.now, Durability: sqlitestore.EverySecond, MaxPending: maxPending,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	w.store = store
	w.dir.Replace(queue.NewSnapshot(accounts(), trackers()))
	w.serve(change...)
	return w
}

// beside is another API over the same store, with the same time.
func (w *world) beside() *world {
	w.tb.Helper()
	b := &world{tb: w.tb, dir: w.dir, reg: prometheus.NewRegistry(), store: w.store}
	b.clock.Store(w.clock.Load())
	b.serve()
	return b
}

// serve starts an API.
func (w *world) serve(change ...func(*api.Options)) {
	w.tb.Helper()
	o := api.Options{
		Store: w.store, Sessions: w.store, Accounts: w.store, Feed: w.store, Directory: w.dir,
		Now:          w.now,
		Registerer:   w.reg,
		Audit:        w.audit,
		Capabilities: capabilities,
	}
	for _, f := range change {
		f(&o)
	}
	w.api = api.New(o)
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(w.api, nil)
	server.Start()
	w.tb.Cleanup(server.Close)
	w.tb.Cleanup(w.api.Close) // its streams first
	w.url = server.URL
}

func (w *world) now() time.Time { return time.UnixMilli(w.clock.Load()) }

func (w *world) setTime(rfc3339 string) {
	w.tb.Helper()
	t, err := time.Parse(time.RFC3339Nano, rfc3339)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.clock.Store(t.UnixMilli())
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends one request; header is a list of names and values.
func (w *world) do(method, target, body string, header ...string) answer {
	w.tb.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, w.url+target, r)
	if err != nil {
		w.tb.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return w.roundTrip(req)
}

func (w *world) roundTrip(req *http.Request) answer {
	w.tb.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		w.tb.Errorf("%s %s: content type %q", req.Method, req.URL.Path, got)
	}
	if got := resp.Header.Get("Access-Control-Allow-Methods"); got != "GET, POST, OPTIONS" {
		w.tb.Errorf("%s %s: allowed methods %q", req.Method, req.URL.Path, got)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// form posts name=value pairs as account 1 does.
func (w *world) form(op string, pairs ...string) answer {
	w.tb.Helper()
	return w.formAs(berlinKey, op, pairs...)
}

func (w *world) formAs(key, op string, pairs ...string) answer {
	w.tb.Helper()
	v := url.Values{"hash": {key}}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return w.do(http.MethodPost, "/v2/"+op, v.Encode(), "Content-Type",
		"application/x-www-form-urlencoded")
}

// json posts the members of an object as account 1 does.
func (w *world) json(op, members string) answer {
	w.tb.Helper()
	if members != "" {
		members = "," + members
	}
	return w.do(http.MethodPost, "/v2/"+op, `{"hash":"`+berlinKey+`"`+members+`}`, "Content-Type",
		"application/json")
}

// is requires success and the body.
func (a answer) is(tb testing.TB, body string) {
	tb.Helper()
	if a.status != http.StatusOK || a.body != body {
		tb.Errorf("got  %d %s\nwant 200 %s", a.status, a.body, body)
	}
}

// refused requires a code of the error table, in the exact form.
func (a answer) refused(tb testing.TB, code int) {
	tb.Helper()
	for _, e := range errorTable() {
		if e.code != code {
			continue
		}
		want := fmt.Sprintf(`{"success":false,"status":{"code":%d,"description":"%s"}`, code,
			e.description)
		if code != 7 {
			want += "}"
		} else if !strings.HasPrefix(a.body, want+`,"errors":[{"parameter":"`) ||
			!strings.HasSuffix(a.body, `"}]}`) {
			tb.Errorf("got %s\nwant %s and errors", a.body, want)
		}
		if a.status != e.status || code != 7 && a.body != want || !json.Valid([]byte(a.body)) {
			tb.Errorf("got  %d %s\nwant %d %s", a.status, a.body, e.status, want)
		}
		return
	}
	tb.Fatalf("no code %d in the table", code)
}

// invalid requires code 7 for exactly these parameters.
func (a answer) invalid(tb testing.TB, names ...string) {
	tb.Helper()
	a.refused(tb, 7)
	var got struct {
		Errors []struct{ Parameter, Error string }
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		tb.Fatal(err)
	}
	gotNames := make([]string, 0, len(got.Errors))
	for _, e := range got.Errors {
		gotNames = append(gotNames, e.Parameter)
		if e.Error == "" {
			tb.Errorf("no text for %s", e.Parameter)
		}
	}
	if strings.Join(gotNames, " ") != strings.Join(names, " ") {
		tb.Errorf("errors for %v, want %v", gotNames, names)
	}
}

type message struct {
	ID         int64   `json:"id"`
	SubmitTime string  `json:"submit_time"`
	UpdateTime *string `json:"update_time"`
	Text       string  `json:"text"`
	Type       string  `json:"type"`
	Status     string  `json:"status"`
	EmployeeID *int64  `json:"employee_id"`
}

func (a answer) list(tb testing.TB) []message {
	tb.Helper()
	var got struct {
		Success bool
		List    []message
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !got.Success || got.List == nil {
		tb.Fatalf("no list: %v %s", err, a.body)
	}
	return got.List
}

func (a answer) id(tb testing.TB) int64 {
	tb.Helper()
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(a.body,
		`{"success":true,"id":`), "}"), 10, 64)
	if err != nil || a.status != http.StatusOK {
		tb.Fatalf("no id: %d %s", a.status, a.body)
	}
	return n
}

// send stores an outgoing message at the present time.
func (w *world) send(t queue.TrackerID, text string) int64 {
	w.tb.Helper()
	rs, err := w.store.Send(context.Background(), []queue.SendReq{{Tracker: t, Text: text}})
	if err != nil || rs[0].Err != nil {
		w.tb.Fatal(err, rs)
	}
	return rs[0].ID
}

// receive stores an incoming message at the present time.
func (w *world) receive(t queue.TrackerID, text string) int64 {
	w.tb.Helper()
	rs, err := w.store.Receive(context.Background(), []queue.Incoming{{Tracker: t, Text: text}})
	if err != nil || rs[0].Err != nil {
		w.tb.Fatal(err, rs)
	}
	return rs[0].ID
}

func (w *world) ack(t queue.TrackerID, id int64) {
	w.tb.Helper()
	rs, err := w.store.Ack(context.Background(), []queue.AckReq{{Tracker: t, ID: id}})
	if err != nil || rs[0] != queue.AckDelivered {
		w.tb.Fatal(err, rs)
	}
}

// stored returns everything of a tracker, whatever the API shows.
func (w *world) stored(t queue.TrackerID) []queue.Message {
	w.tb.Helper()
	ms, err := w.store.List(context.Background(), queue.ListQuery{
		Tracker: t, ToMs: 1 << 50,
		Limit: 1024,
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return ms
}

func itoa[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// metric is the sum of a counter or gauge over its labels.
func (w *world) metric(name string) float64 {
	w.tb.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}
