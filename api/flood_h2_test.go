package api_test

import (
	"context"
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
)

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
