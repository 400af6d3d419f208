// Package redisstore is the queue.Store on Redis: one process, Sentinel or Cluster.
//
// Messages lie in append-only chunks of 64 per tracker, and the status byte of a record is the only
// truth about it. Every transition is one Lua script, executed for batches of requests: on a
// Cluster those of one of 256 partitions, else of any. A batch is executed once however often it
// has to be sent. README of the schema: record.go, lua/.
//
// Durability is Redis's: with Always (appendfsync always) an answer means that the append-only file
// is synced; with EverySecond the end of the machine may cost about the last second. Ids are not
// used again in either case. A failover to a replica may lose what the replica had not received.
package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"trackchat/queue"
	"trackchat/queue/batch"
	"trackchat/queue/directory"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Durability says what Redis must be configured for.
type Durability int

// Durabilities.
const (
	Always      Durability = iota // appendfsync always
	EverySecond                   // appendfsync everysec or always
)

// Options of Open. Addrs and Now are required.
type Options struct {
	// one: that Redis; several: nodes of a Cluster, or the Sentinels if Master is set.
	Addrs         []string
	Username      string
	Password      string
	TLS           *tls.Config // nil: no TLS
	Master        string      // name of the master that Sentinels watch
	Durability    Durability
	AllowVolatile bool // a durability weaker than wanted is a warning, not a problem
	// TrustDurability: where Redis does not let CONFIG be read, durability is the operator's word.
	TrustDurability bool
	MaxPending      int              // undelivered messages of one tracker; 0: 1000
	Now             func() time.Time // for time limits and metrics; messages have Redis's time
	QueueItems      int              // requests that may wait for Redis; 0: 65536
	QueueBytes      int              // bytes that may wait with them; 0: 64 MiB
	WakeText        int              // bytes of the longest text that a wake carries; 0: 1024
	DialTimeout     time.Duration    // 0: 2 s
	ReadTimeout     time.Duration    // until an answer counts as lost; 0: 3 s
	// how long a request is repeated after errors that may pass; 0: 5 s.
	RetryFor   time.Duration
	Logger     *zap.Logger
	Registerer prometheus.Registerer // nil: metrics stay unregistered
	// told of each call that fails as a whole; must not block; nil: nobody.
	OnFailure func(error)
	// kept up to date for edits, beside who else follows; nil: one of its own.
	Directory *queue.Directory

	clock     func() time.Time // not nil: instead of Redis's time
	migration string           // not empty: what this process migrates into it, see OpenMigration
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Addrs) == 0 || o.Now == nil {
		return o, errors.New("the Redis store needs an address and a clock")
	}
	for p, v := range map[*int]int{
		&o.MaxPending: 1000, &o.QueueItems: 65_536,
		&o.QueueBytes: 64 << 20, &o.WakeText: 1024,
	} {
		if *p <= 0 {
			*p = v
		}
	}
	for p, v := range map[*time.Duration]time.Duration{
		&o.DialTimeout: 2 * time.Second,
		&o.ReadTimeout: 3 * time.Second, &o.RetryFor: 5 * time.Second,
	} {
		if *p <= 0 {
			*p = v
		}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return o, nil
}

var (
	_ queue.Store       = (*Store)(nil)
	_ queue.Importer    = (*Store)(nil)
	_ queue.Peers       = (*Store)(nil)
	_ queue.Partitioned = (*Store)(nil)
	_ queue.Remote      = (*Store)(nil)
)

// Store implements queue.Store. Methods may be called from any goroutine.
type Store struct {
	*client
	*supervisor
	*nodes
	*webhooks
	*dirStore
	*directory.Editor
	wakes *wakes

	trimMu sync.Mutex
	trimAt [partitions]int64 // guarded by trimMu: where the next Trim goes on

	tending sync.WaitGroup // goroutines that watch
	stop    context.CancelFunc
	closing sync.Once
	err     error // of Close
}

// Open connects to Redis, makes its scripts known and checks that it is fit for use. Errors:
// queue.ErrUnavailable, and what Check found wrong.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := newClient(opts)
	c.metrics = queue.NewStoreMetrics(opts.Registerer)
	c.metrics.OnFailure(opts.OnFailure)
	if c.scripts, err = loadScripts(); err != nil {
		return nil, err
	}
	c.kinds = c.transitions()
	c.room = batch.NewRoom(opts.QueueItems, opts.QueueBytes)
	ws, dir := newWakes(c), &dirStore{c}
	s := &Store{
		client: c, supervisor: &supervisor{client: c, wakes: ws}, wakes: ws,
		dirStore: dir, Editor: directory.NewEditor(directoryRows{dir}, opts.Directory),
		nodes:    &nodes{client: c, asks: make(chan struct{}, peerAsks)},
		webhooks: &webhooks{client: c, seen: make(map[queue.AccountID]hookLease)},
	}
	logClient(opts.Logger)
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// start connects; what it began before an error is left to Close.
func (s *Store) start(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if s.cluster.many {
		if err := s.cluster.reload(ctx); err != nil {
			return err
		}
	} else {
		s.cluster.single(s.opts.Addrs[0])
	}
	if err := s.claim(ctx); err != nil {
		return err
	}
	report, err := s.Check(ctx)
	if err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		return fmt.Errorf("redis is not fit for use: %s", strings.Join(report.Problems, "; "))
	}
	for _, w := range report.Warnings {
		s.log.Warn("redis", zap.String("warning", w))
	}
	s.tending.Go(func() { s.watch(background) })
	s.tending.Go(func() { s.purgeLoop(background) })
	return nil
}

// Close answers what is on its way and ends the connections. Later calls of any method give
// queue.ErrUnavailable; a later Close the same result.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.shut()
		s.wakes.close()
		if s.stop != nil {
			s.stop()
		}
		s.tending.Wait()
		s.calls.Wait()
		s.err = s.cluster.close()
		s.working.Wait()
		logClient(zap.NewNop())
	})
	return s.err
}
