package api_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trackchat/api/admin"
)

// TestDocsCurl executes every curl line of docs/api.md as a reader would, in order, and compares
// what they call with the operations that there are.
func TestDocsCurl(t *testing.T) {
	doc, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	fleet := &fixedFleet{sessions: []admin.DeviceSession{{
		Tracker: 101, Protocol: "jt808",
		Node: "a-1",
	}}}
	w := newAdminWorld(t, func(o *admin.Options) { o.Fleet, o.Recent = fleet, recentTrouble })
	w.put("/admin/accounts/1",
		`{"login":"demo","password":"demo","keys":["`+berlinKey+`"]}`).succeeds(t)
	for _, id := range []string{"101", "102"} {
		w.put("/admin/trackers/"+id,
			`{"account":1,"label":"Truck","protocol":"jt808","device_id":"`+id+`"}`).succeeds(t)
	}
	env := append(os.Environ(), "API="+w.url+"/v2", "ADMIN="+w.admin, "KEY="+berlinKey,
		"TOKEN="+adminToken, "INCOMING="+itoa(w.receive(101, "from the driver")),
		"OUTGOING="+itoa(w.send(101, "to the driver")), "SESSION="+w.login("demo", "demo"))
	var called []string
	target := regexp.MustCompile(`\$(API|ADMIN)(/[^"?]*)`)
	for line := range strings.Lines(string(doc)) {
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		called = append(called, target.FindStringSubmatch(line)[2])
		out := shell(t, line, env)
		switch {
		case strings.Contains(line, "/metrics"):
		case strings.Contains(line, "/events"):
			if !strings.Contains(out, "\nid: ") {
				t.Errorf("%s answers %s", line, out)
			}
		case !strings.Contains(out, `"success":true`) && !strings.Contains(out, `"tracker":{`) &&
			!strings.Contains(out, `"ready":true`) && !strings.Contains(out, `"alive":true`),
			strings.Contains(out, `"refused":[{`):
			t.Errorf("%s answers %s", line, out)
		}
		var made struct{ Value struct{ ID, Key string } }
		if strings.Contains(line, "/keys") && json.Unmarshal([]byte(out), &made) == nil &&
			made.Value.Key != "" {
			env = append(env, "KEYID="+made.Value.ID)
		}
	}
	for _, path := range w.api.Routes() {
		if !slices.Contains(called, path) {
			t.Errorf("no curl line calls %s", path)
		}
	}
	if fleet.drained != 1 {
		t.Errorf("drained %d times", fleet.drained)
	}
	// What the text says about the limits is what the table says.
	for _, e := range errorTable() {
		if e.code != 6 && !regexp.MustCompile(`(?m)^\|[^|]*\b`+itoa(e.code)+`\b`).Match(doc) {
			t.Errorf("code %d is not explained", e.code)
		}
	}
}

// shell runs one line and returns what it prints.
func shell(t *testing.T, line string, env []string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "sh", "-c", line)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v %s", line, err, out)
	}
	return string(out)
}
