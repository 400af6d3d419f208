// Package sqlitestore is the embedded queue.Store: one SQLite file, one goroutine that writes it,
// and a few connections that read.
//
// Durability: with Always every commit is synced before anybody hears of it. With EverySecond
// answers come after the write to the operating system and the log is synced once a second: the end
// of the process loses nothing, the end of the machine at most about the last second. Ids are never
// used twice in either case.
//
// Space of removed messages is used again by new ones; the file itself does not shrink.
package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
	"trackchat/queue/directory"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

// Durability says when an answer is given.
type Durability int

// Durabilities.
const (
	Always      Durability = iota // after fsync
	EverySecond                   // after the write; fsync follows within a second
)

const (
	databaseFile = "chat.db"
	lockName     = "chat.lock"
)

// Options of Open. Only Path and Now are required.
type Options struct {
	Path       string           // directory; created for the owner only
	Now        func() time.Time // clock
	Durability Durability
	MaxPending int // undelivered messages of one tracker; 0: 1000
	// size at which the write-ahead log starts over; 0: 32 MiB. Between two looks at it, one
	// second, it may exceed that.
	LogBytes int64
	// size of the database file at which it counts as full; 0: no limit but the disk's.
	MaxBytes  int64
	LeastFree int64 // bytes of the disk below which nothing new is stored; 0: 64 MiB
	// calls that may wait for the writer, and three quarters as many that only add load; 0: 4096.
	QueueOps   int
	QueueBytes int   // bytes that may wait with them; 0: 64 MiB
	Readers    int   // connections that read; 0: 4
	CacheBytes int64 // memory of SQLite's cache, all connections together; 0: 16 MiB
	Logger     *zap.Logger
	Registerer prometheus.Registerer // nil: metrics stay unregistered
	// told of each call that fails as a whole; must not block; nil: nobody.
	OnFailure func(error)
	// kept up to date for edits, beside who else follows; nil: one of its own.
	Directory *queue.Directory

	cacheTrackers int
}

