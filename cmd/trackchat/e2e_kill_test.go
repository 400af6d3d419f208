package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue/queuetest"
)

// TestKilledTenTimesUnderLoad kills the service while texts flow both ways: nothing accepted is
// lost, nothing is DELIVERED without an ack, order is kept, each text of a driver is there once.
func TestKilledTenTimesUnderLoad(t *testing.T) {
	t.Parallel()
	const trackers, kills = 12, 10
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: trackers})
	c.Start()
	l := newLedger(t, c.Client(), 15*time.Millisecond)
	l.load(trackerIDs(1, trackers), func(id int) string { return c.Ports[apptest.ProtocolOf(id)] })
	for n := range kills {
		l.progress()
		c.Kill()
		c.Start()
		t.Logf("kill %d after %d accepted", n+1, l.count())
	}
	l.finish()
}

func TestSIGTERMEndsTheServiceInOrder(t *testing.T) {
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: 1})
	c.Start()
	apptest.PlayDevice(t, c.Ports["jt808"], 1, nil)
	c.Client().Delivered(1, c.Client().Send(1, "text"))
	if out, err := apptest.Command("check", "--ready", "--config", c.Config()).CombinedOutput(); err != nil {
		t.Errorf("check --ready of a ready service: %v %s", err, out)
	}
	// A second process on the same file is refused and harms nobody.
	second := apptest.Command("serve", "--config", c.Config())
	out, err := second.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(filepath.Join(c.Dir, "data"))) {
		t.Errorf("second process: %v, %s", err, out)
	}
	apptest.Must(t, c.Cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-c.Exited:
		if c.Err != nil {
			t.Errorf("exit: %v\n%s", c.Err, c.Log)
		}
	case <-time.After(app.StopWithin + 5*time.Second):
		t.Error("still running")
	}
	if out, err := apptest.Command("check", "--ready", "--config", c.Config()).CombinedOutput(); err == nil {
		t.Errorf("check --ready of a stopped service succeeds: %s", out)
	}
	c.Start()
	if ms := c.Client().List(1); len(ms) != 1 || ms[0].Status != "DELIVERED" {
		t.Errorf("after a restart: %+v", ms)
	}
}

func TestDemo(t *testing.T) {
	cmd := apptest.Command("serve", "--demo")
	pipe, err := cmd.StdoutPipe()
	apptest.Must(t, err)
	cmd.Stderr = os.Stderr
	apptest.Must(t, cmd.Start())
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
	apptest.Eventually(t, "logged in", func() bool {
		return strings.Count(printed(),
			"logged in") >= len(demoTrackers())
	})
	var curl string
	for line := range strings.Lines(printed()) {
		if strings.Contains(line, "/chat/send'") {
			curl = line
		}
	}
	fields := strings.Fields(strings.NewReplacer("'", "").Replace(curl))
	res, err := http.PostForm(fields[1], url.Values{
		"hash": {strings.TrimPrefix(fields[3],
			"hash=")}, "tracker_id": {strings.TrimPrefix(fields[5], "tracker_id=")},
		"message": {"Hello demo"},
	})
	apptest.Must(t, err)
	_ = res.Body.Close()
	for _, want := range []string{
		`shows "Hello demo"`, "acknowledged it: DELIVERED", "writes",
		"INCOMING",
	} {
		apptest.Eventually(t, want, func() bool { return strings.Contains(printed(), want) })
	}
	driver := regexp.MustCompile(`--interactive --gateway (\S+)`).FindStringSubmatch(printed())
	if driver == nil {
		t.Fatalf("the demo does not say how to be a driver:\n%s", printed())
	}
	heard := make(chan string, 1)
	apptest.PlayDevice(t, driver[1], 1, func(o *trackersim.Options) {
		o.Device.ID = yourTracker().DeviceID
		o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
			heard <- e.Body
			return trackersim.Action{}
		}
	})
	res, err = http.PostForm(fields[1], url.Values{
		"hash":       {strings.TrimPrefix(fields[3], "hash=")},
		"tracker_id": {"108"}, "message": {"Hello you"},
	})
	apptest.Must(t, err)
	_ = res.Body.Close()
	select {
	case got := <-heard:
		if got != "Hello you" {
			t.Errorf("the driver reads %q", got)
		}
	case <-time.After(apptest.Patience):
		t.Error("the driver got nothing")
	}
	apptest.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	<-read
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, printed())
	}
}

