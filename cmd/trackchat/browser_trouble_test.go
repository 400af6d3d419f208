package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
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
func troubled(t *testing.T) (*consoleService, troubles) {
	t.Helper()
	cfg := testConfig(t, 3)
	directory := strings.Replace(directoryYAML(4), `device_id: "13800000002"`,
		`blocked: true, device_id: "13800000002"`, 1)
	must(t, os.WriteFile(cfg.Directory.File, []byte(directory), 0o600))
	cfg.Gateway.AckTimeout = []Duration{Duration(50 * time.Millisecond)}
	s := startConsole(t, cfg)
	for name, login := range map[string]string{
		"wialon":    "#L#13800000002;NA\r\n",
		"teltonika": "#L#13800000004;NA\r\n",
	} {
		nc, err := net.Dial("tcp", s.addrs[name])
		must(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		_, err = nc.Write([]byte(login))
		must(t, err)
	}
	s.device(1, func(o *trackersim.Options) {
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{
				Never: true,
			}
		}
	})
	s.api.send(1, "do you read me?")
	var answer troubles
	eventually(t, "named", func() bool {
		_, body := s.ask(http.MethodGet, "/admin/errors")
		must(t, json.Unmarshal([]byte(body), &answer))
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
		d.Device != deviceOf(1) || d.Times == 0 {
		t.Errorf("%+v", d)
	}
}

// TestOperationsViewNamesTrouble in a browser.
func TestOperationsViewNamesTrouble(t *testing.T) {
	t.Parallel()
	s, _ := troubled(t)
	p := startBrowser(t).open(t, "http://"+s.addrs["admin"]+"/", 1280, 1400)
	const silent, refused = `[aria-label="Not acknowledging"]`, `[aria-label="Last refused"]`
	for _, c := range []struct{ place, text string }{
		{silent, "Truck 1"},
		{silent, deviceOf(1)},
		{refused, "Truck 2"},
		{refused, "blocked"},
		{refused, "Truck 4"},
		{refused, "wrong port: looks like wialon"},
	} {
		p.until(shows(c.place, c.text))
	}
}