func (o Options) withDefaults() (Options, error) {
	if o.Path == "" || o.Now == nil {
		return o, errors.New("the embedded store needs a path and a clock")
	}
	for p, v := range map[*int]int{
		&o.MaxPending: 1000, &o.QueueOps: 4096, &o.QueueBytes: 64 << 20,
		&o.Readers: 4, &o.cacheTrackers: 32_768,
	} {
		if *p <= 0 {
			*p = v
		}
	}
	if o.LogBytes <= 0 {
		o.LogBytes = 32 << 20
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 16 << 20
	}
	if o.LeastFree <= 0 {
		o.LeastFree = leastFree
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return o, nil
}

var _ queue.Store = (*Store)(nil)

// Store implements queue.Store. Methods may be called from any goroutine.
type Store struct {
	*database
	*nodes
	*webhooks
	*sessions
	*broadcasts
	*dirStore
	*directory.Editor
	opts Options
	file string

	wakes   queue.Fanout[queue.NodeID, queue.Wake]
	changes changeFeed
	wal     *wal
	cached  atomic.Int64 // memory of SQLite's cache when it was last looked at

	lock      *os.File
	memo      memo           // what lock remembers; the writer's, once it runs
	home      [2]os.FileInfo // of places
	away      atomic.Bool    // others lie there, or none
	hidden    int            // transactions that could not be read at the start
	writeConn *conn
	writer    *writer
	writing   sync.WaitGroup // the writer
	tending   sync.WaitGroup // flush and checkpoint
	stop      chan struct{}  // ends tending
	quit      chan struct{}  // ends the writer
	closing   sync.Once
	closeErr  error

	trimming sync.Mutex // guards trimFrom
	trimFrom int64      // id after which Trim looks

	// Queries by how many ids they take.
	unreadIn    map[int]string
	presenceIn  map[int]string
	messagesIn  map[int]string
	leasesOf    map[int]string
	lastTimesOf map[int]string
	changedOf   map[int]string
}

// Open opens or creates the store in opts.Path. Errors: queue.ErrInUse, queue.ErrCorrupt,
// queue.ErrLost where files do not belong together or are missing (see Adopt), and a schema newer
// than this program.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Path, 0o700); err != nil {
		return nil, fmt.Errorf("creating the store's directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(opts.Path, lockName))
	if err != nil {
		return nil, err
	}
	db, stop := newDatabase(&opts), make(chan struct{})
	dir := &dirStore{database: db, keptIn: inQueries(
		"SELECT tracker, account, conversation, former FROM kept WHERE tracker IN")}
	s := &Store{
		database: db,
		nodes:    &nodes{clock: opts.Now, stop: stop, known: make(map[queue.NodeID]beating)},
		webhooks: &webhooks{database: db, leases: make(map[queue.AccountID]hookLease)},
		sessions: &sessions{db}, broadcasts: &broadcasts{db},
		dirStore: dir,
		Editor:   directory.NewEditor(directoryRows{dir}, opts.Directory),
		opts:     opts, file: filepath.Join(opts.Path, databaseFile), lock: lock,
		stop: stop, quit: make(chan struct{}),
		unreadIn:    inQueries("SELECT id, unread FROM tracker WHERE id IN"),
		presenceIn:  inQueries("SELECT id, owner, since_ms, seen_ms FROM tracker WHERE id IN"),
		messagesIn:  inQueries("SELECT " + messageColumns + " FROM message WHERE id IN"),
		leasesOf:    askQueries("", leasesQuery),
		lastTimesOf: askQueries("", "SELECT id, "+newestMs+" FROM asked"),
		changedOf:   askQueries("since (ms) AS (VALUES (?)), ", changedQuery),
	}
	if err := s.start(); err != nil { //nolint:contextcheck // what it starts outlives this call
		return nil, errors.Join(err, s.release())
	}
	if err := s.purgeLeft(ctx); err != nil {
		s.log.Error("messages of removed trackers stay until the next start", zap.Error(err))
	}
	return s, nil
}

// start opens the connections and starts the goroutines; what it opened before an error is left to
// release.
func (s *Store) start() (err error) {
	if err := s.settle(); err != nil {
		return err
	}
	synchronous := "synchronous = FULL"
	if s.opts.Durability == EverySecond {
		synchronous = "synchronous = NORMAL"
	}
	if err := makePrivate(s.file); err != nil {
		return err
	}
	writerCache, readerCache := cacheSizes(&s.opts)
	if err := s.makeRoom(); err != nil {
		return err
	}
	s.writeConn, err = openConn(s.file, "rwc", "busy_timeout = 1000", "journal_mode = WAL",
		synchronous, "wal_autocheckpoint = 0",
		logLimit(s.opts.LogBytes), writerCache, "temp_store = MEMORY")
	if err != nil {
		return translate(err)
	}
	if err := requireWAL(s.writeConn); err != nil {
		return err
	}
	if err := migrate(s.writeConn); err != nil {
		return err
	}
	if err := limitSize(s.writeConn, s.opts.MaxBytes); err != nil {
		return translate(err)
	}
	if s.writer, err = newWriter(s, s.writeConn); err != nil {
		return err
	}
	if err := s.writer.markOpen(); errors.Is(err, queue.ErrCorrupt) {
		return err
	} else if err != nil {
		// what is there can be read; each write tries again.
		s.log.Error("nothing can be stored", zap.Error(err))
	}
	if err := s.moveIn(); err != nil {
		return err
	}
	if s.readers, err = newReaders(s.file, s.opts.Readers, readerCache); err != nil {
		return translate(err)
	}
	if s.wal, err = openWAL(s, s.file); err != nil {
		return translate(err)
	}
	s.keepReserve(s.opts.LeastFree)
	registerMetrics(s, s.opts.Registerer)
	s.writing.Go(func() { s.writer.loop(s.quit) })
	s.tending.Go(func() { s.wal.flush(s.stop) })
	s.tending.Go(func() { s.wal.checkpoint(s.stop) })
	s.tending.Go(func() { s.changes.tick(s.now, s.stop) })
	return nil
}

// requireWAL refuses file systems without shared memory, where SQLite silently keeps its rollback
// journal.
func requireWAL(c *conn) error {
	mode := ""
	if err := c.query("PRAGMA journal_mode", func(row []driver.Value) error {
		mode = text(row[0])
		return nil
	}); err != nil {
		return translate(err)
	}
	if mode != "wal" {
		return fmt.Errorf("%w: the file system allows no write-ahead log, only %q",
			queue.ErrUnavailable, mode)
	}
	return nil
}

// limitSize sets the greatest size of the file; what is already there stays.
func limitSize(c *conn, bytes int64) error {
	if bytes <= 0 {
		return nil
	}
	page, _, err := c.number("PRAGMA page_size")
	if err != nil {
		return err
	}
	_, _, err = c.number(fmt.Sprintf("PRAGMA max_page_count = %d", max(bytes/page, 1)))
	return err
}

// Close answers what is queued, copies the log into the database and closes it. Later calls of any
// method give queue.ErrUnavailable; a later Close the same result.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.stop)
		s.tending.Wait()
		s.writes.Close()
		close(s.quit)
		s.writing.Wait()
		s.wakes.Close()
		s.changes.told.Close()
		s.closeErr = errors.Join(s.finish(), s.release())
	})
	return s.closeErr
}

