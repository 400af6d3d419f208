package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trackchat/queue/queuetest"
)

// onRedis is a configuration of a service on a Redis, with one port for devices.
func onRedis(t *testing.T, addrs ...string) *Config {
	t.Helper()
	cfg := testConfig(t, 1)
	cfg.Store.Backend, cfg.Store.Redis.Addrs = BackendRedis, addrs
	cfg.Gateway.Listeners = cfg.Gateway.Listeners[:1]
	return cfg
}

// freePorts are the lines about the ports of onRedis.
func freePorts(cfg *Config) []string {
	return []string{
		"ok      api.listen: 127.0.0.1:0 (API) is free",
		"ok      admin.listen: 127.0.0.1:0 (admin) is free",
		fmt.Sprintf("ok      gateway.listeners[0].listen: 127.0.0.1:0 (%s) is free",
			cfg.Gateway.Listeners[0].Protocol),
	}
}

func TestCheckOfRedis(t *testing.T) {
	server := queuetest.StartRedis(t)
	cfg := onRedis(t, server.Addr)
	head := []string{
		"ok      configuration",
		"ok      directory DIR/directory.yaml: 1 accounts, 1 trackers",
	}
	wantChecked(t, cfg, nil, 0,
		append(append(head, "warning store redis holds no store yet: a service that starts begins a new one", "ok      store redis "+server.Addr), freePorts(cfg)...)...)
	if keys := server.Must(t, "DBSIZE"); keys != "0" {
		t.Errorf("the check leaves %s keys", keys)
	}

	server.Must(t, "CONFIG", "SET", "appendfsync", "everysec", "maxmemory-policy", "allkeys-lru",
		"client-output-buffer-limit", "pubsub 1mb 1mb 1")
	lines := append(
		head,
		"wrong   store redis "+server.Addr+`: appendfsync is "everysec", which is weaker than configured`,
		"wrong   store redis "+server.Addr+`: maxmemory-policy is "allkeys-lru", which throws messages away; noeviction is needed`,
		"warning store redis "+server.Addr+": client-output-buffer-limit for pubsub is 1048576 bytes; less than 33554432 may cut wakes",
		"warning store redis holds no store yet: a service that starts begins a new one",
	)
	wantChecked(t, cfg, nil, 1, append(append(lines, freePorts(cfg)...), "        2 wrong")...)

	cfg.Store.Durability = DurabilityEverysec
	server.Must(t, "CONFIG", "SET", "maxmemory-policy", "noeviction", "client-output-buffer-limit",
		"pubsub 64mb 64mb 1")
	server.Must(t, "HSET", "chat:meta", "partitions", "16")
	wantChecked(t, cfg, nil, 1,
		append(append(append(head,
			"wrong   store redis "+server.Addr+`: partitions of the stored data is "16", this program's is "256"`), freePorts(cfg)...), "        1 wrong")...)
}

func TestCheckOfARedisCluster(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	code, got := checked(t, onRedis(t, cluster.Addrs()...), nil, "")
	if code != 0 || !strings.Contains(got, "ok      store redis "+strings.Join(cluster.Addrs(),
		", ")+"\n") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	for _, n := range cluster.Nodes {
		n.Must(t, "CLUSTER", "DELSLOTSRANGE", "0", "127")
	}
	code, got = checked(t, onRedis(t, cluster.Addrs()...), nil, "")
	if code != 1 || !strings.Contains(got,
		"wrong   store redis no master serves 2 of 256 partitions\n") {
		t.Errorf("two partitions without a master: exit code %d:\n%s", code, got)
	}
}

func TestCheckOfNoRedis(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := taken.Addr().String()
	must(t, taken.Close())
	code, got := checked(t, onRedis(t, addr), nil, "")
	if code != 1 || !strings.Contains(got, "wrong   store redis "+addr+": does not answer") ||
		strings.Contains(got, "ok      store") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
}

// Beside a running service its ports are in use, which is no error; another program there is one.
func TestCheckBesideARunningServiceOnRedis(t *testing.T) {
	cfg := onRedis(t, queuetest.StartRedis(t).Addr)
	addrs := startService(t, cfg).app.Addrs()
	cfg.API.Listen, cfg.Admin.Listen = addrs["api"].String(), addrs["admin"].String()
	code, got := checked(t, cfg, nil, "")
	if code != 0 || strings.Count(got,
		"is in use, as expected while a service runs on this store") != 2 {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	cfg.Admin.Listen = stranger.Listener.Addr().String()
	code, got = checked(t, cfg, nil, "")
	if code != 1 || !strings.Contains(got,
		cfg.Admin.Listen+" (admin) is in use by another program") {
		t.Errorf("a stranger: exit code %d:\n%s", code, got)
	}
}
