package api_test

import (
	"net/http"
	"testing"
	"time"

	"trackchat/api/admin"

	"github.com/prometheus/client_golang/prometheus"
)

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
