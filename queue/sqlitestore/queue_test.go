package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// eventually polls a condition that nothing else tells of.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

// gauge reads one of the store's figures.
func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// holdWriter takes the write lock as another program, so that the store's writer has to wait; the
// function returned gives it back.
func holdWriter(t *testing.T, dir string) func() {
	t.Helper()
	db := other(t, dir)
	execute(t, db, "BEGIN IMMEDIATE")
	return func() { t.Helper(); execute(t, db, "ROLLBACK") }
}

// waiting sends in the background and waits until the call has been queued.
func waiting(t *testing.T, s *sqlitestore.Store, text string,
	queued func() bool,
) (result func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := s.Send(context.WithoutCancel(t.Context()), []queue.SendReq{{
			Tracker: 1,
			Text:    text,
		}})
		done <- err
	}()
	eventually(t, "queued: "+text, queued)
	return func() error { return <-done }
}

// counted is a clock that knows how often it was asked.
type counted struct{ times atomic.Int64 }

func (c *counted) now() time.Time { return time.UnixMilli(1_700_000_000_000 + c.times.Add(1)) }

// taken sends in the background and waits until the writer has the call in hand, which it shows by
// asking for the time after the caller has.
func taken(t *testing.T, s *sqlitestore.Store, c *counted) (result func() error) {
	t.Helper()
	before := c.times.Load()
	return waiting(t, s, "taken", func() bool { return c.times.Load() >= before+2 })
}

func TestQueueIsBounded(t *testing.T) {
	dir, reg, clock := t.TempDir(), prometheus.NewRegistry(), new(counted)
	s := open(t, sqlitestore.Options{Path: dir, QueueOps: 6, Registerer: reg, Now: clock.now})
	mustSend(t, s, 1, "first")
	release := holdWriter(t, dir)
	length := func(n float64) func() bool {
		return func() bool { return gauge(t, reg, "trackchat_store_queued_operations") == n }
	}
	results := []func() error{taken(t, s, clock)}
	for n := range 4 {
		results = append(results, waiting(t, s, "waits", length(float64(n+1))))
	}
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "too many"}}); !errors.Is(
		err, queue.ErrOverloaded) {
		t.Fatalf("a full queue: %v", err)
	}
	release()
	stored := 1
	for i, result := range results {
		switch err := result(); {
		case err == nil:
			stored++
		case i > 0 || !errors.Is(err, queue.ErrUnavailable):
			// the first may have waited longer than the writer waits for the lock
			t.Fatalf("call %d: %v", i, err)
		}
	}
	msgs, err := s.List(t.Context(), queue.ListQuery{Tracker: 1, ToMs: 1 << 52, Limit: 100})
	if err != nil || len(msgs) != stored {
		t.Fatalf("%d messages, want %d: %v", len(msgs), stored, err)
	}
}

