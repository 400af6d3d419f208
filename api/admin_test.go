package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/api/admin"
	"trackchat/api/navixy"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// record calls a handler from a loopback peer; header is a list of names and values.
func record(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, target, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:5000", "localhost:8081"
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "peer":
			r.RemoteAddr = header[i+1]
		case "Host":
			r.Host = header[i+1]
		case "version":
			r.Proto, r.ProtoMajor, r.ProtoMinor = header[i+1], 1, 0
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func TestAdmin(t *testing.T) {
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "trackchat_test_total",
		Help: "x",
	})
	reg.MustRegister(counter)
	counter.Add(3)
	var ready error
	h := admin.New(admin.Options{Gatherer: reg, Ready: func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		return ready
	}})
	remote := []string{"peer", "192.0.2.1:1", "X-Forwarded-For", "x", "Host", "h"}
	if r := record(h, http.MethodGet, "/metrics", remote...); r.Code != http.StatusOK ||
		!strings.Contains(r.Body.String(), "trackchat_test_total 3") {
		t.Errorf("metrics: %d %s", r.Code, r.Body)
	}
	check := func(path string, status int, body string) {
		t.Helper()
		r := record(h, http.MethodGet, path, remote...)
		if r.Code != status || r.Body.String() != body ||
			r.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s: %d %s %v", path, r.Code, r.Body, r.Header())
		}
	}
	check("/readyz", 200, `{"ready":true}`)
	ready = errors.New("store: broken")
	check("/readyz", 503, `{"ready":false,"problems":["store: broken"]}`)
	ready = errors.Join(errors.New(`a "b"`), errors.New("c"))
	check("/readyz", 503, `{"ready":false,"problems":["a \"b\"","c"]}`)
	check("/healthz", 200, `{"alive":true}`)
	check("/nothing", 400, `{"success":false,"status":{"code":111,"description":"Wrong handler"}}`)
	check("/admin/accounts", 403,
		`{"success":false,"status":{"code":11,"description":"Access denied"}}`)

	h = admin.New(admin.Options{Gatherer: reg})
	check("/readyz", 200, `{"ready":true}`)
}

func TestAdminGuard(t *testing.T) {
	open := admin.New(admin.Options{
		Gatherer: prometheus.NewRegistry(),
		Recent:   recentTrouble,
	})
	closed := admin.New(admin.Options{
		Gatherer: prometheus.NewRegistry(),
		Recent:   recentTrouble, Token: "secret",
	})
	for _, c := range []struct {
		h      http.Handler
		admits bool
		header []string
	}{
		{open, true, nil},
		{open, true, []string{"peer", "[::1]:1", "Host", "[::1]:8081"}},
		{open, true, []string{"peer", "[::ffff:127.0.0.1]:1", "Host", "127.0.0.1"}},
		{open, true, []string{"Host", "[::1]"}},
		{open, true, []string{"Host", "LOCALHOST.:8081"}},
		{open, true, []string{"Sec-Fetch-Site", "same-origin"}},
		{open, true, []string{"Sec-Fetch-Site", "none"}},
		{open, false, []string{"peer", "192.0.2.1:1"}},
		{open, false, []string{"peer", "nonsense"}},
		{open, false, []string{"Origin", "http://localhost"}},
		{open, false, []string{"Origin", ""}},
		{open, false, []string{"Forwarded", "for=127.0.0.1"}},
		{open, false, []string{"X-Forwarded-For", "127.0.0.1"}},
		{open, false, []string{"X-Forwarded-Host", "localhost"}},
		{open, false, []string{"X-Real-IP", "127.0.0.1"}},
		{open, false, []string{"Via", "1.1 proxy"}},
		{open, false, []string{"Sec-Fetch-Site", "same-site"}},
		{open, false, []string{"Sec-Fetch-Site", "cross-site"}},
		{open, false, []string{"Sec-Fetch-Site", ""}},
		{open, false, []string{"version", "HTTP/1.0"}},
		{open, false, []string{"Host", ""}},
		{open, false, []string{"Host", ":8081"}},
		{open, false, []string{"Host", "rebound.example:8081"}},
		{open, false, []string{"Host", "localhost.example"}},
		{open, false, []string{"Host", "192.0.2.1"}},
		{open, false, []string{"peer", "192.0.2.1:1", "Authorization", "Bearer "}},
		{closed, true, []string{
			"peer", "192.0.2.1:1", "Host", "admin.example", "Authorization",
			"Bearer secret",
		}},
		{closed, true, []string{"Via", "1.1 proxy", "Authorization", "Bearer secret"}},
		{closed, false, nil},
		{closed, false, []string{"Authorization", "Bearer secreT"}},
		{closed, false, []string{"Authorization", "Bearer "}},
		{closed, false, []string{"Authorization", "secret"}},
		{closed, false, []string{"Authorization", "Bearer secret2"}},
	} {
		r := record(c.h, http.MethodGet, "/admin/errors", c.header...)
		if c.admits != (r.Code == http.StatusOK) {
			t.Errorf("%v: %d %s", c.header, r.Code, r.Body)
		}
		if !c.admits && r.Body.String() != denied {
			t.Errorf("%v: %s", c.header, r.Body)
		}
	}
	// Profiles are for the token alone.
	for _, path := range []string{
		"", "cmdline", "goroutine?debug=1", "profile?seconds=1",
		"trace?seconds=1",
	} {
		if r := record(open, http.MethodGet, "/debug/pprof/"+path); r.Body.String() != denied {
			t.Errorf("%s without a token: %d", path, r.Code)
		}
		if r := record(closed, http.MethodGet, "/debug/pprof/"+path); r.Body.String() != denied {
			t.Errorf("%s with another token: %d", path, r.Code)
		}
	}
	r := record(closed, http.MethodGet, "/debug/pprof/goroutine?debug=1", "Authorization",
		"Bearer secret")
	if r.Code != http.StatusOK || !strings.Contains(r.Body.String(), "goroutine profile") {
		t.Errorf("index: %d", r.Code)
	}
}

