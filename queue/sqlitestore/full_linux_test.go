package sqlitestore_test

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"
)

func TestFullFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir, MaxBytes: 1 << 20, MaxPending: 100_000})
	lease, err := s.Acquire(t.Context(), "n", []queue.TrackerID{1})
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 10_000)
	var sent []int64
	for {
		res, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: big}})
		if errors.Is(err, queue.ErrOverloaded) {
			break
		}
		if err != nil || res[0].Err != nil || len(sent) > 200 {
			t.Fatalf("after %d: %+v %v", len(sent), res, err)
		}
		sent = append(sent, res[0].ID)
	}
	wantStored(t, s, 1, sent)
	if acked, err := s.Ack(t.Context(), []queue.AckReq{
		{Tracker: 1, ID: sent[0]},
		{Tracker: 1, ID: sent[1]},
	}); err != nil || acked[0] != queue.AckDelivered {
		t.Fatalf("ack while full: %v %v", acked, err)
	}
	if peek, err := s.CheckLeases(t.Context(), lease); err != nil || len(peek) != 1 ||
		peek[0].Pending != len(sent)-2 {
		t.Fatalf("%+v %v, %d sent", peek, err, len(sent))
	}
	// Only what fits into what a trim leaves can be stored again; ids go on.
	if st, err := s.Trim(t.Context(), 0, queue.Retention{CutoffMs: 1 << 52, Max: 10}); err != nil ||
		st.Removed != 2 {
		t.Fatalf("trim while full: %+v %v", st, err)
	}
	sent = append(sent[2:], mustSend(t, s, 1, big)...)
	wantStored(t, s, 1, sent)
	wantPending(t, s, 1, len(sent))
	neighbours(t, s)
	inspected(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, sqlitestore.Options{Path: dir, MaxPending: 100_000})
	wantStored(t, s, 1, append(sent, mustSend(t, s, 1, big)...))
}

// neighbours sends what cannot be stored together with what can.
func neighbours(t *testing.T, s *sqlitestore.Store) {
	t.Helper()
	if _, err := s.Trim(t.Context(), 0, queue.Retention{CutoffMs: 1 << 52, Max: 10}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			if g%8 == 0 {
				giant := make([]queue.SendReq, 300)
				for i := range giant {
					giant[i] = queue.SendReq{Tracker: 2, Text: strings.Repeat("y", 20_000)}
				}
				if _, err := s.Send(t.Context(), giant); !errors.Is(err, queue.ErrOverloaded) {
					t.Errorf("what cannot fit: %v", err)
				}
				return
			}
			ls, err := s.Acquire(t.Context(), "n", []queue.TrackerID{3})
			if err != nil || ls[0].Epoch == 0 {
				t.Errorf("its neighbour: %+v %v", ls, err)
			}
		})
	}
	wg.Wait()
	wantStored(t, s, 2, nil)
}

// TestFullDisk makes the kernel refuse writes beyond a size, in the middle of a transaction, as a
// full disk does.
func TestFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir, MaxPending: 100_000})
	sent := mustSend(t, s, 1, "before")
	info, err := os.Stat(filepath.Join(dir, "chat.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(restore)
	for round := range 3 {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()) +
			150_000*uint64(round+1), Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for n := 0; refused < 3; n++ {
			res, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: strings.Repeat("x",
				20_000)}, {Tracker: 1, Text: "with it"}})
			switch {
			case errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrOverloaded):
				refused++
			case err != nil || n > 200:
				t.Fatalf("round %d: %v", round, err)
			default:
				sent = append(sent, res[0].ID, res[1].ID)
			}
		}
		wantStored(t, s, 1, sent)
		restore()
		sent = append(sent, mustSend(t, s, 1, "there is space again")...)
		wantStored(t, s, 1, sent)
		wantPending(t, s, 1, len(sent))
	}
	inspected(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantStored(t, open(t, sqlitestore.Options{Path: dir}), 1, sent)
}

// TestStartOnAFullDisk: without a byte left the store opens, after an end in order as after a
// crash, gives out what it has and takes nothing new; once there is room it goes on.
func TestStartOnAFullDisk(t *testing.T) {
	for name, crash := range map[string]bool{"closed": false, "crashed": true} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(queuetest.SmallDisk(t, 8<<20), "store")
			filler := filepath.Join(filepath.Dir(dir), "filler")
			o := sqlitestore.Options{Path: dir, Now: time.Now, LeastFree: 1 << 20}
			s, err := sqlitestore.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			sent := mustSend(t, s, 1, "before")
			files := map[string][]byte{}
			for _, name := range []string{"chat.db", "chat.db-wal", "chat.db-shm"} {
				if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if crash {
				for name, data := range files {
					if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 2 { // also once more without having got any room
				queuetest.FillDisk(t, filler)
				if s, err = sqlitestore.Open(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				wantStored(t, s, 1, sent)
				if res, err := s.Send(t.Context(), []queue.SendReq{{
					Tracker: 1,
					Text:    "more",
				}}); !errors.Is(err, queue.ErrOverloaded) {
					t.Fatalf("stored on a full disk: %+v %v", res, err)
				}
				if report, err := s.Check(t.Context()); err != nil || len(report.Problems) == 0 {
					t.Errorf("fit for use: %+v %v", report, err)
				}
				if err := s.Close(); err != nil {
					t.Logf("closing: %v", err)
				}
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if s, err = sqlitestore.Open(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			wantStored(t, s, 1, append(sent, mustSend(t, s, 1, "there is room again")...))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