// TestRedisIsEmptied: to clients and devices it is an outage, not a world without accounts,
// trackers and messages; an operator ends it.
func TestRedisIsEmptied(t *testing.T) {
	server := queuetest.StartRedis(t)
	cfg := apptest.OnRedis(t, server.Addr)
	s := startService(t, cfg)
	s.Device(1, func(o *trackersim.Options) { o.Reconnect = false })
	id := s.API.Send(1, "before")
	s.API.Delivered(1, id)
	hash := s.Login()

	server.Must(t, "FLUSHALL")
	for op, want := range map[string]int{"send": 8, "list": 14} {
		if a := s.API.Call(op, "tracker_id", "1", "message", "x"); a.Status.Code != want {
			t.Errorf("%s: %+v, want code %d", op, a, want)
		}
	}
	if a := s.API.Call("list", "tracker_id", "1", "hash", hash); a.Status.Code != 14 {
		t.Errorf("with a session: %+v", a)
	}
	if code := s.LoginCode(); code != 14 {
		t.Errorf("login: code %d", code)
	}
	apptest.Eventually(t, "told what to do",
		func() bool { return strings.Contains(s.Unready(), "trackchat check --adopt") })
	if _, errs := s.Ask(http.MethodGet, "/admin/errors"); !strings.Contains(errs,
		"Redis is not the store that this service knows") {
		t.Errorf("the operations view does not say it: %s", errs)
	}
	if n := apptest.Metric(t, s.Addrs["admin"], "trackchat_sessions"); n != 1 {
		t.Errorf("%v sessions", n)
	}
	if keys := server.Must(t, "DBSIZE"); keys != "0" {
		t.Errorf("%s keys were written: %s", keys, server.Must(t, "KEYS", "*"))
	}

	var out bytes.Buffer
	if code := runAdopt(t.Context(), cfg, nil, &out); code != 0 ||
		!strings.Contains(out.String(), "ok      store redis "+server.Addr+": adopted") {
		t.Errorf("adopting: exit code %d\n%s", code, out.String())
	}
	apptest.Eventually(t, "ready", s.Ready)
	apptest.Must(t, s.App.Reload(t.Context()))
	if again := s.API.Send(1, "after"); again <= id {
		t.Errorf("id %d after %d", again, id)
	}
	if ms := s.API.List(1); len(ms) != 1 {
		t.Errorf("%+v", ms)
	}
}

// TestDatabaseIsRemoved: a start beside the log of a database that is gone is refused, `check` says
// why, and `check --adopt` goes on without it.
func TestDatabaseIsRemoved(t *testing.T) {
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: 1})
	c.Start()
	id := c.Client().Send(1, "before")
	c.Kill()
	file := filepath.Join(c.Dir, "data", "chat.db")
	apptest.Must(t, os.Rename(file, file+".away"))
	for _, args := range [][]string{{"serve"}, {"check"}} {
		out, err := apptest.Command(append(args, "--config", c.Config())...).CombinedOutput()
		if err == nil || !bytes.Contains(out,
			[]byte("chat.db is missing, but its write-ahead log")) ||
			!bytes.Contains(out, []byte("trackchat check --adopt")) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	apptest.Must(t, os.Rename(file+".away", file))
	c.Start()
	if ms := c.Client().List(1); len(ms) != 1 || ms[0].ID != id {
		t.Errorf("brought back: %+v", ms)
	}
	c.Kill()

	apptest.Must(t, os.Remove(file))
	if out, err := apptest.Command("check", "--adopt", "--config", c.Config()).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("adopted, although")) {
		t.Errorf("adopting: %v\n%s", err, out)
	}
	c.Start()
	if ms := c.Client().List(1); len(ms) != 0 {
		t.Errorf("%+v", ms)
	}
	if again := c.Client().Send(1, "after"); again <= id {
		t.Errorf("id %d after %d", again, id)
	}
	if out, err := apptest.Command("check", "--adopt", "--config", c.Config()).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("in use")) {
		t.Errorf("adopting what a service uses: %v\n%s", err, out)
	}
}

