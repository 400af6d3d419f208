package sqlitestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"trackchat/queue"
)

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
