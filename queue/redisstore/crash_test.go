package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// TestCrash kills a process of ours in the middle of its work; Redis goes on.
func TestCrash(t *testing.T) {
	place := "" // the child has it from its parent
	if !queuetest.CrashChild() {
		place = queuetest.StartRedis(t).Addr
	}
	crash(t, "TestCrash", place, 2)
}

func TestCrashOnCluster(t *testing.T) {
	place := ""
	if !queuetest.CrashChild() {
		place = strings.Join(queuetest.StartCluster(t, 3).Addrs(), " ")
	}
	crash(t, "TestCrashOnCluster", place, 1)
}

func crash(t *testing.T, name, place string, rounds int) {
	t.Helper()
	queuetest.Crash(t, queuetest.CrashOptions{
		Test: name, Place: place, Rounds: rounds,
		Open: func(ctx context.Context, place string) (queue.Store, error) {
			return redisstore.Open(ctx, redisstore.Options{
				Addrs: strings.Fields(place),
				Now:   time.Now, MaxPending: 1 << 20,
			})
		},
	})
}

// TestRedisKilledUnderLoad kills Redis again and again while 16 writers work. A writer whose
// request has failed asks again with its key: nothing may be lost or doubled.
func TestRedisKilledUnderLoad(t *testing.T) {
	server := queuetest.StartRedis(t)
	killedUnderLoad(t, redisstore.Options{Addrs: []string{server.Addr}},
		func(int) *queuetest.RedisServer { return server })
}

func TestMasterKilledUnderLoad(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	killedUnderLoad(t, redisstore.Options{Addrs: cluster.Addrs()},
		func(i int) *queuetest.RedisServer { return cluster.Nodes[i%3] })
}

func killedUnderLoad(t *testing.T, o redisstore.Options,
	victim func(i int) *queuetest.RedisServer,
) {
	t.Helper()
	const writers, kills = 16, 3
	o.RetryFor, o.MaxPending = 2*time.Second, 1<<20
	s := open(t, o)
	var stop atomic.Bool
	var count atomic.Int64
	var mu sync.Mutex
	sent, acked := make(map[string]int64), make(map[int64]bool)
	var wg sync.WaitGroup
	for g := range writers {
		tracker := queue.TrackerID(g%5 + 1)
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				text := fmt.Sprintf("writer %d text %d %s", g, i, strings.Repeat("long ", i%200))
				id := persist(t, s, queue.SendReq{
					Tracker: tracker, Text: text, Key: text,
				})
				delivered := i%2 == 0 && persistAck(t, s, queue.AckReq{Tracker: tracker, ID: id})
				if id == 0 {
					return
				}
				mu.Lock()
				sent[text] = id
				acked[id] = delivered
				mu.Unlock()
				count.Add(1)
			}
		})
	}
	for i := range kills {
		for target := count.Load() + 300; count.Load() < target && !t.Failed(); {
			<-time.After(time.Millisecond)
		}
		victim(i).Kill(t)
		victim(i).Start(t)
	}
	for target := count.Load() + 300; count.Load() < target && !t.Failed(); {
		<-time.After(time.Millisecond)
	}
	stop.Store(true)
	wg.Wait()
	found := make(map[string]int64)
	for tracker := range queue.TrackerID(5) {
		pending := 0
		all := everything(t, s, tracker+1)
		for _, m := range all {
			if other, ok := found[m.Text]; ok {
				t.Fatalf("%.40q is stored as %d and %d", m.Text, other, m.ID)
			}
			found[m.Text] = m.ID
			if m.Status == queue.StatusPending {
				pending++
			}
			if acked[m.ID] && m.Status != queue.StatusDelivered {
				t.Fatalf("acked message %d is in state %q", m.ID, m.Status)
			}
		}
		if ls, err := s.Acquire(t.Context(), "check", []queue.TrackerID{tracker + 1}); err != nil ||
			ls[0].Pending != pending {
			t.Fatalf("tracker %d counts %+v pending, has %d (%v)", tracker+1, ls, pending, err)
		}
	}
	for text, id := range sent {
		if found[text] != id {
			t.Fatalf("message %d is lost, or stored as %d", id, found[text])
		}
	}
	if len(found) != len(sent) {
		t.Fatalf("%d stored, %d told", len(found), len(sent))
	}
}

// persist sends until it is told an id.
func persist(t *testing.T, s *redisstore.Store, r queue.SendReq) int64 {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		res, err := s.Send(t.Context(), []queue.SendReq{r})
		if err == nil {
			err = res[0].Err
		}
		switch {
		case err == nil:
			return res[0].ID
		case !errors.Is(err, queue.ErrUnavailable) && !errors.Is(err, queue.ErrUnknownOutcome) ||
			time.Now().After(deadline):
			t.Errorf("send: %v", err)
			return 0
		}
	}
}

func persistAck(t *testing.T, s *redisstore.Store, r queue.AckReq) bool {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		res, err := s.Ack(t.Context(), []queue.AckReq{r})
		switch {
		case err == nil:
			if res[0] == queue.AckUnknown {
				t.Errorf("ack of %+v: unknown", r)
			}
			return true
		case !errors.Is(err, queue.ErrUnavailable) && !errors.Is(err, queue.ErrUnknownOutcome) ||
			time.Now().After(deadline):
			t.Errorf("ack: %v", err)
			return false
		}
	}
}

