package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

type tableRow struct {
	code, status int
	description  string
}

// errorTable repeats the contract's table by hand.
func errorTable() []tableRow {
	return []tableRow{
		{3, 400, "Wrong hash"},
		{4, 400, "User or API key not found or session ended"},
		{5, 400, "Wrong request format"},
		{6, 500, "Unexpected error"},
		{7, 400, "Invalid parameters"},
		{8, 503, "Queue service error, try again later"},
		{9, 412, "Too large request"},
		{11, 403, "Access denied"},
		{13, 403, "Operation not permitted"},
		{14, 503, "Database unavailable"},
		{15, 429, "Too many requests (rate limit exceeded)"},
		{102, 400, "Wrong login or password"},
		{105, 400, "Login attempts limit exceeded, try again later"},
		{111, 400, "Wrong handler"},
		{112, 400, "Wrong method"},
		{201, 400, "Not found in database"},
		{208, 403, "Device blocked"},
		{214, 400, "Requested operation or parameters are not supported by the device"},
		{217, 400, "List contains nonexistent entities"},
		{221, 403, "Device limit exceeded"},
		{236, 402, "Feature unavailable due to tariff restrictions"},
		{267, 400, "Too many entities"},
	}
}

func TestPaths(t *testing.T) {
	w := newWorld(t)
	for path, code := range map[string]int{
		"/v2": 111, "/v2/": 111, "/api-v2": 111, "/consoles": 111, "/favicon.ico": 111,
		"/v2/tracker": 111, "/v2/trackers/chat/list": 111, "/v2/v2/tracker/chat/list": 111,
		"/v3/tracker/chat/list": 111, "/v2/Tracker/chat/list": 111, "/v2/tracker/chat/list//": 111,
		"/v2/tracker/chat/list/x": 111, "//v2/tracker/chat/list": 111,
		"/v2/tracker/chat": 112, "/v2/tracker/chat/": 112, "/v2/tracker/chat/updated": 112,
		"/tracker/chat/unread":  112,
		"/v2/tracker/chat/lost": 112, "/api-v2/tracker/chat/LIST": 112,
		"/tracker/chat/updated/count": 112, "/v2/tracker/chat/unread/list/": 112,
		"/v2/tracker/delete": 112,
	} {
		w.do(http.MethodGet, path, "").refused(t, code)
		w.do(http.MethodPost, path, `{"broken`, "Content-Type", "application/json").refused(t, code)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, "BREW"} {
		w.do(method, "/v2/tracker/chat/list", "").refused(t, 112)
		w.do(method, "/v2/nothing/here", "").refused(t, 111)
		w.do(method, "/", "").refused(t, 111)
		w.do(method, "/console/index.html", "").refused(t, 111)
	}
	if a := w.do(http.MethodHead, "/v2/tracker/chat/list", ""); a.status != http.StatusBadRequest ||
		a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
}

func TestOrderOfChecks(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.RateLimit, o.MaxBody = 1, 200 })
	jsonType := []string{"Content-Type", "application/json"}
	big := `{"hash":"no","pad":"` + strings.Repeat("x", 300) + `"}`
	w.do(http.MethodPost, "/v2/no/such", big, jsonType...).refused(t, 111)
	w.do(http.MethodPost, "/v2/tracker/chat/no", big, jsonType...).refused(t, 112)
	w.do(http.MethodPost, "/v2/tracker/chat/send", big+"{", jsonType...).refused(t, 9)
	w.do(http.MethodPost, "/v2/tracker/chat/send", `{"hash":"no"`, jsonType...).refused(t, 5)
	w.do(http.MethodPost, "/v2/tracker/chat/send", `{"hash":"no"}`, jsonType...).refused(t, 3)
	w.do(http.MethodPost, "/v2/tracker/chat/send", `{"hash":"`+unknownKey+`"}`,
		jsonType...).refused(t, 4)
	// the only token: what follows is over the rate.
	w.json("tracker/chat/send", `"tracker_id":999`).invalid(t, "message")
	w.json("tracker/chat/send", `"tracker_id":"x"`).refused(t, 15)
	w.do(http.MethodPost, "/v2/tracker/chat/send", `{"hash":"`+unknownKey+`"}`,
		jsonType...).refused(t, 4)
	w.clock.Add(1000)
	w.json("tracker/chat/send", `"tracker_id":999,"message":"hi"`).refused(t, 201)
}

