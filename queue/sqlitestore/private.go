package sqlitestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

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
