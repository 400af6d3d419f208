package sqlitestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

// settle looks at what lies in the directory before SQLite does, and refuses what it would take for
// something else.
func (s *Store) settle() error {
	v, err := lookAround(s.opts.Path, readMemo(s.lock))
	if err == nil {
		err = v.refusal()
	}
	if err != nil {
		return err
	}
	s.memo = v.memo
	if damage := v.damage(); damage != "" {
		s.hidden = v.log.hidden
		kept, err := keepLog(s.file, s.now())
		s.log.Error("accepted messages or acks are lost", zap.String("problem", damage),
			zap.String("kept", kept), zap.Error(err))
	}
	return nil
}

// keepLog copies a damaged log, which the store goes on to write over.
func keepLog(file string, now time.Time) (name string, err error) {
	from, err := os.Open(logFileName(file))
	if err != nil {
		return "", fmt.Errorf("keeping the write-ahead log: %w", err)
	}
	defer func() { _ = from.Close() }() // only read
	name = logFileName(file) + ".damaged-" + now.UTC().Format("20060102T150405Z")
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("keeping the write-ahead log: %w", err)
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("keeping the write-ahead log: %w", err), os.Remove(name))
	}
	return name, nil
}

// moveIn remembers, once the store is open, which store it is and which its files are.
func (s *Store) moveIn() error {
	id, found, err := s.writeConn.number("SELECT value FROM meta WHERE name = 'identity'")
	if err == nil && !found {
		err = fmt.Errorf("%w: no identity", queue.ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("reading the store's identity: %w", translate(err))
	}
	s.writer.skipTo(s.memo.reserved)
	s.memo.identity = id
	s.remember(s.writer.reserved)
	for i, name := range s.places() {
		if s.home[i], err = os.Stat(name); err != nil {
			return fmt.Errorf("looking at the store's files: %w", err)
		}
	}
	return nil
}

// remember notes which message numbers may have been handed out.
func (s *Store) remember(reserved int64) {
	s.memo.reserved = reserved
	if err := s.memo.write(s.lock); err != nil {
		s.log.Warn("store is not remembered beside its database", zap.Error(err))
	}
}

func (s *Store) places() [2]string { return [...]string{s.file, logFileName(s.file)} }

// checkHome is an error while other files, or none, lie where the store's were: what is written
// into those that are open would be gone with this process.
func (s *Store) checkHome() error {
	for i, name := range s.places() {
		if info, err := os.Stat(name); err != nil || !os.SameFile(info, s.home[i]) {
			err := fmt.Errorf("%w: %w: %s was removed or replaced while it is in use; nothing is stored until it is back, or the service is started again", queue.ErrUnavailable, queue.ErrLost, name)
			if !s.away.Swap(true) {
				s.metrics.Lost(true)
				s.log.Error("the store is not where it was", zap.Error(err))
			}
			return err
		}
	}
	if s.away.Load() && s.away.Swap(false) {
		s.metrics.Lost(false)
		s.log.Info("the store is back")
	}
	return nil
}

// markOpen notes in the database itself, before anything else is stored, that it is not closed:
// from then on it needs its log.
func (w *writer) markOpen() error {
	if w.marked {
		return nil
	}
	if _, err := w.c.exec(
		"UPDATE meta SET value = CASE name WHEN 'open' THEN 1 WHEN 'reserved' THEN ? ELSE 0 END WHERE name IN ('open', 'reserved', 'copied')", max(w.reserved, w.next-1)); err != nil {
		return fmt.Errorf("noting that the store is open: %w", translate(err))
	}
	if _, err := runCheckpoint(w.c, "PASSIVE"); err != nil {
		return fmt.Errorf("noting that the store is open: %w", translate(err))
	}
	w.marked = true
	return nil
}

// fit is asked before every transaction.
func (w *writer) fit() error {
	if err := w.s.checkHome(); err != nil {
		return err
	}
	return w.markOpen()
}

// closeWriter closes the connection that writes, and with it the store: SQLite removes the log
// then, so the database has to say that it needs none. Where that cannot be said, for want of room,
// the log stays until the next start.
func (s *Store) closeWriter() error {
	_, err := s.writeConn.exec("UPDATE meta SET value = 0 WHERE name = 'open'")
	if err != nil && s.writer != nil {
		return fmt.Errorf("noting that the store is closed: %w", translate(err))
	}
	return s.writeConn.close()
}

// memo is what the lock file remembers of the store beside it, for the case that its database is
// gone: a line of two numbers. It is written in place, which needs no room on the disk, and not
// synced: it only helps.
type memo struct {
	identity int64 // 0: of none
	reserved int64 // greatest message number that may have been handed out
}

func readMemo(lock *os.File) memo {
	var m memo
	b := make([]byte, 64)
	n, _ := lock.ReadAt(b, 0) // an empty file is an earlier version's, and remembers nothing
	if _, err := fmt.Sscanf(string(b[:n]), "%d %d\n", &m.identity, &m.reserved); err != nil ||
		m.reserved < 0 || m.reserved > maxNumber {
		return memo{}
	}
	return m
}

func (m memo) write(lock *os.File) error {
	if _, err := lock.WriteAt(fmt.Appendf(nil, "%019d %019d\n", m.identity, m.reserved),
		0); err != nil {
		return fmt.Errorf("noting the store's identity: %w", err)
	}
	return nil
}

// makePrivate keeps the messages in a database and its log from the machine's other users, whatever
// the umask; files of earlier versions are mended. SQLite gives its companions the mode of the
// database.
func makePrivate(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(file+suffix, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping the store private: %w", err)
		}
	}
	return nil
}

