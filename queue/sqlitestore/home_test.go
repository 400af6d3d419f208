package sqlitestore_test

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// killed returns what the end of a process leaves of a store with three messages of tracker 1, and
// their ids.
func killed(t *testing.T) (dir string, sent []int64) {
	t.Helper()
	from := t.TempDir()
	s := open(t, sqlitestore.Options{Path: from})
	sent = append(mustSend(t, s, 1, "a"), append(mustSend(t, s, 1, "b"), mustSend(t, s, 1,
		"c")...)...)
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	must(t, os.Remove(filepath.Join(dir, "chat.db-shm"))) // is made anew
	return dir, sent
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantLost expects that neither a service nor a migration takes what lies in a directory, that
// check tells the same, and that nothing there is touched.
func wantLost(t *testing.T, dir, words string) {
	t.Helper()
	before := files(t, dir)
	s, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	if err == nil {
		_ = s.Close()
		t.Fatalf("opened, although %q", words)
	}
	if !errors.Is(err, queue.ErrLost) || !strings.Contains(err.Error(), words) ||
		!strings.Contains(err.Error(), "trackchat check --adopt") {
		t.Errorf("%v; want %q", err, words)
	}
	rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
	if err != nil || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], words) {
		t.Errorf("inspect: %+v %v", rep, err)
	}
	if a, err := sqlitestore.OpenArchive(dir); err == nil {
		_ = a.Close()
		t.Error("a migration takes it")
	}
	for name, data := range before {
		if now := files(t, dir)[name]; now != data {
			t.Errorf("%s was changed: %d bytes, then %d", name, len(data), len(now))
		}
	}
}

// files are the store's files in a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, name := range []string{"chat.db", "chat.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

// adopted accepts what is there and opens it; ids go on above all that were given.
func adopted(t *testing.T, dir string, last int64) *sqlitestore.Store {
	t.Helper()
	was, err := sqlitestore.Adopt(dir, time.Now())
	if err != nil || !errors.Is(was, queue.ErrLost) {
		t.Fatalf("adopting: %v, %v", was, err)
	}
	s := open(t, sqlitestore.Options{Path: dir})
	if id := mustSend(t, s, 2, "after")[0]; id <= last {
		t.Errorf("id %d after %d", id, last)
	}
	if was, err := sqlitestore.Adopt(dir, time.Now()); !errors.Is(err, queue.ErrInUse) {
		t.Errorf("adopting what is in use: %v, %v", was, err)
	}
	return s
}

// TestNoIdentity: a file that does not say which store it is is damaged.
func TestNoIdentity(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, sqlitestore.Options{Path: dir}).Close())
	db := other(t, dir)
	execute(t, db, "DELETE FROM meta WHERE name = 'identity'")
	must(t, db.Close())
	must(t, os.Remove(filepath.Join(dir, "chat.lock")))
	s, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	if !errors.Is(err, queue.ErrCorrupt) || !strings.Contains(err.Error(), "no identity") {
		t.Errorf("opened: %v", err)
	}
	if err == nil {
		_ = s.Close()
	}
}

