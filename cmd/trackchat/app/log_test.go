package app

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackchat/cmd/trackchat/apptest"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestTroublesAreRememberedAndBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	seen := newRecentLog(reg)
	core, written := observer.New(zapcore.ErrorLevel)
	log := seen.watch(zap.New(core)).With(zap.String("node", "a"))
	log.Info("nothing")
	log.Warn("slow", zap.Duration("took", 1e9))
	log.Error("broken", zap.Error(errors.New(strings.Repeat("é", recentText))),
		zap.ByteString("stack", []byte("secret addresses")))
	list := seen.recent()
	if len(list) != 2 || list[0].Message != "broken" || list[0].Level != "error" ||
		list[1].Fields["took"] != "1s" || list[1].Fields["node"] != "a" {
		t.Fatalf("%+v", list)
	}
	if cut := list[0].Fields["error"]; len(cut) > recentText+len("…") ||
		!strings.HasSuffix(cut, "é…") {
		t.Errorf("an error of %d bytes is kept as %q", 2*recentText, cut)
	}
	if _, ok := list[0].Fields["stack"]; ok || written.Len() != 1 {
		t.Errorf("stack kept: %v; %d written", ok, written.Len())
	}
	for i := range 2 * recentEntries {
		log.Warn(strconv.Itoa(i))
	}
	if list = seen.recent(); len(list) != recentEntries ||
		list[0].Message != strconv.Itoa(2*recentEntries-1) {
		t.Errorf("%d entries, the newest %q", len(list), list[0].Message)
	}
	families, err := reg.Gather()
	apptest.Must(t, err)
	total := 0.0
	for _, m := range families[0].GetMetric() {
		total += m.GetCounter().GetValue()
	}
	if total != 2+2*recentEntries {
		t.Errorf("%v entries are counted", total)
	}
}

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
