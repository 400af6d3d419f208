package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"
)

// child is trackchat in a process of its own, on ports that stay the same over restarts.
type child struct {
	t     testing.TB
	dir   string
	ports map[string]string // by protocol, "api" and "admin"
	cmd   *exec.Cmd
	log   *bytes.Buffer
}

func newChild(tb testing.TB, trackers int) *child {
	tb.Helper()
	c := &child{t: tb, dir: tb.TempDir(), ports: map[string]string{}}
	must(tb, os.WriteFile(filepath.Join(c.dir, "directory.yaml"), []byte(directoryYAML(trackers)), 0o600))
	names := []string{"api", "admin"}
	var listeners []string
	for _, p := range all.Protocols() {
		names = append(names, p.Name)
	}
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(tb, err)
		c.ports[name] = ln.Addr().String()
		must(tb, ln.Close())
		if name != "api" && name != "admin" {
			listeners = append(listeners, fmt.Sprintf("{protocol: %s, listen: %q}", name, c.ports[name]))
		}
	}
	config := fmt.Sprintf("node: child\nstore: {path: %q}\napi: {listen: %q, rate_limit: 0}\nadmin: {listen: %q}\ndirectory: {file: %q}\ngateway: {ack_timeout: [2s, 4s], listeners: [%s]}\n",
		filepath.Join(c.dir, "data"), c.ports["api"], c.ports["admin"], filepath.Join(c.dir, "directory.yaml"), strings.Join(listeners, ", "))
	must(tb, os.WriteFile(c.config(), []byte(config), 0o600))
	tb.Cleanup(func() {
		if c.cmd != nil {
			c.kill()
		}
	})
	return c
}

func (c *child) config() string { return filepath.Join(c.dir, "trackchat.yaml") }

// command runs the test binary as trackchat with args.
func command(args ...string) *exec.Cmd {
	if bin := os.Getenv("TRACKCHAT_BIN"); bin != "" { // a binary built elsewhere, without the race detector
		return exec.Command(bin, args...)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(args, "\x1f"))
	return cmd
}

