package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
)

// patience bounds every wait; it is long because it only passes when something is broken.
const patience = 30 * time.Second

// maxPending is how many undelivered messages of one tracker the services here keep.
const maxPending = 50

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is an output that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// directoryFile is the format of directory.yaml.
type directoryFile struct {
	Accounts []struct {
		ID       int64    `yaml:"id"`
		Login    string   `yaml:"login"`
		Password string   `yaml:"password"`
		Title    string   `yaml:"title"`
		TimeZone string   `yaml:"time_zone"`
		Keys     []string `yaml:"keys"`
	} `yaml:"accounts"`
	Trackers []struct {
		ID       int64             `yaml:"id"`
		Account  int64             `yaml:"account"`
		Label    string            `yaml:"label"`
		Protocol string            `yaml:"protocol"`
		DeviceID string            `yaml:"device_id"`
		Password string            `yaml:"password"`
		Model    string            `yaml:"model"`
		Blocked  bool              `yaml:"blocked"`
		Features []string          `yaml:"features"`
		Settings map[string]string `yaml:"settings"`
	} `yaml:"trackers"`
}

// directory runs the subcommand and parses what it wrote, strictly.
func directory(t *testing.T, args ...string) (raw string, file directoryFile) {
	t.Helper()
	var out, errs buffer
	if code := run(t.Context(), append([]string{"directory"}, args...), &out,
		&errs); code != exitOK || errs.String() != "" {
		t.Fatalf("directory %v: exit code %d, %s", args, code, errs.String())
	}
	d := yaml.NewDecoder(strings.NewReader(out.String()))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return out.String(), file
}

func TestDirectory(t *testing.T) {
	raw, file := directory(t, "--protocol", "jt808", "--devices", "3", "--first-tracker", "500")
	if again, _ := directory(t, "--protocol", "jt808", "--devices", "3", "--first-tracker",
		"500"); again != raw {
		t.Error("the same flags wrote another directory")
	}
	a := file.Accounts[0]
	if len(file.Accounts) != 1 || a.ID != 1 || a.Login != "demo" || a.Password == "" ||
		!regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(a.Keys[0]) {
		t.Errorf("accounts %+v", file.Accounts)
	}
	if len(file.Trackers) != 3 {
		t.Fatalf("%d trackers", len(file.Trackers))
	}
	for i, tr := range file.Trackers {
		if tr.ID != int64(500+i) || tr.Account != 1 || tr.Protocol != "jt808" ||
			tr.DeviceID != fmt.Sprintf("1380000%04d", i+1) || tr.Features[0] != "chat" ||
			tr.Label == "" {
			t.Errorf("tracker %d is %+v", i, tr)
		}
	}
	const key = "A6AA75587E5C59C32D347DA438505FC3"
	if _, file = directory(t, "--protocol", "wialon", "--first-id", "truck-098", "--devices", "3",
		"--key", key); file.Accounts[0].Keys[0] != strings.ToLower(key) ||
		file.Trackers[2].DeviceID != "truck-100" {
		t.Errorf("directory %+v", file)
	}
}

func TestDirectoryOfEveryProtocol(t *testing.T) {
	for _, tc := range []struct {
		args        []string
		first, last string
		settings    map[string]string
	}{
		{[]string{"jt808", "--variant", "2019"}, "13800000001", "13800000012", nil},
		{
			[]string{"wialon", "--setting", "ack=next_frame"},
			"860000000000001", "860000000000012",
			map[string]string{"ack": "next_frame"},
		},
		{
			[]string{"teltonika", "--setting", "chat=serial", "--setting", `ack_pattern=^A(\d+)$`},
			"860000000000001", "860000000000012",
			map[string]string{
				"chat":        "serial",
				"ack_pattern": `^A(\d+)$`,
			},
		},
		{[]string{"egts"}, "860000000000001", "860000000000012", nil},
		{[]string{"egts", "--variant", "oid", "--setting", "lenient=true"}, "1", "12", nil},
		{[]string{"galileosky", "--variant", "a604"}, "860000000000001", "860000000000012", nil},
		{[]string{"watch", "--variant", "yw"}, "860000000000001", "860000000000012", nil},
	} {
		_, file := directory(t, append([]string{"--devices", "12", "--protocol"}, tc.args...)...)
		first, last := file.Trackers[0], file.Trackers[11]
		if len(file.Trackers) != 12 || first.DeviceID != tc.first || last.DeviceID != tc.last ||
			first.Protocol != tc.args[0] || !maps.Equal(first.Settings, tc.settings) {
			t.Errorf("%v: from %+v to %+v", tc.args, first, last)
		}
	}
}