// TestAcksGoFirst: an ack that comes when many texts wait to be stored does not wait for all of
// them, and the texts are stored all the same.
func TestAcksGoFirst(t *testing.T) {
	dir, reg, clock := t.TempDir(), prometheus.NewRegistry(), new(counted)
	s := open(t, sqlitestore.Options{Path: dir, Registerer: reg, Now: clock.now})
	id := mustSend(t, s, 1, "first")[0]
	release := holdWriter(t, dir)
	first := taken(t, s, clock)
	queued := func(n float64) {
		t.Helper()
		eventually(t, "queued", func() bool {
			return gauge(t, reg,
				"trackchat_store_queued_operations") == n
		})
	}
	const broadcasts, trackers = 20, 300
	var calls sync.WaitGroup
	for n := range broadcasts {
		reqs := make([]queue.SendReq, trackers)
		for i := range reqs {
			reqs[i] = queue.SendReq{Tracker: queue.TrackerID(2 + n), Text: "one of many"}
		}
		calls.Go(func() {
			if res, err := s.Send(t.Context(), reqs); err != nil || res[0].Err != nil {
				t.Errorf("send: %v, %v", res, err)
			}
		})
	}
	queued(broadcasts)
	calls.Go(func() {
		if res, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: id}}); err != nil ||
			res[0] != queue.AckDelivered {
			t.Errorf("ack: %v, %v", res, err)
		}
	})
	queued(broadcasts + 1)
	release()
	_ = first() // whichever: it may have waited longer than the writer waits for the lock
	calls.Wait()
	acked, err := s.Find(t.Context(), []int64{id})
	if err != nil {
		t.Fatal(err)
	}
	later := 0
	for n := range broadcasts {
		msgs, err := s.List(t.Context(), queue.ListQuery{
			Tracker: queue.TrackerID(2 + n),
			ToMs:    1 << 52, Limit: 1000,
		})
		if err != nil || len(msgs) != trackers {
			t.Fatalf("%d messages: %v", len(msgs), err)
		}
		if msgs[0].SubmitMs > acked[0].UpdateMs {
			later++
		}
	}
	if later < broadcasts/2 {
		t.Errorf("%d of %d texts that waited were stored after the ack", later, broadcasts)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	dir, reg, clock := t.TempDir(), prometheus.NewRegistry(), new(counted)
	s := open(t, sqlitestore.Options{Path: dir, QueueBytes: 1000, Registerer: reg, Now: clock.now})
	release := holdWriter(t, dir)
	first := taken(t, s, clock)
	second := waiting(t, s, strings.Repeat("x", 400), func() bool {
		return gauge(t, reg,
			"trackchat_store_queued_bytes") > 400
	})
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: strings.Repeat("x",
		900)}}); !errors.Is(err, queue.ErrOverloaded) {
		t.Fatalf("too many bytes: %v", err)
	}
	acked := make(chan error, 1)
	go func() { // a part of the room is for what takes load away
		_, err := s.Ack(context.WithoutCancel(t.Context()), []queue.AckReq{{Tracker: 1, ID: 1}})
		acked <- err
	}()
	release()
	_ = first() // whichever: it may have waited longer than the writer waits for the lock
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	if err := second(); err != nil {
		t.Fatal(err)
	}
	if n := gauge(t, reg, "trackchat_store_queued_bytes"); n != 0 {
		t.Fatalf("%v bytes wait in an empty queue", n)
	}
	mustSend(t, s, 1, strings.Repeat("x", 5000)) // alone it may be larger
}

func TestContextEndsInTheQueue(t *testing.T) {
	dir, reg, clock := t.TempDir(), prometheus.NewRegistry(), new(counted)
	s := open(t, sqlitestore.Options{Path: dir, Registerer: reg, Now: clock.now})
	release := holdWriter(t, dir)
	first := taken(t, s, clock)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Send(ctx, []queue.SendReq{{Tracker: 2, Text: "given up"}})
		done <- err
	}()
	eventually(t, "queued", func() bool {
		return gauge(t, reg,
			"trackchat_store_queued_operations") == 1
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, queue.ErrUnknownOutcome) {
		t.Fatalf("given up: %v", err)
	}
	release()
	_ = first()
	mustSend(t, s, 2, "after it")
	msgs, err := s.List(t.Context(), queue.ListQuery{Tracker: 2, ToMs: 1 << 52, Limit: 10})
	if err != nil || len(msgs) != 1 || msgs[0].Text != "after it" {
		t.Fatalf("%+v %v", msgs, err)
	}
}

// TestOthersLock: another program that keeps the file locked makes calls fail, not the store.
func TestOthersLock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	sent := mustSend(t, s, 1, "first")
	release := holdWriter(t, dir)
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "locked out"}}); !errors.Is(
		err, queue.ErrUnavailable) {
		t.Fatal(err)
	}
	wantStored(t, s, 1, sent)
	release()
	wantStored(t, s, 1, append(sent, mustSend(t, s, 1, "second")...))
}

func TestCloseAnswersWhatIsQueued(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored := 0
	started := make(chan struct{}, 64)
	for range 64 {
		wg.Go(func() {
			for i := 0; ; i++ {
				res, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x"}})
				if errors.Is(err, queue.ErrUnavailable) {
					return
				}
				if err != nil {
					t.Errorf("while closing: %v", err)
					return
				}
				if res[0].Err == nil {
					mu.Lock()
					stored++
					mu.Unlock()
				}
				if i == 0 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 64 {
		<-started
	}
	for range 2 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
	wg.Wait()
	if _, err := os.Stat(filepath.Join(dir, "chat.db-wal")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the log stays beside a closed store: %v", err)
	}
	s = open(t, sqlitestore.Options{Path: dir})
	ls, err := s.Acquire(t.Context(), "n", []queue.TrackerID{1})
	if err != nil || ls[0].Pending != stored {
		t.Fatalf("%d stored, %+v pending: %v", stored, ls, err)
	}
}

// TestLogStartsOver: the write-ahead log shrinks again after a burst, while the store is written.
func TestLogStartsOver(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir, LogBytes: 256 << 10, MaxPending: 1 << 30})
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "chat.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for size() < 4<<20 {
		mustSend(t, s, 1, strings.Repeat("x", 20_000))
	}
	// Writers who leave no pause: only they keep the log from starting over by itself.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Receive(t.Context(), []queue.Incoming{{Tracker: queue.TrackerID(g +
					2), Text: "x"}}); err != nil {
					t.Errorf("while the log starts over: %v", err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	eventually(t, "the log starts over", func() bool { return size() <= 1<<20 })
}

// TestEverySecondSyncs: what was answered before the sync is synced within about a second.
func TestEverySecondSyncs(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := open(t, sqlitestore.Options{
		Path: t.TempDir(), Registerer: reg,
		Durability: sqlitestore.EverySecond,
	})
	for range 3 {
		mustSend(t, s, 1, "x")
		start := time.Now()
		eventually(t, "synced", func() bool {
			return gauge(t, reg,
				"trackchat_store_unsynced_commits") == 0
		})
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("synced after %v", d)
		}
	}
}