// start runs the child and waits until it is ready.
func (c *child) start() {
	c.t.Helper()
	c.log = new(bytes.Buffer)
	c.cmd = command("serve", "--config", c.config())
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	must(c.t, c.cmd.Start())
	eventually(c.t, "ready", func() bool {
		res, err := http.Get("http://" + c.ports["admin"] + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // it was killed: the error says so
	c.cmd = nil
}

func (c *child) client() client {
	return client{t: c.t, base: "http://" + c.ports["api"] + "/v2/tracker/chat/"}
}

// ledger is what the outside world knows to have happened: the truth that the store is compared with.
type ledger struct {
	mu       sync.Mutex
	accepted map[int][]int64         // by tracker: ids in the order of their answers
	texts    map[int64]string        // by id
	acked    map[int]map[string]int  // by tracker: texts that its device acknowledged
	shown    map[int][]string        // by tracker: texts in the order of their first showing
	said     map[int]map[string]bool // by tracker: texts of the driver that the gateway acknowledged
}

func newLedger() *ledger {
	return &ledger{accepted: map[int][]int64{}, texts: map[int64]string{}, acked: map[int]map[string]int{}, shown: map[int][]string{}, said: map[int]map[string]bool{}}
}

func (l *ledger) with(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// TestKilledTenTimesUnderLoad kills the service while texts flow both ways: nothing accepted is lost, nothing is DELIVERED without an ack, order is kept, each text of a
// driver is there once.
func TestKilledTenTimesUnderLoad(t *testing.T) {
	const trackers, kills = 12, 10
	c := newChild(t, trackers)
	c.start()
	l := newLedger()
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for id := 1; id <= trackers; id++ {
		sim := playDevice(t, c.ports[protocolOf(id)], id, func(o *trackersim.Options) { l.watch(id, o) })
		load.Go(func() { l.sendAll(ctx, c.client(), id) })
		load.Go(func() { l.sayAll(ctx, sim, id) })
	}
	for n := range kills {
		before := l.count()
		eventually(t, "loaded", func() bool { return l.count() >= before+5*trackers })
		c.kill()
		c.start()
		t.Logf("kill %d after %d accepted", n+1, l.count())
	}
	stop()
	load.Wait()
	for id := 1; id <= trackers; id++ {
		eventually(t, "all delivered", func() bool { return l.settled(c.client(), id) })
	}
	for id := 1; id <= trackers; id++ {
		l.check(t, c.client(), id)
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.texts)
}

func (l *ledger) watch(id int, o *trackersim.Options) {
	l.acked[id], l.said[id] = map[string]int{}, map[string]bool{}
	o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
		l.with(func() {
			if !slices.Contains(l.shown[id], e.Body) {
				l.shown[id] = append(l.shown[id], e.Body)
			}
			l.acked[id][e.Body]++ // before it is written: the gateway cannot know of it earlier
		})
		return trackersim.Action{}
	}
}

// sendAll sends one text after the other; an answer that does not come is neither accepted nor refused.
func (l *ledger) sendAll(ctx context.Context, c client, id int) {
	for n := 0; ctx.Err() == nil; n++ {
		text := fmt.Sprintf("text %d of tracker %d", n, id)
		a, err := c.try("send", url.Values{"tracker_id": {strconv.Itoa(id)}, "message": {text}})
		if err == nil && a.Success {
			l.with(func() {
				l.accepted[id] = append(l.accepted[id], a.ID)
				l.texts[a.ID] = text
			})
		}
		pause(ctx, 15*time.Millisecond)
	}
}

func (l *ledger) sayAll(ctx context.Context, sim *trackersim.Tracker, id int) {
	for n := 0; ctx.Err() == nil; n++ {
		text := fmt.Sprintf("driver %d says %d", id, n)
		if err := sim.Say(ctx, text); err == nil {
			l.with(func() { l.said[id][text] = true })
		}
		pause(ctx, 1200*time.Millisecond) // a device may send 60 texts a minute
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// settled reports whether everything accepted for the tracker is DELIVERED.
func (l *ledger) settled(c client, id int) bool {
	for _, m := range c.list(id) {
		if m.Type == "OUTGOING" && m.Status != "DELIVERED" {
			return false
		}
	}
	return true
}

func (l *ledger) check(t *testing.T, c client, id int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	stored := map[int64]message{}
	incoming := map[string]int{}
	var outgoing []string
	for _, m := range c.list(id) {
		stored[m.ID] = m
		if m.Type == "INCOMING" {
			incoming[m.Text]++
			continue
		}
		outgoing = append(outgoing, m.Text)
		if l.acked[id][m.Text] == 0 || m.UpdateTime == nil {
			t.Errorf("tracker %d: %q is DELIVERED, but its device never acknowledged it", id, m.Text)
		}
	}
	for i, sent := range l.accepted[id] {
		if _, ok := stored[sent]; !ok {
			t.Errorf("tracker %d: accepted message %d is lost", id, sent)
		}
		if i > 0 && sent <= l.accepted[id][i-1] {
			t.Errorf("tracker %d: id %d after %d", id, sent, l.accepted[id][i-1])
		}
	}
	for text := range l.said[id] {
		if incoming[text] == 0 {
			t.Errorf("tracker %d: the driver's %q was acknowledged and is lost", id, text)
		}
	}
	for text, n := range incoming {
		if n != 1 {
			t.Errorf("tracker %d: the driver's %q is stored %d times", id, text, n)
		}
	}
	if !slices.Equal(l.shown[id], outgoing) {
		t.Errorf("tracker %d: shown in another order than stored:\n%q\n%q", id, l.shown[id], outgoing)
	}
}

func TestSIGTERMEndsTheServiceInOrder(t *testing.T) {
	c := newChild(t, 1)
	c.start()
	playDevice(t, c.ports["jt808"], 1, nil)
	c.client().delivered(1, c.client().send(1, "text"))
	if out, err := command("check", "--ready", "--config", c.config()).CombinedOutput(); err != nil {
		t.Errorf("check --ready of a ready service: %v %s", err, out)
	}
	// A second process on the same file is refused and harms nobody.
	second := command("serve", "--config", c.config())
	out, err := second.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(filepath.Join(c.dir, "data"))) {
		t.Errorf("second process: %v, %s", err, out)
	}
	must(t, c.cmd.Process.Signal(syscall.SIGTERM))
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("exit: %v\n%s", err, c.log)
		}
	case <-time.After(stopWithin + 5*time.Second):
		t.Error("still running")
	}
	if out, err := command("check", "--ready", "--config", c.config()).CombinedOutput(); err == nil {
		t.Errorf("check --ready of a stopped service succeeds: %s", out)
	}
	c.start()
	if ms := c.client().list(1); len(ms) != 1 || ms[0].Status != "DELIVERED" {
		t.Errorf("after a restart: %+v", ms)
	}
}

func TestDemo(t *testing.T) {
	cmd := command("serve", "--demo")
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	var mu sync.Mutex
	var out strings.Builder
	read := make(chan struct{})
	go func() {
		defer close(read)
		chunk := make([]byte, 4096)
		for {
			n, err := pipe.Read(chunk)
			mu.Lock()
			out.Write(chunk[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	printed := func() string { mu.Lock(); defer mu.Unlock(); return out.String() }
	eventually(t, "logged in", func() bool { return strings.Count(printed(), "logged in") >= len(demoTrackers()) })
	var curl string
	for line := range strings.Lines(printed()) {
		if strings.Contains(line, "/chat/send'") {
			curl = line
		}
	}
	fields := strings.Fields(strings.NewReplacer("'", "").Replace(curl))
	res, err := http.PostForm(fields[1], url.Values{"hash": {strings.TrimPrefix(fields[3], "hash=")}, "tracker_id": {strings.TrimPrefix(fields[5], "tracker_id=")}, "message": {"Hello demo"}})
	must(t, err)
	_ = res.Body.Close()
	for _, want := range []string{`shows "Hello demo"`, "acknowledged it: DELIVERED", "writes", "INCOMING"} {
		eventually(t, want, func() bool { return strings.Contains(printed(), want) })
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	<-read
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, printed())
	}
}
