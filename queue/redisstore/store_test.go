package redisstore_test

import (
	"context"
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

// everyPartition trims all partitions where the machine names the only one it knows.
type everyPartition struct{ *redisstore.Store }

func (s everyPartition) Trim(ctx context.Context, _ queue.Partition, r queue.Retention) (queue.TrimStats, error) {
	var sum queue.TrimStats
	for p := range 256 {
		for more := true; more; {
			st, err := s.Store.Trim(ctx, queue.Partition(p), r)
			if err != nil {
				return sum, err
			}
			sum.Removed += st.Removed
			more = st.More
		}
	}
	return sum, nil
}

// fixture opens stores on one Redis, one after the other.
func fixture(t *testing.T, o redisstore.Options) queuetest.Fixture {
	t.Helper()
	clock := queuetest.NewClock()
	o.MaxPending, o.WakeBuffer = 700, 200
	o = o.WithClock(clock.Now)
	current := open(t, o)
	return queuetest.Fixture{
		Store: current, Clock: clock, MaxPending: o.MaxPending, WakeBuffer: o.WakeBuffer,
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
	f.Store = everyPartition{f.Store.(*redisstore.Store)}
	f.Reopen = func(t *testing.T) queue.Store { t.Helper(); return everyPartition{reopen(t).(*redisstore.Store)} }
	queuetest.Machine(t, f)
}
