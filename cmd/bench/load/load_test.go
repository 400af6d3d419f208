package load

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/bench/ledger"
	"trackchat/cmd/bench/report"
)

// TestArgs: the arguments give back the same options.
func TestArgs(t *testing.T) {
	want := Default()
	want.Stack, want.PIDs, want.Rate, want.Send = "a b", pids{3, 14}, 12.5, 1500*time.Millisecond
	var got Options
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	got.Register(fs)
	if err := fs.Parse(want.Args()); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not %+v", got, want)
	}
	if err := got.check(); err != nil {
		t.Error(err)
	}
	got.Deaf = got.Devices
	if got.check() == nil {
		t.Error("a fleet of which nobody reads is taken")
	}
}

// service answers requests to the path of peers' fronts.
func service(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// TestClient reads bodies with a length and in chunks over one connection, and dials again when it
// broke.
func TestClient(t *testing.T) {
	from := make(map[string]bool)
	c := client{addr: service(t, func(w http.ResponseWriter, r *http.Request) {
		from[r.RemoteAddr] = true
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/chunks":
			for _, b := range body {
				fmt.Fprintf(w, "%c", b)
				w.(http.Flusher).Flush()
			}
		case "/break":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write(body)
		}
	})}
	defer c.close()
	for _, path := range []string{"/plain", "/chunks", "/plain"} {
		status, answer, err := c.post(t.Context(), path, []byte("hello"))
		want := http.StatusTeapot
		if path == "/chunks" {
			want = http.StatusOK
		}
		if status != want || string(answer) != "hello" || err != nil {
			t.Errorf("%s: %d %q, %v", path, status, answer, err)
		}
	}
	if len(from) != 1 {
		t.Errorf("%d connections", len(from))
	}
	if _, _, err := c.post(t.Context(), "/break", nil); err == nil {
		t.Error("no answer is one")
	}
	if _, answer, err := c.post(t.Context(), "/plain", []byte("again")); string(answer) != "again" {
		t.Errorf("after a break: %q, %v", answer, err)
	}
}

// sender is a run without devices.
func sender(addr string, connections int) *run {
	o := Default()
	o.Devices = 10
	r := &run{o: o, ledger: ledger.New(10, 1000, 40), clients: make([]client, connections)}
	for i := range r.clients {
		r.clients[i].addr = addr
	}
	r.api = frontAPI{ledger: r.ledger}
	return r
}

// TestOpenLoop: where the service stalls, the requests that should have begun meanwhile are counted
// from their own time.
func TestOpenLoop(t *testing.T) {
	stall := 300 * time.Millisecond
	first := true
	r := sender(service(t, func(w http.ResponseWriter, _ *http.Request) {
		if first {
			time.Sleep(stall)
		}
		first = false
		_, _ = io.WriteString(w, `{"success":true,"id":7}`)
	}), 1)
	const rate, texts = 100, 20
	r.run(t.Context(), loop{target: spread(0, 10), batch: 1, rate: rate, most: texts})
	if r.ledger.Accepted() != texts {
		t.Fatalf("%d of %d are accepted", r.ledger.Accepted(), texts)
	}
	var p report.Phase
	r.quantiles(&p, 0, r.ledger.Len())
	// All but the first were due within 200 ms and began after 300.
	if least := float64(stall.Milliseconds()) - texts*1000/rate; p.LateP50 < least {
		t.Errorf("half of the texts were %g ms late, not %g at least", p.LateP50, least)
	}
}

// TestClosedLoop stops where so many texts are on their way, and at the number that is asked for.
func TestClosedLoop(t *testing.T) {
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":1}`) }
	r := sender(service(t, answer), 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r.run(ctx, loop{target: spread(0, 10), batch: 1, length: 200 * time.Millisecond, window: 8})
	// Four connections may each have seen the last free place.
	if n := r.ledger.Accepted(); n < 8 || n > 8+3 {
		t.Errorf("%d are accepted with room for 8", n)
	}
	before := r.ledger.Accepted()
	r.run(ctx, loop{target: spread(0, 10), batch: 1, length: time.Minute, most: 25})
	if n := r.ledger.Accepted() - before; n != 25 {
		t.Errorf("%d are accepted of 25", n)
	}
}

// TestSpread visits every device that is not deaf equally often.
func TestSpread(t *testing.T) {
	target, visits := spread(3, 10), make(map[int]int)
	for k := range int64(70) {
		visits[target(k)]++
	}
	for device := range 10 {
		if want := map[bool]int{true: 10}[device >= 3]; visits[device] != want {
			t.Errorf("device %d: %d texts, not %d", device, visits[device], want)
		}
	}
}
