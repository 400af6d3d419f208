package sqlitestore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"trackchat/queue"
)

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
