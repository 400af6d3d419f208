package api_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
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

// benchHTTP sends requests over 16 connections of loopback; the allocations are those of the
// server, the client's part writes and reads bytes only.
func (w *world) benchHTTP(b *testing.B, request func(i int64) string) {
	b.Helper()
	addr := strings.TrimPrefix(w.url, "http://")
	var next atomic.Int64
	// The requests are made beforehand, as long as they come again soon enough.
	requests := make([]string, 400)
	for i := range requests {
		requests[i] = request(int64(i))
	}
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := dial(b, addr)
		in := bufio.NewReaderSize(c, 64<<10)
		for pb.Next() {
			if _, err := io.WriteString(c, requests[next.Add(1)%int64(len(requests))]); err != nil {
				b.Error(err)
				return
			}
			if err := readOK(in); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// readOK reads an answer with a length and allocates nothing.
func readOK(in *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answer %q", line)
		}
		if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length = 0
			for _, d := range digits {
				length = 10*length + int(d-'0')
			}
		}
		if len(line) == 0 {
			break
		}
	}
	if length < 0 {
		return errors.New("answer without a length")
	}
	_, err := in.Discard(length)
	return err
}

func postJSON(op, body string) string {
	return fmt.Sprintf("POST /v2/tracker/chat/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", op, len(body), body)
}

// benchStores are worlds on each store, with Redis as durable as the embedded one is here (a
// write-ahead log that is synced every second).
func benchStores() map[string]func(b *testing.B) (*world, queue.Store) {
	return map[string]func(b *testing.B) (*world, queue.Store){
		"embedded": func(b *testing.B) (*world, queue.Store) {
			b.Helper()
			w := newWorld(b)
			return w, w.store
		},
		"redis": func(b *testing.B) (*world, queue.Store) {
			b.Helper()
			server := queuetest.StartRedis(b, "--appendfsync", "everysec")
			st, err := redisstore.Open(b.Context(), redisstore.Options{
				Addrs:      []string{server.Addr},
				Durability: redisstore.EverySecond, MaxPending: maxPending, Now: time.Now,
			})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := st.Close(); err != nil {
					b.Error(err)
				}
			})
			return newWorld(b, func(o *api.Options) { o.Store, o.Now = st, time.Now }), st
		},
	}
}

// BenchmarkFloor is what net/http and this benchmark's client cost by themselves: a handler that
// reads the body of a send and gives an answer as long.
func BenchmarkFloor(b *testing.B) {
	w := &world{tb: b}
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"success":true,"id":1234567}`)
	}), nil)
	server.Start()
	b.Cleanup(server.Close)
	w.url = server.URL
	w.benchHTTP(b, benchSend)
}

func benchSend(i int64) string {
	return postJSON("send", `{"hash":"`+berlinKey+`","tracker_id":`+itoa(
		bulkFirst+i%(bulkLast-bulkFirst+1))+`,"message":"Please turn left after the bridge."}`)
}

func BenchmarkHTTP(b *testing.B) {
	for name, open := range benchStores() {
		b.Run(name, func(b *testing.B) {
			b.Run("send", func(b *testing.B) {
				w, _ := open(b)
				w.benchHTTP(b, benchSend)
			})
			b.Run("list50", func(b *testing.B) {
				w, st := open(b)
				reqs := make([]queue.SendReq, 50)
				for i := range reqs {
					reqs[i] = queue.SendReq{
						Tracker: plain,
						Text:    "Please turn left after the bridge and call me.",
					}
				}
				if _, err := st.Send(b.Context(), reqs); err != nil {
					b.Fatal(err)
				}
				request := postJSON("list", `{"hash":"`+berlinKey+`","tracker_id":101}`)
				w.benchHTTP(b, func(int64) string { return request })
			})
			b.Run("unread1000", func(b *testing.B) {
				w, st := open(b)
				list, in := make([]queue.Tracker, 1000), make([]queue.Incoming, 1000)
				for i := range list {
					list[i] = queue.Tracker{
						ID: queue.TrackerID(i + 1), Account: 1,
						DeviceID: fmt.Sprint(i), Chat: true, Features: []string{queue.FeatureChat},
					}
					in[i] = queue.Incoming{Tracker: list[i].ID, Text: "unread"}
				}
				if _, err := st.Receive(b.Context(), in); err != nil {
					b.Fatal(err)
				}
				w.dir.Replace(queue.NewSnapshot(accounts(), list))
				request := postJSON("unread/count", `{"hash":"`+berlinKey+`"}`)
				w.benchHTTP(b, func(int64) string { return request })
			})
		})
	}
}

// BenchmarkLast300 reads the newest message of 300 trackers with ten messages each.
func BenchmarkLast300(b *testing.B) {
	for name, open := range benchStores() {
		b.Run(name, func(b *testing.B) {
			w, st := open(b)
			ids, reqs := make([]int64, maxLast), make([]queue.SendReq, 10*maxLast)
			for i := range ids {
				ids[i] = int64(bulkFirst + i)
			}
			for i := range reqs {
				reqs[i] = queue.SendReq{
					Tracker: queue.TrackerID(ids[i%maxLast]),
					Text:    "Please turn left after the bridge and call me.",
				}
			}
			if _, err := st.Send(b.Context(), reqs); err != nil {
				b.Fatal(err)
			}
			w.bench(b, "last/list", `,"trackers":`+jsonText(ids))
		})
	}
}
