package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

func edit(t *testing.T, s *redisstore.Store, edits ...queue.Edit) {
	t.Helper()
	res, err := s.EditDirectory(t.Context(), edits)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res {
		if r.Err != nil {
			t.Fatalf("edit %d: %v", i, r.Err)
		}
	}
}

func someAccount() queue.Edit {
	return queue.Edit{Kind: queue.EditPutAccount, Account: queue.Account{ID: 1}}
}

func someTracker(id queue.TrackerID) queue.Edit {
	return queue.Edit{Kind: queue.EditPutTracker, Tracker: queue.Tracker{
		ID: id, Account: 1,
		Protocol: "p", DeviceID: fmt.Sprint(id),
	}}
}

func noTracker(id queue.TrackerID) queue.Edit {
	return queue.Edit{Kind: queue.EditDropTracker, Tracker: queue.Tracker{ID: id}}
}

// TestRemovalIsFinished: the master that holds a tracker's messages does not answer while the
// tracker is removed. Whoever finds that finishes it, and a tracker that comes again before waits
// for it.
func TestRemovalIsFinished(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	o := redisstore.Options{Addrs: cluster.Addrs()}
	s := open(t, o)
	directory := redisstore.TagSlot("chat:dir") * 3 / 16384
	var ts []queue.TrackerID // of another master
	for id := queue.TrackerID(1); len(ts) < 2; id++ {
		if redisstore.SlotOf(id)*3/16384 != directory {
			ts = append(ts, id)
		}
	}
	away := cluster.Nodes[redisstore.SlotOf(ts[0])*3/16384]
	for redisstore.SlotOf(ts[1])*3/16384 != redisstore.SlotOf(ts[0])*3/16384 {
		ts[1]++
	}
	edit(t, s, someAccount(), someTracker(ts[0]), someTracker(ts[1]))
	old := send(t, s, ts[0], "a", "b")
	other := send(t, s, ts[1], "c")
	away.Pause(t)
	ctx, cancel := context.WithCancel(t.Context())
	var removing sync.WaitGroup
	for _, id := range ts {
		removing.Go(func() {
			if _, err := s.EditDirectory(ctx, []queue.Edit{noTracker(id)}); err == nil {
				t.Error("nobody could remove the messages, but that was not said")
			}
		})
	}
	within(t, "the trackers are removed", func() bool {
		_, trackers, err := s.LoadDirectory(t.Context())
		return err == nil && len(trackers) == 0
	})
	short, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer done()
	if _, err := s.EditDirectory(short, []queue.Edit{someTracker(ts[0])}); err == nil {
		t.Fatal("the tracker came again with its old messages")
	}
	cancel()
	removing.Wait()
	away.Resume(t)
	within(t, "the tracker comes again", func() bool {
		res, err := s.EditDirectory(t.Context(), []queue.Edit{someTracker(ts[0])})
		return err == nil && res[0].Err == nil
	})
	fresh := send(t, s, ts[0], "new")
	if msgs := list(t, s, ts[0]); len(msgs) != 1 || msgs[0].ID != fresh[0] {
		t.Fatalf("%+v, old ones were %v", msgs, old)
	}
	// Nobody asks for the other tracker: a process that starts finds it.
	another := open(t, o)
	within(t, "the other tracker's message is removed", func() bool {
		found, err := another.Find(t.Context(), other)
		return err == nil && found[0].ID == 0
	})
	if msgs := list(t, s, ts[0]); len(msgs) != 1 || msgs[0].ID != fresh[0] {
		t.Fatalf("%+v", msgs)
	}
}

