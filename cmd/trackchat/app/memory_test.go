package app

import (
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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
	for memory, want := range map[int64]int64{0: 16, 32: 4, 128: 8, 4 << 10: 16} {
		if n := storeCache(0, memory<<20); n != want<<20 {
			t.Errorf("%d bytes of %d MiB, want %d MiB", n, memory, want)
		}
	}
	if n := storeCache(1<<20, 4<<30); n != 1<<20 {
		t.Errorf("%d bytes where 1 MiB is configured", n)
	}
}

// TestGoAndCacheShareTheCgroup: what Go may take, what the store's cache may take and a tenth for
// the rest are no more than the cgroup allows.
func TestGoAndCacheShareTheCgroup(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "") // puts it back
	apptest.Must(t, os.Unsetenv("GOMEMLIMIT"))
	was := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(was) })
	for _, c := range []struct {
		backend    string
		cache      config.Size
		cgroup     int64 // MiB
		limit      int64 // of Go, MiB
		impossible bool
	}{
		{config.BackendEmbedded, 0, 256, 216, false},
		{config.BackendEmbedded, 0, 4096, 3672, false},
		{config.BackendEmbedded, 64 << 20, 256, 172, false},
		{config.BackendEmbedded, 128 << 20, 256, 115, false},
		{config.BackendEmbedded, 1 << 30, 256, 115, true},
		{config.BackendRedis, 1 << 30, 256, 230, false},
	} {
		observed, logs := observer.New(zap.WarnLevel)
		store := &config.Store{Backend: c.backend, Cache: c.cache}
		limitMemory(store, zap.New(observed), memlimit.Limit(uint64(c.cgroup)<<20))
		limit := debug.SetMemoryLimit(-1)
		if limit>>20 != c.limit || c.impossible != (logs.Len() == 1) {
			t.Errorf("%+v: Go has %d MiB, %d warnings", c, limit>>20, logs.Len())
		}
		all := limit + limit/9
		if c.backend == config.BackendEmbedded {
			all += storeCache(c.cache, limit)
		}
		if all > c.cgroup<<20 && !c.impossible {
			t.Errorf("%+v: %d MiB in all", c, all>>20)
		}
	}
	t.Setenv("GOMEMLIMIT", "100MiB")
	debug.SetMemoryLimit(100 << 20)
	limitMemory(&config.Store{Backend: config.BackendEmbedded}, zap.NewNop(),
		memlimit.Limit(256<<20))
	if limit := debug.SetMemoryLimit(-1); limit != 100<<20 {
		t.Errorf("the operator's limit has become %d", limit)
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

// seconds has p look at as many seconds with collections that cost so much each.
func (p *pace) seconds(n int, cycles uint64, each float64) {
	for range n {
		p.look(cycles, each)
		for range gcLooks - 1 {
			p.look(0, 0)
		}
	}
}

func TestPercentageFollowsCollections(t *testing.T) {
	p := pace{percent: gcPercent}
	expect := func(what string, percent int) {
		t.Helper()
		if p.percent != percent {
			t.Errorf("%s: %d %%, expected %d %%", what, p.percent, percent)
		}
	}
	p.seconds(3, 0, 0)
	expect("nothing happens", gcPercentLeast)
	p.seconds(60, 1, 0.002)
	expect("a small heap is collected now and then", gcPercentLeast)
	p.look(20, 0.005)
	expect("a load begins", gcPercent)
	p.seconds(5, gcOften+1, 0.005)
	expect("under load", gcPercentMost)
	p.seconds(10, gcSeldom, 0.005)
	expect("as often as it may be", gcPercentMost)
	p.seconds(3, 0, 0)
	expect("the load is over", gcPercent)
	p.seconds(120, 0, 0)
	expect("long after the load", gcPercentLeast)

	p.look(2, 0.08) // of a middling heap
	expect("many devices go", gcPercent)
	p.seconds(60, 0, 0)
	expect("long after that", gcPercentLeast)

	p.seconds(1, 1, 3) // of a large heap
	expect("a dear collection", 2*gcPercentLeast)
	p.seconds(40, 0, 0)
	expect("a while later", 2*gcPercentLeast)
	p.seconds(1, 1, 3)
	p.seconds(1, 1, 3)
	p.seconds(1, 1, 3)
	expect("dear ones in a row", gcPercent)
	p.seconds(10, 1, 3)
	expect("cost alone", gcPercent)
}

// TestCollectionsArePaced has a small heap that is collected all the time, and then not.
func TestCollectionsArePaced(t *testing.T) {
	was := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(was) })
	percent := func() int {
		now := debug.SetGCPercent(-1)
		debug.SetGCPercent(now)
		return now
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		paceCollections(ctx)
	}()
	await := func(what string, busy bool, ok func(int) bool) {
		t.Helper()
		limit := time.NewTimer(apptest.Patience)
		defer limit.Stop()
		every := time.NewTicker(10 * time.Millisecond)
		defer every.Stop()
		for !ok(percent()) {
			if busy {
				runtime.GC()
			}
			select {
			case <-every.C:
			case <-limit.C:
				t.Fatalf("%s: %d %%", what, percent())
			}
		}
	}
	await("under load", true, func(p int) bool { return p == gcPercentMost })
	await("quiet again", false, func(p int) bool { return p <= gcPercent })
	stop()
	<-done
}

func TestEventLoops(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 2, 8: 4, 64: 32} {
		if got := eventLoops(n); got != want {
			t.Errorf("%d event loops for %d processors, want %d", got, n, want)
		}
	}
}
