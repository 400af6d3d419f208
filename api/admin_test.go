package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trackchat/api/admin"

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
