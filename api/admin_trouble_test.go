package api_test

import (
	"net/http"
	"testing"
	"time"

	"trackchat/api"

	"github.com/prometheus/client_golang/prometheus"
)

// recentTrouble is a log with one error in it.
func recentTrouble() []api.Trouble {
	return []api.Trouble{{Time: time.Unix(1456740000, 5e8).In(time.FixedZone("x", 3600)), Level: "error", Message: "store \"check\" failed", Fields: map[string]string{"error": "disk full"}}}
}

func TestAdminErrors(t *testing.T) {
	w := newAdminWorld(t, func(o *api.AdminOptions) { o.Recent = recentTrouble })
	w.get("/admin/errors").is(t, `{"success":true,"list":[{"time":"2016-02-29T10:00:00.5Z","level":"error","message":"store \"check\" failed","fields":{"error":"disk full"}}]}`)
	if a := w.call(http.MethodPost, "/admin/errors", nil); a.status != http.StatusBadRequest {
		t.Errorf("POST: %d %s", a.status, a.body)
	}
	quiet := newAdminWorld(t, func(o *api.AdminOptions) { o.Recent = func() []api.Trouble { return nil } })
	quiet.get("/admin/errors").is(t, `{"success":true,"list":[]}`)

	h := api.NewAdmin(api.AdminOptions{Gatherer: prometheus.NewRegistry(), Recent: recentTrouble, Token: adminToken})
	if r := record(h, http.MethodGet, "/admin/errors"); r.Code != http.StatusForbidden {
		t.Errorf("without a token: %d %s", r.Code, r.Body)
	}
	// The page itself holds nothing, so it is for everybody who reaches the listener, as /metrics is.
	for _, path := range []string{"/", "/ui/", "/ui/shared/base.css"} {
		if r := record(h, http.MethodGet, path, "peer", "192.0.2.1:1"); r.Code != http.StatusOK || r.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d", path, r.Code)
		}
	}
}