const denied = `{"success":false,"status":{"code":11,"description":"Access denied"}}`

// TestAdminAnswersAreNotKept asks for something of every kind that the admin listener has.
func TestAdminAnswersAreNotKept(t *testing.T) {
	h := admin.New(admin.Options{
		Gatherer: prometheus.NewRegistry(), Recent: recentTrouble,
		Token: "secret",
	})
	for target, status := range map[string]int{
		"/": 200, "/ui/ops.js": 200, "/ui/nothing": 404, "/metrics": 200, "/healthz": 200,
		"/readyz": 200, "/nothing": 400,
		"/admin/errors": 200, "/admin/nothing": 400, "/admin/../metrics": 307, "/debug/pprof/": 200,
		"/debug/pprof/cmdline": 200, "/debug/pprof/heap": 200, "/debug/pprof/nothing": 404,
	} {
		for _, token := range []string{"secret", "other"} {
			if token == "other" && (strings.HasPrefix(target, "/admin/") ||
				strings.HasPrefix(target, "/debug/")) && status != 307 {
				status = http.StatusForbidden
			}
			r := record(h, http.MethodGet, target, "Authorization", "Bearer "+token)
			if g := r.Header(); r.Code != status || g.Get("Cache-Control") != "no-store" ||
				g.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %d %v", target, r.Code, g)
			}
		}
	}
}

const adminToken = "correct horse"

// adminWorld is a world with an administration listener beside it.
type adminWorld struct {
	*world
	admin string // URL
}

