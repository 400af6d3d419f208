package sqlitestore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// A closed store needs some room before it can even be read: SQLite keeps an index of its log
// beside it. A file of this size is kept for a start on a disk that is full, and given up then.
const (
	reserveFile  = "chat.reserve"
	reserveBytes = 256 << 10
)

// makeRoom gives the reserve up where a start may need it.
func (s *Store) makeRoom() error {
	if free, known := freeBytes(s.opts.Path); !known || free >= reserveBytes {
		return nil
	}
	err := os.Remove(filepath.Join(s.opts.Path, reserveFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("making room on a full disk: %w", err)
	}
	return nil
}

// keepReserve makes the reserve where there is none and at least that much room besides it.
func (s *Store) keepReserve(least int64) {
	name := filepath.Join(s.opts.Path, reserveFile)
	if free, known := freeBytes(s.opts.Path); known && free < least+reserveBytes {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return
	}
	if err == nil {
		b := make([]byte, reserveBytes)
		_, _ = rand.Read(b) // never fails; no file system makes less of it
		if _, err = f.Write(b); err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}
	if err != nil {
		s.log.Warn("no room is kept for a start on a full disk", zap.Error(err))
	}
}
