package sqlitestore

import (
	"bufio"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	flushEvery      = time.Second // durability everysec
	checkpointEvery = time.Second
	checkpointAfter = 256  // commits, or every 30th time in any case
	pageSize        = 4096 // SQLite's default; good enough for a bound
	idleCheckpoints = 30   // rounds
	cleanKeys       = 512  // expired idempotency keys that one transaction removes
	cleanEvery      = 60   // rounds
	probeFile       = "chat.probe"
)

// wal looks after the write-ahead log beside the writer: what makes commits durable with everysec,
// and checkpoints.
type wal struct {
	s       *Store
	file    *os.File // the log itself, nil with durability always: SQLite syncs each commit then
	c       *conn    // for checkpoints
	commits atomic.Int64
	calls   int64                 // when rest was last asked
	failure atomic.Pointer[error] // of the last flush, nil once one succeeded

	mu     sync.Mutex // guards synced and serialises syncs
	synced int64      // commits that are durable
}

// logLimit lets the log's file keep twice the size at which it starts over; more is given back to
// the disk then.
func logLimit(bytes int64) string { return fmt.Sprintf("journal_size_limit = %d", 2*bytes) }

// unsynced is how many commits wait for the disk.
func (l *wal) unsynced() int64 {
	if l.file == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commits.Load() - l.synced
}

// openWAL opens the log after the first commit has created it. SQLite locks only the database file
// and the -shm file, so that a second descriptor of the log is safe (closing one of a locked file
// would drop the process's locks).
func openWAL(s *Store, file string) (*wal, error) {
	l := &wal{s: s}
	if s.opts.Durability == EverySecond {
		f, err := os.OpenFile(file+"-wal", os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("opening the write-ahead log: %w", err)
		}
		l.file = f
	}
	c, err := openConn(file, "rw", "busy_timeout = 1000", "synchronous = FULL",
		"wal_autocheckpoint = 0", logLimit(s.opts.LogBytes), cacheSize(leastPages))
	if err != nil {
		_ = l.close()
		return nil, err
	}
	l.c = c
	return l, nil
}

// sync makes every commit so far durable.
func (l *wal) sync() error {
	if l.file == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.commits.Load()
	if n == l.synced {
		return nil
	}
	if err := syncFile(l.file); err != nil {
		err = fmt.Errorf("%w: syncing the write-ahead log: %w", queue.ErrUnknownOutcome, err)
		l.failure.Store(&err)
		return err
	}
	l.synced = n
	l.failure.Store(nil)
	return nil
}

// flush runs until stop: with everysec a commit waits at most flushEvery for the disk.
func (l *wal) flush(stop <-chan struct{}) {
	if l.file == nil {
		return
	}
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			if err := l.sync(); err != nil {
				l.s.log.Error("store cannot flush", zap.Error(err))
			}
		}
	}
}

// checkpoint runs until stop and copies the log into the database beside the hot path.
func (l *wal) checkpoint(stop <-chan struct{}) {
	t := time.NewTicker(checkpointEvery)
	defer t.Stop()
	last := l.commits.Load()
	for round := 1; ; round++ {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		if round%cleanEvery == 1 {
			if err := l.rest(); err != nil {
				l.s.log.Warn("store cannot give memory back", zap.Error(err))
			}
			l.clean()
		}
		n := l.commits.Load()
		if n-last < checkpointAfter && (n == last || round%idleCheckpoints != 0) {
			continue
		}
		last = n
		frames, err := runCheckpoint(l.c, "PASSIVE")
		if err != nil {
			l.s.log.Warn("store checkpoint failed", zap.Error(err))
			continue
		}
		if frames*pageSize >= l.s.opts.LogBytes {
			l.restart()
		}
	}
}

// restart makes the log start over. Only the writer can: nobody may append meanwhile. Nearly all of
// the log has just been copied, so that it waits for little.
func (l *wal) restart() {
	o := &operation{name: "checkpoint", items: 1, outsideTx: func(w *writer) error {
		_, err := runCheckpoint(w.c, "RESTART")
		return err
	}}
	if err := l.s.submit(context.Background(), o); err != nil && !busy(err) &&
		!errors.Is(err, queue.ErrOverloaded) {
		l.s.log.Warn("store checkpoint failed", zap.Error(err))
	}
}

