package sqlitestore

import (
	"fmt"
	"os"
	"syscall"
)

// syncFile makes the file's content durable; times need not be.
func syncFile(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return fmt.Errorf("fdatasync %s: %w", f.Name(), err)
		}
	}
}
