package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// restore opens a backup as a store of its own, after looking at it as an operator would.
func restore(t *testing.T, backup string) *sqlitestore.Store {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "chat.db"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
	if err != nil || len(rep.Problems) > 0 {
		t.Fatalf("the copy: %+v %v", rep, err)
	}
	return open(t, sqlitestore.Options{Path: dir})
}

func history(t *testing.T, s queue.Store, tracker queue.TrackerID) []queue.Message {
	t.Helper()
	var all []queue.Message
	for from := int64(0); ; {
		ms, err := s.List(t.Context(), queue.ListQuery{
			Tracker: tracker, FromMs: from,
			ToMs: 1 << 50, Limit: 1024,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			if len(all) == 0 || m.ID > all[len(all)-1].ID {
				all = append(all, m)
			}
		}
		if len(ms) < 1024 {
			return all
		}
		from = ms[len(ms)-1].SubmitMs
	}
}

// traffic sends numbered texts to trackers 1 to n and acknowledges every second one, until stopped.
type traffic struct {
	sent   []atomic.Int64 // by tracker: texts that were answered
	newest atomic.Int64   // greatest id
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func startTraffic(t *testing.T, s queue.Store, n int) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	whole := context.WithoutCancel(ctx) // the last calls are answered
	tr := &traffic{sent: make([]atomic.Int64, n+1), stop: stop}
	for id := 1; id <= n; id++ {
		tr.done.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				res, err := s.Send(whole, []queue.SendReq{{
					Tracker: queue.TrackerID(id),
					Text:    fmt.Sprint(i),
				}})
				if err != nil || res[0].Err != nil {
					t.Errorf("send: %v %+v", err, res)
					return
				}
				tr.sent[id].Add(1)
				for old := tr.newest.Load(); old < res[0].ID &&
					!tr.newest.CompareAndSwap(old, res[0].ID); old = tr.newest.Load() {
				}
				if _, err := s.Ack(whole, []queue.AckReq{{
					Tracker: queue.TrackerID(id),
					ID:      res[0].ID,
				}}); err != nil {
					t.Errorf("ack: %v", err)
					return
				}
				if i%2 == 0 {
					if _, err := s.Receive(whole, []queue.Incoming{{
						Tracker: queue.TrackerID(id),
						Text:    "on my way",
					}}); err != nil {
						t.Errorf("receive: %v", err)
						return
					}
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		tr.done.Wait()
	})
	return tr
}

func (tr *traffic) await(t *testing.T, texts int64) {
	t.Helper()
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-every.C {
		least := texts
		for id := 1; id < len(tr.sent); id++ {
			least = min(least, tr.sent[id].Load())
		}
		if least >= texts {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("only %d texts sent", least)
		}
	}
}

// TestBackupWhileTextsFlow: a copy is one moment of the store. It has everything that was answered
// before it began and no gap, its counters are those of its messages, and neither it nor what
// becomes of it uses an id again that the running store gives, before or after the copy.
func TestBackupWhileTextsFlow(t *testing.T) {
	const trackers = 6
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	if _, err := s.ImportDirectory(t.Context(), []queue.Account{{ID: 1, Login: "a"}},
		[]queue.Tracker{{ID: 1, Account: 1, Protocol: "jt808", DeviceID: "1"}}, false); err != nil {
		t.Fatal(err)
	}
	tr := startTraffic(t, s, trackers)
	var copies []string
	var before [][]int64
	for n := range int64(3) {
		tr.await(t, 100*(n+1))
		var sent []int64
		for id := range tr.sent {
			sent = append(sent, tr.sent[id].Load())
		}
		file := filepath.Join(t.TempDir(), "it's a copy.db")
		if err := sqlitestore.Backup(t.Context(), dir, file); err != nil {
			t.Fatal(err)
		}
		copies, before = append(copies, file), append(before, sent)
	}
	tr.await(t, 500)
	tr.stop()
	tr.done.Wait()
	for n, file := range copies {
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil ||
			len(left) != 1 {
			t.Fatalf("beside the copy: %q %v", left, err)
		}
		c := restore(t, file)
		pending := 0
		for id := queue.TrackerID(1); id <= trackers; id++ {
			p, sent := checkHistory(t, history(t, c, id))
			if int64(sent) < before[n][id] {
				t.Errorf("copy %d has %d texts of tracker %d, %d were answered before", n, sent, id,
					before[n][id])
			}
			pending += p
		}
		rep, err := c.Check(t.Context())
		if err != nil || len(rep.Problems) > 0 || rep.Pending != int64(pending) {
			t.Errorf("copy %d: %+v %v, %d texts are pending", n, rep, err, pending)
		}
		if ids := mustSend(t, c, 1, "after the restore"); ids[0] <= tr.newest.Load() {
			t.Errorf("copy %d gives id %d, the store had gone up to %d", n, ids[0],
				tr.newest.Load())
		}
		if accounts, ts, err := c.LoadDirectory(t.Context()); err != nil || len(accounts) != 1 ||
			len(ts) != 1 {
			t.Errorf("directory of copy %d: %v %v %v", n, accounts, ts, err)
		}
	}
}

// TestRestoredCopyLeapsByItsAge: the numbers that the store may have given since it was copied are
// not given again, 2^20 for each day begun and no more than those of a year.
func TestRestoredCopyLeapsByItsAge(t *testing.T) {
	const leap = 1 << 20
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	last := mustSend(t, open(t, sqlitestore.Options{Path: dir}), 1, "text")[0]
	must(t, sqlitestore.Backup(t.Context(), dir, copied))
	made := time.Now().UTC() // whose days have 24 hours
	data, err := os.ReadFile(copied)
	must(t, err)
	for days, want := range map[int]int64{-2: 1, 0: 1, 3: 4, 366: 367, 400: 367} {
		dir, now := t.TempDir(), made.AddDate(0, 0, days).Add(time.Hour)
		must(t, os.WriteFile(filepath.Join(dir, "chat.db"), data, 0o600))
		for _, texts := range []int64{0, 1} { // it leaps once
			s, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
				Path: dir, Now: func() time.Time { return now },
			})
			must(t, err)
			id := mustSend(t, s, 1, "text")[0]
			must(t, s.Close())
			if got := id - last - texts; got/leap != want || got%leap > leap/2 {
				t.Errorf("%d days: id %d after %d, want %d leaps", days, id, last, want)
			}
		}
	}
}