func TestTrackerChecks(t *testing.T) {
	w := newWorld(t)
	for id, code := range map[int]int{
		unknown: 201, foreign: 201, 0: 201, -5: 201, blocked: 208, blockedMute: 208, mute: 214,
		cheapMute: 214, cheap: 236,
	} {
		w.form("tracker/chat/list", "tracker_id", itoa(id)).refused(t, code)
		w.form("tracker/chat/list", "tracker_id", itoa(id), "limit", "0").invalid(t, "limit")
		w.form("tracker/chat/search", "tracker_id", itoa(id), "query", "x").refused(t, code)
		w.form("tracker/chat/export", "tracker_id", itoa(id)).refused(t, code)
		w.form("tracker/chat/send", "tracker_id", itoa(id), "message", "hi").refused(t, code)
		w.form("tracker/chat/send", "tracker_id", itoa(id), "message", "سلام", "strict",
			"true").refused(t, code)
		w.form("tracker/chat/capabilities", "tracker_id", itoa(id)).refused(t, code)
		w.form("tracker/chat/send", "tracker_id", itoa(id)).invalid(t, "message")
		if n := len(w.stored(queue.TrackerID(id))); n != 0 {
			t.Errorf("tracker %d has %d messages", id, n)
		}
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.form("tracker/chat/list").is400(t,
		`{"success":false,"status":{"code":7,"description":"Invalid parameters"},"errors":[{"parameter":"tracker_id","error":"must not be null"}]}`)
	w.form("tracker/chat/list", "tracker_id", "x", "from", "yesterday", "to", "2016-13-01 00:00:00",
		"limit", "1025", "ascending", "maybe", "iso_datetime", "2").
		invalid(t, "iso_datetime", "tracker_id", "from", "to", "limit", "ascending")
	w.form("tracker/chat/send").invalid(t, "tracker_id", "message")
	w.form("tracker/chat/broadcast").invalid(t, "trackers", "message")
	w.form("tracker/chat/mark_read").invalid(t, "message_id", "message_ids")
	w.form("tracker/chat/mark_read", "message_id", "a", "message_ids", "b").invalid(t,
		"message_ids", "message_id")
	w.form("tracker/chat/mark_read_all", "trackers", "b").invalid(t, "trackers")
	w.form("tracker/chat/updated/list").invalid(t, "trackers")
	w.form("tracker/chat/last/list").invalid(t, "trackers")
	w.form("tracker/chat/unread/count", "iso_datetime", "x").invalid(t, "iso_datetime")
	w.form("tracker/list", "iso_datetime", "x").invalid(t, "iso_datetime")
	w.form("tracker/read").invalid(t, "tracker_id")
	w.form("tracker/chat/capabilities").invalid(t, "tracker_id")
	w.form("tracker/chat/send", "tracker_id", "x", "message", "", "strict", "maybe").invalid(t,
		"tracker_id", "message", "strict")
	w.form("tracker/chat/broadcast", "trackers", "101", "message", "سلام", "strict", "2").invalid(t,
		"strict")
	w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "urgent", "very").invalid(t,
		"urgent")
	w.form("tracker/chat/broadcast", "trackers", "101", "message", "x", "urgent", "2").invalid(t,
		"urgent")
}

func (a answer) is400(tb testing.TB, body string) {
	tb.Helper()
	if a.status != http.StatusBadRequest || a.body != body {
		tb.Errorf("got  %d %s\nwant 400 %s", a.status, a.body, body)
	}
}

// operations are valid calls of all operations; the second value is the code of a store that fails.
func operations() map[string]struct {
	members string
	offline int
} {
	return map[string]struct {
		members string
		offline int
	}{
		"tracker/chat/list":          {`"tracker_id":101`, 14},
		"tracker/chat/search":        {`"tracker_id":101,"query":"x"`, 14},
		"tracker/chat/export":        {`"tracker_id":101`, 14},
		"tracker/chat/send":          {`"tracker_id":101,"message":"hi"`, 8},
		"tracker/chat/broadcast":     {`"trackers":[101,102],"message":"hi"`, 8},
		"tracker/chat/mark_read":     {`"message_id":1`, 14},
		"tracker/chat/mark_read_all": {``, 14},
		"tracker/chat/updated/list":  {`"trackers":[101]`, 14},
		"tracker/chat/last/list":     {`"trackers":[101]`, 14},
		"tracker/chat/unread/count":  {``, 14},
	}
}

func TestClosedStore(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	for op, o := range operations() {
		w.json(op, o.members).refused(t, o.offline)
	}
}

// fault wraps a real store and comes between it and the API. Where before returns an error the
// store is not called; after replaces the error of a call.
type fault struct {
	queue.Messages
	before func(context.Context) error
	after  func(error) error
	item   func(i int) error // of single results of Send
}

func (f *fault) around(ctx context.Context, call func() error) error {
	if f.before != nil {
		if err := f.before(ctx); err != nil {
			return err
		}
	}
	err := call()
	if f.after != nil {
		return f.after(err)
	}
	return err
}

