package redisstore_test

import (
	"context"
	"flag"
	"slices"
	"sync"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a store and closes it with the test.
func open(tb testing.TB, o redisstore.Options) *redisstore.Store {
	tb.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	s, err := redisstore.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("closing: %v", err)
		}
	})
	return s
}

// everyPartition trims every partition that holds something where the machine names the only one it
// knows.
type everyPartition struct {
	*redisstore.Store
	used *recent
}

// recent are the partitions that were used last; the machine soon leaves its trackers for others.
type recent struct {
	mu   sync.Mutex
	list []queue.Partition
}

func (r *recent) use(t queue.TrackerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := redisstore.PartitionOf(t)
	r.list = append(slices.DeleteFunc(r.list, func(q queue.Partition) bool { return p == q }), p)
	r.list = r.list[max(0, len(r.list)-6):]
}

func (s everyPartition) Send(ctx context.Context, reqs []queue.SendReq) ([]queue.SendResult,
	error,
) {
	for _, r := range reqs {
		s.used.use(r.Tracker)
	}
	return s.Store.Send(ctx, reqs)
}

func (s everyPartition) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult,
	error,
) {
	for _, r := range in {
		s.used.use(r.Tracker)
	}
	return s.Store.Receive(ctx, in)
}

func (s everyPartition) Trim(ctx context.Context, _ queue.Partition,
	r queue.Retention,
) (sum queue.TrimStats, err error) {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	for _, p := range s.used.list {
		for more := true; more && err == nil; {
			var st queue.TrimStats
			st, err = s.Store.Trim(ctx, p, r)
			sum.Removed += st.Removed
			more = st.More
		}
	}
	return sum, err
}

// fixture opens stores on one Redis, one after the other.
func fixture(t *testing.T, o redisstore.Options) queuetest.Fixture {
	t.Helper()
	clock := queuetest.NewClock()
	o.MaxPending = 700
	o = o.WithClock(clock.Now)
	current := open(t, o)
	return queuetest.Fixture{
		Store: current, Clock: clock, MaxPending: o.MaxPending,
		Reopen: func(t *testing.T) queue.Store {
			t.Helper()
			if err := current.Close(); err != nil {
				t.Fatal(err)
			}
			current = open(t, o)
			return current
		},
		Another: func(t *testing.T) queue.Store { t.Helper(); return open(t, o) },
	}
}

func TestContract(t *testing.T) {
	server := queuetest.StartRedis(t)
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		server.Must(t, "FLUSHALL")
		return fixture(t, redisstore.Options{Addrs: []string{server.Addr}})
	})
}

func TestContractOnCluster(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		for _, n := range cluster.Nodes {
			n.Must(t, "FLUSHALL")
		}
		return fixture(t, redisstore.Options{Addrs: cluster.Addrs()})
	})
}

func TestMachine(t *testing.T) {
	server := queuetest.StartRedis(t)
	machine(t, redisstore.Options{Addrs: []string{server.Addr}})
}

func TestMachineOnCluster(t *testing.T) {
	machine(t, redisstore.Options{Addrs: queuetest.StartCluster(t, 3).Addrs()})
}

func machine(t *testing.T, o redisstore.Options) {
	t.Helper()
	f := fixture(t, o)
	reopen := f.Reopen
	used := new(recent)
	f.Store = everyPartition{f.Store.(*redisstore.Store), used}
	f.Reopen = func(t *testing.T) queue.Store {
		t.Helper()
		return everyPartition{reopen(t).(*redisstore.Store), used}
	}
	checks := flag.Lookup("rapid.checks").Value
	if before := checks.String(); before == "100" {
		// the default; each step is several answers of Redis
		if err := checks.Set("30"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checks.Set(before) }()
	}
	queuetest.Machine(t, f)
}