// TestRemovalWhileBusy removes a tracker with a long history while its messages are acknowledged,
// read and trimmed: the counters of what comes after are right.
func TestRemovalWhileBusy(t *testing.T) {
	server := queuetest.StartRedis(t, "--appendfsync", "no")
	s := open(t, redisstore.Options{
		Addrs: []string{server.Addr}, AllowVolatile: true,
		MaxPending: 1 << 20,
	})
	edit(t, s, someAccount(), someTracker(1))
	var acks []queue.AckReq
	var refs []queue.Ref
	for range 40 {
		texts := make([]string, 600)
		for i := range texts {
			texts[i] = "x"
		}
		for _, id := range send(t, s, 1, texts...) {
			acks = append(acks, queue.AckReq{Tracker: 1, ID: id})
		}
		in, err := s.Receive(t.Context(), []queue.Incoming{{Tracker: 1, Text: "in"}})
		if err != nil || in[0].Err != nil {
			t.Fatal(in, err)
		}
		refs = append(refs, queue.Ref{Tracker: 1, ID: in[0].ID})
	}
	var busy sync.WaitGroup
	for part := range 4 {
		busy.Go(func() {
			for i := part * 50; i+50 <= len(acks); i += 200 {
				if _, err := s.Ack(t.Context(), acks[i:i+50]); err != nil {
					t.Error(err)
				}
				if _, err := s.MarkRead(t.Context(), refs[i/600:i/600+1]); err != nil {
					t.Error(err)
				}
				if _, err := s.Trim(t.Context(), redisstore.PartitionOf(1),
					queue.Retention{CutoffMs: time.Now().UnixMilli(), Max: 1000}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	edit(t, s, noTracker(1))
	edit(t, s, someTracker(1))
	ids := send(t, s, 1, "a", "b")
	busy.Wait()
	leases, err := s.Acquire(t.Context(), "node", []queue.TrackerID{1})
	if err != nil || leases[0].Pending != 2 {
		t.Fatalf("%+v, %v", leases, err)
	}
	if open, err := s.Unacknowledged(t.Context(), 1, 64); err != nil || len(open) != 2 {
		t.Fatalf("%+v, %v", open, err)
	}
	if unread, err := s.Unread(t.Context(), []queue.TrackerID{1}); err != nil || len(unread) != 0 {
		t.Fatal(unread, err)
	}
	if report, err := s.Check(t.Context()); err != nil || report.Pending != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	if msgs := list(t, s, 1); len(msgs) != 2 || msgs[0].ID != ids[0] {
		t.Fatalf("%+v", msgs)
	}
}

// TestVersionsAfterRestart: what another Redis process may have lost is not given again, and who
// may have seen it is told.
func TestVersionsAfterRestart(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	edit(t, s, someAccount(), someTracker(1))
	server.Restart(t)
	within(t, "Redis answers again", func() bool {
		_, err := s.EditDirectory(t.Context(), []queue.Edit{someTracker(2)})
		return err == nil
	})
	d, err := s.DirectoryChanges(t.Context(), 2, 10)
	if err != nil || len(d.Trackers) != 1 || d.Version < 100 {
		t.Fatalf("%+v, %v", d, err)
	}
	if d, err := s.DirectoryChanges(t.Context(), d.Version-1, 10); err != nil ||
		len(d.Trackers) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, lost := range []int64{3, 50} {
		if _, err := s.DirectoryChanges(t.Context(), lost, 10); !errors.Is(err, queue.ErrTooOld) {
			t.Fatalf("since version %d: %v", lost, err)
		}
	}
}

// TestEditorsTakeTurns: two processes edit at the same time, in small and in large steps, and
// nothing of it is lost.
func TestEditorsTakeTurns(t *testing.T) {
	server := queuetest.StartRedis(t, "--appendfsync", "no")
	o := redisstore.Options{Addrs: []string{server.Addr}, AllowVolatile: true}
	first := open(t, o)
	edit(t, first, someAccount())
	const rounds, many = 20, 700
	var editing sync.WaitGroup
	for part, s := range []*redisstore.Store{first, open(t, o)} {
		editing.Go(func() {
			for round := range rounds {
				id := queue.TrackerID(part*100_000 + round*1000 + 1)
				edits := []queue.Edit{someTracker(id)}
				if round%5 == 0 {
					for i := range many - 1 {
						edits = append(edits, someTracker(id+queue.TrackerID(i)+1))
					}
				}
				if res, err := s.EditDirectory(context.WithoutCancel(t.Context()),
					edits); err != nil || res[0].Err != nil {
					t.Error(err, res)
				}
			}
		})
	}
	editing.Wait()
	const want = 2 * (rounds + rounds/5*(many-1))
	if _, trackers, err := first.LoadDirectory(t.Context()); err != nil || len(trackers) != want {
		t.Fatalf("%d trackers, want %d, %v", len(trackers), want, err)
	}
	if d, err := first.DirectoryChanges(t.Context(), 0, 2*want); err != nil ||
		d.Version != want+1 || len(d.Trackers) != want {
		t.Fatalf("version %d, %d trackers, %v", d.Version, len(d.Trackers), err)
	}
	res, err := first.EditDirectory(t.Context(), []queue.Edit{{
		Kind:    queue.EditDropAccount,
		Account: queue.Account{ID: 1},
	}})
	if err != nil || !errors.Is(res[0].Err, queue.ErrConflict) {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := first.ImportDirectory(t.Context(), []queue.Account{{ID: 1}}, nil,
		true); err != nil {
		t.Fatal(err)
	}
	edit(t, first, queue.Edit{Kind: queue.EditDropAccount, Account: queue.Account{ID: 1}})
	for _, key := range []string{
		"{chat:dir}:a", "{chat:dir}:t", "{chat:dir}:log", "{chat:dir}:o:1",
		"{chat:dir}:drop",
	} {
		if n := server.Must(t, "EXISTS", key); n != "0" {
			t.Errorf("%s is left of an empty directory", key)
		}
	}
}

// TestEditorsSeeEachOther: of two processes that give one device to two trackers at the same time,
// one is refused, whatever its copy of the directory knows.
func TestEditorsSeeEachOther(t *testing.T) {
	server := queuetest.StartRedis(t, "--appendfsync", "no")
	o := redisstore.Options{Addrs: []string{server.Addr}, AllowVolatile: true}
	stores := []*redisstore.Store{open(t, o), open(t, o)}
	edit(t, stores[0], someAccount())
	for round := range 100 {
		won := make(chan queue.TrackerID, len(stores))
		var editing sync.WaitGroup
		for i, s := range stores {
			editing.Go(func() {
				e := someTracker(queue.TrackerID(2*round + i + 1))
				e.Tracker.DeviceID = fmt.Sprint("of both ", round)
				res, err := s.EditDirectory(t.Context(), []queue.Edit{e})
				switch {
				case err != nil:
					t.Error(err)
				case res[0].Err == nil:
					won <- e.Tracker.ID
				case !errors.Is(res[0].Err, queue.ErrConflict):
					t.Error(res[0].Err)
				}
			})
		}
		editing.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d trackers have the device", round, len(won))
		}
	}
}

// TestOlderVersions: what earlier versions kept to find what is unique is removed, and they refuse
// to change a directory that has none of it: for their commit a change is pending.
func TestOlderVersions(t *testing.T) {
	server := queuetest.StartRedis(t)
	o := redisstore.Options{Addrs: []string{server.Addr}}
	edit(t, open(t, o), someAccount(), someTracker(1))
	server.Must(t, "HDEL", "{chat:dir}", "pending")
	server.Must(t, "HSET", "{chat:dir}:u:17", "dp 1", "1")
	server.Must(t, "HSET", "{chat:dir}:o:1", "n", "1", "0", "1")
	s := open(t, o)
	fenced := func() bool { // as that commit asks
		return server.Must(t, "EVAL",
			"return redis.call('HMGET', KEYS[1], 'version', 'pending')[2] and 1 or 0", "1",
			"{chat:dir}") == "1"
	}
	if !fenced() {
		t.Fatal("an earlier version could change the directory")
	}
	within(t, "the indexes are removed", func() bool {
		return server.Must(t, "EXISTS", "{chat:dir}:u:17", "{chat:dir}:o:1") == "0"
	})
	edit(t, s, someTracker(2))
	many := make([]queue.Tracker, 2000)
	for i := range many {
		many[i] = someTracker(queue.TrackerID(i + 1)).Tracker
	}
	if _, err := s.ImportDirectory(t.Context(), nil, many, false); err != nil {
		t.Fatal(err)
	}
	if !fenced() {
		t.Fatal("an earlier version could change the directory")
	}
}
