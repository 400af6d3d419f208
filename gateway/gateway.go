// Package gateway holds the sessions of trackers and delivers texts to them: it reads frames from
// the engine, decides what they mean for messages, and keeps the store, which is the truth, and the
// device in step.
//
// Ownership: a session belongs to the event loop of its connection, which alone touches it. What
// the device sends is cut, decoded and answered in the engine's callback; what comes from elsewhere
// (results of the store, wakes, time, administrators) comes as an order to the loop. Store calls
// run in batch workers. Nothing in a loop waits for the store or for a device.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options configure a Gateway. Durations and limits that are 0 take the defaults of the
// configuration file, except Limits, where 0 means no limit.
type Options struct {
	Node queue.NodeID
	// holds the connections; each of its loops owns the sessions of its own.
	Engine     engine.Engine
	Store      queue.Delivery
	Directory  *queue.Directory
	Protocols  []*protocol.Protocol // that devices at a wrong port are looked for in
	Registerer prometheus.Registerer
	Logger     *zap.Logger
	// its readings are those of time.Now: deadlines go by the monotonic clock in them.
	Now func() time.Time

	LoginTimeout time.Duration   // 30 s
	IdleTimeout  time.Duration   // 15 min
	AckTimeout   []time.Duration // 10 s, 20 s, 60 s
	RetryIdle    time.Duration   // 10 min
	// 60 s: pause before the one repetition after a device reported a temporary failure.
	RetryFailed  time.Duration
	MaxAttempts  int           // 5
	Repoll       time.Duration // 60 s
	StoreTimeout time.Duration // 5 s: one store call
	Limits       Limits
	// 10: times that one address may take over one tracker's sessions within two minutes; then it
	// may have to yield.
	Takeovers int
	// reports that memory is short: no new connections and no new texts then; nil: never.
	Full func() bool
}

// Limits bound what devices can take. 0 switches a limit off.
type Limits struct {
	// connections that have not logged in; of more, the oldest goes of the address that has most of
	// them.
	Unauthenticated int
	// connections of one address, IPv6 by its first 64 bits; loopback is exempt.
	PerIP int
	// new connections per second, of which one address has four fifths at most.
	AcceptRate      float64
	FramesPerSecond int // of one session; above it its reads pause
	// from one device; above it texts are not acknowledged, so that the device repeats them.
	TextsPerMinute int
}

const (
	tickEvery    = 50 * time.Millisecond
	maxReplies   = 64 // replies of one session that wait for the store; then its reads pause
	maxGarbage   = 16 // refused frames before the login; then the connection is closed
	backlogTexts = 64 // messages of one tracker in memory
	backlogBytes = 64 << 10
	batchItems   = 1024
	lateItems    = 16 // each takes store calls of its own
	lateMatches  = 64 // unacknowledged messages that a late ack is compared with
	lateEvery    = time.Second
	// trackers with texts that were written and never confirmed.
	maxRounds = 1 << 16
	// a copy of a driver's text that comes later than this is the device's repetition.
	impatience = 300 * time.Millisecond
	// unread bytes beyond the longest frame: the beginning of the next one.
	trustSlack  = 4 << 10
	maxScratch  = 64 << 10
	touchEvery  = 5 * time.Minute       // how often the store is told when a device was heard of
	touchGather = 2 * time.Second       // so that few transactions do it
	ackGather   = 10 * time.Millisecond // one store call for those of as long,
	ackEnough   = 64                    // or for so many
	lookGather  = 2 * tickEvery         // for what other shards ask in the same tick
)

// Gateway is one node's sessions.
type Gateway struct {
	o Options
	clock
	log          *zap.Logger
	m            *metrics
	shards       []*shard
	store        *storeWork
	partition    func(queue.TrackerID) queue.Partition // of the store
	divided      bool                                  // its partitions may fail one by one
	reg          *registry
	unconfirmed  *unconfirmed
	strays       *strays
	learnt       *learnt
	panics       *logLimiter // of log lines
	refusals     *logLimiter // of log lines about devices and frames that are refused
	troubles     *troubles
	servers      trackingServers
	dialWarnings *logLimiter
	// dialling makes the context of a dial to a tracking server, which stopDials ends.
	dialling     func(time.Duration) (context.Context, context.CancelFunc)
	stopDials    context.CancelFunc
	speakers     []speaker
	history      *trackerHistory
	loginLimiter *loginLimiter
	admission    *admission
	next         atomic.Uint64 // number of the next jitter
	rest         activity      // of all sessions at rest
	seconds      atomic.Int64  // coarse clock for engine callbacks: ms to the second
	halt         atomic.Bool   // shutting down: nothing new is sent to devices

	stop    context.CancelFunc
	group   sync.WaitGroup
	closing sync.Once
}

