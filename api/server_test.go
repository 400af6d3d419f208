package api_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/argon2"
)

func TestServerLimits(t *testing.T) {
	s := api.NewServer(http.NotFoundHandler(), nil)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= s.ReadHeaderTimeout ||
		s.WriteTimeout <= api.DefaultTimeout || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("a client can hold a connection: %+v", s)
	}
}

// raw writes to a connection of its own and returns the answer.
func (w *world) raw(request string) answer {
	w.tb.Helper()
	c, err := new(net.Dialer).DialContext(w.tb.Context(), "tcp", strings.TrimPrefix(w.url,
		"http://"))
	if err != nil {
		w.tb.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		w.tb.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		w.tb.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func TestRawRequests(t *testing.T) {
	w := newWorld(t)
	w.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").is(t, `{"success":true}`)
	w.raw("GET /v2/tracker/chat/unread/count HTTP/1.1\r\nHost: x\r\nAuthorization: NVX  "+berlinKey+"\r\n\r\n").refused(t, 3)
	w.raw("GET /v2/tracker/chat/unread/count HTTP/1.1\r\nHost: x\r\nAuthorization: NVX "+berlinKey+"\r\nContent-Type: application/json\r\n\r\n").is(t, `{"success":true,"value":{}}`)
	// A client that waits to be told to go on is told first what its request came to.
	w.raw(fmt.Sprintf("POST /v2/tracker/no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", 1<<30)).refused(t, 112)
	// A body that ends before its length is no request.
	c := "POST /v2/tracker/list HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
	w.raw(c).refused(t, 5)
	// A text of the greatest length fits into a query.
	text := strings.Repeat("%F0%9F%98%80", queue.MaxText)
	w.raw("GET /v2/tracker/chat/send?tracker_id=101&hash=" + berlinKey + "&message=" + text +
		" HTTP/1.1\r\nHost: x\r\n\r\n").id(t)
}

// TestConnectionsAreBounded fills a listener with idle connections: those are answered, one more is
// refused, and its place is free when one of them goes.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 50
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewServer(w.api, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(api.NewConns(reg, 0).Listen(ln, "api", most, false)) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	ask := func(c net.Conn) (string, error) {
		if _, err := io.WriteString(c,
			"GET /v2/tracker/chat/unread/count?hash="+berlinKey+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return "", err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return string(b), err
	}
	conns := make([]net.Conn, most)
	for i := range conns {
		conns[i] = dial(t, ln.Addr().String())
		if a, err := ask(conns[i]); err != nil || a != `{"success":true,"value":{}}` {
			t.Fatalf("connection %d: %s %v", i, a, err)
		}
	}
	told, err := io.ReadAll(dial(t, ln.Addr().String()))
	if err != nil || !strings.HasPrefix(string(told), "HTTP/1.1 429 ") ||
		!strings.Contains(string(told), `"code":15,`) {
		t.Errorf("one too many: %q %v", told, err)
	}
	if err := testutil.GatherAndCompare(reg,
		strings.NewReader("# HELP trackchat_http_connections_refused_total "+
			"Connections of HTTP clients closed because there were too many, or too much of unfinished headers.\n"+
			"# TYPE trackchat_http_connections_refused_total counter\ntrackchat_http_connections_refused_total{listener=\"api\"} 1\n"),
		"trackchat_http_connections_refused_total"); err != nil {
		t.Error(err)
	}
	if a, err := ask(conns[7]); err != nil || !strings.Contains(a, "true") {
		t.Errorf("meanwhile: %s %v", a, err)
	}
	if err := conns[3].Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; {
		if a, err := ask(dial(t, ln.Addr().String())); err == nil &&
			a == `{"success":true,"value":{}}` {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place does not become free")
		}
	}
	if err := testutil.GatherAndCompare(reg,
		strings.NewReader("# HELP trackchat_http_connections Open connections of HTTP clients.\n"+
			"# TYPE trackchat_http_connections gauge\ntrackchat_http_connections{listener=\"api\"} 50\n"), "trackchat_http_connections"); err != nil {
		t.Error(err)
	}
}

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
