package main

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
)

// TestKilledTenTimesUnderLoad kills the service while texts flow both ways: nothing accepted is
// lost, nothing is DELIVERED without an ack, order is kept, each text of a driver is there once.
func TestKilledTenTimesUnderLoad(t *testing.T) {
	t.Parallel()
	const trackers, kills = 12, 10
	c := newChild(t, childOptions{trackers: trackers})
	c.start()
	l := newLedger(t, c.client(), 15*time.Millisecond)
	l.load(trackerIDs(1, trackers), func(id int) string { return c.ports[protocolOf(id)] })
	for n := range kills {
		l.progress()
		c.kill()
		c.start()
		t.Logf("kill %d after %d accepted", n+1, l.count())
	}
	l.finish()
}

func TestSIGTERMEndsTheServiceInOrder(t *testing.T) {
	c := newChild(t, childOptions{trackers: 1})
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
	select {
	case <-c.exited:
		if c.err != nil {
			t.Errorf("exit: %v\n%s", c.err, c.log)
		}
	case <-time.After(StopWithin + 5*time.Second):
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
	eventually(t, "logged in", func() bool {
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
	must(t, err)
	_ = res.Body.Close()
	for _, want := range []string{
		`shows "Hello demo"`, "acknowledged it: DELIVERED", "writes",
		"INCOMING",
	} {
		eventually(t, want, func() bool { return strings.Contains(printed(), want) })
	}
	driver := regexp.MustCompile(`--interactive --gateway (\S+)`).FindStringSubmatch(printed())
	if driver == nil {
		t.Fatalf("the demo does not say how to be a driver:\n%s", printed())
	}
	heard := make(chan string, 1)
	playDevice(t, driver[1], 1, func(o *trackersim.Options) {
		o.Device.ID = yourTracker().DeviceID
		o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
			heard <- e.Body
			return trackersim.Action{}
		}
	})
	res, err = http.PostForm(fields[1], url.Values{
		"hash":       {strings.TrimPrefix(fields[3], "hash=")},
		"tracker_id": {"107"}, "message": {"Hello you"},
	})
	must(t, err)
	_ = res.Body.Close()
	select {
	case got := <-heard:
		if got != "Hello you" {
			t.Errorf("the driver reads %q", got)
		}
	case <-time.After(patience):
		t.Error("the driver got nothing")
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	<-read
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, printed())
	}
}
