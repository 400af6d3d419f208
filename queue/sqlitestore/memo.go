package sqlitestore

import (
	"fmt"
	"os"
)

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