// What is wrong is said with what would be right.
func TestWrongVariantsSettingsAndIDs(t *testing.T) {
	for want, args := range map[string][]string{
		`--variant: jt808 has no "2020" (it has: 2013, 2011, 2019)`: {
			"--protocol", "jt808",
			"--variant", "2020",
		},
		`--variant: egts has no "2013" (it has: auth, oid)`: {
			"directory", "--protocol",
			"egts", "--variant", "2013",
		},
		`--setting: wialon setting "ack": "maybe" is none of am`: {
			"--protocol", "wialon",
			"--setting", "ack=maybe",
		},
		`--setting: egts has no setting "ack"`: {
			"directory", "--protocol",
			"egts", "--setting", "ack=am",
		},
		`"ack" for flag -setting: not a name, =, and a value`: {
			"--protocol", "wialon",
			"--setting", "ack",
		},
		`"8600000000000001" is not an IMEI of at most 15 digits`: {
			"--protocol", "teltonika",
			"--first-id", "8600000000000001",
		},
		`"truck-1" is not an IMEI of at most 15 digits`: {
			"--protocol", "galileosky",
			"--first-id", "truck-1",
		},
		`"4294967296" is not the number of a terminal`: {
			"--protocol", "egts",
			"--variant", "oid", "--first-id", "4294967295", "--devices", "2",
		},
		`"123456789012345678901" is not a phone of at most 20 digits`: {
			"--protocol", "jt808",
			"--variant", "2019", "--first-id", "123456789012345678901",
		},
	} {
		var out, errs buffer
		if code := run(t.Context(), args, &out, &errs); code != exitMisused ||
			!strings.Contains(errs.String(), want) {
			t.Errorf("%q: exit code %d, %s", args, code, errs.String())
		}
	}
}

func TestDeviceIDs(t *testing.T) {
	for _, tc := range []struct {
		first  string
		i      int
		want   string
		failed bool
	}{
		{"007", 3, "010", false},
		{"9", 1, "10", false},
		{"bus-9", 1, "", true},
		{"bus", 1, "", true},
		{"", 1, "", true},
		{"b\"1", 1, "", true},
		{"86000000000000000009", 1, "86000000000000000010", false},
		{"999999999999999999", 1, "1000000000000000000", false},
		{"1999999999999999999", 1, "", true}, // only the last 18 digits count
		{strings.Repeat("1", 33), 1, "", true},
	} {
		n, err := newIDs(tc.first, tc.i+1)
		if (err != nil) != tc.failed {
			t.Errorf("%q: %v", tc.first, err)
			continue
		}
		if err == nil && n.at(tc.i) != tc.want {
			t.Errorf("device %d after %q is %q, want %q", tc.i, tc.first, n.at(tc.i), tc.want)
		}
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"bogus"},
		{"load"},
		{"--bogus"},
		{"--interactive", "--protocol", "jt808", "--devices", "2"},
		{"--protocol", "smoke"},
		{"--protocol", "jt808", "stray"},
		{"--protocol", "jt808", "--devices", "0"},
		{"--protocol", "jt808", "--devices", "1000001"},
		{"--protocol", "jt808", "--first-id", "bus-1"},
		{"--protocol", "jt808", "--first-id", "999999999999", "--devices", "2"},
		{"--protocol", "jt808", "--no-ack", "5"},
		{"--protocol", "jt808", "--no-ack", "NaN"},
		{"--protocol", "jt808", "--no-ack", "101%"},
		{"--protocol", "jt808", "--connect-rate", "0"},
		{"--protocol", "jt808", "--gateway", "localhost"},
		{"--protocol", "jt808", "--source", "localhost"},
		{"--protocol", "jt808", "--ack-delay", "-1s"},
		{"upstream"},
		{"upstream", "--protocol", "smoke"},
		{"upstream", "--protocol", "jt808", "--devices", "2"},
		{"upstream", "--protocol", "jt808", "--listen", "localhost"},
		{"upstream", "--protocol", "jt808", "--setting", "bogus=1"},
		{"upstream", "--protocol", "jt808", "--delay", "-1s"},
		{"upstream", "--protocol", "jt808", "--die-after", "-1"},
		{"upstream", "--protocol", "jt808", "--die-after", "1", "--die-every", "1s"},
		{"upstream", "--protocol", "jt808", "--refuse", "1,,2"},
		{"upstream", "--protocol", "jt808", "--max-conns", "0"},
		{"directory"},
		{"directory", "--gateway", "x:1"},
		{"directory", "--protocol", "jt808", "--key", "abc"},
		{"directory", "--protocol", "jt808", "--first-tracker", "0"},
	} {
		var out, errs buffer
		if code := run(t.Context(), args, &out, &errs); code != exitMisused || out.String() != "" {
			t.Errorf("%q: exit code %d, output %q", args, code, out.String())
		}
		if !strings.HasPrefix(errs.String(), "trackersim: ") ||
			!strings.Contains(errs.String(), "usage:") {
			t.Errorf("%q complains with %q", args, errs.String())
		}
	}
	var out, errs buffer
	if code := run(t.Context(), []string{"--help"}, &out, &errs); code != exitOK ||
		!strings.Contains(out.String(), "--ack-delay") || errs.String() != "" {
		t.Errorf("help: exit code %d, %q, %q", code, out.String(), errs.String())
	}
}

