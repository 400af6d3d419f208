package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue/queuetest"
)

// listenTLS has a Redis listen with TLS as well and returns where. settings are names and values.
func listenTLS(t *testing.T, server *queuetest.RedisServer, settings ...string) string {
	t.Helper()
	port := freePort(t)
	server.Must(t, append([]string{"CONFIG", "SET", "tls-port", port}, settings...)...)
	return net.JoinHostPort("localhost", port)
}

// TestRedisWithAPrivateAuthority runs a service on a Redis that shows a certificate of a private
// authority and asks for one of it, and renews the service's own under way.
func TestRedisWithAPrivateAuthority(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	authority := apptest.NewIdentity(t, nil, 1, time.Hour)
	stranger := apptest.NewIdentity(t, nil, 2, time.Hour)
	authority.Write(t, file("ca.pem"), "")
	stranger.Write(t, file("stranger.pem"), "")
	apptest.NewIdentity(t, authority, 3, time.Hour).Write(t, file("redis.pem"), file("redis.key"))
	apptest.NewIdentity(t, authority, 4, time.Hour).Write(t, file("own.pem"), file("own.key"))
	apptest.NewIdentity(t, stranger, 5, time.Hour).Write(t, file("false.pem"), file("false.key"))
	server := queuetest.StartRedis(t)
	addr := listenTLS(t, server, "tls-cert-file", file("redis.pem"), "tls-key-file",
		file("redis.key"),
		"tls-ca-cert-file", file("ca.pem"), "tls-auth-clients", "yes")

	cfg := apptest.OnRedis(t, addr)
	cfg.API.Timeout = config.Duration(time.Second)
	use := func(ca, pair string) {
		cfg.Store.Redis.TLS, cfg.Store.Redis.CA = true, ""
		cfg.Store.Redis.Cert, cfg.Store.Redis.Key = "", ""
		if ca != "" {
			cfg.Store.Redis.CA = file(ca)
		}
		if pair != "" {
			cfg.Store.Redis.Cert, cfg.Store.Redis.Key = file(pair+".pem"), file(pair+".key")
		}
	}
	for _, c := range []struct{ ca, pair, want string }{
		{"", "own", "unknown authority"},
		{"stranger.pem", "own", "unknown authority"},
		{"ca.pem", "", "does not answer"},
		{"ca.pem", "false", "does not answer"},
	} {
		use(c.ca, c.pair)
		if code, got := checked(t, cfg, nil, ""); code != 1 || !strings.Contains(got, c.want) {
			t.Errorf("authority %q, certificate %q: exit code %d, want %q:\n%s", c.ca, c.pair, code,
				c.want, got)
		}
	}
	use("ca.pem", "own")
	if code, got := checked(t, cfg, nil, ""); code != 0 ||
		!strings.Contains(got, "ok      store redis "+addr) {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	s := startService(t, cfg)
	s.API.Send(1, "over TLS")

	// Without its own certificate there are no new connections; renewed, it is shown at once.
	apptest.NewIdentity(t, stranger, 6, time.Hour).Write(t, file("own.pem"), file("own.key"))
	server.Must(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	apptest.Eventually(t, "the refusal", func() bool {
		a := s.API.Call("send", "tracker_id", "1", "message", "refused")
		return !a.Success
	})
	apptest.NewIdentity(t, authority, 7, time.Hour).Write(t, file("own.pem"), file("own.key"))
	apptest.Eventually(t, "the renewed certificate", func() bool {
		return s.API.Call("send", "tracker_id", "1", "message", "accepted").Success
	})
}

// tlsRedis writes certificates for Redis and a service and returns Redis's options for TLS, and a
// configuration for it that lacks the addresses.
func tlsRedis(t *testing.T) (args []string, cfg *config.Config) {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	authority := apptest.NewIdentity(t, nil, 1, time.Hour)
	authority.Write(t, file("ca.pem"), "")
	apptest.NewIdentity(t, authority, 2, time.Hour).Write(t, file("redis.pem"), file("redis.key"))
	apptest.NewIdentity(t, authority, 3, time.Hour).Write(t, file("own.pem"), file("own.key"))
	cfg = apptest.OnRedis(t)
	cfg.Store.Redis.TLS, cfg.Store.Redis.CA = true, file("ca.pem")
	cfg.Store.Redis.Cert, cfg.Store.Redis.Key = file("own.pem"), file("own.key")
	return []string{
		"--tls-cert-file", file("redis.pem"), "--tls-key-file", file("redis.key"),
		"--tls-ca-cert-file", file("ca.pem"),
		"--tls-auth-clients", "yes", "--tls-replication", "yes", "--tls-cluster", "yes",
	}, cfg
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(queuetest.FreeAddr(t))
	apptest.Must(t, err)
	return port
}

// usable checks the configuration and sends over a service that runs on it.
func usable(t *testing.T, cfg *config.Config) {
	t.Helper()
	if code, got := checked(t, cfg, nil, ""); code != 0 {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	startService(t, cfg).API.Send(1, "over TLS")
}

// TestSentinelWithTLS finds the master, which listens with TLS only there, by a Sentinel that does
// too.
func TestSentinelWithTLS(t *testing.T) {
	args, cfg := tlsRedis(t)
	master := queuetest.StartRedis(t, args...)
	at := listenTLS(t, master)
	port := freePort(t)
	queuetest.StartSentinel(t, "chat", at, append(args, "--tls-port", port)...)
	cfg.Store.Redis.Master, cfg.Store.Redis.Addrs = "chat", []string{net.JoinHostPort("localhost",
		port)}
	usable(t, cfg)
}

// TestClusterWithTLS asks the nodes of a Cluster at the ports and names that it gives for TLS.
func TestClusterWithTLS(t *testing.T) {
	args, cfg := tlsRedis(t)
	port := freePort(t)
	node := queuetest.StartRedis(t, append(args, "--tls-port", port, "--cluster-enabled", "yes",
		"--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type",
		"hostname")...)
	at := net.JoinHostPort("localhost", port)
	node.Must(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	cfg.Store.Redis.Addrs = []string{at, at}
	apptest.Eventually(t, "the cluster", func() bool {
		return strings.Contains(node.Must(t, "CLUSTER",
			"INFO"), "cluster_state:ok")
	})
	usable(t, cfg)
}

func TestConfigOfRedisTLS(t *testing.T) {
	dir := t.TempDir()
	own, key, text := filepath.Join(dir, "own.pem"), filepath.Join(dir, "own.key"),
		filepath.Join(dir, "text")
	apptest.NewIdentity(t, nil, 1, time.Hour).Write(t, own, key)
	apptest.ReplaceFile(t, text, []byte("text"))
	for keys, want := range map[string]string{
		"tls: true, ca: " + own + ", cert: " + own + ", key: " + key: "",
		"ca: " + own:                     "store.redis.ca: given without tls: true",
		"cert: " + own + ", key: " + key: "store.redis.key: given without tls: true",
		"tls: true, cert: " +
			own: "store.redis.key: missing, because cert is given",
		"tls: true, key: " +
			key: "store.redis.cert: missing, because key is given",
		"tls: true, ca: " + text:                     "holds no certificate in PEM form",
		"tls: true, ca: " + text + "2":               "cannot be read",
		"tls: true, cert: " + text + ", key: " + key: "and its key cannot be used",
	} {
		file := filepath.Join(dir, "trackchat.yaml")
		apptest.ReplaceFile(t, file, fmt.Appendf(nil, "store: {backend: redis, redis: {%s}}\n", keys))
		_, err := config.Load(file, nil)
		if want == "" && err != nil || want != "" && (err == nil ||
			!strings.Contains(strings.ReplaceAll(err.Error(), " (line 1)", ""), want)) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
}
