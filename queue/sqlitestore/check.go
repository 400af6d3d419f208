package sqlitestore

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	// bytes below which the store counts as unfit, unless Options say otherwise.
	leastFree = 64 << 20
	fewFree   = 512 << 20 // bytes below which it warns
	slowSync  = 100 * time.Millisecond
)

// Check: the file answers, the disk has room and really takes writes. The whole file is only read
// by Inspect.
func (s *Store) Check(ctx context.Context) (queue.Report, error) {
	var rep queue.Report
	scripts, err := migrations()
	if err != nil {
		return rep, err
	}
	err = s.read(ctx, "check", func(c *conn) error {
		if _, err := schemaVersion(c, len(scripts)); err != nil {
			return err
		}
		var err error
		// the index of pending messages is all it reads.
		rep.Pending, _, err = c.number("SELECT count(*) FROM message WHERE " + isPending)
		return translate(err)
	})
	if errors.Is(err, queue.ErrUnavailable) {
		return rep, err
	}
	if rep.Counted = err == nil; !rep.Counted {
		rep.Problems = append(rep.Problems, err.Error())
	}
	if f := s.wal.failure.Load(); f != nil {
		rep.Problems = append(rep.Problems, (*f).Error())
	}
	if err := s.checkHome(); err != nil {
		rep.Problems = append(rep.Problems, err.Error())
	}
	checkDisk(&rep, s.opts.Path, s.now, s.opts.LeastFree)
	return rep, nil
}

// Inspect looks at the store in dir without being its owner, also while a service runs on it:
// schema, integrity of the whole file, room on the disk, a real fsync. A directory without a store
// is no problem: Open would create it.
func Inspect(ctx context.Context, dir string, now func() time.Time) (queue.Report, error) {
	var rep queue.Report
	file := filepath.Join(dir, databaseFile)
	if err := inspectFiles(dir, &rep); err != nil || len(rep.Problems) > 0 {
		return rep, err
	}
	switch _, err := os.Stat(file); {
	case errors.Is(err, os.ErrNotExist):
		rep.Warnings = append(rep.Warnings, fmt.Sprintf("%s does not exist yet", file))
		return rep, nil
	case err != nil:
		return rep, fmt.Errorf("looking for the store: %w", err)
	}
	checkDisk(&rep, dir, now, leastFree)
	c, err := openConn(file, "ro", "busy_timeout = 10000", "query_only = 1")
	if err == nil {
		err = errors.Join(inspectFile(ctx, c, &rep), c.close())
	}
	if err := ctx.Err(); err != nil {
		return rep, err
	}
	if err != nil {
		rep.Problems = append(rep.Problems, translate(err).Error())
	}
	return rep, nil
}

// inspectFiles says what Open would refuse. Of files in use it says nothing: whoever has them open
// changes them.
func inspectFiles(dir string, rep *queue.Report) error {
	if running, err := InUse(dir); err != nil || running {
		return err
	}
	var m memo
	lock, err := os.Open(filepath.Join(dir, lockName))
	switch {
	case err == nil:
		m = readMemo(lock)
		err = lock.Close()
	case errors.Is(err, os.ErrNotExist):
		err = nil
	}
	if err != nil {
		return fmt.Errorf("reading the lock file: %w", err)
	}
	v, err := lookAround(dir, m)
	if err != nil {
		return err
	}
	if err := v.refusal(); err != nil {
		rep.Problems = append(rep.Problems, err.Error())
	}
	if damage := v.damage(); damage != "" {
		rep.Problems = append(rep.Problems,
			damage+"; the next start goes on without them, and keeps a copy of the log")
	}
	return nil
}

func inspectFile(ctx context.Context, c *conn, rep *queue.Report) error {
	scripts, err := migrations()
	if err != nil {
		return err
	}
	version, err := schemaVersion(c, len(scripts))
	if err != nil {
		return err
	}
	if version < len(scripts) {
		rep.Warnings = append(rep.Warnings,
			fmt.Sprintf("schema %d will be brought to %d at the next start", version, len(scripts)))
	}
	return c.queryContext(ctx, "PRAGMA integrity_check(20)", func(row []driver.Value) error {
		if line := text(row[0]); line != "ok" {
			rep.Problems = append(rep.Problems, line)
		}
		return nil
	})
}

// checkDisk looks at the disk below dir, which must have least bytes left.
func checkDisk(rep *queue.Report, dir string, now func() time.Time, least int64) {
	if w := exposed(dir); w != "" {
		rep.Warnings = append(rep.Warnings, w)
	}
	if free, known := freeBytes(dir); known {
		switch {
		case free < least:
			rep.Problems = append(rep.Problems, fmt.Sprintf("disk of %s has only %d MiB left", dir,
				free>>20))
		case free < fewFree:
			rep.Warnings = append(rep.Warnings, fmt.Sprintf("disk of %s has only %d MiB left", dir,
				free>>20))
		}
	}
	start := now()
	if err := probe(dir); err != nil {
		rep.Problems = append(rep.Problems, err.Error())
		return
	}
	if d := now().Sub(start); d > slowSync {
		rep.Warnings = append(rep.Warnings, fmt.Sprintf("fsync took %v", d))
	}
}

// probe writes, syncs and removes a small file.
func probe(dir string) (err error) {
	f, err := os.CreateTemp(dir, probeFile+"*")
	if err != nil {
		return fmt.Errorf("trying to write: %w", err)
	}
	defer func() {
		if e := errors.Join(f.Close(), os.Remove(f.Name())); err == nil {
			err = e
		}
	}()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return fmt.Errorf("trying to write: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("trying to sync: %w", err)
	}
	return nil
}

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
