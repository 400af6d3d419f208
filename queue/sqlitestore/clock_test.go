package sqlitestore_test

import (
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"
)

// A clock that is set makes no node dead, and its trackers stay online.
func TestNodesLiveOnWhenTheClockIsSet(t *testing.T) {
	var stepped, ahead atomic.Int64
	now := func() time.Time {
		return queuetest.Stepped(time.Now().Add(time.Duration(ahead.Load())),
			time.Duration(stepped.Load()))
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: now})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Heartbeat(t.Context(), queue.Node{ID: "a"}))
	_, err = s.Acquire(t.Context(), "a", []queue.TrackerID{1})
	must(t, err)
	living := func() bool {
		t.Helper()
		nodes, err := s.Nodes(t.Context())
		must(t, err)
		presence, err := s.Presence(t.Context(), []queue.TrackerID{1})
		must(t, err)
		if (len(nodes) == 1) != presence[1].Online {
			t.Errorf("nodes %v, presence %+v", nodes, presence)
		}
		if len(nodes) == 1 && now().UnixMilli()-nodes[0].BeatMs > time.Minute.Milliseconds() {
			t.Errorf("last report at %d", nodes[0].BeatMs)
		}
		return len(nodes) == 1
	}
	for _, by := range []time.Duration{time.Hour, -2 * time.Hour} {
		if stepped.Add(int64(by)); !living() {
			t.Errorf("dead when the clock is set by %v", by)
		}
	}
	if ahead.Add(int64(queue.NodeLife)); living() {
		t.Error("alive without a report")
	}
}

// A clock that is set neither takes a webhook from the node that delivers nor keeps it for one that
// is gone, also if that one ended with an earlier process.
func TestWebhooksGoOnWhenTheClockIsSet(t *testing.T) {
	const life = 10 * time.Second
	var stepped, ahead atomic.Int64
	now := func() time.Time {
		return queuetest.Stepped(time.Now().Add(time.Duration(ahead.Load())),
			time.Duration(stepped.Load()))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	s, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: now})
	must(err)
	must(s.PutWebhook(t.Context(), queue.Webhook{Account: 1, URL: "https://a.example/"}))
	list, err := s.Webhooks(t.Context())
	must(err)
	lease := func(node queue.NodeID) bool {
		t.Helper()
		leased, err := s.LeaseWebhooks(t.Context(), node, []queue.AccountID{1}, life)
		must(err)
		return len(leased) == 1
	}
	for _, by := range []time.Duration{0, time.Hour, -2 * time.Hour} {
		stepped.Add(int64(by))
		ok, err := s.SaveWebhook(t.Context(), "a", 1, list[0].Revision, queue.WebhookProgress{})
		if must(err); ok == (by == 0) { // has no lease at first
			t.Errorf("clock set by %v: progress noted: %v", by, ok)
		}
		if by != 0 && lease("b") || !lease("a") {
			t.Errorf("clock set by %v: it is not the first one who delivers", by)
		}
	}
	if ahead.Add(int64(life)); !lease("b") {
		t.Error("kept for one who is gone")
	}
	must(s.Close())
	stepped.Add(-int64(time.Hour))
	s, err = sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: now})
	must(err)
	t.Cleanup(func() { must(s.Close()) })
	if !lease("c") {
		t.Error("kept for a process that has ended")
	}
}