// TestKeysAreCleaned: expired idempotency keys do not stay for ever.
func TestKeysAreCleaned(t *testing.T) {
	dir, clock := t.TempDir(), queuetest.NewClock()
	keys := func(s *sqlitestore.Store, names ...string) {
		t.Helper()
		for _, k := range names {
			if res, err := s.Send(t.Context(), []queue.SendReq{{
				Tracker: 1, Text: "x",
				Key: k,
			}}); err != nil || res[0].Err != nil {
				t.Fatal(res, err)
			}
		}
	}
	s := open(t, sqlitestore.Options{Path: dir, Now: clock.Now})
	keys(s, "a", "b", "c")
	clock.Advance(23 * time.Hour)
	keys(s, "d")
	clock.Advance(2 * time.Hour)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, sqlitestore.Options{Path: dir, Now: clock.Now})
	db := other(t, dir)
	eventually(t, "only the young key is left", func() bool {
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM idempotency").Scan(
			&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
}

// TestMetrics: every bound shows when it is met.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s := open(t, sqlitestore.Options{Path: t.TempDir(), Registerer: reg})
	if _, err := s.Acquire(t.Context(), "n", []queue.TrackerID{1}); err != nil {
		t.Fatal(err)
	}
	mustSend(t, s, 1, "a", "b", "c")
	if n, err := testutil.GatherAndCount(reg, "trackchat_store_seconds",
		"trackchat_batch_size"); err != nil || n < 3 {
		t.Fatalf("%d series: %v", n, err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Fatal(problems, err)
	}
}

// TestCorruptRow: a message that cannot be read holds up its own tracker only, and not what comes
// before it.
func TestCorruptRow(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir, Now: time.Now})
	res, err := s.Send(t.Context(), []queue.SendReq{
		{Tracker: 1, Text: "whole"},
		{Tracker: 1, Text: "damaged", Choices: []string{"a"}},
		{Tracker: 2, Text: "of another tracker"},
	})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, other(t, dir), fmt.Sprintf("UPDATE message SET choices = '[' WHERE id = %d",
		res[1].ID))
	leases, err := s.Acquire(t.Context(), "node", []queue.TrackerID{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	claim := func(from queue.Cursor) queue.ClaimResult {
		got, err := s.Claim(t.Context(), []queue.ClaimReq{{
			Lease: leases[0], Cursor: from,
			MaxBytes: 1000,
		}, {Lease: leases[1], MaxBytes: 1000}})
		if err != nil || len(got[1].Msgs) != 1 || got[1].Err != nil {
			t.Fatalf("%+v, %v", got, err)
		}
		return got[0]
	}
	first := claim(0)
	if len(first.Msgs) != 1 || first.Msgs[0].ID != res[0].ID || !first.More || first.Err != nil {
		t.Fatalf("%+v", first)
	}
	if next := claim(first.Next); len(next.Msgs) != 0 || !errors.Is(next.Err, queue.ErrCorrupt) ||
		!strings.Contains(next.Err.Error(), fmt.Sprint(res[1].ID)) {
		t.Fatalf("%+v", next)
	}
	// An operator ends it.
	if ended, err := s.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: res[1].ID,
		Status: queue.StatusCancelled,
	}}); err != nil || ended[0] != queue.EndNow {
		t.Fatal(ended, err)
	}
	if next := claim(first.Next); len(next.Msgs) != 0 || next.Err != nil {
		t.Fatalf("%+v", next)
	}
}
