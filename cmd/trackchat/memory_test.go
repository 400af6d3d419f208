package main

import (
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// TestMemoryShort goes up to the limit and back: what is refused near it is taken again only well below.
func TestMemoryShort(t *testing.T) {
	var used atomic.Int64
	m := newMemory(zap.NewNop(), prometheus.NewRegistry())
	m.limit, m.read = 1000, used.Load
	for _, step := range []struct {
		used  int64
		short bool
	}{{0, false}, {899, false}, {900, true}, {860, true}, {2000, true}, {849, false}, {899, false}, {901, true}} {
		used.Store(step.used)
		m.look()
		if m.short() != step.short {
			t.Errorf("%d of 1000 in use: short is %v", step.used, m.short())
		}
	}
}

// TestMemoryUsed counts what is held and not what is garbage: a service without a limit is never short.
func TestMemoryUsed(t *testing.T) {
	m := newMemory(zap.NewNop(), prometheus.NewRegistry())
	m.look()
	if used := m.used.Load(); used < 1<<20 || used > 8<<30 {
		t.Errorf("%d bytes in use", used)
	}
	if m.short() {
		t.Error("short without a limit")
	}
}