func TestDatabaseIsGone(t *testing.T) {
	for name, lose := range map[string]func(db string) error{
		"is missing": os.Remove,
		"is empty":   func(db string) error { return os.Truncate(db, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, sent := killed(t)
			db := filepath.Join(dir, "chat.db")
			whole, err := os.ReadFile(db)
			must(t, err)
			must(t, lose(db))
			log := files(t, dir)["chat.db-wal"]
			wantLost(t, dir, "chat.db "+name+", but its write-ahead log")

			// Brought back, it is whole.
			back := t.TempDir()
			must(t, os.CopyFS(back, os.DirFS(dir)))
			must(t, os.WriteFile(filepath.Join(back, "chat.db"), whole, 0o600))
			wantStored(t, open(t, sqlitestore.Options{Path: back}), 1, sent)

			s := adopted(t, dir, sent[2])
			wantStored(t, s, 1, nil)
			aside, err := filepath.Glob(filepath.Join(dir, "chat.db-wal.left-*"))
			must(t, err)
			if len(aside) != 1 {
				t.Fatalf("put aside: %q", aside)
			}
			if data, err := os.ReadFile(aside[0]); err != nil || string(data) != log {
				t.Errorf("what was put aside has %d bytes, %v; the log had %d", len(data), err,
					len(log))
			}
		})
	}
	t.Run("after an orderly end", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, sqlitestore.Options{Path: dir})
		sent := mustSend(t, s, 1, "a")
		must(t, s.Close())
		must(t, os.Remove(filepath.Join(dir, "chat.db")))
		wantLost(t, dir, "chat.db is missing, but a store was here")
		wantStored(t, adopted(t, dir, sent[0]), 1, nil)
	})
	t.Run("another one lies there", func(t *testing.T) {
		dir, other := t.TempDir(), t.TempDir()
		s := open(t, sqlitestore.Options{Path: dir})
		sent := mustSend(t, s, 1, "a")
		must(t, s.Close())
		s = open(t, sqlitestore.Options{Path: other})
		theirs := mustSend(t, s, 1, "b")
		must(t, s.Close())
		must(t, os.Rename(filepath.Join(other, "chat.db"), filepath.Join(dir, "chat.db")))
		wantLost(t, dir, "is another store than was here")
		wantStored(t, adopted(t, dir, sent[0]), 1, theirs)
	})
	t.Run("cut off", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, sqlitestore.Options{Path: dir})
		mustSend(t, s, 1, strings.Repeat("x", 20_000))
		must(t, s.Close())
		must(t, os.Truncate(filepath.Join(dir, "chat.db"), 100_000))
		if s, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
			Path: dir,
			Now:  time.Now,
		}); !errors.Is(err, queue.ErrCorrupt) ||
			!strings.Contains(err.Error(), "cut off") {
			t.Errorf("%v %v", s, err)
		}
		if _, err := sqlitestore.Adopt(dir, time.Now()); !errors.Is(err, queue.ErrCorrupt) {
			t.Errorf("adopting: %v", err)
		}
	})
}

func TestLogIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		lose  func(log string) error
		words string
	}{
		"missing": {os.Remove, "its write-ahead log is missing or empty"},
		"empty": {
			func(log string) error { return os.Truncate(log, 0) },
			"its write-ahead log is missing or empty",
		},
		"cut off within its header": {
			func(log string) error { return os.Truncate(log, 20) },
			"the beginning of its write-ahead log",
		},
		"damaged in its header": {func(log string) error {
			data, err := os.ReadFile(log)
			if err == nil {
				data[17] ^= 1
				err = os.WriteFile(log, data, 0o600)
			}
			return err
		}, "the beginning of its write-ahead log"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, sent := killed(t)
			must(t, c.lose(filepath.Join(dir, "chat.db-wal")))
			wantLost(t, dir, c.words)
			adopted(t, dir, sent[2])
		})
	}
}

// TestOrderlyEndNeedsNoLog: whoever closes a store, or could not open it, leaves it so that it
// opens.
func TestOrderlyEndNeedsNoLog(t *testing.T) {
	dir, sent := killed(t)
	for range 3 {
		s := open(t, sqlitestore.Options{Path: dir})
		wantStored(t, s, 1, sent)
		must(t, s.Close())
		if _, err := os.Stat(filepath.Join(dir, "chat.db-wal")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a log stays: %v", err)
		}
	}
	if was, err := sqlitestore.Adopt(dir, time.Now()); was != nil || err != nil {
		t.Errorf("there is nothing to adopt: %v %v", was, err)
	}
	// A start that ends early leaves a store that needs its log no more than it says.
	dir, _ = killed(t)
	db := other(t, dir)
	execute(t, db, "PRAGMA wal_autocheckpoint = 0")
	execute(t, db, "PRAGMA user_version = 99")
	dir = copyOf(t, dir)
	for range 2 {
		if _, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
			Path: dir,
			Now:  time.Now,
		}); !errors.Is(err, sqlitestore.ErrNewerSchema) {
			t.Fatal(err)
		}
	}
}