// finish leaves the file as one: without a log beside it. Numbers that were reserved and not used
// are given back.
func (s *Store) finish() error {
	if err := s.wal.sync(); err != nil {
		return err
	}
	if _, err := s.writeConn.exec("UPDATE meta SET value = ? WHERE name = 'reserved'",
		s.writer.next-1); err != nil {
		s.log.Warn("store cannot give back reserved message numbers", zap.Error(err))
	} else {
		s.remember(s.writer.next - 1)
	}
	if _, err := runCheckpoint(s.writeConn, "TRUNCATE"); err != nil && !busy(err) {
		return fmt.Errorf("closing the store: %w", translate(err))
	}
	return nil
}

// release closes whatever is open.
func (s *Store) release() error {
	var errs []error
	if s.readers != nil {
		errs = append(errs, s.readers.close())
	}
	if s.wal != nil {
		errs = append(errs, s.wal.close())
	}
	if s.writeConn != nil {
		errs = append(errs, s.closeWriter())
		s.keepReserve(0) // what the log took is free now
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// registerMetrics shows how full the bounded buffers are and what a power cut would cost now; a nil
// reg keeps the figures unregistered.
func registerMetrics(s *Store, reg prometheus.Registerer) {
	f := promauto.With(reg)
	for _, g := range []struct {
		name, help string
		value      func() int64
	}{
		{
			"trackchat_store_queued_operations",
			"Calls that wait for the writer of the embedded store.",
			s.room.Items,
		},
		{
			"trackchat_store_queued_bytes",
			"Bytes of the calls that wait for the writer of the embedded store.",
			s.room.Bytes,
		},
		{
			"trackchat_store_log_unreadable_transactions",
			"Transactions that stood behind damage in the embedded store's write-ahead log when this process started, and are lost.",
			func() int64 { return int64(s.hidden) },
		},
		{
			"trackchat_store_cache_bytes",
			"Memory of the embedded store's cache, of which store.cache is the most; looked at once a minute.", s.cached.Load,
		},
		{
			"trackchat_store_unsynced_commits",
			"Answered transactions of the embedded store that are not synced yet; 0 with durability always.", s.wal.unsynced,
		},
	} {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help},
			func() float64 { return float64(g.value()) })
	}
}
