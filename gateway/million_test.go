package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
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
	"trackchat/queue/sqlitestore"
)

// memoryEngine is an engine without sockets: whoever has its handler plays the peers, in the loop
// of their connections.
type memoryEngine struct {
	handler chan engine.Handler
	down    chan struct{}
	once    sync.Once
	loops   []*memoryLoop
	working sync.WaitGroup
}

func newMemoryEngine() *memoryEngine {
	e := &memoryEngine{handler: make(chan engine.Handler, 1), down: make(chan struct{})}
	for range 2 {
		l := &memoryLoop{}
		l.more.L = &l.mu
		e.loops = append(e.loops, l)
		e.working.Go(l.run)
	}
	return e
}

func (e *memoryEngine) Loops() []engine.Loop { return []engine.Loop{e.loops[0], e.loops[1]} }

func (e *memoryEngine) Serve(_ net.Listener, h engine.Handler) error {
	e.handler <- h
	<-e.down
	return nil
}

func (e *memoryEngine) Dial(context.Context, string, engine.DialOptions, engine.Handler) (
	engine.Conn, error,
) {
	return nil, engine.ErrShutdown
}

func (e *memoryEngine) Shutdown(context.Context) error {
	e.once.Do(func() {
		close(e.down)
		for _, l := range e.loops {
			l.end()
		}
		e.working.Wait()
	})
	return nil
}

// memoryLoop is a loop of it.
type memoryLoop struct {
	mu     sync.Mutex
	more   sync.Cond
	orders []func()
	ended  bool
}

func (l *memoryLoop) Execute(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.orders = append(l.orders, f)
	l.more.Signal()
	return true
}

func (l *memoryLoop) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.more.Signal()
}

func (l *memoryLoop) run() {
	var orders, spare []func()
	for {
		l.mu.Lock()
		for len(l.orders) == 0 && !l.ended {
			l.more.Wait()
		}
		orders, l.orders = l.orders, spare[:0]
		l.mu.Unlock()
		if len(orders) == 0 {
			return
		}
		for _, f := range orders {
			f()
		}
		clear(orders)
		spare = orders
	}
}

// memoryConn is a connection of it, as small as one can be.
type memoryConn struct {
	loop    int
	session atomic.Pointer[any]
	written atomic.Uint32 // bytes
	last    atomic.Uint32
}

func (c *memoryConn) Loop() int                  { return c.loop }
func (c *memoryConn) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }
func (c *memoryConn) Write(p []byte) error       { c.written.Add(uint32(len(p))); return nil }
func (c *memoryConn) Close() error               { return nil }
func (c *memoryConn) Reset() error               { return nil }
func (c *memoryConn) Unsent() int                { return 0 }
func (c *memoryConn) LimitUnsent(int)            {}
func (c *memoryConn) LocalAddr() netip.AddrPort  { return netip.AddrPort{} }
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

// countingStore tells how many different trackers were leased, looked after and given up.
type countingStore struct {
	queue.Delivery
	acquired, released distinct
	looking            atomic.Pointer[distinct] // of this round
}

// distinct counts trackers, each once.
type distinct struct {
	seen []atomic.Bool // by id less one
	n    atomic.Int64
}

func countTo(n int) *distinct { return &distinct{seen: make([]atomic.Bool, n)} }

func (d *distinct) saw(t queue.TrackerID) {
	if !d.seen[t-1].Swap(true) {
		d.n.Add(1)
	}
}

// all reports whether every tracker was seen.
func (d *distinct) all() bool { return d.n.Load() == int64(len(d.seen)) }

func (s *countingStore) Acquire(ctx context.Context, node queue.NodeID,
	ts []queue.TrackerID,
) ([]queue.Lease, error) {
	ls, err := s.Delivery.Acquire(ctx, node, ts)
	for _, l := range ls {
		s.acquired.saw(l.Tracker)
	}
	return ls, err
}

func (s *countingStore) Release(ctx context.Context, ls []queue.Lease) ([]bool, error) {
	done, err := s.Delivery.Release(ctx, ls)
	for i, ok := range done {
		if ok {
			s.released.saw(ls[i].Tracker)
		}
	}
	return done, err
}