var (
	_ engine.Admitter = (*Listener)(nil)
	_ engine.Handler  = (*Listener)(nil)
	_ engine.Refuser  = (*Listener)(nil)
)

// Listener is one protocol on one port.
type Listener struct {
	g          *Gateway
	protocol   *protocol.Protocol
	settings   protocol.Settings
	layer      map[string]string
	login      time.Duration
	idle       time.Duration
	maxConns   int
	placements []placement // one a shard
	conns      atomic.Int64
	upstream   atomic.Pointer[upstream]
	c          protocolMetrics
}

// New makes a gateway; Start brings it to life.
func New(o Options) (*Gateway, error) {
	if o.Engine == nil || o.Store == nil || o.Directory == nil || o.Now == nil {
		return nil, errors.New("gateway needs an engine, a store, a directory and a clock")
	}
	o.Node = cmp.Or(o.Node, "node")
	o.LoginTimeout = cmp.Or(o.LoginTimeout, 30*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 15*time.Minute)
	o.RetryIdle = cmp.Or(o.RetryIdle, 10*time.Minute)
	o.RetryFailed = cmp.Or(o.RetryFailed, time.Minute)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 5)
	o.Repoll = cmp.Or(o.Repoll, time.Minute)
	o.Takeovers = cmp.Or(o.Takeovers, 10)
	o.StoreTimeout = cmp.Or(o.StoreTimeout, 5*time.Second)
	if len(o.AckTimeout) == 0 {
		o.AckTimeout = []time.Duration{10 * time.Second, 20 * time.Second, time.Minute}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	g := &Gateway{
		o: o, clock: clock{now: o.Now}, log: o.Logger, m: newMetrics(o.Registerer),
		reg: new(registry), history: newTrackerHistory(), loginLimiter: newLoginLimiter(),
	}
	g.dialWarnings = newLogLimiter(10*time.Second, 5)
	g.m.observeDown(o.Registerer, g.longestDown)
	g.panics, g.refusals = newLogLimiter(time.Minute, 1), newLogLimiter(time.Second, 20)
	g.admission = newAdmission(o.Limits, o.Now, g.m)
	g.partition = func(queue.TrackerID) queue.Partition { return 0 }
	if placed, ok := o.Store.(queue.Partitioned); ok {
		g.partition, g.divided = placed.PartitionOf, placed.IndependentPartitions()
	}
	g.unconfirmed, g.strays = newUnconfirmed(g.admission), newStrays(g.admission)
	g.learnt, g.troubles = newLearnt(), newTroubles(g.admission)
	speakers, err := newSpeakers(o.Protocols)
	if err != nil {
		return nil, err
	}
	g.speakers = speakers
	g.store = newStoreWork(g)
	g.seconds.Store(g.ms(o.Now()) / 1000)
	for _, loop := range o.Engine.Loops() {
		g.shards = append(g.shards, newShard(g, loop))
	}
	return g, nil
}

// Start subscribes to the store's wakes and starts the work. It goes on until Close, whatever
// becomes of ctx.
func (g *Gateway) Start(ctx context.Context) error {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	dials, stopDials := context.WithCancel(run)
	g.stopDials = stopDials
	g.dialling = func(d time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(dials, d)
	}
	if err := g.o.Store.Listen(run, g.o.Node, g.told); err != nil {
		stop()
		return fmt.Errorf("listening to wakes: %w", err)
	}
	g.store.start(run, &g.group)
	g.group.Go(func() { g.tick(run) })
	return nil
}

// Listen prepares one protocol; settings are laid over the protocol's defaults. maxConns 0 is no
// bound of its own.
func (g *Gateway) Listen(p *protocol.Protocol, settings map[string]string, maxConns int) (*Listener,
	error,
) {
	s, err := p.NewSettings(settings)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		g: g, protocol: p, settings: s, layer: settings, maxConns: maxConns,
		login: g.o.LoginTimeout, idle: cmp.Or(p.IdleTimeout, g.o.IdleTimeout), c: g.m.of(p.Name),
	}
	if p.LoginTimeout != nil {
		if stated := p.LoginTimeout(s); stated > 0 {
			l.login = min(l.login, stated)
		}
	}
	for _, sh := range g.shards {
		l.placements = append(l.placements, placement{l, sh})
	}
	return l, nil
}

