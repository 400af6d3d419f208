package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// dialFrom connects from an address of this machine.
func dialFrom(tb testing.TB, from, addr string) net.Conn {
	tb.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	return c
}

// awaits waits for a condition.
func awaits(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(60 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("not %s", what)
		}
	}
}

// answerTo reads an answer and returns its body.
func answerTo(c net.Conn) (string, error) {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestHalfBodiesTakeNobodysRoom keeps half-sent bodies from several addresses, of more bytes than
// there is room for. Texts short and long, with the key in the body or in the header, are taken all
// the same, and the half-sent body of one who is known is not what makes room for strangers.
func TestHalfBodiesTakeNobodysRoom(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.MemoryLimit = 64 << 20 })
	addr := strings.TrimPrefix(w.url, "http://")
	const half, room = 700 << 10, 8 << 20
	begin := func(from, header string, total int) net.Conn {
		c := dialFrom(t, from, addr)
		_, err := fmt.Fprintf(c,
			"POST /v2/tracker/chat/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n", header, total)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	long := `{"tracker_id":101,"message":"` + strings.Repeat("x", 19_000) + `"`
	known := begin("127.0.0.2", "Authorization: NVX "+berlinKey+"\r\n", len(long)+1)
	if _, err := io.WriteString(known, long); err != nil {
		t.Fatal(err)
	}
	awaits(t, "there", func() bool {
		return w.metric("trackchat_http_request_bytes") >=
			19_000-8<<10
	})

	piece := []byte(strings.Repeat(" ", half))
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range 60 {
		c := begin(fmt.Sprintf("127.0.0.%d", 2+i%6), "", half+1)
		wg.Go(func() { _, _ = c.Write(piece) }) // until it is cut off
	}
	w.json("tracker/chat/send", `"tracker_id":101,"message":"short"`).id(t)
	awaits(t, "full", func() bool { return w.metric("trackchat_http_request_bytes") > room/4 })
	for range 5 {
		if n := w.metric("trackchat_http_request_bytes"); n > room {
			t.Errorf("%v bytes held", n)
		}
		w.json("tracker/chat/send", `"tracker_id":101,"message":"short"`).id(t)
		w.json("tracker/chat/send", `"tracker_id":101,"message":"`+strings.Repeat("long",
			5000)+`"`).id(t)
		w.do(http.MethodPost, "/v2/tracker/chat/send", long+"}", "Content-Type", "application/json",
			"Authorization", "NVX "+berlinKey).id(t)
	}
	if _, err := io.WriteString(known, "}"); err != nil {
		t.Fatal(err)
	}
	if a, err := answerTo(known); err != nil || !strings.HasPrefix(a, `{"success":true,"id":`) {
		t.Errorf("half a body of one who is known: %s %v", a, err)
	}
	if n := w.refusals("bodies"); n == 0 {
		t.Error("nobody was refused")
	}
}

// refusals is trackchat_http_refused_total of a reason.
func (w *world) refusals(reason string) float64 {
	w.tb.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "trackchat_http_refused_total" &&
				m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	w.tb.Fatalf("no reason %s", reason)
	return 0
}

// bounded serves a world's API behind a bound on connections.
func (w *world) bounded(most int, memory int64) (addr string, refused func() float64) {
	w.tb.Helper()
	b := &world{tb: w.tb, reg: prometheus.NewRegistry()}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.tb.Fatal(err)
	}
	server := api.NewServer(w.api, nil)
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(api.NewConns(b.reg, memory).Listen(ln, "api", most,
			false))
	}()
	w.tb.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			w.tb.Error(err)
		}
	})
	return ln.Addr().String(),
		func() float64 { return b.metric("trackchat_http_connections_refused_total") }
}

const askInfo = "GET /v2/user/get_info?hash=" + emptyKey + " HTTP/1.1\r\nHost: x\r\n\r\n"

func ask(c net.Conn) error {
	if _, err := io.WriteString(c, askInfo); err != nil {
		return err
	}
	a, err := answerTo(c)
	if err == nil && !strings.HasPrefix(a, `{"success":true`) {
		err = errors.New(a)
	}
	return err
}

