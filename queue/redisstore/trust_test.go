package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// TestTrustDurability: a Redis that does not let CONFIG be read needs the operator's word, which is
// worth nothing where CONFIG can be read, and nothing against what can be seen.
func TestTrustDurability(t *testing.T) {
	const unseen = "does not let CONFIG be read, so these are not seen: appendfsync, no-appendfsync-on-rewrite"
	server := queuetest.StartRedis(t)
	server.Must(t, "ACL", "SETUSER", "managed", "on", ">secret", "~*", "&*", "+@all", "-config")
	o := redisstore.Options{Addrs: []string{server.Addr}, Username: "managed", Password: "secret"}
	wantRefused(t, o, unseen, "store.trust_durability: true")
	wantInspected(t, o, []string{unseen}, nil)
	o.AllowVolatile = true
	wantRefused(t, o, unseen)

	o.AllowVolatile, o.TrustDurability = false, true
	wantInspected(t, o, nil, []string{unseen})
	s := open(t, o)
	send(t, s, 1, "a")
	rep, err := s.Check(t.Context())
	if err != nil || len(rep.Problems) != 0 || len(rep.Warnings) != 1 ||
		!strings.Contains(rep.Warnings[0], unseen) {
		t.Fatalf("%+v, %v", rep, err)
	}
	server.Must(t, "CONFIG", "SET", "appendonly", "no")
	wantInspected(t, o, nil, []string{"shows no append-only file", unseen})
	o.TrustDurability = false
	wantRefused(t, o, "keeps no append-only file", unseen)
	o.TrustDurability = true
	server.Must(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	wantRefused(t, o, "allkeys-lru")
	server.Must(t, "CONFIG", "SET", "maxmemory-policy", "noeviction", "appendonly", "yes",
		"appendfsync", "no")

	seen := redisstore.Options{Addrs: []string{server.Addr}, TrustDurability: true, Now: time.Now}
	wantInspected(t, seen, []string{`appendfsync is "no"`},
		[]string{"trust_durability is not needed"})
}
