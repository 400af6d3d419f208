package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// place is one Redis or a Cluster of three.
type place []*queuetest.RedisServer

// TestFaultsOnCluster goes through the faults of one Redis on a Cluster.
func TestFaultsOnCluster(t *testing.T) {
	where := place(queuetest.StartCluster(t, 3, "--maxmemory", "200mb").Nodes)
	for _, fault := range []struct {
		name string
		test func(t *testing.T, where place)
	}{
		{"gateway killed", gatewayKilled},
		{"scripts flushed", scriptFlush},
		{"stalled", stalledRedis},
		{"deaf", deafNode},
		{"memory full", fullMemory},
		{"last writes lost", seal},
		{"connections cut", cutConnections}, // the last: the proxies' addresses stay
	} {
		t.Run(fault.name, func(t *testing.T) {
			where.all(t, "FLUSHALL")
			fault.test(t, where)
		})
	}
}

// holder is the process that holds a tracker.
func (p place) holder(tracker queue.TrackerID) *queuetest.RedisServer {
	return p[redisstore.SlotOf(tracker)*len(p)/16384]
}

func (p place) addrs() []string { return (&queuetest.RedisCluster{Nodes: p}).Addrs() }

func (p place) all(t *testing.T, args ...string) {
	t.Helper()
	for _, server := range p {
		server.Must(t, args...)
	}
}

// proxied opens a store through proxies, one for each process, with short time limits.
func (p place) proxied(t *testing.T) (*redisstore.Store, []*queuetest.Proxy) {
	t.Helper()
	var proxies []*queuetest.Proxy
	if len(p) == 1 {
		proxies = []*queuetest.Proxy{queuetest.StartProxy(t, p[0].Addr)}
	} else {
		proxies = (&queuetest.RedisCluster{Nodes: p}).Proxied(t)
	}
	addrs := make([]string, len(proxies))
	for i := range proxies {
		addrs[i] = proxies[i].Addr
	}
	return open(t, redisstore.Options{
		Addrs: addrs, ReadTimeout: 300 * time.Millisecond,
		DialTimeout: 300 * time.Millisecond, RetryFor: 10 * time.Second,
	}), proxies
}

func await(t *testing.T, what <-chan struct{}) {
	t.Helper()
	select {
	case <-what:
	case <-time.After(patience):
		t.Fatal("the fault did not happen")
	}
}

// TestCutConnections: whatever is lost, the request or its answer, each transition is executed once
// and its caller is told what it did.
func TestCutConnections(t *testing.T) { cutConnections(t, place{queuetest.StartRedis(t)}) }

func cutConnections(t *testing.T, where place) {
	t.Helper()
	s, proxies := where.proxied(t)
	at := func(tracker queue.TrackerID) int {
		return redisstore.SlotOf(tracker) * len(
			proxies) / 16384
	}
	tracker := queue.TrackerID(1)
	p := proxies[at(tracker)]
	for name, arm := range map[string]func(string) <-chan struct{}{
		"request lost": p.CutRequest,
		"answer lost":  p.CutReply,
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { // the next round has another one of the same master
				for tracker++; at(tracker) != at(1); tracker++ {
				}
			}()
			fault := arm(":m:send:")
			sent := send(t, s, tracker, "once", "twice")
			await(t, fault)
			fault = arm(":m:receive:")
			in, err := s.Receive(t.Context(), []queue.Incoming{{
				Tracker: tracker,
				Text:    "without a key",
			}})
			if err != nil || in[0].Err != nil || in[0].Dup {
				t.Fatalf("receive: %+v, %v", in, err)
			}
			await(t, fault)
			if msgs := list(t, s, tracker); len(msgs) != 3 || msgs[0].ID != sent[0] ||
				msgs[1].ID != sent[1] || msgs[2].ID != in[0].ID {
				t.Fatalf("%+v", msgs)
			}
			fault = arm(":m:ack:")
			if r, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: tracker, ID: sent[0]}}); err !=
				nil || r[0] != queue.AckDelivered {
				t.Fatalf("ack: %v, %v", r, err)
			}
			await(t, fault)
			fault = arm(":m:finish:")
			if r, err := s.End(t.Context(), []queue.EndReq{{
				Tracker: tracker, ID: sent[1],
				Status: queue.StatusFailed,
			}}); err != nil || r[0] != queue.EndNow {
				t.Fatalf("end: %v, %v", r, err)
			}
			await(t, fault)
			fault = arm(":m:mark:")
			if r, err := s.MarkRead(t.Context(), []queue.Ref{{
				Tracker: tracker,
				ID:      in[0].ID,
			}}); err != nil || r[0] != queue.MarkNewly {
				t.Fatalf("mark: %v, %v", r, err)
			}
			await(t, fault)
			fault = arm(":m:acquire:")
			if ls, err := s.Acquire(t.Context(), "a", []queue.TrackerID{tracker}); err != nil ||
				ls[0].Epoch != 1 || ls[0].Pending != 0 {
				t.Fatalf("acquire: %v, %v", ls, err)
			}
			await(t, fault)
			p.Cut()
			if msgs := list(t, s, tracker); len(msgs) != 3 {
				t.Fatalf("%d messages", len(msgs))
			}
		})
	}
}