// TestStrangersShareConnections fills a listener: of the address with the most the oldest goes, and
// nobody on whose connection a key was shown.
func TestStrangersShareConnections(t *testing.T) {
	w := newWorld(t)
	addr, refused := w.bounded(20, 0)
	known := dialFrom(t, "127.0.0.2", addr)
	if err := ask(known); err != nil {
		t.Fatal(err)
	}
	few, many := make([]net.Conn, 4), make([]net.Conn, 15)
	for i := range few {
		few[i] = dialFrom(t, "127.0.0.3", addr)
	}
	for i := range many {
		many[i] = dialFrom(t, "127.0.0.2", addr)
	}
	for i := range 6 { // one after the other, so that each is there
		if err := ask(dialFrom(t, "127.0.0.4", addr)); err != nil {
			t.Fatalf("honest client %d: %v", i, err)
		}
	}
	if n := refused(); n != 6 {
		t.Errorf("%v went for six", n)
	}
	for i, c := range many[:6] {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("connection %d of the address with the most is still there", i)
		}
	}
	for i, c := range append(append(few, known), many[6:]...) {
		if err := ask(c); err != nil {
			t.Errorf("connection %d is gone: %v", i, err)
		}
	}
}

// TestHalfHeadersAreBounded sends headers that do not end, of more bytes than there is room for.
func TestHalfHeadersAreBounded(t *testing.T) {
	w := newWorld(t)
	addr, refused := w.bounded(1000, 64<<20)
	honest := "GET /v2/user/get_info?hash=" + emptyKey + "&x=" + strings.Repeat("x", 200<<10) +
		" HTTP/1.1\r\nHost: x\r\n\r\n"
	piece := []byte("GET /v2/user/get_info HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x",
		300<<10))
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range 40 {
		c := dialFrom(t, fmt.Sprintf("127.0.0.%d", 2+i%4), addr)
		wg.Go(func() { _, _ = c.Write(piece) })
	}
	awaits(t, "bounded", func() bool { return refused() >= 20 })
	for range 5 {
		c := dialFrom(t, "127.0.0.9", addr)
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, honest); err != nil {
			t.Fatal(err)
		}
		if a, err := answerTo(c); err != nil || !strings.HasPrefix(a, `{"success":true`) {
			t.Errorf("a long header: %s %v", a, err)
		}
	}
}

// TestLoginsWaitByThemselves has strangers log in all at once, on a machine with two processors:
// few wait, the others are told to come again, and neither texts nor a person who is familiar wait
// for them.
func TestLoginsWaitByThemselves(t *testing.T) {
	w := newLiveWorld(t, func(o *api.Options) { o.Processors, o.Timeout = 2, 12*time.Second })
	try := func(peer, login, password string) *httptest.ResponseRecorder {
		return record(w.api, http.MethodGet, "/user/auth?login="+login+"&password="+password,
			"peer", peer)
	}
	const home = "192.0.2.7:1"
	if r := try(home, "berlin", "pass+word"); r.Code != http.StatusOK {
		t.Fatal(r.Body)
	}
	const flood, refused = 120, 20
	var busy, other atomic.Int64
	var wg sync.WaitGroup
	for i := range flood {
		wg.Go(func() {
			r := try("198.51.100.1:1", fmt.Sprintf("login%d", i), "x")
			switch {
			case strings.Contains(r.Body.String(), `"code":15,`) &&
				r.Header().Get("Retry-After") != "":
				busy.Add(1)
			case strings.Contains(r.Body.String(), `"code":102,`), strings.Contains(r.Body.String(),
				`"code":105,`):
			default:
				other.Add(1)
			}
		})
	}
	awaits(t, "full", func() bool { return w.refusals("login_queue") >= refused })
	w.form("tracker/chat/send", "tracker_id", "101", "message", "hi").id(t)
	if r := try(home, "berlin", "pass+word"); r.Code != http.StatusOK {
		t.Errorf("a person from home: %s", r.Body)
	}
	wg.Wait()
	if busy.Load() < refused || other.Load() > 0 {
		t.Errorf("%d told to come again, %d answered otherwise", busy.Load(), other.Load())
	}
}

// gate is a store whose look-ups of sessions take until it opens.
type gate struct {
	queue.SessionStore
	open         chan struct{}
	inside, peak atomic.Int64
	mu           sync.Mutex
}

func (g *gate) Sessions(ctx context.Context, hashes []queue.KeyHash) ([]queue.Session, error) {
	g.mu.Lock()
	g.peak.Store(max(g.peak.Load(), g.inside.Add(1)))
	g.mu.Unlock()
	defer g.inside.Add(-1)
	select {
	case <-g.open:
	case <-ctx.Done():
	}
	return g.SessionStore.Sessions(ctx, hashes)
}