// exposed says that other users of the machine can look into dir; empty: they cannot, or it is not
// known.
func exposed(dir string) string {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o005 == 0 {
		return ""
	}
	return fmt.Sprintf("%s can be read by other users of this machine (mode %04o): chmod 700 it",
		dir, info.Mode().Perm())
}

// adoptLeap is how many message numbers are left out where some that were handed out may not be
// known.
const adoptLeap = 1 << 20

// Adopt accepts what lies in a stopped store's directory although Open refuses it, and returns why
// Open did, nil if it did not and nothing had to be done. Nothing is deleted: a log that cannot
// belong to the database is renamed. Message ids go on above all that were given. Errors:
// queue.ErrInUse, and queue.ErrCorrupt where the database itself is damaged.
func Adopt(dir string, now time.Time) (was, err error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("looking for the store: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	v, err := lookAround(dir, readMemo(lock))
	if err != nil {
		return nil, err
	}
	was = v.refusal()
	if was == nil || !errors.Is(was, queue.ErrLost) {
		return nil, was
	}
	if v.log.bytes > 0 && (v.bytes == 0 || v.rollback() || v.open && !v.log.sound) {
		if err := putAside(v.file, now); err != nil {
			return was, err
		}
	}
	next := memo{reserved: min(v.memo.reserved+adoptLeap, maxNumber)}
	if v.open && !v.log.sound {
		if err := closeUnread(v.file); err != nil {
			return was, err
		}
	}
	return was, errors.Join(next.write(lock), syncPath(dir))
}

// putAside gives the log another name. What SQLite remembers of it goes: it makes that anew.
func putAside(file string, now time.Time) error {
	name := logFileName(file) + ".left-" + now.UTC().Format("20060102T150405Z")
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", name, os.ErrExist)
	}
	if err := os.Rename(logFileName(file), name); err != nil {
		return fmt.Errorf("putting the write-ahead log aside: %w", err)
	}
	if err := os.Remove(file + "-shm"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the index of the write-ahead log: %w", err)
	}
	return nil
}

// closeUnread marks a database whose log is gone as closed, and leaves out the numbers that may
// have been given meanwhile.
func closeUnread(file string) error {
	c, err := openConn(file, "rw", "synchronous = FULL")
	if err != nil {
		return translate(err)
	}
	_, err = c.exec("UPDATE meta SET value = min(value + ?, ?) WHERE name = 'reserved'",
		int64(adoptLeap), int64(maxNumber))
	if err == nil {
		_, err = c.exec("UPDATE meta SET value = 0 WHERE name = 'open'")
	}
	return translate(errors.Join(err, c.close()))
}