// stalledRead is after what time an answer counts as lost here; a busy machine needs some to open a
// store.
const stalledRead = 500 * time.Millisecond

// TestStalledRedis: requests that a frozen Redis has in its buffers, several times over, are
// executed once when it goes on.
func TestStalledRedis(t *testing.T) { stalledRedis(t, place{queuetest.StartRedis(t)}) }

func stalledRedis(t *testing.T, where place) {
	t.Helper()
	server := where.holder(1)
	s := open(t, redisstore.Options{
		Addrs: where.addrs(), ReadTimeout: stalledRead,
		DialTimeout: 5 * time.Second, RetryFor: time.Minute,
	})
	send(t, s, 1, "before")
	server.Pause(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			res, err := s.Send(t.Context(), []queue.SendReq{{
				Tracker: queue.TrackerID(i%5 + 1),
				Text:    fmt.Sprint("stalled ", i),
			}})
			if err != nil || res[0].Err != nil {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
	for range 2 { // at least twice the time after which an answer counts as lost
		ctx, cancel := context.WithTimeout(t.Context(), 2*stalledRead)
		if _, err := s.List(ctx, queue.ListQuery{Tracker: 1, Limit: 1}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("list from a frozen Redis: %v", err)
		}
		cancel()
	}
	server.Resume(t)
	wg.Wait()
	found := make(map[string]int)
	for tracker := range queue.TrackerID(5) {
		for _, m := range list(t, s, tracker+1) {
			found[m.Text]++
		}
	}
	for i := range 20 {
		if n := found[fmt.Sprint("stalled ", i)]; n != 1 {
			t.Errorf("message %d is stored %d times", i, n)
		}
	}
}

// TestCallersLeave: a call ends soon after its context, and its error says whether something may
// have been done.
func TestCallersLeave(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}, ReadTimeout: time.Second})
	server.Pause(t)
	defer server.Resume(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for name, call := range map[string]func() error{
		"Send": func() error {
			_, err := s.Send(ctx, []queue.SendReq{{
				Tracker: 1,
				Text:    "x",
			}})
			return err
		},
		"Ack": func() error {
			_, err := s.Ack(ctx,
				[]queue.AckReq{{Tracker: 1, ID: 1<<14 | int64(redisstore.PartitionOf(1))}})
			return err
		},
		"Acquire": func() error { _, err := s.Acquire(ctx, "a", []queue.TrackerID{1}); return err },
		"MarkAll": func() error { _, err := s.MarkReadAll(ctx, []queue.TrackerID{1}); return err },
	} {
		wg.Go(func() {
			start := time.Now()
			err := call()
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("%s took %v", name, d)
			}
			if !errors.Is(err, queue.ErrUnknownOutcome) ||
				!errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Go(func() {
		if _, err := s.Unread(ctx, []queue.TrackerID{1}); !errors.Is(err,
			context.DeadlineExceeded) || errors.Is(err, queue.ErrUnknownOutcome) {
			t.Errorf("Unread: %v", err)
		}
	})
	wg.Wait()
	// What waits behind a request on its way was never sent.
	first, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Send(first, []queue.SendReq{{Tracker: 1, Text: "waits"}})
		done <- err
	}()
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, queue.ErrUnknownOutcome) {
		t.Fatalf("a request that was never sent: %v", err)
	}
}

