package sqlitestore

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math"

	"trackchat/queue"
	"trackchat/queue/batch"

	"go.uber.org/zap"
)

// maxBatch is the most items that one transaction takes.
const maxBatch = 1024

// writer is the one goroutine that changes the file. What is queued while a transaction commits is
// the next transaction, so one fsync serves many callers under load and nobody waits for company
// when idle.
type writer struct {
	s *Store
	c *conn

	trackers cache
	next     int64 // id of the next message
	reserved int64 // numbers up to this one may be used; stored in meta before they are
	marked   bool  // the database says that it is not closed

	failed     int   // operations since the last complaint
	complained int64 // second of the last complaint

	// Of the running transaction.
	now      int64 // UTC ms
	dirty    []*tracker
	args     []driver.Value // of storeTrackers
	wakes    map[queue.NodeID][]queue.Wake
	changes  []queue.Change
	mustSync bool // before the answers, whatever the durability

	storeRows map[int]string // query by how many trackers it stores
}

func newWriter(s *Store, c *conn) (*writer, error) {
	w := &writer{
		s: s, c: c, trackers: newCache(s.opts.cacheTrackers),
		wakes: make(map[queue.NodeID][]queue.Wake),
		storeRows: map[int]string{
			1:          storeTrackersQuery(1),
			rowsAtOnce: storeTrackersQuery(rowsAtOnce),
		},
	}
	if err := w.loadReserved(); err != nil {
		return nil, err
	}
	w.skipTo(w.reserved)
	return w, w.skipBackup()
}

func (w *writer) loadReserved() error {
	n, found, err := w.c.number("SELECT value FROM meta WHERE name = 'reserved'")
	if err == nil && !found {
		err = fmt.Errorf("%w: no reserved message number", queue.ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("reading the reserved message number: %w", translate(err))
	}
	w.reserved = n
	return nil
}

// skipTo leaves out numbers up to reserved.
func (w *writer) skipTo(reserved int64) {
	w.reserved = max(w.reserved, reserved)
	w.next = w.reserved + 1
}

// loop carries out what is queued until quit is closed and the queue, which takes nothing more
// then, is empty.
func (w *writer) loop(quit <-chan struct{}) {
	ops := make([]*operation, 0, maxBatch)
	for open := true; open; {
		select {
		case <-w.s.queued:
		case <-quit:
			open = false
		}
		for {
			if ops = w.s.writes.Take(ops[:0], maxBatch, math.MaxInt); len(ops) == 0 {
				break
			}
			w.executeAll(ops)
			clear(ops)
		}
	}
}

// executeAll runs the operations of a batch that want no transaction by themselves and the others
// together.
func (w *writer) executeAll(batch []*operation) {
	full := w.full()
	together := batch[:0]
	for _, o := range batch {
		switch {
		case o.outsideTx != nil:
			o.Finish(translate(o.outsideTx(w)))
		case o.grows && full != nil:
			o.Finish(full)
		default:
			together = append(together, o)
		}
	}
	if len(together) > 0 {
		w.execute(together)
	}
}

// reserve is the part of MaxBytes that is kept for acks and the like: they let records grow by some
// bytes.
const reserve = 16

// full says why nothing that makes the file larger may be stored now. The limits themselves are
// SQLite's and the disk's to hold; this keeps a part of them free.
func (w *writer) full() error {
	if free, known := freeBytes(w.s.opts.Path); known && free < w.s.opts.LeastFree {
		return fmt.Errorf("%w: the disk has only %d MiB left", queue.ErrOverloaded, free>>20)
	}
	limit := w.s.opts.MaxBytes
	if limit == 0 {
		return nil
	}
	used, _, err := w.c.number("PRAGMA page_count")
	if err != nil {
		return translate(err)
	}
	free, _, err := w.c.number("PRAGMA freelist_count")
	if err != nil {
		return translate(err)
	}
	if used-free > (limit-limit/reserve)/pageSize {
		return fmt.Errorf("%w: the file has reached %d MiB", queue.ErrOverloaded, limit>>20)
	}
	return nil
}

// execute runs operations in one transaction and answers them. If that fails, halves are tried, so
// that an operation that cannot succeed fails alone.
func (w *writer) execute(batch []*operation) {
	w.s.changes.begin()
	err := w.transaction(batch)
	switch {
	case err == nil:
		for node, list := range w.wakes {
			w.s.wakes.Tell(node, list)
		}
		w.s.changes.end(w.changes, w.now)
	case len(batch) > 1 && !errors.Is(err, queue.ErrUnknownOutcome):
		w.s.changes.end(nil, w.now)
		half := len(batch) / 2
		w.execute(batch[:half])
		w.execute(batch[half:])
		return
	default:
		w.s.changes.end(w.doubtful(err), w.now)
		w.complain(err)
	}
	items := 0
	for _, o := range batch {
		items += o.items
		o.Finish(err)
	}
	w.s.metrics.Batch("commit", items)
	clear(w.dirty) // they are held on to by nobody but the cache
	w.trackers.trim(w.now)
}

// doubtful is what a failed transaction has to tell: where it may have been committed, that changes
// may have been missed.
func (w *writer) doubtful(err error) []queue.Change {
	if errors.Is(err, queue.ErrUnknownOutcome) {
		return []queue.Change{{Kind: queue.ChangeResync}}
	}
	return nil
}

// complain logs failures, at most once a second: on a full disk there may be thousands. It also
// tries to make room.
func (w *writer) complain(err error) {
	w.failed++
	if sec := w.now / 1000; sec != w.complained {
		w.complained = sec
		w.s.log.Error("store transactions failed", zap.Error(err), zap.Int("operations", w.failed))
		w.failed = 0
		// On a full disk there may be room in the log itself. If that fails as well, the disk stays
		// full, which has just been said.
		_, _ = runCheckpoint(w.c, "RESTART")
	}
}

// transaction runs operations and commits. After an error nothing of them is in the file
// (ErrUnknownOutcome apart) and nothing of them is cached.
func (w *writer) transaction(batch []*operation) (err error) {
	w.now = w.s.now().UnixMilli()
	clear(w.wakes)
	w.changes = w.changes[:0]
	w.dirty = w.dirty[:0]
	w.mustSync = false
	if err := w.fit(); err != nil {
		return err
	}
	if err := w.c.begin(true); err != nil {
		return translate(err)
	}
	defer func() {
		if err != nil {
			w.c.rollback()
			err = errors.Join(err, w.forget())
		}
	}()
	for _, o := range batch {
		if err := o.run(w); err != nil {
			return translate(err)
		}
	}
	if err := w.storeTrackers(); err != nil {
		return translate(err)
	}
	if err := w.c.commit(); err != nil {
		return translateCommit(err)
	}
	w.s.wal.commits.Add(1)
	if w.mustSync {
		return w.s.wal.sync()
	}
	return nil
}

// operation is one call on its way through the writer.
type operation struct {
	batch.Ticket

	name  string
	items int
	bytes int
	// only adds load: refused earlier than what takes load away, such as acks.
	bulk  bool
	grows bool // makes the file larger
	// may run again after a failed transaction, so it assigns its results anew.
	run       func(w *writer) error
	outsideTx func(w *writer) error // instead of run: outside a transaction
}

// Load says how much of the write queue an operation takes.
func (o *operation) Load() batch.Load {
	return batch.Load{Weight: o.items, Bytes: o.bytes, Bulk: o.bulk}
}