func (s *countingStore) CheckLeases(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult,
	error,
) {
	res, err := s.Delivery.CheckLeases(ctx, ls)
	for _, l := range ls {
		s.looking.Load().saw(l.Tracker)
	}
	return res, err
}

// BenchmarkQuietSessions holds BENCH_SESSIONS (100,000) JT/T 808 sessions of as many trackers,
// without sockets, on an embedded store, and reports what directory, session, sweep, heartbeat,
// collection and end cost. BENCH_SESSIONS=1000000 needs about 3 GB and some minutes. Heap bytes
// are exact. VmRSS is all resident memory, with file pages (RssFile), RssAnon without them: what
// was added since before the first login, when the collector has given back all that it can.
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
	at := heap()
	share := func(name string) { // reports what was added to the heap since, for each session
		now := heap()
		b.ReportMetric(float64(now-at)/float64(n), name)
		at = now
	}
	known := new(queue.Directory)
	known.Replace(quietDirectory(n))
	share("directory-B/tracker")
	st, err := sqlitestore.Open(b.Context(), sqlitestore.Options{Path: b.TempDir(), Now: time.Now})
	need(b, err)
	defer func() { need(b, st.Close()) }()
	q := prepareQuiet(b, st, known, n)
	at = heap()
	before, resident := at, status(b)

	q.start(b, 10*time.Second)
	start := time.Now()
	q.login(b)
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "logins/s")
	share("session-B")

	start = time.Now()
	q.heartbeats(b)
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "heartbeats/s")
	start = time.Now()
	q.sweep(b)
	b.ReportMetric(time.Since(start).Seconds(), "sweep-s")
	b.ReportMetric(float64(heap()-before)/float64(n), "session-at-rest-B")
	for name, bytes := range status(b) {
		b.ReportMetric(float64(bytes-resident[name])/float64(n), name+"-B/session")
	}
	pauses(b)

	start = time.Now()
	q.leave(b)
	b.ReportMetric(time.Since(start).Seconds(), "gone-s")
	share("session-left-B")
	q.stop(b)
	runtime.KeepAlive(known)
}

// TestQuietSessionInBytes bounds what a quiet session takes apart from its connection: itself, its
// codec, its places in registry and shard.
func TestQuietSessionInBytes(t *testing.T) {
	const n, most = 20_000, 260
	known := new(queue.Directory)
	known.Replace(quietDirectory(n))
	q := prepareQuiet(t, queuetest.NewModel(time.Now, 1000), known, n)
	before := heap()
	q.start(t, 10*time.Second)
	q.login(t)
	q.heartbeats(t)
	each := int64(0)
	eventually(t, func() bool { // what the burst of logins needed goes by and by
		each = (heap() - before) / n
		return each <= most
	}, func() string { return fmt.Sprintf("%d bytes a session", each) })
	q.leave(t)
	q.stop(t)
	runtime.KeepAlive(known)
}

// quietDirectory has the trackers 1 to n.
func quietDirectory(n int) *queue.Snapshot {
	trackers := make([]queue.Tracker, n)
	for i := range trackers {
		trackers[i] = jt(queue.TrackerID(i + 1))
		trackers[i].Account = 1
	}
	return queue.NewSnapshot([]queue.Account{{ID: 1}}, trackers)
}

// quiet is a gateway without sockets and the devices 1 to n.
type quiet struct {
	known    *queue.Directory
	store    *countingStore
	conns    []memoryConn
	gw       *gateway.Gateway
	eng      *memoryEngine
	served   chan error
	h        engine.Handler
	protocol *protocol.Protocol
	settings protocol.Settings
}

// prepareQuiet makes what is not the gateway's.
func prepareQuiet(tb testing.TB, st queue.Delivery, known *queue.Directory, n int) *quiet {
	tb.Helper()
	q := &quiet{
		known: known, store: &countingStore{Delivery: st}, conns: make([]memoryConn, n),
		served: make(chan error, 1),
	}
	q.eng = newMemoryEngine()
	ids := make([]queue.TrackerID, n)
	for i := range ids {
		ids[i] = queue.TrackerID(i + 1)
	}
	_, err := st.Acquire(tb.Context(), "before", ids) // what the store keeps of each tracker
	need(tb, err)
	q.store.acquired.seen, q.store.released.seen = make([]atomic.Bool, n), make([]atomic.Bool, n)
	q.store.looking.Store(countTo(n))
	q.protocol, _ = all.Find("jt808")
	q.settings, err = q.protocol.NewSettings()
	need(tb, err)
	return q
}

