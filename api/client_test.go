package api_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/queue"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/argon2"
)

func trustedProxies() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("2001:db8:ffff::/48"),
	}
}

// TestClientBehindProxies reads from the log whom requests are taken to come from.
func TestClientBehindProxies(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	w := newWorld(t, func(o *api.Options) {
		o.Logger, o.TrustedProxies = zap.New(core),
			trustedProxies()
	})
	const xff, fwd = "X-Forwarded-For", "Forwarded"
	for _, c := range []struct {
		want   string
		header []string
	}{
		{"127.0.0.1:5000", nil},
		{"192.0.2.1", []string{xff, "192.0.2.1"}},
		{"192.0.2.1", []string{xff, "192.0.2.9, 192.0.2.1"}},
		{"192.0.2.1", []string{xff, "192.0.2.9,192.0.2.1 ,10.0.0.1, 10.2.3.4"}},
		{"192.0.2.1", []string{xff, "192.0.2.9\x00192.0.2.1\x0010.0.0.1"}},
		{"192.0.2.1", []string{xff, "192.0.2.1:4711"}},
		{"192.0.2.1", []string{xff, "192.0.2.1, "}},
		{"192.0.2.1", []string{xff, "::ffff:192.0.2.1"}},
		{"2001:db8::7", []string{xff, "2001:db8::7"}},
		{"2001:db8::7", []string{xff, "[2001:db8::7]:4711"}},
		{"2001:db8::7", []string{xff, "[2001:db8::7%eth0]", "peer", "[2001:db8:ffff::1]:5000"}},
		{"10.0.0.1", []string{xff, "10.0.0.1, 10.2.3.4"}},
		{"192.0.2.1", []string{fwd, "for=192.0.2.1"}},
		{"192.0.2.1", []string{
			fwd,
			`for=192.0.2.9;proto=https, For="192.0.2.1:4711";by=10.0.0.1, for=10.0.0.1`,
		}},
		{"2001:db8::7", []string{fwd, `proto=http; for="[2001:db8::7]:80"`}},
		{"192.0.2.1", []string{fwd, "for=192.0.2.1", xff, "192.0.2.1"}},
		// What cannot be believed.
		{"127.0.0.1:5000", []string{xff, "192.0.2.1, unknown"}},
		{"127.0.0.1:5000", []string{xff, ""}},
		{"10.0.0.1", []string{xff, "192.0.2.1, unknown, 10.0.0.1"}},
		{"127.0.0.1:5000", []string{fwd, "for=192.0.2.1, for=_hidden"}},
		{"127.0.0.1:5000", []string{fwd, "proto=https"}},
		{"127.0.0.1:5000", []string{fwd, "for=192.0.2.1", xff, "192.0.2.9"}},
		{"127.0.0.1:5000", []string{"X-Real-Ip", "192.0.2.1"}},
		{"192.0.2.8:5000", []string{xff, "192.0.2.1", "peer", "192.0.2.8:5000"}},
		{"nonsense", []string{xff, "192.0.2.1", "peer", "nonsense"}},
	} {
		logs.TakeAll()
		r := httptest.NewRequest(http.MethodGet, "/v2/user/get_info?hash="+berlinKey, nil)
		r.RemoteAddr = "127.0.0.1:5000"
		for i := 0; i < len(c.header); i += 2 {
			if c.header[i] == "peer" {
				r.RemoteAddr = c.header[i+1]
				continue
			}
			r.Header[c.header[i]] = strings.Split(c.header[i+1], "\x00")
		}
		w.api.ServeHTTP(httptest.NewRecorder(), r)
		if got := logs.FilterMessage("request").All(); len(got) != 1 ||
			got[0].ContextMap()["remote"] != c.want {
			t.Errorf("%q: %v, want %s", c.header, got, c.want)
		}
	}
}

// TestProxyIsNotTrustedUnasked says once that a proxy on this machine stands for all its clients.
func TestProxyIsNotTrustedUnasked(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	w := newWorld(t, func(o *api.Options) { o.Logger = zap.New(core) })
	for range 3 {
		record(w.api, http.MethodGet, "/v2/user/get_info?hash="+berlinKey, "X-Forwarded-For",
			"192.0.2.1")
		record(w.api, http.MethodGet, "/v2/user/get_info?hash="+berlinKey, "X-Forwarded-For",
			"192.0.2.1", "peer", "198.51.100.1:1")
	}
	for i, l := range logs.FilterMessage("request").All() {
		if want := []string{"127.0.0.1:5000", "198.51.100.1:1"}[i%2]; l.ContextMap()["remote"] !=
			want {
			t.Errorf("remote %v, want %s", l.ContextMap()["remote"], want)
		}
	}
	if n := logs.FilterMessageSnippet("api.trusted_proxies").Len(); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// guessable adds accounts that log in as login0, login1 … with the password "right", whose hashes
// cost little.
func (w *world) guessable(n int) {
	w.tb.Helper()
	salt := []byte("somesalt")
	hash := fmt.Sprintf("$argon2id$v=19$m=8,t=1,p=1$%s$%s",
		base64.RawStdEncoding.EncodeToString(salt),
		base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte("right"), salt, 1, 8, 1, 32)))
	for i := range n {
		w.edit(queue.Edit{Kind: queue.EditPutAccount, Account: queue.Account{
			ID: queue.AccountID(1000 + i), Login: fmt.Sprintf("login%d", i), Password: hash,
		}})
	}
	w.sync()
}

// TestStrangersLockNobodyOut has strangers guess a person's password behind the proxy that the
// person uses, from the person's own address, and from everywhere.
func TestStrangersLockNobodyOut(t *testing.T) {
	w := newLiveWorld(t, func(o *api.Options) { o.TrustedProxies = trustedProxies() })
	w.guessable(7)
	try := func(address, login, password string) int {
		return record(w.api, http.MethodGet, "/user/auth?login="+login+"&password="+password,
			"X-Forwarded-For", address).Code
	}
	const good, bad = "right", "x"
	const home, office = "192.0.2.7", "2001:db8:5:5::7"
	for range 12 {
		try("198.51.100.1", "login0", bad)
	}
	if code := try("198.51.100.1", "login0", good); code != http.StatusBadRequest {
		t.Errorf("who guessed: %d", code)
	}
	for _, address := range []string{home, office} {
		if code := try(address, "login0", good); code != http.StatusOK {
			t.Fatalf("behind the same proxy: %d", code)
		}
	}
	for i := range 50 { // other logins from home, and this login from everywhere
		try(home, fmt.Sprintf("login%d", 1+i%6), bad)
		try(fmt.Sprintf("203.0.113.%d", i), "login0", bad)
	}
	if code := try("203.0.113.100", "login0", good); code != http.StatusBadRequest {
		t.Errorf("from where nobody has logged in: %d", code)
	}
	if code := try(home, "login6", good); code != http.StatusBadRequest {
		t.Errorf("who has not logged in from there: %d", code)
	}
	for _, address := range []string{home, office, "2001:db8:5:5:1::1"} {
		if code := try(address, "login0", good); code != http.StatusOK {
			t.Errorf("from %s, where the person has logged in before: %d", address, code)
		}
	}
	// That place is as narrow as any other.
	for range 10 {
		try(home, "login0", bad)
	}
	if code := try(home, "login0", good); code != http.StatusBadRequest {
		t.Errorf("ten failures from home: %d", code)
	}
	if code := try(office, "login0", good); code != http.StatusOK {
		t.Errorf("from the office: %d", code)
	}
}