func (f *fault) Send(ctx context.Context, reqs []queue.SendReq) (rs []queue.SendResult, err error) {
	err = f.around(ctx, func() (err error) { rs, err = f.Messages.Send(ctx, reqs); return err })
	for i := range rs {
		if f.item != nil {
			if e := f.item(i); e != nil {
				rs[i] = queue.SendResult{Err: e}
			}
		}
	}
	return rs, err
}

func (f *fault) List(ctx context.Context, q queue.ListQuery) (ms []queue.Message, err error) {
	err = f.around(ctx, func() (err error) { ms, err = f.Messages.List(ctx, q); return err })
	return ms, err
}

func (f *fault) Find(ctx context.Context, ids []int64) (ms []queue.Message, err error) {
	err = f.around(ctx, func() (err error) { ms, err = f.Messages.Find(ctx, ids); return err })
	return ms, err
}

func (f *fault) MarkReadAll(ctx context.Context, ts []queue.TrackerID) (n int, err error) {
	err = f.around(ctx, func() (err error) { n, err = f.Messages.MarkReadAll(ctx, ts); return err })
	return n, err
}

func (f *fault) LastTimes(ctx context.Context, ts []queue.TrackerID) (m map[queue.TrackerID]int64,
	err error,
) {
	err = f.around(ctx, func() (err error) { m, err = f.Messages.LastTimes(ctx, ts); return err })
	return m, err
}

func (f *fault) Unread(ctx context.Context, ts []queue.TrackerID) (m map[queue.TrackerID]int,
	err error,
) {
	err = f.around(ctx, func() (err error) { m, err = f.Messages.Unread(ctx, ts); return err })
	return m, err
}

func (f *fault) Presence(ctx context.Context,
	ts []queue.TrackerID,
) (m map[queue.TrackerID]queue.Presence, err error) {
	err = f.around(ctx, func() (err error) { m, err = f.Messages.Presence(ctx, ts); return err })
	return m, err
}

func TestStoreThatDoesNotAnswer(t *testing.T) {
	f := new(fault)
	w := newWorld(t, func(o *api.Options) {
		f.Messages, o.Store, o.Timeout = o.Store, f, 30*time.Millisecond
	})
	f.before = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for op, o := range operations() {
		w.json(op, o.members).refused(t, o.offline)
	}
	f.before = nil
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).id(t)
}

func TestStoreErrors(t *testing.T) {
	f := new(fault)
	w := newWorld(t, func(o *api.Options) { f.Messages, o.Store = o.Store, f })
	for _, cause := range []error{
		queue.ErrOverloaded, queue.ErrUnavailable,
		queue.ErrUnknownOutcome, queue.ErrCorrupt, errors.New("anything"),
	} {
		f.after = func(err error) error { return errors.Join(err, fmt.Errorf("asking: %w", cause)) }
		for op, o := range operations() {
			w.json(op, o.members).refused(t, o.offline)
		}
	}
	f.after = nil
	f.item = func(int) error { return queue.ErrUnknownOutcome }
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).refused(t, 8)
	w.json("tracker/chat/broadcast", `"trackers":[101,102],"message":"hi"`).refused(t, 8)
	f.item = func(i int) error { return []error{queue.ErrUnavailable, nil, queue.ErrQueueFull}[i] }
	w.json("tracker/chat/broadcast", `"trackers":[102,101,1001],"message":"hi"`).is(t,
		`{"success":true,"sent_to":[101],"not_sent_to":[102,1001]}`)
	f.item = func(int) error { return queue.ErrQueueFull }
	w.json("tracker/chat/broadcast", `"trackers":[102,101],"message":"hi"`).is(t,
		`{"success":true,"sent_to":[],"not_sent_to":[102,101]}`)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).refused(t, 267)
}

// TestClientGoesAway: that is no failure of the store.
func TestClientGoesAway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan struct{})
	core, logs := observer.New(zapcore.DebugLevel)
	f := &fault{before: func(asked context.Context) error {
		cancel()
		<-asked.Done()
		return asked.Err()
	}}
	w := newWorld(t, func(o *api.Options) {
		f.Messages, o.Store = o.Store, f
		o.Timeout = time.Minute
		o.Logger = zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
			if e.Message == "request" {
				close(answered)
			}
			return nil
		}))
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		w.url+"/tracker/chat/list?tracker_id=101&hash="+berlinKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Error("answered")
	}
	select {
	case <-answered:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler did not end")
	}
	if logs.FilterMessage("client went away").Len() != 1 ||
		logs.FilterMessage("store call failed").Len() != 0 {
		t.Errorf("log: %v", logs.All())
	}
}