func newAdminWorld(t *testing.T, change ...func(*admin.Options)) *adminWorld {
	t.Helper()
	w := newWorld(t)
	w.dir.Replace(queue.NewSnapshot(nil, nil))
	o := admin.Options{
		// deadlines are made from it.
		Gatherer: prometheus.NewRegistry(), Token: adminToken, Store: w.store, Webhooks: w.store,
		Sync: func(ctx context.Context) error { return w.dir.Sync(ctx, w.store) }, Now: time.Now,
		Devices: func(t *queue.Tracker) []navixy.Problem {
			if t.Protocol == "morse" {
				return []navixy.Problem{{Parameter: "protocol", Error: "morse is not built in"}}
			}
			return nil
		},
		Audit: w.audit,
	}
	for _, f := range change {
		f(&o)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(admin.New(o), nil)
	server.Start()
	t.Cleanup(server.Close)
	return &adminWorld{world: w, admin: server.URL}
}

// call sends an administrator's request; body is sent as it is.
func (w *adminWorld) call(method, path string, body io.Reader) answer {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, w.admin+path, body)
	if err != nil {
		w.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (w *adminWorld) get(path string) answer {
	w.tb.Helper()
	return w.call(http.MethodGet, path, nil)
}

func (w *adminWorld) put(path, body string) answer {
	w.tb.Helper()
	return w.call(http.MethodPut, path, strings.NewReader(body))
}

func (w *adminWorld) post(path, body string) answer {
	w.tb.Helper()
	return w.call(http.MethodPost, path, strings.NewReader(body))
}

func (w *adminWorld) delete(path string) answer {
	w.tb.Helper()
	return w.call(http.MethodDelete, path, nil)
}

// newKey makes a key for an account.
func (w *adminWorld) newKey(account string) (id, key string) {
	w.tb.Helper()
	var got struct{ Value struct{ ID, Key string } }
	a := w.post("/admin/accounts/"+account+"/keys", "")
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Value.ID) != 64 ||
		len(got.Value.Key) != 32 {
		w.tb.Fatalf("key: %d %s", a.status, a.body)
	}
	a.is(w.tb, `{"success":true,"value":{"id":"`+got.Value.ID+`","key":"`+got.Value.Key+`"}}`)
	return got.Value.ID, got.Value.Key
}

// recentTrouble is a log with one error in it.
func recentTrouble() []admin.Trouble {
	return []admin.Trouble{{
		Time:  time.Unix(1456740000, 5e8).In(time.FixedZone("x", 3600)),
		Level: "error", Message: "store \"check\" failed",
		Fields: map[string]string{"error": "disk full"},
	}}
}

// deviceTrouble are two devices that are refused and one that does not acknowledge.
func deviceTrouble() admin.DeviceTrouble {
	at := time.Unix(1456740000, 0).In(time.FixedZone("x", 3600))
	return admin.DeviceTrouble{
		Refused: []admin.RefusedDevice{
			{
				Protocol: "jt808", Device: "862311060000017", Reason: "wrong_protocol",
				LooksLike: "wialon", Remote: "192.0.2.1:4000", First: at, Last: at.Add(time.Hour),
				Times: 3,
			},
			{
				Protocol: "wialon", Device: "13800000102", Reason: "blocked", Tracker: 102,
				Label: "Bus 2", Remote: "192.0.2.2:4000", First: at, Last: at, Times: 1,
			},
		},
		Silent: []admin.SilentDevice{{
			Tracker: 101, Label: "Truck 1", Protocol: "jt808",
			Device: "13800000101", Message: 256, Since: at, Last: at.Add(time.Hour), Times: 4,
		}},
	}
}

func TestAdminErrors(t *testing.T) {
	w := newAdminWorld(t, func(o *admin.Options) { o.Recent = recentTrouble })
	w.get("/admin/errors").is(t,
		`{"success":true,"list":[{"time":"2016-02-29T10:00:00.5Z","level":"error","message":"store \"check\" failed","fields":{"error":"disk full"}}],"refused":[],"not_acknowledging":[]}`)
	if a := w.call(http.MethodPost, "/admin/errors", nil); a.status != http.StatusBadRequest {
		t.Errorf("POST: %d %s", a.status, a.body)
	}
	quiet := newAdminWorld(t,
		func(o *admin.Options) { o.Recent = func() []admin.Trouble { return nil } })
	quiet.get("/admin/errors").is(t,
		`{"success":true,"list":[],"refused":[],"not_acknowledging":[]}`)
	w = newAdminWorld(t, func(o *admin.Options) {
		o.Recent, o.Trouble = recentTrouble,
			deviceTrouble
	})
	w.get("/admin/errors").is(t,
		`{"success":true,"list":[{"time":"2016-02-29T10:00:00.5Z","level":"error","message":"store \"check\" failed","fields":{"error":"disk full"}}],`+
			`"refused":[{"protocol":"jt808","device":"862311060000017","reason":"wrong_protocol","looks_like":"wialon","remote":"192.0.2.1:4000","first":"2016-02-29T10:00:00Z","last":"2016-02-29T11:00:00Z","times":3},`+
			`{"protocol":"wialon","device":"13800000102","reason":"blocked","tracker_id":102,"label":"Bus 2","remote":"192.0.2.2:4000","first":"2016-02-29T10:00:00Z","last":"2016-02-29T10:00:00Z","times":1}],`+
			`"not_acknowledging":[{"tracker_id":101,"label":"Truck 1","protocol":"jt808","device":"13800000101","message_id":256,"since":"2016-02-29T10:00:00Z","last":"2016-02-29T11:00:00Z","times":4}]}`)

	since := time.Date(2016, 2, 29, 10, 0, 0, 0, time.UTC)
	w = newAdminWorld(t, func(o *admin.Options) {
		o.Trouble = func() admin.DeviceTrouble {
			return admin.DeviceTrouble{Upstreams: []admin.Upstream{
				{Address: "a:1", Sessions: 2, State: "up", BytesUp: 3, BytesDown: 4},
				{
					Address: "b:1", State: "down", DownSince: &since, DialErrors: 5,
					LastError: "connection refused",
				},
			}}
		}
		o.Recent = func() []admin.Trouble { return nil }
	})
	w.get("/admin/errors").is(t,
		`{"success":true,"list":[],"refused":[],"not_acknowledging":[],"upstreams":[`+
			`{"address":"a:1","sessions":2,"state":"up","dial_errors":0,"bytes_up":3,"bytes_down":4},`+
			`{"address":"b:1","sessions":0,"state":"down","down_since":"2016-02-29T10:00:00Z","dial_errors":5,"last_error":"connection refused","bytes_up":0,"bytes_down":0}]}`)

	h := admin.New(admin.Options{
		Gatherer: prometheus.NewRegistry(), Recent: recentTrouble,
		Token: adminToken,
	})
	if r := record(h, http.MethodGet, "/admin/errors"); r.Code != http.StatusForbidden {
		t.Errorf("without a token: %d %s", r.Code, r.Body)
	}
	// The page itself holds nothing, so it is for everybody who reaches the listener, as /metrics
	// is.
	for _, path := range []string{"/", "/ui/", "/ui/shared/base.css"} {
		if r := record(h, http.MethodGet, path, "peer", "192.0.2.1:1"); r.Code != http.StatusOK ||
			r.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d", path, r.Code)
		}
	}
}