// TestGuessesTakeNobodysPlace asks with hashes that nobody knows while the store is slow: those
// with a key are answered.
func TestGuessesTakeNobodysPlace(t *testing.T) {
	w := newLiveWorld(t)
	g := &gate{SessionStore: w.store, open: make(chan struct{})}
	h := api.New(api.Options{
		Store: w.store, Accounts: w.store, Feed: w.store, Directory: w.dir, Now: w.now, Sessions: g,
		Timeout: 30 * time.Second,
	})
	var begun atomic.Int64
	var wg sync.WaitGroup
	const guesses = 1100
	for i := range guesses {
		wg.Go(func() {
			begun.Add(1)
			record(h, http.MethodGet, fmt.Sprintf("/user/get_info?hash=%032d", i+1000))
		})
	}
	awaits(t, "waiting", func() bool { return begun.Load() == guesses && g.inside.Load() >= 64 })
	if r := record(h, http.MethodGet,
		"/tracker/chat/send?hash="+berlinKey+"&tracker_id=101&message=hi"); r.Code !=
		http.StatusOK {
		t.Errorf("with a key: %s", r.Body)
	}
	close(g.open)
	wg.Wait()
	if n := g.peak.Load(); n > 64 {
		t.Errorf("%d guesses at a time in the store", n)
	}
}

// halfStream begins a request of HTTP/2 whose body is not at its end. The channel gets what came
// back.
func halfStream(tb testing.TB, client *http.Client, target, header, sent string) (*io.PipeWriter,
	<-chan answer,
) {
	tb.Helper()
	r, body := io.Pipe()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	tb.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, r)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if header != "" {
		req.Header.Set("Authorization", header)
	}
	done := make(chan answer, 1)
	go func() {
		defer close(done)
		resp, err := client.Do(req)
		if err != nil {
			done <- answer{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			text = []byte(err.Error())
		}
		done <- answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	}()
	go func() { _, _ = io.WriteString(body, sent) }() // until it is cut off
	return body, done
}

// TestHalfBodiesOfOneConnection sends many requests over one connection of HTTP/2, none of them to
// its end: each takes of the room from its beginning on, they have no more of it than one address
// may, and those that are cut off are answered. The connection and all others go on.
func TestHalfBodiesOfOneConnection(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.MemoryLimit = 64 << 20 })
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(w.api, nil)
	server.EnableHTTP2 = true
	var opened atomic.Int64
	inner := server.Config.ConnContext
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		opened.Add(1)
		return inner(ctx, c)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	client, target := server.Client(), server.URL+"/v2/tracker/chat/send"
	const half, address = 700 << 10, 1<<20 + 512<<10

	begun, done := halfStream(t, client, target, "", `{"hash":"`+berlinKey+`",`)
	awaits(t, "counted", func() bool { return w.metric("trackchat_http_request_bytes") >= 16<<10 })
	if _, err := io.WriteString(begun, `"tracker_id":101,"message":"in two parts"}`); err != nil {
		t.Fatal(err)
	}
	if err := begun.Close(); err != nil {
		t.Fatal(err)
	}
	(<-done).id(t)
	long := `{"tracker_id":101,"message":"` + strings.Repeat("x", 19_000) + `"`
	known, answered := halfStream(t, client, target, "NVX "+berlinKey, long)
	awaits(t, "there", func() bool {
		return w.metric("trackchat_http_request_bytes") >=
			16<<10+19_000
	})

	var wg sync.WaitGroup
	defer wg.Wait()
	var cut atomic.Int64
	piece := strings.Repeat(" ", half)
	for range 30 {
		body, done := halfStream(t, client, target, "", piece)
		t.Cleanup(func() { _ = body.CloseWithError(io.ErrClosedPipe) })
		wg.Go(func() {
			switch a := <-done; {
			case a.status == http.StatusTooManyRequests && strings.Contains(a.body, `"code":15,`):
				cut.Add(1)
			case a.status != 0: // ended by this test
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	awaits(t, "cut off", func() bool { return cut.Load() >= 20 })
	for range 5 {
		if n := w.metric("trackchat_http_request_bytes"); n > address+128<<10 {
			t.Errorf("%v bytes held", n)
		}
		resp, err := client.Post(target+"?hash="+berlinKey, "application/json",
			strings.NewReader(long+"}"))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s", resp.Proto, resp.Status)
		}
		w.json("tracker/chat/send", `"tracker_id":101,"message":"short"`).id(t)
	}
	if _, err := io.WriteString(known, "}"); err != nil {
		t.Fatal(err)
	}
	if err := known.Close(); err != nil {
		t.Fatal(err)
	}
	(<-answered).id(t)
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	server.CloseClientConnections()
}
