package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"

	"github.com/google/go-cmp/cmp"
)

// heard reads wakes one by one.
func heard(t *testing.T, s *redisstore.Store, node queue.NodeID) (next func() queue.Wake) {
	t.Helper()
	ch, err := queuetest.Wakes(t.Context(), s, node)
	if err != nil {
		t.Fatal(err)
	}
	var left []queue.Wake
	return func() queue.Wake {
		t.Helper()
		if len(left) == 0 {
			select {
			case left = <-ch:
			case <-time.After(patience):
				t.Fatal("no wake")
			}
		}
		w := left[0]
		left = left[1:]
		return w
	}
}

func owned(t *testing.T, s *redisstore.Store, node queue.NodeID, ts ...queue.TrackerID) {
	t.Helper()
	if _, err := s.Acquire(t.Context(), node, ts); err != nil {
		t.Fatal(err)
	}
}

// TestOwnSendsAreNotPublished: a node hears of what its process sends with the answer, of what
// others send by a publication, and either says the same.
func TestOwnSendsAreNotPublished(t *testing.T) {
	server := queuetest.StartRedis(t)
	o := redisstore.Options{Addrs: []string{server.Addr}}
	s, other := open(t, o), open(t, o)
	a, b := heard(t, s, "a"), heard(t, other, "b")
	owned(t, s, "a", 1, 2)
	owned(t, other, "b", 3)
	published := func() bool {
		return strings.Contains(server.Must(t, "INFO", "commandstats"), "cmdstat_publish:")
	}
	for _, r := range []queue.SendReq{
		{Tracker: 1, Text: "short"},
		{Tracker: 2, Text: strings.Repeat("long ", 1000)},
		{
			Tracker: 1, Text: "all", Employee: 3, ExpiresMs: 1_900_000_000_000, ReplyTo: 5,
			Choices: []string{"yes", "no"}, Urgent: true, Author: &queue.Author{Name: "Ann"},
		},
	} {
		var wakes [2]queue.Wake
		var prev int64
		for i, from := range []*redisstore.Store{s, other} {
			server.Must(t, "CONFIG", "RESETSTAT")
			res, err := from.Send(t.Context(), []queue.SendReq{r})
			if err != nil || res[0].Err != nil {
				t.Fatalf("%+v, %v", res, err)
			}
			w := a()
			if got, want := published(), from == other; got != want {
				t.Errorf("text %.5q of store %d: published %v", r.Text, i, got)
			}
			if w.Msg.ID != res[0].ID || i == 1 && w.Prev != prev {
				t.Errorf("message %d after %d, want %d after %d", w.Msg.ID, w.Prev, res[0].ID, prev)
			}
			prev = w.Msg.ID
			w.Prev, w.Msg.ID, w.Msg.SubmitMs, w.Msg.ChangeMs, w.Msg.Hint = 0, 0, 0, 0, 0
			wakes[i] = w
		}
		if d := cmp.Diff(wakes[1], wakes[0]); d != "" {
			t.Errorf("the publication (-) and the answer (+) differ:\n%s", d)
		}
	}

	// Of one call, each hears of its own; what is refused or repeated wakes nobody.
	once := queue.SendReq{Tracker: 1, Text: "once", Key: "k"}
	res, err := s.Send(t.Context(), []queue.SendReq{
		{Tracker: 3, Text: "b's"},
		once, once,
		{Tracker: 9, Text: "nobody's"},
		{Tracker: 2, Text: "last"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range []queue.Wake{b(), a(), a()} {
		if want := res[[]int{0, 1, 4}[i]].ID; w.Msg.ID != want {
			t.Errorf("wake %d is of message %d, want %d", i, w.Msg.ID, want)
		}
	}
}

// TestOwnSendsAfterFaults: of a call that had to be repeated the node is told to look its messages
// up, and to look everything up where nobody knows what became of the call.
func TestOwnSendsAfterFaults(t *testing.T) {
	server := queuetest.StartRedis(t)
	proxy := queuetest.StartProxy(t, server.Addr)
	s := open(t, redisstore.Options{
		Addrs: []string{proxy.Addr}, ReadTimeout: 500 * time.Millisecond,
		DialTimeout: 500 * time.Millisecond, RetryFor: 3 * time.Second,
	})
	a := heard(t, s, "a")
	owned(t, s, "a", 1)
	fault := proxy.CutReply(":m:send:")
	id := send(t, s, 1, "twice on its way")[0]
	await(t, fault)
	if w := a(); w.Msg.ID != id || !w.Hint {
		t.Fatalf("%+v, want a hint at %d", w, id)
	}
	proxy.Stall()
	defer proxy.Resume()
	_, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "?"}})
	if !errors.Is(err, queue.ErrUnknownOutcome) {
		t.Fatalf("send: %v", err)
	}
	if w := a(); w.Kind != queue.WakeResync {
		t.Fatalf("%+v, want a resync", w)
	}
}
