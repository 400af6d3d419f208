package redisstore_test

import (
	"testing"
	"time"

	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// batchItems is how many items go to Redis at once.
const batchItems = 64

// TestErrors has each command of each operation fail on its way to Redis or back: once for a store
// that gives up at once, and once for one that repeats.
func TestErrors(t *testing.T) {
	server, proxies := queuetest.StartRedis(t, "--appendfsync", "everysec"),
		new(queuetest.CommandProxies)
	spoil(t, proxies, []string{proxies.Listen(t, server.Addr)}, []spoiling{
		{name: "refused", fault: queuetest.CommandFault{Reply: "ERR injected"}},
		{name: "loading", fault: queuetest.CommandFault{Reply: "LOADING injected"}},
		{name: "lost"},
		{name: "unanswered", fault: queuetest.CommandFault{Executed: true}},
		{
			name: "loading once", fault: queuetest.CommandFault{Reply: "LOADING injected"},
			patient: true,
		},
		{
			name: "read-only once", fault: queuetest.CommandFault{Reply: "READONLY injected"},
			patient: true,
		},
		{name: "lost once", patient: true},
		{name: "unanswered once", fault: queuetest.CommandFault{Executed: true}, patient: true},
	})
}

// TestErrorsOnCluster is where one half of a call fails and the other does not.
func TestErrorsOnCluster(t *testing.T) {
	cluster, proxies := queuetest.StartCluster(t, 3, "--appendfsync", "everysec"),
		new(queuetest.CommandProxies)
	spoil(t, proxies, cluster.Spoilable(t, proxies), []spoiling{
		{name: "refused", fault: queuetest.CommandFault{Reply: "ERR injected"}},
		{name: "unanswered", fault: queuetest.CommandFault{Executed: true}},
	})
}

type spoiling struct {
	name    string
	fault   queuetest.CommandFault
	patient bool // the store repeats what fails
}

func spoil(t *testing.T, proxies *queuetest.CommandProxies, addrs []string, list []spoiling) {
	t.Helper()
	clock := queuetest.NewClock()
	o := redisstore.Options{
		Addrs: addrs, MaxPending: queuetest.FullAt, Durability: redisstore.EverySecond,
		RetryFor: time.Minute,
	}
	o = o.WithClock(clock.Now)
	s := queuetest.Spoilt{Clock: clock, Sound: open(t, o), Batch: batchItems}
	patient := open(t, o)
	o.RetryFor = time.Nanosecond
	hasty := open(t, o)
	for _, f := range list {
		store := hasty
		if f.patient {
			store = patient
		}
		s.Faulted = append(s.Faulted, queuetest.Faulted{
			Fault: f.name, Store: store, Recovers: f.patient,
			Begin: func(name string, n int) func() ([]string, bool) {
				return proxies.Begin(name, n, f.fault)
			},
		})
	}
	queuetest.Errors(t, s)
}
