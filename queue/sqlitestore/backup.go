package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trackchat/queue"
)

// backupLeap is how many ids a restored copy leaves out for each day since it was made, begun or
// over: those that the running store gives between the copy and its end must not be given again,
// because a device would take the new message for a repetition of the old one. That is twelve
// messages a second; clients whose ids have 32 bits have room for 2,000 leaps.
const (
	backupLeap = 1 << 20
	mostLeaps  = 366
)

// maxNumber is the greatest id.
const maxNumber = queue.MaxID - 1

// Backup copies the store in dir into file, also while a service runs on it: the copy is one moment
// of the store, without a log beside it, checked and synced. To restore it, put it into an empty
// directory under the name chat.db. Numbers of messages that are stored after the copy are not used
// again by the restored store. A file that exists is never touched (fs.ErrExist). A backup that
// fails or is interrupted leaves nothing under the name.
func Backup(ctx context.Context, dir, file string) (err error) {
	source := filepath.Join(dir, databaseFile)
	if _, err := os.Stat(source); err != nil {
		return fmt.Errorf("looking for the store: %w", err)
	}
	file, err = filepath.Abs(file) // SQLite takes a name that begins with file: for a URI
	if err != nil {
		return fmt.Errorf("finding the backup's place: %w", err)
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("%s: %w", file, err)
	}
	partial, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".partial-*")
	if err != nil {
		return fmt.Errorf("creating the backup: %w", err)
	}
	defer func() {
		if e := os.Remove(partial.Name()); err == nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}()
	if err := partial.Close(); err != nil {
		return fmt.Errorf("creating the backup: %w", err)
	}
	if err := copyInto(ctx, source, partial.Name()); err != nil {
		return err
	}
	if err := finishCopy(ctx, partial.Name()); err != nil {
		return err
	}
	if err := publish(partial.Name(), file); err != nil {
		return fmt.Errorf("naming the backup: %w", err)
	}
	return syncPath(filepath.Dir(file))
}

// copyInto writes one moment of the source into an empty file. The source's writer goes on
// meanwhile; its log cannot start over before the copy is done.
func copyInto(ctx context.Context, source, target string) (err error) {
	c, err := openConn(source, "ro", "busy_timeout = 10000", "cache_size = -8192")
	if err != nil {
		return translate(err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if _, err := knownSchema(c); err != nil {
		return err
	}
	err = c.queryContext(ctx, "VACUUM INTO '"+strings.ReplaceAll(target, "'", "''")+"'",
		func([]driver.Value) error { return nil })
	if e := ctx.Err(); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("copying the store: %w", translate(err))
	}
	return nil
}

// knownSchema returns the version of the file's schema and refuses one that this program does not
// know.
func knownSchema(c *conn) (int, error) {
	scripts, err := migrations()
	if err != nil {
		return 0, err
	}
	version, err := schemaVersion(c, len(scripts))
	if err == nil && version == 0 {
		err = fmt.Errorf("%w: no message store", queue.ErrCorrupt)
	}
	return version, err
}

// finishCopy moves the copy's numbers on, looks at every page of it and syncs it.
func finishCopy(ctx context.Context, file string) error {
	c, err := openConn(file, "rw", "journal_mode = OFF", "synchronous = OFF")
	if err != nil {
		return translate(err)
	}
	var rep queue.Report
	_, err = c.exec("UPDATE meta SET value = value + min(?, (? - value) / 2) WHERE name = 'reserved'", int64(backupLeap), int64(maxNumber))
	if err == nil {
		_, err = c.exec("UPDATE meta SET value = 0 WHERE name = 'open'")
	}
	if err == nil { // a copy of one that was never opened is as old as that one
		_, err = c.exec("INSERT INTO meta (name, value) VALUES ('copied', unixepoch()) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value = 0")
	}
	if err == nil {
		err = inspectFile(ctx, c, &rep)
	}
	if err := errors.Join(err, c.close()); err != nil {
		return fmt.Errorf("checking the copy: %w", translate(err))
	}
	if len(rep.Problems) > 0 {
		return fmt.Errorf("%w: %s", queue.ErrCorrupt, strings.Join(rep.Problems, "; "))
	}
	return syncPath(file)
}

// skipBackup leaves out what the store may have given that this one was a copy of until now, beside
// the numbers of the copy's first day. markOpen notes that it is done.
func (w *writer) skipBackup() error {
	copied, _, err := w.c.number("SELECT value FROM meta WHERE name = 'copied'")
	if err != nil {
		return fmt.Errorf("reading when the store was copied: %w", translate(err))
	}
	if copied > 0 {
		days := int64(w.s.now().Sub(time.Unix(copied, 0)) / (24 * time.Hour))
		leap := backupLeap * min(max(days, 0), mostLeaps)
		w.skipTo(w.reserved + min(leap, (maxNumber-w.reserved)/2))
	}
	return nil
}

// publish gives a complete file its name, unless somebody else took it meanwhile.
func publish(partial, file string) error {
	err := os.Link(partial, file)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: what is left is a look and a rename.
	if _, err := os.Lstat(file); err == nil {
		return fs.ErrExist
	}
	return os.Rename(partial, file)
}

// syncPath makes a file, or the names in a directory, survive a power cut.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("opening for sync: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", name, err)
	}
	return nil
}
