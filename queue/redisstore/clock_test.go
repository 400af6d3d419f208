package redisstore_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// Neither Redis's clock nor that of a node, set by an hour in either direction, takes a webhook
// from the node that delivers, keeps one for a node that is gone, or shows such a node as alive.
func TestClocksAreSet(t *testing.T) {
	const life = time.Minute
	server := queuetest.StartRedis(t)
	var redis, stepped, ahead atomic.Int64
	now := func() time.Time {
		return queuetest.Stepped(time.Now().Add(time.Duration(ahead.Load())),
			time.Duration(stepped.Load()))
	}
	o := redisstore.Options{Addrs: []string{server.Addr}, Now: now}.
		WithClock(func() time.Time { return now().Add(time.Duration(redis.Load())) })
	a, b := open(t, o), open(t, o)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.PutWebhook(t.Context(), queue.Webhook{Account: 1, URL: "https://a.example/"}))
	list, err := a.Webhooks(t.Context())
	must(err)
	lease := func(s *redisstore.Store, node queue.NodeID) bool {
		t.Helper()
		leased, err := s.LeaseWebhooks(t.Context(), node, []queue.AccountID{1}, life)
		must(err)
		return slices.Equal(leased, []queue.AccountID{1})
	}
	alive := func() bool {
		t.Helper()
		nodes, err := b.Nodes(t.Context())
		must(err)
		return len(nodes) == 1
	}
	if !lease(a, "a") || lease(b, "b") {
		t.Fatal("not the first one delivers")
	}
	for _, clock := range []*atomic.Int64{&redis, &stepped} {
		for _, by := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
			clock.Add(int64(by))
			ahead.Add(int64(life / 2))
			if lease(b, "b") {
				t.Fatalf("taken from one who lives, after %v", by)
			}
			ok, err := a.SaveWebhook(t.Context(), "a", 1, list[0].Revision, queue.WebhookProgress{})
			if must(err); !ok {
				t.Errorf("progress is not noted after %v", by)
			}
			if !lease(a, "a") || lease(b, "b") {
				t.Fatalf("not renewed after %v", by)
			}
		}
	}
	must(a.Heartbeat(t.Context(), queue.Node{ID: "a"}))
	if !alive() {
		t.Fatal("a node that has just reported itself is dead")
	}
	redis.Add(-int64(time.Hour))
	if alive() {
		t.Error("a node is alive whose last report is an hour from now")
	}
	if ahead.Add(int64(life / 2)); lease(b, "b") {
		t.Error("taken too early")
	}
	if ahead.Add(int64(life / 2)); !lease(b, "b") {
		t.Error("kept for one who is gone")
	}
}