// clean removes idempotency keys that nobody may repeat any more, and their answers. It also looks
// at what the caches hold.
func (l *wal) clean() {
	var cached int64
	o := &operation{name: "clean", items: cleanKeys, run: func(w *writer) error {
		cached = w.c.cached()
		_, err := w.c.exec("DELETE FROM idempotency WHERE (tracker, key) IN (SELECT tracker, key FROM idempotency INDEXED BY idempotency_until WHERE until_ms <= ? LIMIT ?)", w.now, int64(cleanKeys))
		if err == nil {
			_, err = w.c.exec("DELETE FROM answer WHERE (account, key) IN (SELECT account, key FROM answer INDEXED BY answer_until WHERE until_ms <= ? LIMIT ?)", w.now, int64(cleanKeys))
		}
		return err
	}}
	if l.s.submit(context.Background(), o) == nil {
		l.s.cached.Store(cached + l.c.cached() + l.s.readers.cached())
	}
}

// runCheckpoint returns how many frames the log holds.
func runCheckpoint(c *conn, mode string) (frames int64, err error) {
	err = c.query("PRAGMA wal_checkpoint("+mode+")", func(row []driver.Value) error {
		frames = integer(row[1])
		return nil
	})
	return frames, err
}

func (l *wal) close() error {
	if l.c != nil {
		if err := l.c.close(); err != nil {
			return err
		}
	}
	if l.file != nil {
		return l.file.Close()
	}
	return nil
}

// SQLite's write-ahead log: a header of 32 bytes, then frames, each a header of 24 bytes and a
// page. Checksums run on from frame to frame; frames of an earlier round have other salts. What
// SQLite reads at a start ends with the first frame that is not right, so that damage hides
// everything after it.
const (
	logMagic       = 0x377f0682 // the last bit says which way round the numbers of a checksum are
	logHeader      = 32
	logFrameHeader = 24
)

// logFile is what a write-ahead log holds.
type logFile struct {
	bytes  int64 // 0: there is none
	sound  bool  // its header can be read
	frames int   // that SQLite will read
	// number of the first one that cannot be read although whole transactions come after it, 0
	// none.
	damaged int
	hidden  int // such transactions
}

// scanLog reads a log that nobody writes.
func scanLog(name string) (l logFile, err error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("opening the write-ahead log: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return l, fmt.Errorf("looking at the write-ahead log: %w", err)
	}
	l.bytes = info.Size()
	r := bufio.NewReaderSize(f, 1<<20)
	header := make([]byte, logHeader)
	if _, err := io.ReadFull(r, header); err != nil {
		return l, ignoreEnd(err)
	}
	return l, ignoreEnd(l.scan(r, header))
}

func ignoreEnd(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("reading the write-ahead log: %w", err)
}

func (l *logFile) scan(r io.Reader, header []byte) error {
	magic, page := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[8:])
	var order binary.ByteOrder = binary.LittleEndian
	if magic&1 == 1 {
		order = binary.BigEndian
	}
	sum := logSum{}.add(order, header[:24])
	if magic&^1 != logMagic || page < 512 || page > 65_536 || page&(page-1) != 0 ||
		sum != readSum(header[24:]) {
		return nil
	}
	l.sound = true
	frame := make([]byte, logFrameHeader+page)
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, frame); err != nil {
			return err
		}
		if string(frame[8:16]) != string(header[16:24]) {
			return nil // of an earlier round, and so is what follows
		}
		got := readSum(frame[16:])
		right := sum.add(order, frame[:8]).add(order, frame[logFrameHeader:]) == got
		switch {
		case right && l.damaged == 0:
			l.frames = n
		case l.damaged == 0:
			l.damaged = n
		case right && binary.BigEndian.Uint32(frame[4:]) > 0: // the last one of a transaction
			l.hidden++
		}
		sum = got
	}
}

// torn reports whether whole transactions come after what SQLite will read. A last one that was
// being written when the power failed is none.
func (l *logFile) torn() bool { return l.hidden > 0 }

// logSum is a checksum of the log.
type logSum [2]uint32

func (s logSum) add(order binary.ByteOrder, b []byte) logSum {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}

func readSum(b []byte) logSum {
	return logSum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}
