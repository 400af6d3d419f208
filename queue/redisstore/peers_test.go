package redisstore_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// answering has node answer what it is asked on its own store, until the returned function is
// called.
func answering(t *testing.T, o redisstore.Options, node queue.NodeID) (stop func()) {
	t.Helper()
	s := open(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	questions, err := s.Questions(ctx, node)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for q := range questions {
			if err := q.Answer(t.Context(), fmt.Appendf(nil, "%s heard %s", node,
				q.Body)); err != nil {
				t.Errorf("answering: %v", err)
			}
		}
	}()
	once := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(once)
	return once
}

func TestPeers(t *testing.T) {
	for name, start := range map[string]func(*testing.T) []string{
		"redis": func(t *testing.T) []string {
			t.Helper()
			return []string{queuetest.StartRedis(
				t).Addr}
		},
		"cluster": func(t *testing.T) []string {
			t.Helper()
			return queuetest.StartCluster(t,
				3).Addrs()
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := redisstore.Options{Addrs: start(t)}
			asker := open(t, o)
			answering(t, o, "a")
			stopB := answering(t, o, "b")
			ask := func(patience time.Duration, question string,
				nodes ...queue.NodeID,
			) map[queue.NodeID]string {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				answers, err := asker.Ask(ctx, nodes, []byte(question))
				if err != nil {
					t.Fatal(err)
				}
				texts := map[queue.NodeID]string{}
				for n, b := range answers {
					texts[n] = string(b)
				}
				return texts
			}
			want := func(got, want map[queue.NodeID]string) {
				t.Helper()
				if !maps.Equal(got, want) {
					t.Errorf("answers %q, want %q", got, want)
				}
			}
			want(ask(20*time.Second, "who", "a", "b"), map[queue.NodeID]string{
				"a": "a heard who",
				"b": "b heard who",
			})
			want(ask(20*time.Second, "b only", "b"), map[queue.NodeID]string{"b": "b heard b only"})
			want(ask(time.Second, "nobody"), map[queue.NodeID]string{})
			var work sync.WaitGroup
			for i := range 20 {
				work.Go(func() {
					q := fmt.Sprint("at once ", i)
					want(ask(20*time.Second, q, "a"), map[queue.NodeID]string{"a": "a heard " + q})
				})
			}
			work.Wait()
			stopB()
			want(ask(500*time.Millisecond, "who is left", "a", "b"),
				map[queue.NodeID]string{"a": "a heard who is left"})
		})
	}
}

// TestPeersEnd: a reader of questions ends with its context and with the store.
func TestPeersEnd(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	ended := func(q <-chan queue.Question) {
		t.Helper()
		select {
		case _, ok := <-q:
			if ok {
				t.Fatal("a question of nobody")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("not closed")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	first, err := s.Questions(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	ended(first)
	second, err := s.Questions(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ended(second)
	if _, err := s.Ask(t.Context(), []queue.NodeID{"a"}, nil); err == nil {
		t.Error("a closed store asks")
	}
}

// TestPeersOutage: what was asked before an outage is lost, what is asked after it is heard.
func TestPeersOutage(t *testing.T) {
	server := queuetest.StartRedis(t)
	o := redisstore.Options{Addrs: []string{server.Addr}, RetryFor: 200 * time.Millisecond}
	asker := open(t, o)
	answering(t, o, "a")
	server.Kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if answers, err := asker.Ask(ctx, []queue.NodeID{"a"}, []byte("x")); err == nil {
		t.Errorf("answers %v from a dead Redis", slices.Collect(maps.Keys(answers)))
	}
	server.Start(t)
	for end := time.Now().Add(20 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		answers, err := asker.Ask(ctx, []queue.NodeID{"a"}, []byte("again"))
		cancel()
		if err == nil && string(answers["a"]) == "a heard again" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not heard again: %v, %v", answers, err)
		}
	}
}