// TestNobodyAnswers: what was never sent is unavailable, and says so in time.
func TestNobodyAnswers(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}, RetryFor: 300 * time.Millisecond})
	server.Kill(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 2 { // the first may still meet the end of the connection
				_, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x"}})
				if !errors.Is(err, queue.ErrUnavailable) {
					t.Errorf("send: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x"}}); !errors.Is(err,
		queue.ErrUnavailable) || errors.Is(err, queue.ErrUnknownOutcome) {
		t.Errorf("send to nobody: %v", err)
	}
	if _, err := s.List(t.Context(), queue.ListQuery{Tracker: 1, Limit: 1}); !errors.Is(err,
		queue.ErrUnavailable) {
		t.Errorf("list: %v", err)
	}
	server.Start(t)
	back := persist(t, s, queue.SendReq{Tracker: 1, Text: "back"})
	for _, m := range list(t, s, 1) {
		if m.Text != "x" && m.ID != back {
			t.Fatalf("%+v", m)
		}
	}
}

// TestScriptFlush: lost scripts are loaded again without anybody noticing.
func TestScriptFlush(t *testing.T) { scriptFlush(t, place{queuetest.StartRedis(t)}) }

func scriptFlush(t *testing.T, where place) {
	t.Helper()
	server := where.holder(1)
	s := open(t, redisstore.Options{Addrs: where.addrs()})
	for i := range 5 {
		server.Must(t, "SCRIPT", "FLUSH")
		id := send(t, s, 1, "x")[0]
		server.Must(t, "SCRIPT", "FLUSH")
		if r, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: id}}); err != nil ||
			r[0] != queue.AckDelivered {
			t.Fatal(r, err)
		}
		server.Must(t, "SCRIPT", "FLUSH")
		if n := len(list(t, s, 1)); n != i+1 {
			t.Fatalf("%d messages", n)
		}
	}
}

// TestFullMemory: nothing new is stored where memory runs out, acks are.
func TestFullMemory(t *testing.T) {
	fullMemory(t, place{queuetest.StartRedis(t, "--maxmemory", "200mb")})
}

func fullMemory(t *testing.T, where place) {
	t.Helper()
	server := where.holder(1)
	s := open(t, redisstore.Options{Addrs: where.addrs()})
	neighbour := queue.TrackerID(2) // of the same process
	for where.holder(neighbour) != server {
		neighbour++
	}
	ids := send(t, s, 1, "a", "b")
	keys := func(names ...string) error {
		res, err := s.EditDirectory(t.Context(), []queue.Edit{{
			Kind: queue.EditChangeAccount, Account: queue.Account{ID: 1},
			Change: func(a *queue.Account) error {
				a.Keys = []queue.Key{}
				for _, name := range names {
					a.Keys = append(a.Keys, queue.Key{Hash: queue.HashKey(name)})
				}
				return nil
			},
		}})
		if err != nil {
			return err
		}
		return res[0].Err
	}
	directory := len(where) == 1 // which may lie elsewhere otherwise
	if directory {
		_, err := s.EditDirectory(t.Context(), []queue.Edit{{
			Kind: queue.EditPutAccount, Account: queue.Account{ID: 1},
		}})
		if err := errors.Join(err, keys("a", "b")); err != nil {
			t.Fatal(err)
		}
	}
	server.Must(t, "CONFIG", "SET", "maxmemory", "1mb")
	for _, err := range []error{
		func() error {
			_, err := s.Send(t.Context(), []queue.SendReq{{
				Tracker: 1,
				Text:    "x",
			}})
			return err
		}(),
		func() error {
			_, err := s.Receive(t.Context(), []queue.Incoming{{Tracker: neighbour, Text: "x"}})
			return err
		}(),
	} {
		if !errors.Is(err, queue.ErrOverloaded) {
			t.Fatal(err)
		}
	}
	if r, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: ids[0]}}); err != nil ||
		r[0] != queue.AckDelivered {
		t.Fatal(r, err)
	}
	if ls, err := s.Acquire(t.Context(), "a", []queue.TrackerID{1}); err != nil ||
		ls[0].Pending != 1 {
		t.Fatal(ls, err)
	}
	if directory { // whoever is to be out is out
		err, deadline := error(nil), time.Now().Add(patience)
		for i := 0; err == nil && time.Now().Before(deadline); i++ { // until the store has looked
			err = keys("a", strconv.Itoa(i))
		}
		if !errors.Is(err, queue.ErrOverloaded) {
			t.Error(err)
		}
		if err := keys("a"); err != nil {
			t.Error(err)
		}
	}
	server.Must(t, "CONFIG", "SET", "maxmemory", "200mb")
	deadline := time.Now().Add(patience)
	for {
		_, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "again"}})
		if err == nil {
			break
		}
		if !errors.Is(err, queue.ErrOverloaded) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
	if n := len(list(t, s, 1)); n != 3 {
		t.Fatalf("%d messages", n)
	}
}