// TestLogDuringAnOutage: with Redis dead, failed sends do not fill the log, the Redis client writes
// to it like everybody, and how much was left out is told.
func TestLogDuringAnOutage(t *testing.T) {
	t.Parallel()
	const sends = 40
	server := queuetest.StartRedis(t)
	c := apptest.NewChild(t, apptest.ChildOptions{
		Trackers: 1, Redis: []string{server.Addr},
		Extra: "log: {format: json}\n",
	})
	c.Start()
	server.Kill(t)
	var sending sync.WaitGroup
	for range sends {
		sending.Go(func() {
			if a := c.Client().Call("send", "tracker_id", "1", "message",
				"into the void"); a.Success {
				t.Errorf("%+v", a)
			}
		})
	}
	sending.Wait()
	server.Start(t)
	c.AwaitReady()
	apptest.Must(t, c.Cmd.Process.Signal(syscall.SIGTERM))
	<-c.Exited
	lines, told, client := 0, 0, 0
	for line := range bytes.Lines(c.Log.Bytes()) {
		var e struct {
			Msg      string
			Repeated int
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("not of the service's log: %q", line)
		}
		switch e.Msg {
		case "store call failed":
			lines++
			told += max(e.Repeated, 1)
		case "redis client":
			client++
		case "request":
			t.Errorf("a failed send has another line: %s", line)
		}
	}
	const folded = 5 + 1 // lines of one message in a minute, and how many more there were
	if lines > folded || told < sends {
		t.Errorf("%d lines tell of %d failed calls, %d sends failed", lines, told, sends)
	}
	if client == 0 {
		t.Error("the Redis client has said nothing")
	}
}

// floodLimit is the memory of a service that strangers flood.
const floodLimit = 256 << 20

// TestStrangersTakeNeitherMemoryNorProcessors floods a small service from its own machine: with 400
// bodies of nearly a MiB that never end, then with 1,400 logins at once. Texts are accepted and
// delivered, and devices log in, all the while.
func TestStrangersTakeNeitherMemoryNorProcessors(t *testing.T) {
	t.Setenv("GOMEMLIMIT", strconv.Itoa(floodLimit))
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: 40})
	c.Start()
	if n := c.Metric("trackchat_memory_limit_bytes"); n != floodLimit {
		t.Fatalf("a limit of %v bytes", n)
	}
	apptest.PlayDevice(t, c.Ports[apptest.ProtocolOf(1)], 1, nil)
	works := func(device int) {
		t.Helper()
		apptest.PlayDevice(t, c.Ports[apptest.ProtocolOf(device)], device, nil)
		for _, id := range []int{1, device} {
			c.Client().Delivered(id, c.Client().Send(id, "through the flood"))
		}
	}
	works(2)
	peak := 0.0
	watch := func() { peak = max(peak, c.Metric("trackchat_memory_used_bytes")) }

	var wg sync.WaitGroup
	defer wg.Wait()
	piece := []byte(`{"hash":"` + strings.Repeat("0", 32) + `","message":"` + strings.Repeat("x",
		1000<<10))
	conns := make([]net.Conn, 400)
	for i := range conns {
		conn, err := net.Dial("tcp", c.Ports["api"])
		apptest.Must(t, err)
		defer func() { _ = conn.Close() }()
		conns[i] = conn
		wg.Go(func() {
			_, _ = fmt.Fprintf(conn,
				"POST /v2/tracker/chat/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 1<<20)
			_, _ = conn.Write(piece) // until it is cut off
		})
	}
	for device := 3; device < 13; device++ {
		works(device)
		watch()
	}
	if n := c.Metric("trackchat_http_refused_total", `reason="bodies"`); n == 0 {
		t.Error("no body was refused")
	}
	for _, conn := range conns {
		_ = conn.Close()
	}

	var answered, told atomic.Int64
	logins := &http.Client{Timeout: apptest.Patience, Transport: &http.Transport{}}
	for i := range 1400 {
		wg.Go(func() {
			res, err := logins.PostForm("http://"+c.Ports["api"]+"/v2/user/auth",
				url.Values{"login": {fmt.Sprintf("login%d", i)}, "password": {"x"}})
			if err != nil {
				return
			}
			defer func() { _ = res.Body.Close() }()
			body, _ := io.ReadAll(res.Body)
			if answered.Add(1); strings.Contains(string(body), `"code":15,`) {
				told.Add(1)
			}
		})
	}
	apptest.Eventually(t, "full of logins", func() bool { return told.Load() > 0 })
	begin := time.Now()
	for device := 13; device < 23; device++ {
		works(device)
		watch()
	}
	t.Logf("20 texts delivered in %s, %.0f MiB of memory at most; of %d logins that were answered %d were told to come again",
		time.Since(begin), peak/(1<<20), answered.Load(), told.Load())
	if n := c.Metric("trackchat_memory_short"); n != 0 {
		t.Error("memory is short")
	}
}
