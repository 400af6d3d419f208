package sqlitestore

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"trackchat/queue"
)

// Archive reads a store that no service uses: a stopped one or a backup. It has one user at a time.
type Archive struct {
	c    *conn
	lock *os.File // nil: a backup
}

// OpenArchive opens the store in a directory, or a backup's file. A store is locked against
// services until Close; a backup must not be changed meanwhile. Errors: queue.ErrInUse,
// queue.ErrCorrupt, fs.ErrNotExist, and a schema that is not this program's.
func OpenArchive(path string) (*Archive, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("looking for the store: %w", err)
	}
	if info.IsDir() {
		path = filepath.Join(path, databaseFile)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("looking for the store: %w", err)
	}
	a := new(Archive)
	if filepath.Base(path) == databaseFile {
		if a.lock, err = lockFile(filepath.Join(filepath.Dir(path), lockName)); err != nil {
			return nil, err
		}
		v, err := lookAround(filepath.Dir(path), readMemo(a.lock))
		if err == nil {
			err = v.refusal()
		}
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	if a.c, err = openConn(path, "ro", "busy_timeout = 1000", "query_only = 1",
		"cache_size = -65536"); err == nil {
		err = a.readable()
	}
	if err != nil {
		return nil, errors.Join(translate(err), a.Close())
	}
	return a, nil
}

func (a *Archive) readable() error {
	scripts, err := migrations()
	if err != nil {
		return err
	}
	version, err := knownSchema(a.c)
	if err == nil && version < len(scripts) {
		err = fmt.Errorf("schema is %d, this program's is %d: start a service of this version on the store once", version, len(scripts))
	}
	return err
}

// Close ends the reading and gives the store free. A second call does nothing.
func (a *Archive) Close() error {
	var errs []error
	if a.c != nil {
		errs = append(errs, a.c.close())
	}
	if a.lock != nil {
		errs = append(errs, a.lock.Close())
	}
	a.c, a.lock = nil, nil
	return errors.Join(errs...)
}

// Directory reads accounts and trackers, ordered by id.
func (a *Archive) Directory(ctx context.Context) (accounts []queue.Account,
	trackers []queue.Tracker, err error,
) {
	if accounts, err = loadAccounts(ctx, a.c); err == nil {
		trackers, err = loadTrackers(ctx, a.c)
	}
	return accounts, trackers, translate(err)
}

// Sessions returns up to limit sessions with greater hashes than after, ordered by hash, expired
// ones among them.
func (a *Archive) Sessions(after queue.KeyHash, limit int) ([]queue.Session, error) {
	var list []queue.Session
	err := a.c.query("SELECT hash, account, created_ms, expires_ms, user, stamp FROM session WHERE hash > ? ORDER BY hash LIMIT ?", func(row []driver.Value) error {
		h := blob(row[0])
		if len(h) != len(queue.KeyHash{}) {
			return fmt.Errorf("%w: session of account %d", queue.ErrCorrupt, integer(row[1]))
		}
		list = append(list, queue.Session{
			Hash:    queue.KeyHash(h),
			Account: queue.AccountID(integer(row[1])), CreatedMs: integer(row[2]),
			ExpiresMs: integer(row[3]), User: integer(row[4]), Stamp: text(row[5]),
		})
		return nil
	}, after[:], int64(limit))
	return list, translate(err)
}

// Broadcasts returns what is known of an account's broadcasts, the newest first.
func (a *Archive) Broadcasts(account queue.AccountID) ([]queue.Broadcast, error) {
	list, err := a.c.broadcasts(account, queue.MaxID, queue.MaxBroadcasts)
	return list, translate(err)
}

// BroadcastTargets returns the targets of a broadcast in their order.
func (a *Archive) BroadcastTargets(account queue.AccountID, id int64) ([]queue.BroadcastTarget,
	error,
) {
	ts, err := a.c.broadcastTargets(account, id)
	return ts, translate(err)
}

// Parts of a fingerprint. The second one adds up what stands for each message and its state, small
// enough for a sum of as many as fit into a file: to print them would take minutes.
const (
	fingerprintTrackers = "SELECT id, change_ms, last_out, unread FROM tracker ORDER BY id"
	fingerprintMessages = "SELECT count(*), max(id), sum(id * 31 % 2147483647 * (change_ms % 65521 + status * 257 + acked * 3 + 1) % 2147483647) FROM message"
)

