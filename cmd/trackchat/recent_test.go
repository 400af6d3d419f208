package main

import (
	"errors"
	"strconv"
	"strings"
	"testing"

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
	log.Error("broken", zap.Error(errors.New(strings.Repeat("é", troubleText))),
		zap.ByteString("stack", []byte("secret addresses")))
	list := seen.recent()
	if len(list) != 2 || list[0].Message != "broken" || list[0].Level != "error" ||
		list[1].Fields["took"] != "1s" || list[1].Fields["node"] != "a" {
		t.Fatalf("%+v", list)
	}
	if cut := list[0].Fields["error"]; len(cut) > troubleText+len("…") ||
		!strings.HasSuffix(cut, "é…") {
		t.Errorf("an error of %d bytes is kept as %q", 2*troubleText, cut)
	}
	if _, ok := list[0].Fields["stack"]; ok || written.Len() != 1 {
		t.Errorf("stack kept: %v; %d written", ok, written.Len())
	}
	for i := range 2 * troubleEntries {
		log.Warn(strconv.Itoa(i))
	}
	if list = seen.recent(); len(list) != troubleEntries ||
		list[0].Message != strconv.Itoa(2*troubleEntries-1) {
		t.Errorf("%d entries, the newest %q", len(list), list[0].Message)
	}
	families, err := reg.Gather()
	must(t, err)
	total := 0.0
	for _, m := range families[0].GetMetric() {
		total += m.GetCounter().GetValue()
	}
	if total != 2+2*troubleEntries {
		t.Errorf("%v entries are counted", total)
	}
}
