package main

import (
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/trackersim"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// readmeSection returns the lines of a section's first shell block.
func readmeSection(t *testing.T, title string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	apptest.Must(t, err)
	_, section, found := strings.Cut(string(readme), "\n## "+title+"\n")
	_, section, begins := strings.Cut(section, "\n```sh\n")
	block, _, ends := strings.Cut(section, "\n```")
	if !found || !begins || !ends {
		t.Fatalf("README has no commands under %q", title)
	}
	return strings.Split(block, "\n")
}

// shellLine runs one line of the README, with trackchat being this test's child, and returns what
// it printed.
func shellLine(t *testing.T, line, config string) string {
	t.Helper()
	words := regexp.MustCompile(`^(?:echo '([^']*)' \| )?trackchat (.*)$`).FindStringSubmatch(line)
	if words == nil {
		t.Fatalf("not understood: %s", line)
	}
	cmd := apptest.Command(append(strings.Fields(words[2]), "--config", config)...)
	cmd.Stdin = strings.NewReader(words[1])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// TestFirstFleet follows the README on a service that has nothing: account, key and tracker, then a
// text.
func TestFirstFleet(t *testing.T) {
	t.Parallel()
	c := apptest.NewChild(t, apptest.ChildOptions{Directory: "accounts: []\ntrackers: []\n"})
	c.Start()
	base := "http://" + c.Ports["api"] + "/v2/"
	login := func(name, password string) string {
		res, err := apptest.HTTP.PostForm(base+"user/auth", url.Values{
			"login":    {name},
			"password": {password},
		})
		apptest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		apptest.Must(t, err)
		return string(body)
	}
	if got := login("me", "change me"); !strings.Contains(got, "trackchat account put") {
		t.Errorf("a login without accounts: %s", got)
	}
	lines := readmeSection(t, "A fleet of your own")
	if len(lines) != 3 {
		t.Fatalf("README has %d commands: %q", len(lines), lines)
	}
	var printed string
	for _, line := range lines {
		printed += shellLine(t, line, c.Config())
	}
	apptest.Eventually(t, "login after the three commands", func() bool {
		got := login("me", "change me")
		if !strings.Contains(got, `"code":14`) && !strings.Contains(got, `"success":true`) {
			t.Fatalf("login after the three commands: %s", got)
		}
		return strings.Contains(got, `"success":true`) // a busy disk may be too slow for the first
	})
	if got := login("me", "wrong"); strings.Contains(got, "errors") {
		t.Errorf("a wrong password where there is an account: %s", got)
	}
	key := regexp.MustCompile(`"key": "([0-9a-f]{32})"`).FindStringSubmatch(printed)
	if key == nil {
		t.Fatalf("no key was printed: %s", printed)
	}
	apptest.PlayDevice(t, c.Ports["jt808"], 1, func(o *trackersim.Options) { o.Device.ID = "13800000001" })
	call := func(op string, more url.Values) string {
		more.Set("hash", key[1])
		more.Set("tracker_id", "101")
		res, err := apptest.HTTP.PostForm(base+"tracker/chat/"+op, more)
		apptest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		apptest.Must(t, err)
		return string(body)
	}
	if got := call("send", url.Values{"message": {"hello"}}); !strings.Contains(got,
		`"success":true`) {
		t.Fatalf("send: %s", got)
	}
	apptest.Eventually(t, "delivered", func() bool {
		return strings.Contains(call("list", url.Values{}),
			"DELIVERED")
	})
	c.Kill()
	if log := c.Log.String(); !strings.Contains(log, "trackchat account put") {
		t.Errorf("the log of a service without accounts does not say how to make one:\n%s", log)
	}
}

// TestWrongImportIsToldOnce gives import the file that serve reads.
func TestWrongImportIsToldOnce(t *testing.T) {
	t.Parallel()
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: 1})
	c.Start()
	cmd := apptest.Command("tracker", "import", c.Directory(), "--config", c.Config())
	out, err := cmd.CombinedOutput()
	if err == nil || strings.Count(string(out), "directory.file") != 1 ||
		strings.Count(string(out), "\n") > 3 {
		t.Errorf("import of a YAML file: %v\n%s", err, out)
	}
}

// TestCommandsWithoutAService say what is missing.
func TestCommandsWithoutAService(t *testing.T) {
	t.Parallel()
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: 1}) // never started
	for _, args := range [][]string{
		{"tracker", "list"},
		{"account", "get", "1"},
		{"key", "create", "1"},
		{"tracker", "import", c.Directory()},
		{"tracker", "export"},
		{"check", "--ready"},
	} {
		out, err := apptest.Command(append(args, "--config", c.Config())...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "trackchat serve") ||
			!strings.Contains(string(out), "--config") {
			t.Errorf("%q without a service: %v\n%s", args, err, out)
		}
	}
}

func TestDemoListens(t *testing.T) {
	for listen, want := range map[string]bool{
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "10.1.2.3:8080": false,
		"nonsense":       false,
		"127.0.0.1:8080": true, "127.0.0.2:0": true, "[::1]:8080": true, "localhost:8080": true,
	} {
		if got := onLoopback(listen); got != want {
			t.Errorf("%s is on loopback: %v", listen, got)
		}
	}
}

func TestDemoPlaysEveryProtocol(t *testing.T) {
	trackers := demoTrackers()
	for _, p := range all.Protocols() {
		if !slices.ContainsFunc(trackers,
			func(d demoTracker) bool { return d.Protocol == p.Name }) {
			t.Errorf("no tracker of the demo speaks %s", p.Name)
		}
	}
	last := yourTracker().ID - 1 // which nobody plays, so its number is left out
	for i, d := range trackers {
		p, ok := all.Find(d.Protocol)
		id := queue.TrackerID(101 + i)
		if id > last {
			id++
		}
		if !ok || d.ID != id || !slices.Contains(p.Variants, d.variant) || d.reply == "" ||
			d.says == "" {
			t.Errorf("tracker %d of the demo is %+v", i, d)
		}
	}
}
