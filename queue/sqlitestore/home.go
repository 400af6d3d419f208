package sqlitestore

import (
	"errors"
	"fmt"
	"io"
	"os"
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
