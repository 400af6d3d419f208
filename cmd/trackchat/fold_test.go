package main

import (
	"bytes"
	"encoding/json"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"trackchat/queue/queuetest"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestRepeatedLinesAreFolded: of what is repeated a few lines are written, then one a minute that
// says how often, with the fields of the last one; other messages and what is no trouble are
// written as they come.
func TestRepeatedLinesAreFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, written := observer.New(zapcore.DebugLevel)
		seen := newRecentLog(prometheus.NewRegistry())
		log := seen.watch(zap.New(core)).With(zap.String("node", "a"))
		fail := func(n int) {
			for i := range n {
				log.Warn("store call failed", zap.Int("request", i))
			}
		}
		fail(foldAfter)
		time.Sleep(time.Second)
		since := time.Now()
		fail(100)
		for i := range 2 * foldAfter {
			log.Info("administration", zap.Int("n", i))
			log.Error("something else " + strconv.Itoa(i))
		}
		synctest.Wait()
		if n := written.FilterMessage("store call failed").Len(); n != foldAfter {
			t.Fatalf("%d lines before the minute is over", n)
		}
		if n := written.FilterMessage("administration").Len(); n != 2*foldAfter {
			t.Errorf("%d lines of administration", n)
		}
		if n := written.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 2*foldAfter {
			t.Errorf("%d different errors", n)
		}
		time.Sleep(foldPeriod)
		synctest.Wait()
		lines := written.FilterMessage("store call failed").All()
		last := lines[len(lines)-1].ContextMap()
		if len(lines) != foldAfter+1 || last["repeated"] != int64(100) ||
			!since.Equal(last["since"].(time.Time)) ||
			last["request"] != int64(99) || last["node"] != "a" {
			t.Errorf("%d lines, the last one says %v", len(lines), last)
		}
		if r := seen.recent()[0]; r.Message != "store call failed" ||
			r.Fields["repeated"] != "100" {
			t.Errorf("the operations view shows %+v", r)
		}
		fail(3) // it goes on: one line a minute
		time.Sleep(foldPeriod)
		synctest.Wait()
		if lines = written.FilterMessage("store call failed").All(); len(lines) != foldAfter+2 ||
			lines[len(lines)-1].ContextMap()["repeated"] != int64(3) {
			t.Errorf("%d lines", len(lines))
		}
		time.Sleep(2 * foldPeriod)
		fail(1) // a new beginning
		synctest.Wait()
		if lines = written.FilterMessage("store call failed").All(); len(lines) != foldAfter+3 ||
			lines[len(lines)-1].ContextMap()["repeated"] != nil {
			t.Errorf("%d lines after a pause", len(lines))
		}
		fail(foldAfter + 1)
		seen.folds.flush() // the end of the service
		if lines = written.FilterMessage("store call failed").All(); lines[len(lines)-1].ContextMap()["repeated"] != int64(2) {
			t.Errorf("at the end %v", lines[len(lines)-1].ContextMap())
		}
	})
}

// TestLogDuringAnOutage: with Redis dead, failed sends do not fill the log, the Redis client writes
// to it like everybody, and how much was left out is told.
func TestLogDuringAnOutage(t *testing.T) {
	t.Parallel()
	const sends = 40
	server := queuetest.StartRedis(t)
	c := newChild(t, childOptions{
		trackers: 1, redis: []string{server.Addr},
		extra: "log: {format: json}\n",
	})
	c.start()
	server.Kill(t)
	var sending sync.WaitGroup
	for range sends {
		sending.Go(func() {
			if a := c.client().call("send", "tracker_id", "1", "message",
				"into the void"); a.Success {
				t.Errorf("%+v", a)
			}
		})
	}
	sending.Wait()
	server.Start(t)
	c.awaitReady()
	must(t, c.cmd.Process.Signal(syscall.SIGTERM))
	<-c.exited
	lines, told, client := 0, 0, 0
	for line := range bytes.Lines(c.log.Bytes()) {
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
	if lines > foldAfter+1 || told < sends {
		t.Errorf("%d lines tell of %d failed calls, %d sends failed", lines, told, sends)
	}
	if client == 0 {
		t.Error("the Redis client has said nothing")
	}
}
