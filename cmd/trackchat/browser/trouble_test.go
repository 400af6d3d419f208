package browser

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
)

// troubles is the part of /admin/errors about devices.
type troubles struct {
	Refused []troubleDevice
	Silent  []troubleDevice `json:"not_acknowledging"`
}

type troubleDevice struct {
	Tracker   int64  `json:"tracker_id"`
	LooksLike string `json:"looks_like"`
	Label     string
	Protocol  string
	Device    string
	Reason    string
	Times     int
}

// troubled is a service with a blocked device and one at the wrong port, both refused, and a device
// that never acknowledges, and what /admin/errors says of them.
func troubled(t *testing.T) (*service, troubles) {
	t.Helper()
	cfg := apptest.Config(t, 3)
	directory := strings.Replace(apptest.DirectoryYAML(4), `device_id: "13800000002"`,
		`blocked: true, device_id: "13800000002"`, 1)
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(directory), 0o600))
	cfg.Gateway.AckTimeout = []config.Duration{config.Duration(50 * time.Millisecond)}
	s := startService(t, cfg)
	for name, login := range map[string]string{
		"wialon":    "#L#13800000002;NA\r\n",
		"teltonika": "#L#13800000004;NA\r\n",
	} {
		nc, err := net.Dial("tcp", s.Addrs[name])
		apptest.Must(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		_, err = nc.Write([]byte(login))
		apptest.Must(t, err)
	}
	s.Device(1, func(o *trackersim.Options) {
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{
				Never: true,
			}
		}
	})
	s.API.Send(1, "do you read me?")
	var answer troubles
	apptest.Eventually(t, "named", func() bool {
		_, body := s.Ask(http.MethodGet, "/admin/errors")
		apptest.Must(t, json.Unmarshal([]byte(body), &answer))
		return len(answer.Refused) == 2 && len(answer.Silent) == 1
	})
	return s, answer
}

// TestTroubleIsNamed in /admin/errors: who was refused and why, and who does not acknowledge, by
// the names of the directory.
func TestTroubleIsNamed(t *testing.T) {
	t.Parallel()
	_, answer := troubled(t)
	found := map[string]troubleDevice{}
	for _, d := range answer.Refused {
		d.Times = 0
		found[d.Reason] = d
	}
	if d := found["blocked"]; d != (troubleDevice{
		Tracker: 2, Label: "Truck 2", Protocol: "wialon",
		Device: "13800000002", Reason: "blocked",
	}) {
		t.Errorf("%+v", d)
	}
	if d := found["wrong_protocol"]; d != (troubleDevice{
		Tracker: 4, Label: "Truck 4",
		Protocol: "teltonika", Device: "13800000004", Reason: "wrong_protocol",
		LooksLike: "wialon",
	}) {
		t.Errorf("%+v", d)
	}
	if d := answer.Silent[0]; d.Tracker != 1 || d.Label != "Truck 1" || d.Protocol != "jt808" ||
		d.Device != apptest.DeviceOf(1) || d.Times == 0 {
		t.Errorf("%+v", d)
	}
}

// TestOperationsViewNamesTrouble in a browser.
func TestOperationsViewNamesTrouble(t *testing.T) {
	t.Parallel()
	s, _ := troubled(t)
	p := startBrowser(t).open(t, "http://"+s.Addrs["admin"]+"/", 1280, 1400)
	const silent, refused = `[aria-label="Not acknowledging"]`, `[aria-label="Last refused"]`
	for _, c := range []struct{ place, text string }{
		{silent, "Truck 1"},
		{silent, apptest.DeviceOf(1)},
		{refused, "Truck 2"},
		{refused, "blocked"},
		{refused, "Truck 4"},
		{refused, "wrong port: looks like wialon"},
	} {
		p.until(shows(c.place, c.text))
	}
}