func TestPercent(t *testing.T) {
	for in, want := range map[string]float64{"5%": 0.05, "0.05": 0.05, "100%": 1, "0": 0, "1": 1} {
		var p percent
		if err := p.Set(in); err != nil || float64(p) != want {
			t.Errorf("%q is %v (%v), want %v", in, float64(p), err, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if _, ok := h.quantile(0.5); ok {
		t.Error("an empty histogram has a median")
	}
	for us := uint64(0); us < 1<<20; us = us*17/16 + 1 {
		if top := topOf(bucketOf(us)); top < us || float64(top) > float64(us)*1.07 {
			t.Errorf("%d us count as %d", us, top)
		}
	}
	for ms := range 100 {
		h.add(time.Duration(ms+1) * time.Millisecond)
	}
	h.add(-time.Second)
	for q, want := range map[float64]time.Duration{
		0.5:  50 * time.Millisecond,
		0.99: 99 * time.Millisecond, 1: 100 * time.Millisecond,
	} {
		if got, ok := h.quantile(q); !ok || got < want*93/100 || got > want*107/100 {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	h.add(1<<63 - 1)
	if got, _ := h.quantile(1); got < 1<<62 {
		t.Errorf("the longest duration counts as %v", got)
	}
}

// startGateway runs the real gateway on the embedded store, with the directory that the subcommand
// wrote.
func startGateway(t *testing.T, protocolName string, file directoryFile) (store queue.Store,
	addr string,
) {
	t.Helper()
	store, _, addr = startDevices(t, protocolName, file, gateway.Options{})
	return store, addr
}

// startDevices is startGateway with options; known is the directory, for an API beside it.
func startDevices(t *testing.T, protocolName string, file directoryFile,
	o gateway.Options,
) (store queue.Store, known *queue.Directory, addr string) {
	t.Helper()
	store, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
		Path: t.TempDir(),
		Now:  time.Now, MaxPending: maxPending,
	})
	check(t, err)
	t.Cleanup(func() { check(t, store.Close()) })
	accounts := []queue.Account{{
		ID:    queue.AccountID(file.Accounts[0].ID),
		Login: file.Accounts[0].Login, TimeZone: "UTC",
		Keys: []queue.Key{{Hash: queue.HashKey(file.Accounts[0].Keys[0])}},
	}}
	trackers := make([]queue.Tracker, len(file.Trackers))
	for i, f := range file.Trackers {
		trackers[i] = queue.Tracker{
			ID: queue.TrackerID(f.ID), Account: queue.AccountID(f.Account), Label: f.Label,
			Protocol: f.Protocol, DeviceID: queue.NormalizeDeviceID(f.DeviceID),
			Password: f.Password, Model: f.Model, Blocked: f.Blocked, Chat: true,
			Features: f.Features, Settings: f.Settings,
		}
	}
	_, err = store.ImportDirectory(t.Context(), accounts, trackers, true)
	check(t, err)
	known = new(queue.Directory)
	known.Replace(queue.NewSnapshot(accounts, trackers))
	e, err := engine.New(engine.Options{Now: time.Now})
	check(t, err)
	o.Node, o.Engine, o.Store, o.Directory, o.Now = "test", e, store, known, time.Now
	g, err := gateway.New(o)
	check(t, err)
	check(t, g.Start(t.Context()))
	p, _ := all.Find(protocolName)
	l, err := g.Listen(p, nil, 0)
	check(t, err)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	served := make(chan error, 1)
	go func() { served <- l.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, g.Quiesce(ctx))
		check(t, e.Shutdown(ctx))
		check(t, g.Close(ctx))
		check(t, <-served)
	})
	return store, known, ln.Addr().String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// figure reads a line of the summary.
func figure(t *testing.T, out, name string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ *` + regexp.QuoteMeta(name) + ` +(\d+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no %q in %s", name, out)
	}
	n, err := strconv.Atoi(m[1])
	check(t, err)
	return n
}

func TestFleetPlaysWhatTheDirectorySays(t *testing.T) {
	fleets := [][]string{{
		"--protocol", "teltonika", "--setting", "chat=serial", "--setting",
		`ack_pattern=^A(\d+)$`,
	}}
	for _, p := range all.Protocols() {
		for _, v := range p.Variants {
			if v != variantOID { // which logs in where the listener is lenient
				fleets = append(fleets, []string{"--protocol", p.Name, "--variant", v})
			}
		}
	}
	for _, fleet := range fleets {
		t.Run(strings.Join(fleet, " "), func(t *testing.T) {
			t.Parallel()
			const devices = 20
			_, file := directory(t, append([]string{"--devices", strconv.Itoa(devices)},
				fleet...)...)
			store, addr := startGateway(t, fleet[1], file)
			reqs := make([]queue.SendReq, devices)
			for i := range reqs {
				reqs[i] = queue.SendReq{
					Tracker: queue.TrackerID(file.Trackers[i].ID),
					Text:    "good morning",
				}
			}
			results, err := store.Send(t.Context(), reqs)
			for i := range results {
				err = errors.Join(err, results[i].Err)
			}
			check(t, err)
			var out, errs buffer
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			code := make(chan int, 1)
			go func() {
				code <- run(ctx, append([]string{
					"--gateway", addr, "--devices", strconv.Itoa(devices), "--reply", "morning",
					"--ack-delay", "5ms", "--source", "127.0.0.1,127.0.0.2",
				}, fleet...), &out, &errs)
			}()
			reply := "morning"
			if fleet[1] == "watch" { // whose wearer can only speak
				reply = "[voice message]"
			}
			awaitReplies(t, store, reqs, reply)
			awaitLine(t, &out, fmt.Sprintf("online %d/%d  received %d", devices, devices, devices))
			interrupt()
			if c := <-code; c != exitOK || errs.String() != "" {
				t.Errorf("exit code %d, %s", c, errs.String())
			}
			for name, want := range map[string]int{
				"logins": devices, "logins refused": 0, "connections lost": 0,
				"text parts received": devices, "repeated": 0, "not acknowledged": 0,
				"driver's texts": devices,
			} {
				if got := figure(t, out.String(), name); got != want {
					t.Errorf("%s: %d, want %d", name, got, want)
				}
			}
			if !strings.Contains(out.String(), "text in to ack out               p50 ") {
				t.Errorf("no latency in %s", out.String())
			}
		})
	}
}

// awaitReplies waits until every message is delivered and answered.
func awaitReplies(t *testing.T, store queue.Store, reqs []queue.SendReq, reply string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for i := range reqs {
		for {
			ms, err := store.List(ctx, queue.ListQuery{
				Tracker: reqs[i].Tracker, ToMs: 1 << 50,
				Limit: 16,
			})
			check(t, err)
			if len(ms) == 2 && ms[0].Status.Acknowledged() && ms[1].Text == reply {
				break
			}
			<-every.C
		}
	}
}

// awaitLine waits until the output has a text.
func awaitLine(t *testing.T, out *buffer, text string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for !strings.Contains(out.String(), text) {
		select {
		case <-every.C:
		case <-deadline.C:
			t.Fatalf("no %q in %s", text, out.String())
		}
	}
}

func TestDurationEndsTheRun(t *testing.T) {
	_, file := directory(t, "--protocol", "wialon", "--devices", "2")
	_, addr := startGateway(t, "wialon", file)
	var out, errs buffer
	if code := run(t.Context(), []string{
		"--protocol", "wialon", "--devices", "2", "--gateway",
		addr, "--duration", "1s",
	}, &out, &errs); code != exitOK {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
	if n := figure(t, out.String(), "logins"); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestNobodyLogsIn(t *testing.T) {
	_, file := directory(t, "--protocol", "jt808", "--devices", "1")
	_, addr := startGateway(t, "jt808", file)
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	check(t, closed.Close())
	for name, args := range map[string][]string{
		"refused": {"--gateway", addr, "--first-id", "777"},
		"no port": {"--gateway", closed.Addr().String()},
	} {
		var out, errs buffer
		if code := run(t.Context(), append([]string{
			"--protocol", "jt808", "--devices", "3",
			"--reconnect=false",
		}, args...), &out, &errs); code != exitNobody ||
			!strings.Contains(errs.String(), "no device could log in") {
			t.Errorf("%s: exit code %d, %s", name, code, errs.String())
		}
		if figure(t, out.String(), "logins") != 0 ||
			figure(t, out.String(), "logins refused")+figure(t, out.String(),
				"dials and logins failed") != 3 ||
			!strings.Contains(out.String(), "last error: tracker ") {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}
