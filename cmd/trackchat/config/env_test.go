package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wants reads a configuration from the environment alone and compares its problems.
func wants(t *testing.T, environ, want []string) {
	t.Helper()
	_, err := Load("", environ)
	var ce *Error
	if err != nil && !errors.As(err, &ce) {
		t.Fatal(err)
	}
	var got []string
	if ce != nil {
		got = ce.Problems
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestEnvironmentWinsOverTheFile(t *testing.T) {
	file := testdata("config", "variables.yaml")
	c := load(t, file, append(caseEnviron(t), "TRACKCHAT_NODE=south",
		"TRACKCHAT_API_RATE_LIMIT=0.5")...)
	if c.Node != "south" || c.API.RateLimit != 0.5 || c.API.Listen != "127.0.0.1:7070" {
		t.Errorf("node %q, rate %v, listen %q", c.Node, c.API.RateLimit, c.API.Listen)
	}
}

func TestEnvironmentKeys(t *testing.T) {
	c := load(
		t, "",
		`TRACKCHAT_API_LISTEN=127.0.0.1:9000`,
		`TRACKCHAT_STORE_REDIS_ADDRS=["a:1", "b:2"]`,
		`TRACKCHAT_STORE_REDIS_PASSWORD=${not} replaced`,
		`TRACKCHAT_STORE_RETENTION=0`,
		`TRACKCHAT_API_MAX_BODY=2MiB`,
		`TRACKCHAT_GATEWAY_LIMITS_PER_IP=7`,
		`TRACKCHAT_GATEWAY_ACK_TIMEOUT=["1s","2s"]`,
		`TRACKCHAT_GATEWAY_LISTENERS=[{"protocol": "jt808", "listen": ":7000", "max_conns": 5, "settings": {"lenient": true, "part_bytes": 500, "events": "1=\ud83d\ude9a"}}]`,
		`TRACKCHAT_API_CORS_ORIGINS=[]`,
		`TRACKCHAT_DIRECTORY_PRUNE=true`,
		`TRACKCHAT_VECTORS=somewhere`, `TRACKCHAT_BIN=/bin/trackchat`, `TRACKCHATTER=1`, `OTHER=1`,
		`=odd`, `odd`,
	)
	want := Default()
	want.Node = c.Node
	want.API.Listen, want.API.MaxBody, want.API.CORSOrigins = "127.0.0.1:9000", 2<<20, []string{}
	want.Store.Redis.Addrs, want.Store.Redis.Password, want.Store.Retention = []string{
		"a:1",
		"b:2",
	}, "${not} replaced", 0
	want.Gateway.Limits.PerIP = 7
	want.Gateway.AckTimeout = []Duration{1e9, 2e9}
	want.Gateway.Listeners = []Listener{{
		Protocol: "jt808", Listen: ":7000", MaxConns: 5,
		Settings: map[string]string{"lenient": "true", "part_bytes": "500", "events": "1=🚚"},
	}}
	want.Directory.Prune = true
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// A listener's block in JSON begins with the defaults as it does in a file.
func TestEnvironmentUpstream(t *testing.T) {
	c := load(t, "", `TRACKCHAT_GATEWAY_LISTENERS=[{"protocol":"egts","discard_positions":true},`+
		`{"protocol":"jt808","upstream":{"address":"a.example:1","tls":true,"dial_timeout":"1s",`+
		`"proxy_protocol":2,"buffer":8192}},{"protocol":"wialon","upstream":null}]`)
	u := DefaultUpstream()
	u.Address, u.TLS, u.DialTimeout, u.ProxyProtocol, u.Buffer = "a.example:1", true, 1e9, 2, 8192
	want := []Listener{
		{Protocol: "egts", Listen: ":6809", DiscardPositions: true},
		{Protocol: "jt808", Listen: ":6808", Upstream: &u},
		{Protocol: "wialon", Listen: ":20332"},
	}
	if diff := cmp.Diff(want, c.Gateway.Listeners); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	for name, c := range map[string]struct{ environ, want []string }{
		"unknown": {
			[]string{
				"TRACKCHAT_API_LISTN=:1", "TRACKCHAT_COLOUR=red", "TRACKCHAT_API=x",
				"TRACKCHAT_=x",
			},
			[]string{
				"TRACKCHAT_: unknown variable; each key has one, such as TRACKCHAT_API_LISTEN for api.listen",
				"TRACKCHAT_API: unknown variable; each key has one, such as TRACKCHAT_API_LISTEN for api.listen",
				"TRACKCHAT_API_LISTN: unknown variable, did you mean TRACKCHAT_API_LISTEN?",
				"TRACKCHAT_COLOUR: unknown variable; each key has one, such as TRACKCHAT_API_LISTEN for api.listen",
			},
		},
		"of Kubernetes": {
			[]string{"TRACKCHAT_SERVICE_HOST=10.0.0.1", "TRACKCHAT_PORT_8080_TCP_ADDR=10.0.0.1"},
			[]string{
				"TRACKCHAT_PORT_8080_TCP_ADDR: unknown variable; if Kubernetes set it for a service of that name, set enableServiceLinks: false in the pod",
				"TRACKCHAT_SERVICE_HOST: unknown variable; if Kubernetes set it for a service of that name, set enableServiceLinks: false in the pod",
			},
		},
		"types": {
			[]string{
				"TRACKCHAT_STORE_MAX_PENDING=", "TRACKCHAT_API_TIMEOUT=5",
				"TRACKCHAT_DIRECTORY_PRUNE=yes", "TRACKCHAT_API_MAX_BODY=1 MB",
			},
			[]string{
				`store.max_pending (TRACKCHAT_STORE_MAX_PENDING): "" is not a whole number`,
				`api.max_body (TRACKCHAT_API_MAX_BODY): "1 MB" is not a size such as 65536, 64KiB, 1MiB or 2GiB`,
				`api.timeout (TRACKCHAT_API_TIMEOUT): "5" is not a duration such as 500ms, 10s, 15m or 2160h`,
				`directory.prune (TRACKCHAT_DIRECTORY_PRUNE): "yes" is neither true nor false`,
			},
		},
		"lists": {
			[]string{
				`TRACKCHAT_ROLES=api,gateway`, `TRACKCHAT_GATEWAY_ACK_TIMEOUT=["1s", 2]`,
				`TRACKCHAT_API_CORS_ORIGINS={"a": 1}`,
				`TRACKCHAT_STORE_REDIS_ADDRS=["a:1"] ["b:1"]`,
				`TRACKCHAT_GATEWAY_LISTENERS=[{"protocol":"jt808","prot":1,"listen":"x"},{"listen":":1","listen":":2"},null]`,
			},
			[]string{
				`roles (TRACKCHAT_ROLES): not a list in JSON, such as ["a","b"]`,
				`store.redis.addrs (TRACKCHAT_STORE_REDIS_ADDRS): not a list in JSON, such as ["a","b"]`,
				`api.cors_origins (TRACKCHAT_API_CORS_ORIGINS): not a list in JSON, such as ["a","b"]`,
				`gateway.listeners[0].prot (TRACKCHAT_GATEWAY_LISTENERS): unknown key, known here: client_ca, discard_positions, listen, max_conns, protocol, proxy_protocol, settings, tls_cert, tls_key, upstream`,
				`gateway.listeners[1].listen (TRACKCHAT_GATEWAY_LISTENERS): given twice`,
				`gateway.listeners[2] (TRACKCHAT_GATEWAY_LISTENERS): has no value`,
				`gateway.ack_timeout[1] (TRACKCHAT_GATEWAY_ACK_TIMEOUT): "2" is not a duration such as 500ms, 10s, 15m or 2160h`,
				`gateway.listeners[0].listen (TRACKCHAT_GATEWAY_LISTENERS): "x" is not host:port such as 127.0.0.1:8080 or :8080`,
				`gateway.listeners[1].protocol (TRACKCHAT_GATEWAY_LISTENERS): missing; built in: ` +
					strings.Join(ProtocolNames(), ", "),
			},
		},
		"values": {
			[]string{
				"TRACKCHAT_LOG_LEVEL=loud", "TRACKCHAT_ADMIN_TOKEN=a b",
				`TRACKCHAT_API_TRUSTED_PROXIES=["10.0.0.0/8","10.0.0.1"]`,
			},
			[]string{
				`api.trusted_proxies[1] (TRACKCHAT_API_TRUSTED_PROXIES): "10.0.0.1" is not a network such as 10.0.0.0/8`,
				"admin.token (TRACKCHAT_ADMIN_TOKEN): the (hidden) value holds characters that a header cannot carry; letters, digits and signs without spaces are expected",
				`log.level (TRACKCHAT_LOG_LEVEL): "loud" is none of debug, info, warn, error`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) { wants(t, c.environ, c.want) })
	}
}

// What a variable replaces is judged by the variable's value; only what cannot be read at all stays
// a problem of the file.
func TestEnvironmentOverAWrongFile(t *testing.T) {
	_, err := Load(testdata("config", "roles.yaml"), []string{`TRACKCHAT_ROLES=["api","gateway"]`})
	if err != nil {
		t.Errorf("roles of the file are judged although the environment replaces them: %v", err)
	}
	_, err = Load(testdata("config", "wrong_elements.yaml"),
		[]string{`TRACKCHAT_GATEWAY_ACK_TIMEOUT=["9h"]`})
	if err == nil || !strings.Contains(err.Error(),
		"gateway.ack_timeout[0] (TRACKCHAT_GATEWAY_ACK_TIMEOUT): 9h is outside 10ms to 1h") {
		t.Errorf("%v", err)
	}
}

func TestEveryKeyHasItsOwnVariable(t *testing.T) {
	seen := make(map[string]string)
	for _, s := range settingsOf(nil, envPrefix, reflect.ValueOf(Default()).Elem()) {
		path := s.path.String()
		if want := envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".",
			"_")); s.variable != want {
			t.Errorf("%s is set by %s", path, s.variable)
		}
		if other, ok := seen[s.variable]; ok {
			t.Errorf("%s sets %s and %s", s.variable, other, path)
		}
		seen[s.variable] = path
		if s.value.Kind() == reflect.String {
			continue
		}
		if _, err := Load("", []string{s.variable + "=~"}); err == nil ||
			!strings.Contains(err.Error(), s.variable) {
			t.Errorf("%s is not read: %v", s.variable, err)
		}
	}
	if len(seen) < 45 {
		t.Errorf("only %d keys", len(seen))
	}
}

func TestValuesReadBackAsWritten(t *testing.T) {
	for _, text := range []string{
		"0", "500ms", "10s", "15m", "2160h", "1h30m", "1m30s",
		"1h0m10s",
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != text {
			t.Errorf("duration %q becomes %q, %v", text, d, err)
		}
	}
	for _, text := range []string{"0", "1", "1000", "64KiB", "1MiB", "3GiB", "1025KiB", "-1KiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s.String() != text {
			t.Errorf("size %q becomes %q, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "KiB", "1kb", "1.5MiB", "9999999999GiB", "0x10", "1_000"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("size %q becomes %q", text, s)
		}
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"listen", "timeout", "id"}
	for wrong, want := range map[string]string{
		"lisen": "listen", "Listen": "listen",
		"time_out": "timeout", "ip": "id", "x": "", "colour": "", strings.Repeat("listen",
			20): "",
	} {
		if got := suggest(wrong, words); got != want {
			t.Errorf("nearest to %q: %q, want %q", wrong, got, want)
		}
	}
}