// Serve accepts this listener's connections on ln until the engine is shut down.
func (l *Listener) Serve(ln net.Listener) error {
	if err := l.g.o.Engine.Serve(ln, l); err != nil {
		return fmt.Errorf("serving %s: %w", l.protocol.Name, err)
	}
	return nil
}

// full reports that memory is short.
func (g *Gateway) full() bool { return g.o.Full != nil && g.o.Full() }

// minute is the coarse clock's.
func (g *Gateway) minute() int64 { return g.seconds.Load() / 60 }

// Sessions returns the number of sessions that are logged in.
func (g *Gateway) Sessions() int { return g.reg.len() }

// Recheck looks at every session again after the directory has changed: the sessions of trackers
// that are gone, blocked, moved to another device or have another password are closed.
func (g *Gateway) Recheck() {
	for _, sh := range g.shards {
		sh.each((*session).recheck)
	}
}

// Quiesce stops sending texts and waits until what devices have already said is stored, at most
// until ctx ends. Connections stay open: shut the engine down next, then call Close.
func (g *Gateway) Quiesce(ctx context.Context) error {
	g.halt.Store(true)
	if g.stopDials != nil {
		g.stopDials()
	}
	return g.settle(ctx)
}

// settleRounds is the longest way of something that a device said: its packet, what the store knows
// of it, what then is stored, the answer.
const settleRounds = 4

// settle waits until what shards and store workers had to do when it was called is done, with all
// that followed from it. What came later does not hold it up.
func (g *Gateway) settle(ctx context.Context) error {
	every := time.NewTicker(2 * time.Millisecond)
	defer every.Stop()
	for range settleRounds {
		for _, wait := range g.marks() {
			for !wait() {
				select {
				case <-ctx.Done():
					return fmt.Errorf("waiting for the store: %w", ctx.Err())
				case <-every.C:
				}
			}
		}
	}
	return nil
}

// marks returns, for each shard and store worker, what reports whether all that it has now to do is
// done.
func (g *Gateway) marks() []func() bool {
	marks := g.store.marks()
	for _, sh := range g.shards {
		marks = append(marks, sh.mark())
	}
	return marks
}

// Close ends the gateway after the engines are shut down: what closed sessions left is stored or
// given up when ctx ends, and every goroutine has ended when Close returns.
func (g *Gateway) Close(ctx context.Context) error {
	var err error
	g.closing.Do(func() {
		g.halt.Store(true)
		err = g.settle(ctx)
		if g.stop != nil {
			g.stop()
		}
		g.group.Wait()
	})
	return err
}

// tick keeps the coarse clock, and has the shards do what is due.
func (g *Gateway) tick(ctx context.Context) {
	every := time.NewTicker(tickEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			g.seconds.Store(g.ms(g.o.Now()) / 1000)
			for _, sh := range g.shards {
				if !sh.ticking.Swap(true) {
					sh.loop.Execute(sh.order)
				}
			}
		}
	}
}

// told hands wakes to the loops of the sessions that own their trackers. It runs beside the store's
// work.
func (g *Gateway) told(list []queue.Wake) {
	for i := range list {
		w := &list[i]
		if w.Kind == queue.WakeResync {
			g.m.resyncs.Inc()
			for _, sh := range g.shards {
				sh.told(sessionWake{})
			}
			continue
		}
		if s := g.reg.get(w.Tracker); s != nil {
			s.shard.told(sessionWake{s, w})
		}
	}
}

// clock tells the time: the system's, which may be set at any moment, for what is recorded and
// compared with a message's expiry; and ms for every deadline, so that nothing becomes due early or
// late because the clock was set.
type clock struct {
	now    func() time.Time
	steady protocol.Clock
}

// ms is a reading of now as deadlines are kept, see protocol.Clock.
func (c *clock) ms(t time.Time) int64 { return c.steady.Ms(t) }

// wall turns what ms returned into Unix milliseconds by the system's clock as it is now.
func (c *clock) wall(ms int64) int64 {
	now := c.now()
	return ms + now.UnixMilli() - c.ms(now)
}