// TestDeafNode: a node whose subscription was interrupted is told to look, and finds everything.
func TestDeafNode(t *testing.T) { deafNode(t, place{queuetest.StartRedis(t)}) }

func deafNode(t *testing.T, where place) {
	t.Helper()
	s, listen, deafen := open(t, redisstore.Options{Addrs: where.addrs()}), func() {},
		func() { where.all(t, "CLIENT", "KILL", "TYPE", "pubsub") }
	if len(where) == 1 { // there nobody else has to find the proxy
		var proxies []*queuetest.Proxy
		s, proxies = where.proxied(t)
		listen, deafen = func() { proxies[0].Refuse(false) }, func() {
			proxies[0].Refuse(true)
			proxies[0].Cut()
		}
	}
	other := open(t, redisstore.Options{Addrs: where.addrs()})
	wakes, err := queuetest.Wakes(t.Context(), s, "node")
	if err != nil {
		t.Fatal(err)
	}
	var ts []queue.TrackerID
	for tracker := range queue.TrackerID(50) {
		ts = append(ts, tracker+1)
	}
	leases, err := s.Acquire(t.Context(), "node", ts)
	if err != nil {
		t.Fatal(err)
	}
	deafen()
	for _, tracker := range ts {
		send(t, other, tracker, "unheard")
	}
	listen()
	// After each resync, of which there may be several, all is found and the next text is heard.
	for last := int64(0); ; {
		select {
		case batch := <-wakes:
			for _, w := range batch {
				switch {
				case w.Kind == queue.WakeMessage && w.Msg.ID == last:
					return
				case w.Kind == queue.WakeResync:
					peeked, err := s.CheckLeases(t.Context(), leases)
					if err != nil || len(peeked) != len(ts) {
						t.Fatalf("%d of %d found, %v", len(peeked), len(ts), err)
					}
					last = send(t, other, 1, "heard")[0]
				}
			}
		case <-time.After(patience):
			t.Fatalf("still deaf; last sent %d", last)
		}
	}
}

// TestAbandonedReads: readers that left while Redis did not answer cost nothing afterwards, and
// what is answered then does not reach them.
func TestAbandonedReads(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	id := send(t, s, 1, "x")[0]
	for range 3 {
		server.Pause(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := s.Find(ctx, []int64{id}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("get: %v", err)
				}
			})
			wg.Go(func() {
				if _, err := s.Webhooks(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("webhooks: %v", err)
				}
			})
		}
		wg.Wait()
		cancel()
		server.Resume(t)
		if msgs, err := s.Find(t.Context(), []int64{id}); err != nil || msgs[0].ID != id {
			t.Fatal(msgs, err)
		}
	}
}