// checkHistory makes sure that texts are numbered without a gap and returns how many are pending
// and how many there are.
func checkHistory(t *testing.T, ms []queue.Message) (pending, sent int) {
	t.Helper()
	for i := range ms {
		if ms[i].Status.Incoming() {
			continue
		}
		if ms[i].Text != fmt.Sprint(sent) {
			t.Fatalf("tracker %d: text %q where %d is expected", ms[i].Tracker, ms[i].Text, sent)
		}
		sent++
		if ms[i].Status == queue.StatusPending {
			pending++
		}
	}
	return pending, sent
}

func wantNothingIn(t *testing.T, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

func TestBackupRefuses(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	mustSend(t, s, 1, "text")
	to := t.TempDir()
	if err := sqlitestore.Backup(t.Context(), to, filepath.Join(to, "copy")); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	wantNothingIn(t, to)
	for name, make := range map[string]func(string) error{
		"file":      func(n string) error { return os.WriteFile(n, []byte("precious"), 0o600) },
		"directory": func(n string) error { return os.Mkdir(n, 0o700) },
		"link":      func(n string) error { return os.Symlink("nowhere", n) },
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := make(file); err != nil {
			t.Fatal(err)
		}
		was, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := sqlitestore.Backup(t.Context(), dir, file); !errors.Is(err, fs.ErrExist) ||
			!strings.Contains(err.Error(), file) {
			t.Errorf("over a %s: %v", name, err)
		}
		if is, err := os.Lstat(file); err != nil || is.Size() != was.Size() ||
			is.Mode() != was.Mode() {
			t.Errorf("the %s was touched: %v %v", name, is, err)
		}
	}
	if err := sqlitestore.Backup(t.Context(), dir, filepath.Join(to, "missing",
		"copy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no directory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sqlitestore.Backup(ctx, dir, filepath.Join(to, "copy")); !errors.Is(err,
		context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	wantNothingIn(t, to)
}

// TestBackupOfDamage: a copy that cannot be trusted is none.
func TestBackupOfDamage(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	for range 20 {
		mustSend(t, s, 1, strings.Repeat("x", 20_000))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db := other(t, dir)
	execute(t, db, "PRAGMA user_version = 99")
	if err := sqlitestore.Backup(t.Context(), dir, filepath.Join(to, "copy")); !errors.Is(err,
		sqlitestore.ErrNewerSchema) {
		t.Errorf("newer schema: %v", err)
	}
	execute(t, db, "PRAGMA user_version = 2")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, "chat.db"))
	if err := sqlitestore.Backup(t.Context(), dir, filepath.Join(to, "copy")); !errors.Is(err,
		queue.ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "chat.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sqlitestore.Backup(t.Context(), dir, filepath.Join(to, "copy")); !errors.Is(err,
		queue.ErrCorrupt) {
		t.Errorf("empty file: %v", err)
	}
	wantNothingIn(t, to)
}