func TestPanic(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	f := new(fault)
	w := newWorld(t, func(o *api.Options) {
		f.Messages, o.Store, o.Logger = o.Store, f, zap.New(core)
	})
	f.before = func(context.Context) error { panic("of the test") }
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).refused(t, 6)
	found := logs.FilterMessage("panic in a handler").All()
	if len(found) != 1 ||
		!strings.Contains(fmt.Sprint(found[0].ContextMap()["stack"]), "error_test.go") {
		t.Errorf("log: %v", found)
	}
	f.before = nil
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).id(t)
}

func TestLogsKeepSecrets(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	w := newWorld(t, func(o *api.Options) { o.Logger = zap.New(core) })
	w.json("tracker/chat/send", `"tracker_id":101,"message":"very private"`).id(t)
	w.do(http.MethodGet, "/very/private?hash="+berlinKey+"&message=very+private", "").refused(t,
		111)
	w.do(http.MethodGet, "/tracker/chat/send?hash="+berlinKey+"&message=very+private&tracker_id=x",
		"", "Authorization", "NVX "+berlinKey).invalid(t, "tracker_id")
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.json("tracker/chat/send", `"tracker_id":101,"message":"very private"`).refused(t, 8)
	requests := logs.FilterMessage("request").All()
	if len(requests) != 4 {
		t.Errorf("%d requests in the log", len(requests))
	}
	for i, want := range []struct {
		level   zapcore.Level
		account int64
	}{
		{zapcore.DebugLevel, 1},
		{zapcore.DebugLevel, 0},
		{zapcore.DebugLevel, 1},
		{zapcore.DebugLevel, 1},
	} {
		if e := requests[i]; e.Level != want.level || e.ContextMap()["account"] != want.account ||
			e.ContextMap()["request"] == "" {
			t.Errorf("request %d: %v %v", i, e.Level, e.ContextMap())
		}
	}
	// on our side: one line, with what is needed to find it.
	failed := logs.FilterLevelExact(zapcore.WarnLevel).All()
	if len(failed) != 1 || logs.FilterLevelExact(zapcore.InfoLevel).Len() != 0 {
		t.Fatalf("a failed send writes %v", failed)
	}
	said := failed[0].ContextMap()
	if said["request"] != requests[3].ContextMap()["request"] ||
		said["route"] != "tracker/chat/send" || said["account"] != int64(1) || said["error"] == "" {
		t.Errorf("%v", said)
	}
	for _, e := range logs.All() {
		line := fmt.Sprint(e.Message, e.ContextMap())
		if strings.Contains(line, "private") || strings.Contains(strings.ToLower(line), berlinKey) {
			t.Errorf("log says %s", line)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.RateLimit = 2 })
	w.json("tracker/chat/unread/count", "").is(t, `{"success":true,"value":{}}`)
	w.json("tracker/chat/list", `"tracker_id":999`).refused(t, 201)
	w.json("tracker/chat/list", `"tracker_id":999`).refused(t, 15)
	w.do(http.MethodGet, "/a", "").refused(t, 111)
	w.do(http.MethodGet, "/b/c", "").refused(t, 111)
	w.do(http.MethodGet, "/tracker/chat/nothing", "").refused(t, 112)
	w.do(http.MethodGet, "/tracker/chat/list", "").refused(t, 3)
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "trackchat_http_seconds" {
				got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetHistogram().GetSampleCount()
			}
		}
	}
	want := map[string]uint64{
		"tracker/chat/unread/count 0": 1, "tracker/chat/list 201": 1, "tracker/chat/list 15": 1,
		"tracker/chat/list 3": 1, "other 111": 2, "other 112": 1,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := testutil.GatherAndCompare(w.reg, strings.NewReader(`
# HELP trackchat_http_refused_total Requests, and trackers of a broadcast, refused at a bound.
# TYPE trackchat_http_refused_total counter
trackchat_http_refused_total{reason="bodies"} 0
trackchat_http_refused_total{reason="broadcasts"} 0
trackchat_http_refused_total{reason="exports"} 0
trackchat_http_refused_total{reason="feed"} 0
trackchat_http_refused_total{reason="hash"} 1
trackchat_http_refused_total{reason="login_attempts"} 0
trackchat_http_refused_total{reason="login_queue"} 0
trackchat_http_refused_total{reason="places"} 0
trackchat_http_refused_total{reason="queue_full"} 0
trackchat_http_refused_total{reason="rate_limit"} 1
trackchat_http_refused_total{reason="searches"} 0
trackchat_http_refused_total{reason="too_large"} 0
`), "trackchat_http_refused_total"); err != nil {
		t.Error(err)
	}
}
