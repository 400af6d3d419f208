package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// wantInspected looks at a Redis and compares what is wrong, a line for each problem and warning,
// with what should be found.
func wantInspected(t *testing.T, o redisstore.Options, problems, warnings []string) {
	t.Helper()
	o.Now = time.Now
	rep, err := redisstore.Inspect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ got, want []string }{"problems": {
		rep.Problems,
		problems,
	}, "warnings": {rep.Warnings, warnings}} {
		if len(c.got) != len(c.want) {
			t.Errorf("%s: %q, want %q", what, c.got, c.want)
			continue
		}
		for i := range c.want {
			if !strings.Contains(c.got[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", what, c.got[i], c.want[i])
			}
		}
	}
}

func TestInspect(t *testing.T) {
	server := queuetest.StartRedis(t)
	o := redisstore.Options{Addrs: []string{server.Addr}}
	none := []string{"holds no store yet"}
	wantInspected(t, o, nil, none)
	if keys := server.Must(t, "DBSIZE"); keys != "0" {
		t.Errorf("the look leaves %s keys", keys)
	}
	open(t, o) // beside a store that is in use
	wantInspected(t, o, nil, nil)

	server.Must(t, "CONFIG", "SET", "appendfsync", "everysec")
	wantInspected(t, o, []string{server.Addr + `: appendfsync is "everysec"`}, nil)
	o.Durability = redisstore.EverySecond
	wantInspected(t, o, nil, nil)
	o.Durability = redisstore.Always
	o.AllowVolatile = true
	wantInspected(t, o, nil, []string{`appendfsync is "everysec"`})
	o.AllowVolatile = false
	server.Must(t, "CONFIG", "SET", "appendonly", "no", "maxmemory-policy", "volatile-lru",
		"maxmemory", "1000000", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
	wantInspected(t, o, []string{
		"keeps no append-only file", `appendfsync is "everysec"`,
		`maxmemory-policy is "volatile-lru"`,
	},
		[]string{
			"of its memory: nothing new is stored",
			"client-output-buffer-limit for pubsub is 1048576 bytes",
		})
	server.Must(t, "CONFIG", "SET", "appendonly", "yes", "maxmemory-policy", "noeviction",
		"maxmemory", "0", "appendfsync", "always", "client-output-buffer-limit",
		"pubsub 64mb 64mb 1")
	server.Must(t, "HSET", "chat:meta", "partitions", "16")
	wantInspected(t, o, []string{`partitions of the stored data is "16", this program's is "256"`},
		nil)
	server.Must(t, "HSET", "chat:meta", "partitions", "256")
	wantInspected(t, o, nil, nil)
	o.Now = func() time.Time { return time.Now().Add(time.Hour) }
	rep, err := redisstore.Inspect(t.Context(), o)
	if err != nil || len(rep.Warnings) != 1 ||
		!strings.Contains(rep.Warnings[0], "its clock differs from ours by -") {
		t.Errorf("an hour off: %+v %v", rep, err)
	}

	other := queuetest.StartRedis(t)
	server.Must(t, "REPLICAOF", "127.0.0.1", strings.TrimPrefix(other.Addr, "127.0.0.1:"))
	wantInspected(t, redisstore.Options{Addrs: []string{server.Addr}},
		[]string{"is a replica, not a master"}, nil)
	server.Kill(t)
	wantInspected(t, redisstore.Options{Addrs: []string{server.Addr}}, []string{server.Addr +
		": does not answer"}, nil)
	if _, err := redisstore.Inspect(t.Context(), redisstore.Options{}); err == nil {
		t.Error("no address was accepted")
	}
}

func TestInspectCluster(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	o := redisstore.Options{Addrs: cluster.Addrs()}
	none := []string{"holds no store yet"}
	wantInspected(t, o, nil, none)
	wantInspected(t, redisstore.Options{Addrs: cluster.Addrs()[:1]},
		[]string{"several mean a cluster, one a single Redis"}, nil)
	cluster.Nodes[1].Must(t, "CONFIG", "SET", "appendfsync", "no")
	wantInspected(t, o, []string{cluster.Nodes[1].Addr + `: appendfsync is "no"`}, none)
	cluster.Nodes[1].Must(t, "CONFIG", "SET", "appendfsync", "always")
	for _, n := range cluster.Nodes {
		n.Must(t, "CLUSTER", "DELSLOTSRANGE", "0", "127") // two partitions' worth
	}
	rep, err := redisstore.Inspect(t.Context(), redisstore.Options{
		Addrs: cluster.Addrs(),
		Now:   time.Now,
	})
	if err != nil || len(rep.Problems) == 0 ||
		!strings.Contains(rep.Problems[0], "no master serves 2 of 256 partitions") {
		t.Errorf("two partitions without a master: %+v %v", rep, err)
	}
	for _, n := range cluster.Nodes {
		n.Kill(t)
	}
	if _, err := redisstore.Inspect(t.Context(), redisstore.Options{
		Addrs: cluster.Addrs(),
		Now:   time.Now,
	}); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("nobody answers: %v", err)
	}
}
