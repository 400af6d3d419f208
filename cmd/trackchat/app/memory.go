package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"time"

	"trackchat/cmd/trackchat/config"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

const (
	memoryEvery = 250 * time.Millisecond
	memoryHigh  = 0.90 // of GOMEMLIMIT: from here on new work is refused
	memoryLow   = 0.85 // and below here it is taken again
	cgroupPart  = 0.90 // of the cgroup's limit beside the cache is GOMEMLIMIT, if none is set
)

// memory watches how much of GOMEMLIMIT is in use that a garbage collection cannot give back.
// Beyond the limit the collector would take all processors and the service stand still for
// everybody; refusing new work keeps it useful to those whom it has. Without GOMEMLIMIT it never is
// short.
type memory struct {
	log   *zap.Logger
	limit int64 // bytes; math.MaxInt64: none
	tight atomic.Bool
	used  atomic.Int64
	read  func() int64 // bytes in use
}

func newMemory(log *zap.Logger, reg prometheus.Registerer) *memory {
	m := &memory{log: log, limit: debug.SetMemoryLimit(-1), read: memoryUsed}
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_memory_used_bytes",
		Help: "Memory that a garbage collection cannot give back, of what GOMEMLIMIT counts.",
	},
		func() float64 { return float64(m.used.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_memory_limit_bytes",
		Help: "GOMEMLIMIT, 0 without one.",
	}, func() float64 {
		if m.limit == math.MaxInt64 {
			return 0
		}
		return float64(m.limit)
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_memory_short",
		Help: "1 while new connections and new texts are refused because memory is short.",
	},
		func() float64 {
			if m.short() {
				return 1
			}
			return 0
		})
	if _, ok := outsideGo(); ok {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "trackchat_resident_outside_go_bytes",
			Help: "Resident memory beyond what Go's runtime counts, mostly the embedded store's cache: RssAnon of Linux less that. Files that are mapped, such as the program and the index of the store's log, are not in it.",
		}, func() float64 { n, _ := outsideGo(); return float64(n) })
	}
	return m
}

// LimitMemory tells Go nine tenths of what the cgroup allows beside the store's cache, where
// GOMEMLIMIT does not say how much.
func LimitMemory(store *config.Store, log *zap.Logger) {
	limitMemory(store, log, memlimit.FromCgroup)
}

func limitMemory(store *config.Store, log *zap.Logger, cgroup memlimit.Provider) {
	_, err := memlimit.Set(memlimit.WithRatio(cgroupPart), memlimit.WithProvider(
		func() (uint64, error) {
			n, err := cgroup()
			if err != nil || store.Backend != config.BackendEmbedded {
				return n, err
			}
			all := int64(min(n, math.MaxInt64))
			cache := storeCache(store.Cache, all)
			if cache > all/2 {
				log.Warn("store.cache may take most of the memory that the cgroup allows",
					zap.Int64("cache", cache), zap.Int64("cgroup", all))
			}
			return uint64(max(all-cache, all/2)), nil
		}))
	if err != nil && !errors.Is(err, memlimit.ErrNoCgroup) &&
		!errors.Is(err, memlimit.ErrCgroupsNotSupported) {
		log.Warn("the cgroup's limit of memory cannot be read; set GOMEMLIMIT", zap.Error(err))
	}
}

// total is how much memory there is to be shared out: the limit, or without one all of this
// machine's; 0: not known.
func (m *memory) total() int64 {
	if m.limit != math.MaxInt64 {
		return m.limit
	}
	n, err := memlimit.FromSystem()
	if err != nil {
		return 0
	}
	return int64(min(n, math.MaxInt64))
}

// short reports that new work is to be refused.
func (m *memory) short() bool { return m.tight.Load() }

// look takes note of what is in use now.
func (m *memory) look() {
	used := m.read()
	m.used.Store(used)
	part := float64(used) / float64(m.limit)
	switch {
	case part >= memoryHigh && m.tight.CompareAndSwap(false, true):
		m.log.Warn("memory is short: new connections and new texts are refused", zap.Int64("used",
			used), zap.Int64("limit", m.limit))
	case part < memoryLow && m.tight.CompareAndSwap(true, false):
		m.log.Info("memory suffices again: new connections and new texts are taken",
			zap.Int64("used", used), zap.Int64("limit", m.limit))
	}
}

// memoryUsed is what GOMEMLIMIT counts, with the heap as large as the last garbage collection left
// it: garbage is no reason to refuse anything.
func memoryUsed() int64 {
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s)
	v := func(i int) int64 { return int64(s[i].Value.Uint64()) }
	return v(0) - v(1) - v(2) - v(3) - v(4) + v(5)
}

// outsideGo is how much resident memory is not Go's, where the system tells; not counting files.
func outsideGo() (bytes int64, known bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(status), "\nRssAnon:")
	var resident int64
	if _, err := fmt.Sscanf(rest, "%d kB", &resident); !found || err != nil {
		return 0, false
	}
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	own := s[0].Value.Uint64() - s[1].Value.Uint64() // some of it Go has not touched yet
	return max(resident<<10-int64(own), 0), true
}

func (a *App) startMemory(ctx context.Context) error {
	a.memory.look()
	a.meanwhile(ctx, func(ctx context.Context) {
		every(ctx, memoryEvery, func(context.Context) { a.memory.look() })
	})
	return nil
}
