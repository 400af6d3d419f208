package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// wantRefused expects Open to fail and to say why.
func wantRefused(t *testing.T, o redisstore.Options, words ...string) {
	t.Helper()
	o.Now = time.Now
	s, err := redisstore.Open(t.Context(), o)
	if err == nil {
		_ = s.Close()
		t.Fatalf("opened, although %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%q does not name %q", err, w)
		}
	}
}

func TestOpenRefusesWeakDurability(t *testing.T) {
	for _, c := range []struct {
		name       string
		args       []string
		durability redisstore.Durability
		words      string // empty: fit
	}{
		{"always", nil, redisstore.Always, ""},
		{"more than wanted", nil, redisstore.EverySecond, ""},
		{"everysec", []string{"--appendfsync", "everysec"}, redisstore.EverySecond, ""},
		{
			"everysec where always is wanted",
			[]string{"--appendfsync", "everysec"},
			redisstore.Always, "everysec",
		},
		{"no fsync", []string{"--appendfsync", "no"}, redisstore.EverySecond, "appendfsync"},
		{"no file", []string{"--appendonly", "no"}, redisstore.Always, "append-only"},
		{
			"no fsync while rewriting",
			[]string{"--no-appendfsync-on-rewrite", "yes"},
			redisstore.Always, "no-appendfsync-on-rewrite",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := redisstore.Options{
				Addrs:      []string{queuetest.StartRedis(t, c.args...).Addr},
				Durability: c.durability,
			}
			if c.words == "" {
				open(t, o)
				return
			}
			wantRefused(t, o, c.words)
			o.AllowVolatile = true
			s := open(t, o)
			rep, err := s.Check(t.Context())
			if err != nil || len(rep.Problems) != 0 ||
				!strings.Contains(strings.Join(rep.Warnings, "\n"), c.words) {
				t.Fatalf("allowed to be volatile: %+v, %v", rep, err)
			}
		})
	}
}

func TestOpenRefusesWhatLosesMessages(t *testing.T) {
	t.Run("eviction", func(t *testing.T) {
		server := queuetest.StartRedis(t, "--maxmemory", "100mb", "--maxmemory-policy",
			"allkeys-lru")
		wantRefused(t, redisstore.Options{Addrs: []string{server.Addr}, AllowVolatile: true},
			"allkeys-lru")
	})
	t.Run("replica", func(t *testing.T) {
		host, port, err := net.SplitHostPort(queuetest.StartRedis(t).Addr)
		if err != nil {
			t.Fatal(err)
		}
		replica := queuetest.StartRedis(t, "--replicaof", host+" "+port)
		wantRefused(t, redisstore.Options{Addrs: []string{replica.Addr}}, "replica")
	})
	t.Run("another number of partitions", func(t *testing.T) {
		server := queuetest.StartRedis(t)
		server.Must(t, "HSET", "chat:meta", "partitions", "128")
		wantRefused(t, redisstore.Options{Addrs: []string{server.Addr}}, "partitions", "128")
	})
	t.Run("one node of a cluster", func(t *testing.T) {
		wantRefused(t, redisstore.Options{Addrs: queuetest.StartCluster(t, 1).Addrs()}, "cluster")
	})
	t.Run("a cluster without all slots", func(t *testing.T) {
		cluster := queuetest.StartCluster(t, 3)
		cluster.Nodes[1].Must(t, "CONFIG", "SET", "cluster-require-full-coverage", "no")
		for _, n := range cluster.Nodes {
			n.Must(t, "CONFIG", "SET", "cluster-require-full-coverage", "no")
			n.Must(t, "CLUSTER", "DELSLOTSRANGE", "0", "127")
		}
		wantRefused(t, redisstore.Options{Addrs: cluster.Addrs()}, "no master serves")
	})
	t.Run("nobody there", func(t *testing.T) {
		s, err := redisstore.Open(t.Context(), redisstore.Options{
			Addrs: []string{"127.0.0.1:1"},
			Now:   time.Now, RetryFor: time.Second,
		})
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, queue.ErrUnavailable) {
			t.Fatal(err)
		}
	})
	t.Run("a wrong password", func(t *testing.T) {
		server := queuetest.StartRedis(t)
		server.Must(t, "ACL", "SETUSER", "default", "resetpass", ">secret")
		wantRefused(t, redisstore.Options{Addrs: []string{server.Addr}, Password: "wrong"},
			"WRONGPASS")
		open(t, redisstore.Options{Addrs: []string{server.Addr}, Password: "secret"})
	})
}