func (q *quiet) start(tb testing.TB, repoll time.Duration) {
	tb.Helper()
	var err error
	q.gw, err = gateway.New(gateway.Options{
		Node: "bench", Engine: q.eng, Store: q.store,
		Directory: q.known, Now: time.Now, Repoll: repoll,
	})
	need(tb, err)
	need(tb, q.gw.Start(tb.Context()))
	l, err := q.gw.Listen(q.protocol, nil, 0)
	need(tb, err)
	go func() { q.served <- l.Serve(nil) }()
	q.h = <-q.eng.handler
}

// in has the loop of a connection do something.
func (q *quiet) in(i int, f func(*memoryConn)) {
	c := &q.conns[i]
	q.eng.loops[c.loop].Execute(func() { f(c) })
}

func (q *quiet) say(tb testing.TB, i int, what func(protocol.Device, []byte) []byte) {
	tb.Helper()
	side := q.protocol.NewDevice(protocol.DeviceConfig{
		ID:       phone(queue.TrackerID(i + 1)),
		Password: "code", Settings: q.settings,
	})
	frame := what(side, nil)
	q.conns[i].last.Store(uint32(time.Now().Unix()))
	q.in(i, func(c *memoryConn) {
		if used := q.h.OnData(c, frame); used != len(frame) {
			tb.Errorf("%d of %d bytes taken", used, len(frame))
		}
	})
}

func (q *quiet) login(tb testing.TB) {
	tb.Helper()
	for i := range q.conns {
		q.conns[i].loop = i % len(q.eng.loops)
		q.h.(engine.Admitter).Admit(netip.AddrPort{})
		q.in(i, func(c *memoryConn) { q.h.OnOpen(c) })
		q.say(tb, i, protocol.Device.AppendLogin)
	}
	n := len(q.conns)
	await(tb, func() bool { return q.gw.Sessions() == n && q.store.acquired.all() })
}

// heartbeats has each device give a sign of life.
func (q *quiet) heartbeats(tb testing.TB) {
	tb.Helper()
	for i := range q.conns {
		q.conns[i].written.Store(0)
	}
	for i := range q.conns {
		q.say(tb, i, protocol.Device.AppendHeartbeat)
	}
	await(tb, func() bool {
		return !slices.ContainsFunc([]int{0, len(q.conns) / 2, len(q.conns) - 1},
			func(i int) bool { return q.conns[i].written.Load() == 0 })
	})
}

// sweep waits until all were looked after in the store.
func (q *quiet) sweep(tb testing.TB) {
	tb.Helper()
	round := countTo(len(q.conns))
	q.store.looking.Store(round)
	await(tb, round.all)
}

// leave closes all connections at once.
func (q *quiet) leave(tb testing.TB) {
	tb.Helper()
	for i := range q.conns {
		q.in(i, func(c *memoryConn) { q.h.OnClose(c, nil) })
	}
	await(tb, func() bool { return q.gw.Sessions() == 0 && q.store.released.all() })
	for i := range q.conns {
		q.conns[i].session.Store(nil)
	}
}

func (q *quiet) stop(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	need(tb, q.gw.Quiesce(ctx))
	need(tb, q.eng.Shutdown(ctx))
	need(tb, q.gw.Close(ctx))
	need(tb, <-q.served)
}

func need(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// heap is what is reachable.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools kept over the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// status are figures about resident memory in bytes, none where the system does not tell.
func status(tb testing.TB) map[string]int64 {
	tb.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	need(tb, err)
	figures := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "VmRSS" && name != "RssAnon" && name != "RssFile" {
			continue
		}
		kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
		need(tb, err)
		figures[name] = kib << 10
	}
	return figures
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
func await(tb testing.TB, done func() bool) {
	tb.Helper()
	limit := time.Now().Add(10 * time.Minute)
	for !done() {
		if time.Now().After(limit) {
			tb.Fatal("waited in vain")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