// TestRestoredBesideAnOldLog: a backup is put in place and the log of the lost database stays:
// SQLite would apply it.
func TestRestoredBesideAnOldLog(t *testing.T) {
	dir, sent := killed(t)
	backup := filepath.Join(t.TempDir(), "copy")
	must(t, sqlitestore.Backup(t.Context(), dir, backup))
	data, err := os.ReadFile(backup)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "chat.db"), data, 0o600))
	wantLost(t, dir, "is of another database than")
	s := adopted(t, dir, sent[2])
	wantStored(t, s, 1, sent)
	must(t, s.Close())

	// In an empty directory, and over the database of a stopped store, a backup just opens.
	for _, place := range []string{t.TempDir(), dir} {
		must(t, os.WriteFile(filepath.Join(place, "chat.db"), data, 0o600))
		wantStored(t, open(t, sqlitestore.Options{Path: place}), 1, sent)
	}
}

// TestDamagedLog: SQLite reads a log up to the first frame that is damaged, and says nothing of
// what stood after it.
func TestDamagedLog(t *testing.T) {
	dir, sent := killed(t)
	log := filepath.Join(dir, "chat.db-wal")
	data, err := os.ReadFile(log)
	must(t, err)
	frame := 24 + int(binary.BigEndian.Uint32(data[8:]))
	// as it is, it is whole.
	whole := open(t, sqlitestore.Options{
		Path:       copyOf(t, dir),
		Registerer: prometheus.NewRegistry(),
	})
	wantStored(t, whole, 1, sent)

	commits := 0
	var ends []int
	for i := 32; i+frame <= len(data) && string(data[i+8:i+16]) == string(data[16:24]); i += frame {
		if binary.BigEndian.Uint32(data[i+4:]) > 0 {
			commits++
			ends = append(ends, i)
		}
	}
	if commits < 3 {
		t.Fatalf("%d transactions", commits)
	}
	// in the first page of the last transaction but one.
	data[ends[len(ends)-3]+frame+24+100] ^= 0xff
	must(t, os.WriteFile(log, data, 0o600))
	rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
	if err != nil || len(rep.Problems) != 1 ||
		!strings.Contains(rep.Problems[0], "2 transactions after it are not in the store") {
		t.Errorf("inspect: %+v %v", rep, err)
	}
	core, logged := observer.New(zap.ErrorLevel)
	reg := prometheus.NewRegistry()
	s := open(t, sqlitestore.Options{Path: dir, Logger: zap.New(core), Registerer: reg})
	wantStored(t, s, 1, sent[:1])
	said := logged.FilterMessage("accepted messages or acks are lost").All()
	if len(said) != 1 ||
		!strings.Contains(said[0].ContextMap()["problem"].(string), "2 transactions") {
		t.Errorf("log: %+v", logged.All())
	}
	if kept, err := os.ReadFile(said[0].ContextMap()["kept"].(string)); err != nil ||
		string(kept) != string(data) {
		t.Errorf("the kept log has %d bytes of %d, %v", len(kept), len(data), err)
	}
	want := "# HELP trackchat_store_log_unreadable_transactions Transactions that stood behind damage in the embedded store's write-ahead log when this process started, and are lost.\n" +
		"# TYPE trackchat_store_log_unreadable_transactions gauge\ntrackchat_store_log_unreadable_transactions 2\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"trackchat_store_log_unreadable_transactions"); err != nil {
		t.Error(err)
	}
	if id := mustSend(t, s, 1, "after")[0]; id <= sent[2] {
		t.Errorf("id %d after %d", id, sent[2])
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	must(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// TestTornEnd: what was being written when the process ended is no damage, wherever it ends.
func TestTornEnd(t *testing.T) {
	dir, _ := killed(t)
	log := filepath.Join(dir, "chat.db-wal")
	info, err := os.Stat(log)
	must(t, err)
	for cut := info.Size() - 1; cut > info.Size()-13_000; cut -= 997 {
		must(t, os.Truncate(log, cut))
		rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
		if err != nil || len(rep.Problems) > 0 {
			t.Fatalf("cut at %d of %d: %+v %v", cut, info.Size(), rep, err)
		}
	}
	open(t, sqlitestore.Options{Path: dir})
}

// TestFilesGoWhileInUse: what is stored in a file that has no name any more would be gone with the
// process.
func TestFilesGoWhileInUse(t *testing.T) {
	for _, name := range []string{"chat.db", "chat.db-wal"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, sqlitestore.Options{Path: dir})
			sent := mustSend(t, s, 1, "before")
			file := filepath.Join(dir, name)
			must(t, os.Rename(file, file+".away"))
			if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x"}}); !errors.Is(
				err, queue.ErrUnavailable) || !errors.Is(err, queue.ErrLost) {
				t.Errorf("send: %v", err)
			}
			rep, err := s.Check(t.Context())
			if err != nil || len(rep.Problems) != 1 ||
				!strings.Contains(rep.Problems[0], name+" was removed or replaced") {
				t.Errorf("check: %+v %v", rep, err)
			}
			wantStored(t, s, 1, sent) // what was known can still be read
			must(t, os.Rename(file+".away", file))
			if rep, err := s.Check(t.Context()); err != nil || len(rep.Problems) > 0 {
				t.Errorf("back again: %+v %v", rep, err)
			}
			wantStored(t, s, 1, append(sent, mustSend(t, s, 1, "after")...))
		})
	}
}