func TestCheckNoticesChanges(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	for _, c := range []struct{ key, value, back, problem string }{
		{"maxmemory-policy", "volatile-ttl", "noeviction", "volatile-ttl"},
		{"appendfsync", "everysec", "always", "everysec"},
	} {
		server.Must(t, "CONFIG", "SET", c.key, c.value)
		rep, err := s.Check(t.Context())
		if err != nil || !strings.Contains(strings.Join(rep.Problems, "\n"), c.problem) {
			t.Fatalf("%s %s: %+v, %v", c.key, c.value, rep, err)
		}
		server.Must(t, "CONFIG", "SET", c.key, c.back)
	}
	server.Must(t, "CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 60")
	rep, err := s.Check(t.Context())
	if err != nil || len(rep.Problems) != 0 ||
		!strings.Contains(strings.Join(rep.Warnings, "\n"), "pubsub") {
		t.Fatalf("%+v, %v", rep, err)
	}
	server.Kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if rep, err = s.Check(ctx); err != nil || len(rep.Problems) == 0 {
		t.Fatalf("without Redis: %+v, %v", rep, err)
	}
	server.Start(t)
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		if rep, err = s.Check(t.Context()); err == nil && len(rep.Problems) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("with Redis again: %+v, %v", rep, err)
		}
	}
}

func TestCheckCountsPending(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	var ids []int64
	for tracker := range queue.TrackerID(20) {
		ids = append(ids, send(t, s, tracker+1, "a")...)
	}
	if r, err := s.Ack(t.Context(), []queue.AckReq{
		{Tracker: 1, ID: ids[0]},
		{Tracker: 1, ID: ids[0]},
		{Tracker: 2, ID: ids[0]},
	}); err != nil ||
		r[0] != queue.AckDelivered {
		t.Fatal(r, err)
	}
	if r, err := s.End(t.Context(), []queue.EndReq{{
		Tracker: 2, ID: ids[1],
		Status: queue.StatusExpired,
	}}); err != nil || r[0] != queue.EndNow {
		t.Fatal(r, err)
	}
	if _, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 2, ID: ids[1]}}); err != nil {
		t.Fatal(err)
	}
	rep, err := s.Check(t.Context())
	if err != nil || rep.Pending != 18 {
		t.Fatalf("%+v, %v", rep, err)
	}
}

// send stores texts and returns their ids.
func send(tb testing.TB, s queue.Store, tracker queue.TrackerID, texts ...string) []int64 {
	tb.Helper()
	reqs := make([]queue.SendReq, len(texts))
	for i, text := range texts {
		reqs[i] = queue.SendReq{Tracker: tracker, Text: text}
	}
	res, err := s.Send(tb.Context(), reqs)
	if err != nil {
		tb.Fatal(err)
	}
	ids := make([]int64, len(res))
	for i, r := range res {
		if r.Err != nil {
			tb.Fatal(r.Err)
		}
		ids[i] = r.ID
	}
	return ids
}

// list returns all messages of a tracker that has at most 1024.
func list(tb testing.TB, s queue.Store, tracker queue.TrackerID) []queue.Message {
	tb.Helper()
	msgs, err := s.List(tb.Context(), queue.ListQuery{Tracker: tracker, ToMs: 1 << 45, Limit: 1024})
	if err != nil {
		tb.Fatal(err)
	}
	return msgs
}
