package gateway_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/queuetest"
)

// memoryEngine is an engine without sockets: whoever has its handler plays the peers.
type memoryEngine struct {
	handler chan engine.Handler
	down    chan struct{}
	once    sync.Once
}

func (e *memoryEngine) Serve(_ net.Listener, h engine.Handler) error {
	e.handler <- h
	<-e.down
	return nil
}

func (e *memoryEngine) Dial(context.Context, string, netip.Addr, engine.Handler) (engine.Conn, error) {
	return nil, engine.ErrShutdown
}

func (e *memoryEngine) Shutdown(context.Context) error {
	e.once.Do(func() { close(e.down) })
	return nil
}

// memoryConn is a connection of it, as small as one can be.
type memoryConn struct {
	id      uint64
	session atomic.Pointer[any]
	written atomic.Uint32 // bytes
	last    atomic.Uint32
}

func (c *memoryConn) ID() uint64                 { return c.id }
func (c *memoryConn) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }
func (c *memoryConn) Write(p []byte) error       { c.written.Add(uint32(len(p))); return nil }
func (c *memoryConn) Close() error               { return nil }
func (c *memoryConn) Pause()                     {}
func (c *memoryConn) Resume()                    {}
func (c *memoryConn) Trust(int)                  {}
func (c *memoryConn) LastRead() int64            { return int64(c.last.Load()) }
func (c *memoryConn) SetSession(s any)           { c.session.Store(&s) }

func (c *memoryConn) Session() any {
	if s := c.session.Load(); s != nil {
		return *s
	}
	return nil
}

// countingStore tells how many leases were given and sessions looked after.
type countingStore struct {
	*queuetest.Model
	acquired, released, peeked atomic.Int64
}

func (s *countingStore) Acquire(ctx context.Context, node queue.NodeID, ts []queue.TrackerID) ([]queue.Lease, error) {
	ls, err := s.Model.Acquire(ctx, node, ts)
	s.acquired.Add(int64(len(ls)))
	return ls, err
}

func (s *countingStore) Release(ctx context.Context, ls []queue.Lease) ([]bool, error) {
	s.released.Add(int64(len(ls)))
	return s.Model.Release(ctx, ls)
}

func (s *countingStore) Peek(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult, error) {
	s.peeked.Add(int64(len(ls)))
	return s.Model.Peek(ctx, ls)
}

// BenchmarkQuietSessions holds BENCH_SESSIONS (100,000) JT/T 808 sessions without sockets and reports what directory, session, sweep, heartbeat, collection and end cost.
// BENCH_SESSIONS=1000000 needs about 3 GB and two minutes. Heap bytes are exact; the resident memory is them and the collector's slack, a half by the default of the service.
func BenchmarkQuietSessions(b *testing.B) {
	n := 100_000
	if v, err := strconv.Atoi(os.Getenv("BENCH_SESSIONS")); err == nil {
		n = v
	}
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	for b.Loop() {
		holdQuietSessions(b, n)
	}
}

func holdQuietSessions(b *testing.B, n int) {
	b.Helper()
	ok := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	at := heap()
	share := func(name string) { // reports what was added to the heap since, for each session
		now := heap()
		b.ReportMetric(float64(now-at)/float64(n), name)
		at = now
	}
	trackers := make([]queue.Tracker, n)
	ids := make([]queue.TrackerID, n)
	for i := range trackers {
		trackers[i] = jt(queue.TrackerID(i + 1))
		trackers[i].Account, ids[i] = 1, queue.TrackerID(i+1)
	}
	known := new(queue.Directory)
	known.Replace(queue.NewSnapshot([]queue.Account{{ID: 1}}, trackers))
	share("directory-B/tracker")
	store := &countingStore{Model: queuetest.NewModel(time.Now, 1000)}
	_, err := store.Acquire(b.Context(), "before", ids) // what the model keeps of each tracker is not the gateway's
	ok(err)
	store.acquired.Store(0)
	conns := make([]memoryConn, n)
	at = heap()

	gw, err := gateway.New(gateway.Options{Node: "bench", Store: store, Directory: known, Now: time.Now, Repoll: 10 * time.Second})
	ok(err)
	ok(gw.Start(b.Context()))
	p, _ := all.Find("jt808")
	l, err := gw.Listen(p, nil, 0)
	ok(err)
	eng := &memoryEngine{handler: make(chan engine.Handler, 1), down: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- l.Serve(eng, nil) }()
	h := <-eng.handler

	settings, err := p.NewSettings()
	ok(err)
	say := func(i int, what func(protocol.Device, []byte) []byte) {
		side := p.NewDevice(protocol.DeviceConfig{ID: phone(ids[i]), Password: "code", Settings: settings})
		frame := what(side, nil)
		conns[i].last.Store(uint32(time.Now().Unix()))
		if used := h.OnData(&conns[i], frame); used != len(frame) {
			b.Fatalf("%d of %d bytes taken", used, len(frame))
		}
	}
	start := time.Now()
	for i := range conns {
		conns[i].id = uint64(i + 1)
		h.(engine.Admitter).Admit(netip.AddrPort{})
		h.OnOpen(&conns[i])
		say(i, protocol.Device.AppendLogin)
	}
	await(b, func() bool { return gw.Sessions() == n && store.acquired.Load() == int64(n) })
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "logins/s")
	share("session-B")

	start = time.Now()
	for i := range conns {
		conns[i].written.Store(0)
	}
	for i := range conns {
		say(i, protocol.Device.AppendHeartbeat)
	}
	await(b, func() bool {
		return conns[n-1].written.Load() > 0 && conns[0].written.Load() > 0 && conns[n/2].written.Load() > 0
	})
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "heartbeats/s")
	swept := store.peeked.Load()
	start = time.Now()
	await(b, func() bool { return store.peeked.Load()-swept >= int64(n) }) // a sweep of all
	b.ReportMetric(time.Since(start).Seconds(), "sweep-s")
	pauses(b)

	start = time.Now()
	for i := range conns {
		h.OnClose(&conns[i], nil)
	}
	await(b, func() bool { return gw.Sessions() == 0 && store.released.Load() >= int64(n) })
	b.ReportMetric(time.Since(start).Seconds(), "gone-s")
	for i := range conns {
		conns[i].session.Store(nil)
	}
	share("session-left-B")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ok(gw.Quiesce(ctx))
	ok(eng.Shutdown(ctx))
	ok(gw.Close(ctx))
	ok(<-served)
	runtime.KeepAlive(conns)
}

// heap is what is reachable.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools kept over the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// pauses reports what a collection costs: CPU time, and the longest stop of everything in ten.
func pauses(b *testing.B) {
	b.Helper()
	const collections = 10
	start := time.Now()
	for range collections {
		runtime.GC()
	}
	took := time.Since(start)
	stats := debug.GCStats{PauseQuantiles: nil}
	debug.ReadGCStats(&stats)
	var longest time.Duration
	for _, p := range stats.Pause[:min(collections, len(stats.Pause))] {
		longest = max(longest, p)
	}
	b.ReportMetric(float64(took.Microseconds())/1000/collections, "gc-ms")
	b.ReportMetric(float64(longest.Microseconds()), "gc-pause-us")
}

// await waits until done, or fails.
func await(b *testing.B, done func() bool) {
	b.Helper()
	limit := time.Now().Add(10 * time.Minute)
	for !done() {
		if time.Now().After(limit) {
			b.Fatal("waited in vain")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