// Fingerprint names what the store holds: it is another one as soon as anything of a message or of
// the directory has changed.
func (a *Archive) Fingerprint(ctx context.Context) (string, error) {
	version, _, err := directoryVersion(a.c)
	if err != nil {
		return "", translate(err)
	}
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, version) // a hash takes everything
	for _, q := range []string{fingerprintTrackers, fingerprintMessages} {
		err = errors.Join(err, a.c.queryContext(ctx, q, func(row []driver.Value) error {
			_, err := fmt.Fprintln(sum, row)
			return err
		}))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), translate(err)
}

// LastID is the greatest id that a message may have had, 0 if there never was one.
func (a *Archive) LastID() (int64, error) {
	n, _, err := a.c.number("SELECT value FROM meta WHERE name = 'reserved'")
	return n, translate(err)
}

// Trackers returns every tracker that has messages, with their number. Messages of trackers that
// were removed with all they had do not count, nor are they read.
func (a *Archive) Trackers(ctx context.Context) (map[queue.TrackerID]int, error) {
	counts := make(map[queue.TrackerID]int)
	err := a.c.queryContext(ctx,
		"SELECT tracker, count(*) FROM message INDEXED BY message_time WHERE tracker NOT IN (SELECT tracker FROM purge) GROUP BY tracker",
		func(row []driver.Value) error {
			counts[queue.TrackerID(integer(row[0]))] = int(integer(row[1]))
			return nil
		})
	return counts, translate(err)
}

// Messages returns messages of all trackers with greater ids than after, ordered by id: at least
// one if there is any, else no more than limit and about maxBytes of text.
func (a *Archive) Messages(after int64, limit, maxBytes int) ([]queue.Message, error) {
	var ms []queue.Message
	add := collect(&ms)
	err := a.c.query("SELECT "+messageColumns+" FROM message WHERE id > ? AND tracker NOT IN (SELECT tracker FROM purge) ORDER BY id", func(row []driver.Value) error {
		if err := add(row); err != nil {
			return err
		}
		if maxBytes -= len(ms[len(ms)-1].Text); len(ms) >= limit || maxBytes <= 0 {
			return errStop
		}
		return nil
	}, after)
	return ms, translate(err)
}

// History returns up to limit messages of a tracker after the given one (ID 0: from the first), in
// the order they were stored.
func (a *Archive) History(t queue.TrackerID, after queue.Message, limit int) ([]queue.Message,
	error,
) {
	var ms []queue.Message
	err := a.c.query("SELECT "+messageColumns+" FROM message INDEXED BY message_time WHERE tracker = ? AND (submit_ms, id) > (?, ?) ORDER BY submit_ms, id LIMIT ?",
		collect(&ms), int64(t), after.SubmitMs, after.ID, int64(limit))
	return ms, translate(err)
}

// Find returns a message of a tracker, and how many messages of the same millisecond come before
// it; ID 0 where there is no such message.
func (a *Archive) Find(t queue.TrackerID, id int64) (m queue.Message, before int, err error) {
	var ms []queue.Message
	err = a.c.query("SELECT "+messageColumns+" FROM message WHERE id = ? AND tracker = ?",
		collect(&ms), id, int64(t))
	if err != nil || len(ms) == 0 {
		return m, 0, translate(err)
	}
	n, _, err := a.c.number(
		"SELECT count(*) FROM message INDEXED BY message_time WHERE tracker = ? AND submit_ms = ? AND id < ?", int64(t), ms[0].SubmitMs, id)
	return ms[0], int(n), translate(err)
}

// logFileName is the write-ahead log's.
func logFileName(file string) string { return file + "-wal" }

// survey is what lies in a store's directory before SQLite is let at it: SQLite deletes a log
// without a database, applies one to whatever database it lies beside, and takes a database without
// its log for whole.
type survey struct {
	file     string // the database
	bytes    int64  // 0: it is missing or empty
	header   [100]byte
	log      logFile
	memo     memo
	identity int64 // 0: it says none
	open     bool  // it was not closed in order
}