// everything lists all messages of a tracker, page by page.
func everything(t *testing.T, s queue.Store, tracker queue.TrackerID) []queue.Message {
	t.Helper()
	var all []queue.Message
	for from := int64(0); ; from = all[len(all)-1].SubmitMs {
		page, err := s.List(t.Context(), queue.ListQuery{
			Tracker: tracker, FromMs: from,
			ToMs: 1 << 45, Limit: 1024,
		})
		if err != nil {
			t.Fatal(err)
		}
		fresh := page
		for len(all) > 0 && len(fresh) > 0 && fresh[0].ID <= all[len(all)-1].ID {
			fresh = fresh[1:]
		}
		all = append(all, fresh...)
		if len(page) < 1024 {
			return all
		}
	}
}

// incremental is the append-only file that Redis writes now.
func incremental(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// TestTornFile cuts the append-only file at every byte of the last script: each time Redis starts,
// and the script is there wholly or not at all.
func TestTornFile(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	send(t, s, 1, "first")
	file := incremental(t, server.Dir)
	before := size(t, file)
	keys := []string{"c:1", "t:1", "p", "blk"}
	tag := "{" + redisstore.Tags()[redisstore.PartitionOf(1)] + "}:"
	look := func() (values []string) {
		for _, k := range keys {
			values = append(values, server.Must(t, "GET", tag+k))
		}
		return append(values, server.Must(t, "DBSIZE"))
	}
	was := look()
	last := send(t, s, 1, "last", "and its neighbour")
	after := size(t, file)
	is := look()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", after-before)
	for cut := before; cut <= after; cut++ {
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		server.Start(t)
		want := was
		if cut == after {
			want = is
		}
		if got := look(); !slices.Equal(got, want) {
			t.Fatalf("cut at %d of %d..%d: %q, want %q", cut, before, after, got, want)
		}
		if cut == after {
			break
		}
		server.Kill(t)
	}
	s = open(t, redisstore.Options{Addrs: []string{server.Addr}})
	if msgs := list(t, s, 1); len(msgs) != 3 || msgs[1].ID != last[0] || msgs[2].ID != last[1] {
		t.Fatalf("%+v", msgs)
	}
}

// TestSeal takes the last messages away from Redis, as the loss of power does with everysec: what
// comes next gets ids that nobody has seen, and the order stays.
func TestSeal(t *testing.T) { seal(t, place{queuetest.StartRedis(t, "--appendfsync", "everysec")}) }

func seal(t *testing.T, where place) {
	t.Helper()
	server := where.holder(1)
	s := open(t, redisstore.Options{Addrs: where.addrs(), Durability: redisstore.EverySecond})
	kept := send(t, s, 1, "a", "b")
	file := incremental(t, server.Dir)
	keep := size(t, file)
	var lost []int64
	for range 70 {
		lost = append(lost, send(t, s, 1, "lost")...)
	}
	in, err := s.Receive(t.Context(), []queue.Incoming{{Tracker: 1, Text: "lost too"}})
	if err != nil {
		t.Fatal(err)
	}
	lost = append(lost, in[0].ID)
	server.Kill(t)
	if err := os.Truncate(file, keep); err != nil {
		t.Fatal(err)
	}
	server.Start(t)
	fresh := send(t, s, 1, slices.Repeat([]string{"new"}, 70)...)
	if in, err = s.Receive(t.Context(), []queue.Incoming{{Tracker: 1, Text: "new"}}); err != nil {
		t.Fatal(err)
	}
	fresh = append(fresh, in[0].ID)
	if greatest := slices.Max(lost); slices.Min(fresh) <= greatest {
		t.Fatalf("id %d after %d was given", slices.Min(fresh), greatest)
	}
	var got []int64
	for _, m := range list(t, s, 1) {
		got = append(got, m.ID)
	}
	if !slices.Equal(got, append(kept, fresh...)) {
		t.Fatalf("%v, want %v and %v", got, kept, fresh)
	}
	for i, id := range append(slices.Clone(lost), fresh[:70]...) {
		want := queue.AckUnknown
		if i >= len(lost) {
			want = queue.AckDelivered
		}
		if r, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: id}}); err != nil ||
			r[0] != want {
			t.Fatalf("ack of %d: %v, %v, want %v", id, r, err, want)
		}
	}
}

// TestGatewayKilled: what one node had sent to the device and not acked goes to the next node, and
// is delivered once.
func TestGatewayKilled(t *testing.T) { gatewayKilled(t, place{queuetest.StartRedis(t)}) }

func gatewayKilled(t *testing.T, where place) {
	t.Helper()
	a, b := open(t, redisstore.Options{Addrs: where.addrs()}),
		open(t, redisstore.Options{Addrs: where.addrs()})
	wakes, err := queuetest.Wakes(t.Context(), a, "a-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Acquire(t.Context(), "a-1", []queue.TrackerID{1}); err != nil {
		t.Fatal(err)
	}
	id := send(t, b, 1, "text")[0]
	pushed := (<-wakes)[0]
	if pushed.Msg.ID != id {
		t.Fatalf("%+v", pushed)
	}
	leases, err := b.Acquire(t.Context(), "b-1", []queue.TrackerID{1})
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := b.Claim(t.Context(), []queue.ClaimReq{{Lease: leases[0], MaxBytes: 100}})
	if err != nil || len(claimed[0].Msgs) != 1 || claimed[0].Msgs[0].ID != id {
		t.Fatalf("%+v, %v", claimed, err)
	}
	for i, r := range []queue.AckReq{
		{Tracker: 1, ID: id, Hint: claimed[0].Msgs[0].Hint},
		{Tracker: 1, ID: id, Hint: pushed.Msg.Hint},
	} {
		got, err := []*redisstore.Store{b, a}[i].Ack(t.Context(), []queue.AckReq{r})
		if err != nil || got[0] != []queue.AckResult{queue.AckDelivered, queue.AckAlready}[i] {
			t.Fatalf("ack %d: %v, %v", i, got, err)
		}
	}
}
