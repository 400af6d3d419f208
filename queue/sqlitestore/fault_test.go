package sqlitestore_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"

	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"

	"modernc.org/sqlite"
)

// TestErrors has each statement of each operation fail in the driver: alone, as where SQLite
// refuses it, and with its transaction, as where the disk is full.
func TestErrors(t *testing.T) {
	dir, clock := t.TempDir(), queuetest.NewClock()
	o := sqlitestore.Options{
		Path: dir, Now: clock.Now, MaxPending: queuetest.FullAt,
		Durability: sqlitestore.EverySecond,
		MaxBytes:   1 << 30,
	}
	s := open(t, o)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// No id looks like another number.
	execute(t, other(t, dir), "UPDATE meta SET value = 1000000000 WHERE name = 'reserved'")
	s = open(t, o)
	between := &faultyDriver{err: fullError(t)}
	err := s.Interpose(t.Context(), func(c driver.Conn) driver.Conn {
		return &faultyConn{
			c,
			between,
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(name string, n int) func() ([]string, bool) {
		between.arm(name, n)
		return between.disarm
	}
	queuetest.Errors(t, queuetest.Spoilt{Clock: clock, Sound: s, Faulted: []queuetest.Faulted{
		{Fault: "fails, every other time with its transaction", Store: s, Begin: begin},
	}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	inspected(t, dir)
}

// fullError is what SQLite says where there is no room.
func fullError(t *testing.T) error {
	t.Helper()
	c, err := new(sqlite.Driver).Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	x := c.(driver.ExecerContext)
	_, err = x.ExecContext(t.Context(), "PRAGMA max_page_count = 1; CREATE TABLE a (b)", nil)
	if se := new(sqlite.Error); !errors.As(err, &se) {
		t.Fatalf("no error: %v", err)
	}
	return err
}

// faultyDriver counts what is asked of a driver and has one of it fail.
type faultyDriver struct {
	err error

	mu    sync.Mutex // guards what follows
	armed bool
	name  string
	left  int  // statements of that name until the one that fails
	undo  bool // the transaction ends with it
	seen  []string
	met   bool
}

func (f *faultyDriver) arm(name string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.name, f.left, f.undo, f.seen, f.met = true, name, n, !f.undo, nil, false
}

func (f *faultyDriver) disarm() ([]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	return f.seen, f.met
}

// meet is called with what is asked of a connection.
func (f *faultyDriver) meet(ctx context.Context, c driver.Conn, what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return nil
	}
	f.seen = append(f.seen, what)
	if what != f.name {
		return nil
	}
	if f.left--; f.left != 0 {
		return nil
	}
	f.met = true
	if f.undo { // fails where there is none
		_, _ = c.(driver.ExecerContext).ExecContext(ctx, "ROLLBACK", nil)
	}
	return f.err
}

type faultyConn struct {
	driver.Conn
	f *faultyDriver
}

func (c *faultyConn) Prepare(query string) (driver.Stmt, error) {
	s, err := c.Conn.Prepare(query)
	if err != nil {
		return nil, err
	}
	return &faultyStmt{s, c, query}, nil
}

type faultyStmt struct {
	driver.Stmt
	c     *faultyConn
	query string
}

func (s *faultyStmt) ExecContext(
	ctx context.Context, args []driver.NamedValue,
) (driver.Result, error) {
	if err := s.c.f.meet(ctx, s.c.Conn, "exec "+s.query); err != nil {
		return nil, err
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *faultyStmt) QueryContext(
	ctx context.Context, args []driver.NamedValue,
) (driver.Rows, error) {
	if err := s.c.f.meet(ctx, s.c.Conn, "query "+s.query); err != nil {
		return nil, err
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	return &faultyRows{rows, s}, nil
}

type faultyRows struct {
	driver.Rows
	s *faultyStmt
}

func (r *faultyRows) Next(dest []driver.Value) error {
	if err := r.s.c.f.meet(context.Background(), r.s.c.Conn, "next "+r.s.query); err != nil {
		return err
	}
	return r.Rows.Next(dest)
}
