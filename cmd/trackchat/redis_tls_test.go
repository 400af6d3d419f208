package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/queue/queuetest"
)

// withRedisTLS has a Redis listen with TLS as well, for clients with a certificate of the authority
// only, and returns where.
func withRedisTLS(t *testing.T, server *queuetest.RedisServer, cert, key, ca string) string {
	t.Helper()
	for range 50 { // another program may have the port
		port := strconv.Itoa(23_000 + rand.IntN(5000))
		_, err := server.Do(t.Context(), "CONFIG", "SET", "tls-port", port, "tls-cert-file", cert,
			"tls-key-file", key, "tls-ca-cert-file", ca, "tls-auth-clients", "yes")
		if err == nil {
			return net.JoinHostPort("localhost", port)
		}
		if !strings.Contains(err.Error(), "listen on this port") {
			t.Fatal(err)
		}
	}
	t.Fatal("no free port for TLS")
	return ""
}

// TestRedisWithAPrivateAuthority runs a service on a Redis that shows a certificate of a private
// authority and asks for one of it, and renews the service's own under way.
func TestRedisWithAPrivateAuthority(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	authority, stranger := newIdentity(t, nil, 1, time.Hour), newIdentity(t, nil, 2, time.Hour)
	authority.write(t, file("ca.pem"), "")
	stranger.write(t, file("stranger.pem"), "")
	newIdentity(t, authority, 3, time.Hour).write(t, file("redis.pem"), file("redis.key"))
	newIdentity(t, authority, 4, time.Hour).write(t, file("own.pem"), file("own.key"))
	newIdentity(t, stranger, 5, time.Hour).write(t, file("false.pem"), file("false.key"))
	server := queuetest.StartRedis(t)
	addr := withRedisTLS(t, server, file("redis.pem"), file("redis.key"), file("ca.pem"))

	cfg := onRedis(t, addr)
	cfg.API.Timeout = Duration(time.Second)
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
			t.Errorf("authority %q, certificate %q: exit code %d, want %q:\n%s", c.ca, c.pair, code, c.want, got)
		}
	}
	use("ca.pem", "own")
	if code, got := checked(t, cfg, nil, ""); code != 0 || !strings.Contains(got, "ok      store redis "+addr) {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	s := startService(t, cfg)
	s.api.send(1, "over TLS")

	// Without its own certificate there are no new connections; renewed, it is shown at once.
	newIdentity(t, stranger, 6, time.Hour).write(t, file("own.pem"), file("own.key"))
	server.Must(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	eventually(t, "the refusal", func() bool {
		a := s.api.call("send", "tracker_id", "1", "message", "refused")
		return !a.Success
	})
	newIdentity(t, authority, 7, time.Hour).write(t, file("own.pem"), file("own.key"))
	eventually(t, "the renewed certificate", func() bool {
		return s.api.call("send", "tracker_id", "1", "message", "accepted").Success
	})
}

func TestConfigOfRedisTLS(t *testing.T) {
	dir := t.TempDir()
	own, key, text := filepath.Join(dir, "own.pem"), filepath.Join(dir, "own.key"), filepath.Join(dir, "text")
	newIdentity(t, nil, 1, time.Hour).write(t, own, key)
	replaceFile(t, text, []byte("text"))
	for keys, want := range map[string]string{
		"tls: true, ca: " + own + ", cert: " + own + ", key: " + key: "",
		"ca: " + own:                                 "store.redis.ca: given without tls: true",
		"cert: " + own + ", key: " + key:             "store.redis.key: given without tls: true",
		"tls: true, cert: " + own:                    "store.redis.key: missing, because cert is given",
		"tls: true, key: " + key:                     "store.redis.cert: missing, because key is given",
		"tls: true, ca: " + text:                     "holds no certificate in PEM form",
		"tls: true, ca: " + text + "2":               "cannot be read",
		"tls: true, cert: " + text + ", key: " + key: "and its key cannot be used",
	} {
		file := filepath.Join(dir, "trackchat.yaml")
		replaceFile(t, file, fmt.Appendf(nil, "store: {backend: redis, redis: {%s}}\n", keys))
		_, err := Load(file, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), " (line 1)", ""), want)) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
}
