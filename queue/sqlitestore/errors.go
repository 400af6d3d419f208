package sqlitestore

import (
	"errors"
	"fmt"

	"trackchat/queue"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// translate gives an error of SQLite the contract's name; the cause stays in the chain.
func translate(err error) error {
	var se *sqlite.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &se):
		return err
	}
	if se.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // not even room for the log's index
		return fmt.Errorf("%w: %w", queue.ErrOverloaded, err)
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM:
		return fmt.Errorf("%w: %w", queue.ErrOverloaded, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", queue.ErrCorrupt, err)
	default:
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
}

// translateCommit is translate for COMMIT: where only the sync failed, the transaction's last frame
// is already in the log and a crash could bring it back.
func translateCommit(err error) error {
	var se *sqlite.Error
	if errors.As(err, &se) && (se.Code() == sqlite3.SQLITE_IOERR_FSYNC ||
		se.Code() == sqlite3.SQLITE_IOERR_DIR_FSYNC) {
		return fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, err)
	}
	return translate(err)
}

// busy reports whether another connection held a lock that err was waiting for.
func busy(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && se.Code()&0xff == sqlite3.SQLITE_BUSY
}