// TestNearlyFullDisk: the store opens, gives out what it has, takes acks, and nothing new.
func TestNearlyFullDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	sent := mustSend(t, s, 1, "before")
	must(t, s.Close())
	s = open(t, sqlitestore.Options{Path: dir, LeastFree: 1 << 60})
	wantStored(t, s, 1, sent)
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x"}}); !errors.Is(err,
		queue.ErrOverloaded) {
		t.Errorf("send: %v", err)
	}
	if _, err := s.Receive(t.Context(), []queue.Incoming{{Tracker: 1, Text: "x"}}); !errors.Is(err,
		queue.ErrOverloaded) {
		t.Errorf("receive: %v", err)
	}
	if r, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: sent[0]}}); err != nil ||
		r[0] != queue.AckDelivered {
		t.Errorf("ack: %v %v", r, err)
	}
	rep, err := s.Check(t.Context())
	if err != nil || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "MiB left") {
		t.Errorf("check: %+v %v", rep, err)
	}
}

// TestStoreOfAnEarlierVersion: a file without an identity and without a mark opens whether it was
// closed in order or not, and has both then.
func TestStoreOfAnEarlierVersion(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, db *sql.DB, dir string) string{
		"closed": func(t *testing.T, db *sql.DB, dir string) string {
			t.Helper()
			must(t,
				db.Close())
			return dir
		},
		"killed": func(t *testing.T, _ *sql.DB, dir string) string {
			t.Helper()
			return copyOf(t,
				dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, sqlitestore.Options{Path: dir})
			sent := mustSend(t, s, 1, "a")
			must(t, s.Close())
			must(t, os.Truncate(filepath.Join(dir, "chat.lock"), 0))
			db := other(t, dir)
			execute(t, db, "PRAGMA wal_autocheckpoint = 0")
			execute(t, db, "DELETE FROM meta WHERE name IN ('identity', 'open')")
			execute(t, db, "PRAGMA user_version = 6; ALTER TABLE device DROP COLUMN conversation; DROP VIEW message_readable; ALTER TABLE device DROP COLUMN former; DROP TABLE kept")
			execute(t, db, "ALTER TABLE device DROP COLUMN employee_record; ALTER TABLE device DROP COLUMN upstream")
			execute(t, db, "DROP TABLE broadcast; DROP TABLE broadcast_target; ALTER TABLE account DROP COLUMN people; ALTER TABLE account_key DROP COLUMN name; ALTER TABLE account_key DROP COLUMN role; ALTER TABLE account_key DROP COLUMN end_ms")
			execute(t, db, "ALTER TABLE device DROP COLUMN sorting; DROP INDEX session_account; ALTER TABLE session DROP COLUMN user; ALTER TABLE session DROP COLUMN stamp; ALTER TABLE message DROP COLUMN author")
			execute(t, db, "ALTER TABLE message DROP COLUMN tries; ALTER TABLE message DROP COLUMN tried_ms; ALTER TABLE message DROP COLUMN urgent")
			execute(t, db, "ALTER TABLE tracker ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0; ALTER TABLE tracker ADD COLUMN pending INTEGER NOT NULL DEFAULT 0")
			dir = end(t, db, dir)
			s = open(t, sqlitestore.Options{Path: dir})
			wantStored(t, s, 1, append(sent, mustSend(t, s, 1, "b")...))
			now := copyOf(t, dir)
			must(t, os.Remove(filepath.Join(now, "chat.db-wal")))
			wantLost(t, now, "its write-ahead log is missing or empty")
		})
	}
}
