package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trackchat/queue"
)

// sink is a ResponseWriter that keeps the status only.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

func (w *world) bench(b *testing.B, op, members string) {
	b.Helper()
	body := strings.NewReader("")
	text := `{"hash":"` + berlinKey + `"` + members + `}`
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v2/tracker/chat/"+op, body)
	r.Header.Set("Content-Type", "application/json")
	out := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(text)
		r.ContentLength = int64(len(text))
		clear(out.header)
		w.api.ServeHTTP(out, r)
		if out.status != http.StatusOK {
			b.Fatal(out.status)
		}
	}
}

// BenchmarkList50 is dominated by the store's query.
func BenchmarkList50(b *testing.B) {
	w := newWorld(b)
	for range 50 {
		w.send(101, "Please turn left after the bridge and call me.")
	}
	w.bench(b, "list", `,"tracker_id":101`)
}

func BenchmarkUnreadCount(b *testing.B) {
	w := newWorld(b)
	for id := queue.TrackerID(bulkFirst); id < bulkFirst+20; id++ {
		w.receive(id, "x")
	}
	w.bench(b, "unread/count", "")
}

// BenchmarkSend sends to one tracker after the other from one caller; each send waits for its own
// commit.
func BenchmarkSend(b *testing.B) {
	w := newWorld(b)
	ts := trackers()
	ts = ts[len(ts)-(bulkLast-bulkFirst+1):]
	bodies := make([]string, len(ts))
	for i, t := range ts {
		bodies[i] = `{"hash":"` + berlinKey + `","tracker_id":` + itoa(t.ID) +
			`,"message":"Please turn left after the bridge."}`
	}
	body := strings.NewReader("")
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v2/tracker/chat/send", body)
	r.Header.Set("Content-Type", "application/json")
	out := &sink{header: http.Header{}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		text := bodies[i%len(bodies)]
		i++
		body.Reset(text)
		r.ContentLength = int64(len(text))
		w.api.ServeHTTP(out, r)
		if out.status != http.StatusOK {
			b.Fatal(out.status)
		}
	}
}

// BenchmarkRefused is what the API itself costs: parameters, hash, rate limit, answer.
func BenchmarkRefused(b *testing.B) {
	w := newWorld(b)
	body := strings.NewReader("")
	text := `{"hash":"` + berlinKey +
		`","tracker_id":999,"message":"Please turn left after the bridge."}`
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v2/tracker/chat/send", body)
	r.Header.Set("Content-Type", "application/json")
	out := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(text)
		r.ContentLength = int64(len(text))
		w.api.ServeHTTP(out, r)
	}
}
