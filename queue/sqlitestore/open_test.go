package sqlitestore_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// other opens the file as another program would.
func other(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "chat.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func mustSend(t *testing.T, s queue.Store, tracker queue.TrackerID, texts ...string) []int64 {
	t.Helper()
	reqs := make([]queue.SendReq, len(texts))
	for i, text := range texts {
		reqs[i] = queue.SendReq{Tracker: tracker, Text: text}
	}
	res, err := s.Send(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int64, len(res))
	for i, r := range res {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		ids[i] = r.ID
	}
	return ids
}

// TestReadable: who looks into the file finds states as letters and times as UTC.
func TestReadable(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 2, 28, 23, 59, 59, 250e6, time.UTC)
	s := open(t, sqlitestore.Options{Path: dir, Now: func() time.Time { return now }})
	ids := mustSend(t, s, 1, "delivered", "pending")
	_, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: ids[0]}})
	must(t, err)
	_, err = s.Receive(t.Context(), []queue.Incoming{{Tracker: 1, Text: "unread"}})
	must(t, err)
	rows, err := other(t, dir).QueryContext(t.Context(), "SELECT status, text, submitted,"+
		" coalesce(updated, '-'), coalesce(expires, '-') FROM message_readable ORDER BY id")
	must(t, err)
	var got []string
	for rows.Next() {
		row := make([]string, 5)
		must(t, rows.Scan(&row[0], &row[1], &row[2], &row[3], &row[4]))
		got = append(got, strings.Join(row, "|"))
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	const at = "2026-02-28 23:59:59.250"
	if want := []string{
		"D|delivered|" + at + "|" + at + "|-", "P|pending|" + at + "|-|-",
		"U|unread|" + at + "|-|-",
	}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOpenRefusesSecondOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := open(t, sqlitestore.Options{Path: dir})
	_, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	if !errors.Is(err, queue.ErrInUse) ||
		!strings.Contains(err.Error(), filepath.Join(dir, "chat.lock")) {
		t.Fatalf("second owner: %v", err)
	}
	mustSend(t, s, 1, "the first one is not disturbed")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, sqlitestore.Options{Path: dir})
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("directory: %v %v", info.Mode(), err)
	}
}

func TestOpenNeedsPathAndClock(t *testing.T) {
	for _, o := range []sqlitestore.Options{{Path: t.TempDir()}, {Now: time.Now}} {
		if _, err := sqlitestore.Open(t.Context(), o); err == nil {
			t.Fatalf("%+v was accepted", o)
		}
	}
}

func TestOpenRefusesNewerSchema(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, sqlitestore.Options{Path: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	db := other(t, dir)
	execute(t, db, "PRAGMA user_version = 99")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	if !errors.Is(err, sqlitestore.ErrNewerSchema) || !strings.Contains(err.Error(), "99") {
		t.Fatalf("newer schema: %v", err)
	}
	rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
	if err != nil || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "99") {
		t.Fatalf("inspect: %+v %v", rep, err)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "chat.db"), bytes.Repeat([]byte("not a database "),
		1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
		Path: dir,
		Now:  time.Now,
	}); !errors.Is(err, queue.ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
	if err != nil || len(rep.Problems) != 0 || len(rep.Warnings) != 1 {
		t.Fatalf("no store yet: %+v %v", rep, err)
	}
	s := open(t, sqlitestore.Options{Path: dir})
	for range 20 {
		mustSend(t, s, 1, strings.Repeat("x", 20_000))
	}
	look := func(when string) queue.Report {
		t.Helper()
		rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		return rep
	}
	if rep := look("while it runs"); len(rep.Problems) != 0 {
		t.Fatalf("while it runs: %+v", rep)
	}
	mustSend(t, s, 1, "still works")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if rep := look("closed"); len(rep.Problems) != 0 {
		t.Fatalf("closed: %+v", rep)
	}
	left, err := filepath.Glob(filepath.Join(dir, "chat.probe*"))
	if err != nil || len(left) != 0 {
		t.Fatalf("probes stay: %v %v", left, err)
	}
	damage(t, filepath.Join(dir, "chat.db"))
	if rep := look("damaged"); len(rep.Problems) == 0 {
		t.Fatal("damage was not found")
	}
}

// damage overwrites the second half of a file's pages.
func damage(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte{0xa5}, int(info.Size()/2))
	if _, err := f.WriteAt(junk, info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// TestCheckSeesTheDisk: a directory that takes no files is no place for a store.
func TestCheckSeesTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	rep, err := s.Check(t.Context())
	if err != nil || len(rep.Problems) != 0 {
		t.Fatalf("%+v %v", rep, err)
	}
	moved := dir + ".moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	rep, err = s.Check(t.Context())
	if e := os.Rename(moved, dir); e != nil {
		t.Fatal(e)
	}
	if err != nil || len(rep.Problems) == 0 {
		t.Fatalf("without a directory: %+v %v", rep, err)
	}
}

// TestFilesArePrivate holds files of the store, new and of earlier versions, and copies of it to
// mode 0600.
func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	private := func(when string) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "chat.*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %q %v", when, files, err)
		}
		for _, name := range files {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s has mode %v (%v)", when, filepath.Base(name), info.Mode(), err)
			}
		}
	}
	s := open(t, sqlitestore.Options{Path: dir})
	mustSend(t, s, 1, "for the driver's eyes")
	private("new")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "chat.db"), 0o644); err != nil {
		t.Fatal(err)
	}
	s = open(t, sqlitestore.Options{Path: dir})
	mustSend(t, s, 1, "and again")
	private("of an earlier version")
	if err := sqlitestore.Backup(t.Context(), dir, filepath.Join(dir, "chat.copy")); err != nil {
		t.Fatal(err)
	}
	private("with a copy")
	for mode, want := range map[os.FileMode]bool{0o755: true, 0o750: false, 0o700: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		rep, err := s.Check(t.Context())
		told := slices.ContainsFunc(rep.Warnings, func(w string) bool {
			return strings.Contains(w,
				"other users")
		})
		if err != nil || told != want {
			t.Errorf("a directory of mode %o: warnings %q, %v", mode, rep.Warnings, err)
		}
	}
}