// lookAround needs the store to be nobody's, or the caller's.
func lookAround(dir string, m memo) (*survey, error) {
	v := &survey{file: filepath.Join(dir, databaseFile), memo: m}
	f, err := os.Open(v.file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("opening the store: %w", err)
	default:
		err = v.readHeader(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	if v.log, err = scanLog(logFileName(v.file)); err != nil {
		return nil, err
	}
	return v, v.readMeta()
}

func (v *survey) readHeader(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at the store: %w", err)
	}
	v.bytes = info.Size()
	if _, err := io.ReadFull(f, v.header[:]); ignoreEnd(err) != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	return nil
}

// readMeta reads what the database says without its log. One that cannot be read so is left to
// whoever opens it.
func (v *survey) readMeta() error {
	if !v.isDatabase() || v.cutOff() {
		return nil
	}
	c, err := openConn(v.file, "ro&immutable=1")
	if err != nil {
		return translate(err)
	}
	identity, _, err := c.number("SELECT value FROM meta WHERE name = 'identity'")
	open, _, err2 := c.number("SELECT value FROM meta WHERE name = 'open'")
	if err == nil && err2 == nil {
		v.identity, v.open = identity, open != 0
	}
	return c.close()
}

func (v *survey) isDatabase() bool { return string(v.header[:16]) == "SQLite format 3\x00" }

// cutOff reports whether the database is shorter than it says, and no log has what is missing.
func (v *survey) cutOff() bool {
	size := int64(binary.BigEndian.Uint16(v.header[16:]))
	if size == 1 {
		size = 65_536
	}
	// else the number of pages is not kept.
	told := binary.BigEndian.Uint32(v.header[24:]) == binary.BigEndian.Uint32(v.header[92:])
	return v.isDatabase() && told && v.log.frames == 0 &&
		v.bytes < size*int64(binary.BigEndian.Uint32(v.header[28:]))
}

// rollback reports whether the database has never had a write-ahead log: a backup is so until a
// service has opened it.
func (v *survey) rollback() bool { return v.isDatabase() && v.header[18] == 1 }

// Words for what can be done.
const (
	bringBack = "bring back what belongs together, or run trackchat check --adopt, which "
	putsAside = "puts the log aside under another name and "
)

// refusal says why the store must not be opened as it is, nil if it may.
func (v *survey) refusal() error {
	log := fmt.Sprintf("%s (%d bytes)", logFileName(v.file), v.log.bytes)
	state := "missing"
	if _, err := os.Stat(v.file); err == nil {
		state = "empty"
	}
	switch {
	case v.cutOff():
		return fmt.Errorf("%w: %s has %d bytes, fewer than it says itself: it is cut off; restore a backup", queue.ErrCorrupt, v.file, v.bytes)
	case v.bytes == 0 && v.log.bytes > 0:
		return lostError("%s is %s, but its write-ahead log %s is there: %s%sbegins with an empty store", v.file, state, log, bringBack, putsAside)
	case v.bytes == 0 && v.memo.identity != 0:
		return lostError("%s is %s, but a store was here: %sbegins with an empty one", v.file,
			state, bringBack)
	case v.rollback() && v.log.bytes > 0:
		return lostError("the write-ahead log %s is of another database than %s: %s%sopens the database", log, v.file, bringBack, putsAside)
	case v.memo.identity != 0 && v.identity != 0 && v.memo.identity != v.identity:
		return lostError("%s is another store than was here: %sopens it", v.file, bringBack)
	case v.open && v.log.bytes == 0:
		return lostError("%s was not closed in order, and its write-ahead log is missing or empty, with what was stored last unless a program such as sqlite3 has put it in: %sopens the database without it", v.file, bringBack)
	case v.open && !v.log.sound:
		return lostError("%s was not closed in order, and the beginning of its write-ahead log %s cannot be read: %s%sopens the database without it", v.file, log, bringBack, putsAside)
	default:
		return nil
	}
}

func lostError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", queue.ErrLost, fmt.Sprintf(format, args...))
}

// damage says what of the log cannot be read, empty if nothing.
func (v *survey) damage() string {
	if !v.log.torn() {
		return ""
	}
	return fmt.Sprintf("%s is damaged: frame %d cannot be read, and %d transactions after it are not in the store", logFileName(v.file), v.log.damaged, v.log.hidden)
}
