package main

import (
	"math"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// TestMemoryShort goes up to the limit and back: what is refused near it is taken again only well
// below.
func TestMemoryShort(t *testing.T) {
	var used atomic.Int64
	m := newMemory(zap.NewNop(), prometheus.NewRegistry())
	m.limit, m.read = 1000, used.Load
	for _, step := range []struct {
		used  int64
		short bool
	}{
		{0, false},
		{899, false},
		{900, true},
		{860, true},
		{2000, true},
		{849, false},
		{899, false},
		{901, true},
	} {
		used.Store(step.used)
		m.look()
		if m.short() != step.short {
			t.Errorf("%d of 1000 in use: short is %v", step.used, m.short())
		}
	}
}

// TestMemoryUsed counts what is held and not what is garbage: a service without a limit is never
// short.
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

// TestCacheGoesByMemory: the embedded store's cache gets a sixteenth of the memory, unless the
// configuration says how much.
func TestCacheGoesByMemory(t *testing.T) {
	for memory, want := range map[int64]int64{0: 64, 32: 4, 512: 32, 4 << 10: 64} {
		if n := storeCache(0, memory<<20); n != want<<20 {
			t.Errorf("%d bytes of %d MiB, want %d MiB", n, memory, want)
		}
	}
	if n := storeCache(1<<20, 4<<30); n != 1<<20 {
		t.Errorf("%d bytes where 1 MiB is configured", n)
	}
}

// TestConnectionsGoByMemory: all connections together get a quarter of the memory, and never fewer
// than a small service needs.
func TestConnectionsGoByMemory(t *testing.T) {
	for memory, want := range map[int64]int{
		0: 20_000, 16 << 20: 1000, 512 << 20: 6553,
		2 << 30: 20_000, 1 << 40: 20_000,
	} {
		if n := mostConns(memory); n != want {
			t.Errorf("%d connections with %d MiB, want %d", n, memory>>20, want)
		}
	}
	m := &memory{limit: 5 << 30}
	if m.total() != m.limit {
		t.Errorf("%d bytes to be shared out of a limit of %d", m.total(), m.limit)
	}
	if m.limit = math.MaxInt64; m.total() < 64<<20 || m.total() > 1<<50 {
		t.Errorf("%d bytes to be shared out without a limit", m.total())
	}
}
