package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	"trackchat/queue"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// conn is one SQLite connection with its prepared statements. It has one user at a time. The driver
// is used directly: database/sql would add a lock, a goroutine for the context and reflection to
// each of the few microseconds that a statement takes.
type conn struct {
	raw   driver.Conn
	stmts map[string]statement
	dest  []driver.Value
}

// statement is a prepared one. Those without a context are for what takes microseconds: watching a
// caller's context for its end would cost more, and a transaction of many callers must not end with
// one of them.
type statement interface {
	Exec(args []driver.Value) (driver.Result, error)
	Query(args []driver.Value) (driver.Rows, error)
	QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error)
	Close() error
}

// prepared is one of the driver's. It reuses the list of arguments, which the driver's own Exec and
// Query make anew for each call.
type prepared struct {
	driverStatement
	args []driver.NamedValue
}

type driverStatement interface {
	driver.StmtExecContext
	driver.StmtQueryContext
	Close() error
}

func (p *prepared) Exec(args []driver.Value) (driver.Result, error) {
	r, err := p.ExecContext(context.Background(), p.bind(args))
	clear(p.args) // a text may be long
	return r, err
}

func (p *prepared) Query(args []driver.Value) (driver.Rows, error) {
	rows, err := p.QueryContext(context.Background(), p.bind(args))
	clear(p.args)
	return rows, err
}

func (p *prepared) bind(args []driver.Value) []driver.NamedValue {
	p.args = p.args[:0]
	for i, v := range args {
		p.args = append(p.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return p.args
}

// openConn opens the file with URI parameters such as mode=ro and runs the pragmas in order.
func openConn(file, mode string, pragmas ...string) (*conn, error) {
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(file), RawQuery: "mode=" +
		mode}
	raw, err := new(sqlite.Driver).Open(u.String())
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	c := &conn{raw: raw, stmts: make(map[string]statement)}
	for _, p := range pragmas {
		if _, err := c.exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(fmt.Errorf("setting %s of %s: %w", p, file, err), c.close())
		}
	}
	return c, nil
}

func (c *conn) prepare(query string) (statement, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.raw.Prepare(query)
	if err != nil {
		return nil, err
	}
	d, ok := s.(driverStatement)
	if !ok {
		return nil, errors.Join(errors.New("driver's statements are of another kind"), s.Close())
	}
	st := &prepared{driverStatement: d}
	c.stmts[query] = st
	return st, nil
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...driver.Value) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := s.Exec(args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// script runs several statements once.
func (c *conn) script(text string) error {
	x, ok := c.raw.(interface {
		Exec(query string, args []driver.Value) (driver.Result, error)
	})
	if !ok {
		return errors.New("driver's connections run no scripts")
	}
	_, err := x.Exec(text, nil)
	return err
}

// errStop ends a query early without an error.
var errStop = errors.New("stop")

// query runs each for every row; values are int64, string, []byte or nil and stay valid, the slice
// does not. Neither may each use the connection.
func (c *conn) query(query string, each func(row []driver.Value) error,
	args ...driver.Value,
) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.Query(args)
	if err != nil {
		return err
	}
	return c.each(rows, each)
}

// queryContext is query for statements that may run long: the end of ctx interrupts it.
func (c *conn) queryContext(ctx context.Context, query string,
	each func(row []driver.Value) error,
) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, nil)
	if err != nil {
		return err
	}
	return c.each(rows, each)
}

func (c *conn) each(rows driver.Rows, each func(row []driver.Value) error) (err error) {
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	n := len(rows.Columns())
	if cap(c.dest) < n {
		c.dest = make([]driver.Value, n)
	}
	for {
		switch err := rows.Next(c.dest[:n]); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(c.dest[:n]); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
	}
}

// number runs a query for one number; no row gives 0, false.
func (c *conn) number(query string, args ...driver.Value) (n int64, found bool, err error) {
	err = c.query(query, func(row []driver.Value) error {
		n, found = integer(row[0]), true
		return errStop
	}, args...)
	return n, found, err
}

// begin, commit and rollback are plain statements: the driver's own transactions allocate.
func (c *conn) begin(write bool) error {
	q := "BEGIN"
	if write {
		q = "BEGIN IMMEDIATE"
	}
	_, err := c.exec(q)
	return err
}

func (c *conn) commit() error { _, err := c.exec("COMMIT"); return err }

// rollback ends a transaction whatever became of it; SQLite itself has already rolled back after
// some errors.
func (c *conn) rollback() { _, _ = c.exec("ROLLBACK") }

// view runs f on one state of the file.
func (c *conn) view(f func() error) error {
	if err := c.begin(false); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = c.commit()
	}
	if err != nil {
		c.rollback()
	}
	return err
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.raw.Close())...)
}

func integer(v driver.Value) int64 { n, _ := v.(int64); return n }

func text(v driver.Value) string { s, _ := v.(string); return s }

func blob(v driver.Value) []byte { b, _ := v.([]byte); return b }

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

const (
	pageCounted = pageSize + 256 // what SQLite counts for a page, with its notes
	// and what it takes: SQLite's allocator rounds up to a power of two.
	pageMemory = 2 * pageSize

	leastPages = 10 // of a connection; SQLite allows each as many
	// at most: every commit makes all of them void, and the system has the file too.
	readerPages = 256
	readersPart = 4   // of all pages one part in so many at most is the readers'
	quietCalls  = 600 // transactions and reads in cleanEvery rounds
)

// cacheSizes share CacheBytes out: nearly all is for the connection that writes.
func cacheSizes(o *Options) (writer, reader string) {
	pages, readers := o.CacheBytes/pageMemory, int64(o.Readers)
	each := max(min(pages/readersPart/readers, readerPages), leastPages)
	return cacheSize(max(pages-each*readers-leastPages, leastPages)), cacheSize(each)
}

func cacheSize(pages int64) string { return fmt.Sprintf("cache_size = %d", pages) }

// cached is how much memory the connection's pages take.
func (c *conn) cached() int64 {
	s, ok := c.raw.(sqlite.DBStatus)
	if !ok {
		return 0
	}
	n, _, err := s.Status(sqlite.DBStatusCacheUsed, false)
	if err != nil {
		return 0
	}
	return int64(n) / pageCounted * pageMemory
}

// rest gives the memory of all pages back where few calls came since it was asked last. This build
// of SQLite has the pages of all connections in one list, which any of them can empty.
func (l *wal) rest() error {
	calls := l.commits.Load() + l.s.readers.taken()
	quiet := calls-l.calls < quietCalls
	l.calls = calls
	if !quiet {
		return nil
	}
	_, err := l.c.exec("PRAGMA shrink_memory")
	return err
}
