package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// eventually looks every few milliseconds whether ok is true; false where it never is.
func eventually(ok func() bool) bool {
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for deadline := time.Now().Add(patience); ; <-every.C {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// sse is one block of a stream.
type sse struct {
	name, id, data string
	comment        bool
}

// stream is a client of the live feed.
type stream struct {
	tb     testing.TB
	resp   *http.Response
	cancel context.CancelFunc
	events chan sse // closed at the end
	last   string   // Last-Event-ID as a browser keeps it
}

// stream opens a feed; header is a list of names and values.
func (w *world) stream(target string, header ...string) *stream {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+target, nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // closed with the stream
	if err != nil {
		w.tb.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK ||
		!strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		w.tb.Fatalf("feed: %s %v", resp.Status, resp.Header)
	}
	s := &stream{tb: w.tb, resp: resp, cancel: cancel, events: make(chan sse, 10_000)}
	go s.read()
	w.tb.Cleanup(s.close)
	return s
}

// openStream opens a feed and leaves.
func (w *world) openStream(method, target string) answer {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, w.url+target, nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.tb.Fatal(err)
	}
	_ = resp.Body.Close()
	return answer{status: resp.StatusCode, header: resp.Header}
}

func (s *stream) close() {
	s.cancel()
	_ = s.resp.Body.Close()
}

func (s *stream) read() {
	defer close(s.events)
	r := bufio.NewReader(s.resp.Body)
	var e sse
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			s.events <- e
			e = sse{}
		case name == "":
			e.comment = true
		case name == "event":
			e.name = value
		case name == "id":
			e.id = value
		case name == "data":
			e.data += value
		}
	}
}

// next returns the next event; heartbeats and blocks without data only move the position.
func (s *stream) next() sse {
	s.tb.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.tb.Fatal("the feed has ended")
			}
			if e.id != "" {
				s.last = e.id
			}
			if e.name != "" && e.name != "heartbeat" {
				return e
			}
		case <-deadline:
			s.tb.Fatal("no event")
		}
	}
}

// hello waits until the feed is open.
func (s *stream) hello() *stream {
	s.tb.Helper()
	select {
	case e, ok := <-s.events:
		if !ok || e.name != "" || e.id == "" {
			s.tb.Fatalf("a feed begins with %+v", e)
		}
		s.last = e.id
	case <-time.After(patience):
		s.tb.Fatal("the feed does not open")
	}
	return s
}

// ended waits for the end of the feed.
func (s *stream) ended() {
	s.tb.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-s.events:
			if !ok {
				return
			}
		case <-deadline:
			s.tb.Fatal("the feed goes on")
		}
	}
}

// told is the data of an event.
type told struct {
	TrackerID queue.TrackerID `json:"tracker_id"`
	Message   *message
	Delivery  *struct {
		State      string
		Parts      int
		PartsAcked int `json:"parts_acked"`
		Reason     *string
	}
	Online *bool
	Since  *string
}

// want requires the next event.
func (s *stream) want(name string, t queue.TrackerID, id int64) told {
	s.tb.Helper()
	e := s.next()
	var got told
	if err := json.Unmarshal([]byte(e.data), &got); err != nil {
		s.tb.Fatalf("data %q: %v", e.data, err)
	}
	gotID := int64(0)
	if got.Message != nil {
		gotID = got.Message.ID
	}
	if e.name != name || got.TrackerID != t || gotID != id || e.id == "" {
		s.tb.Fatalf("got  %s of tracker %d, message %d, id %q: %s\nwant %s of tracker %d, message %d", e.name, got.TrackerID, gotID, e.id, e.data, name, t, id)
	}
	return got
}

func events(key string) string { return "/v2/tracker/chat/events?hash=" + key }

func (w *world) acquire(t queue.TrackerID) queue.Lease {
	w.tb.Helper()
	ctx := context.Background()
	if err := w.store.Heartbeat(ctx, queue.Node{ID: "node-1", StartedMs: 1}); err != nil {
		w.tb.Fatal(err)
	}
	ls, err := w.store.Acquire(ctx, "node-1", []queue.TrackerID{t})
	if err != nil {
		w.tb.Fatal(err)
	}
	return ls[0]
}

func (w *world) progress(t queue.TrackerID, id int64, parts, acked int) {
	w.tb.Helper()
	if err := w.store.Progress(context.Background(), []queue.ProgressReq{{
		Tracker: t, ID: id,
		Parts: parts, Acked: acked,
	}}); err != nil {
		w.tb.Fatal(err)
	}
}

// TestFeed tells each kind of event to every reader of the account, however it came, and none to
// others.
func TestFeed(t *testing.T) {
	w := newWorld(t)
	auth := "NVX " + berlinKey
	readers := []*stream{
		w.stream(events(berlinKey)), w.stream("/api-v2/tracker/chat/events/", "Authorization",
			auth),
		w.stream("/tracker/chat/events?session_key="+berlinKey, "Origin", "https://page.example"),
	}
	stranger := w.stream(events(uralKey)).hello()
	for _, r := range readers {
		r.hello()
	}
	if h := readers[2].resp.Header; h.Get("Access-Control-Allow-Origin") != "*" ||
		h.Get("Cache-Control") != "no-store" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("header %v", h)
	}
	all := func(check func(s *stream)) {
		for _, r := range readers {
			check(r)
		}
	}
	id := w.form("tracker/chat/send", "tracker_id", "101", "message", "line\nbreak \u2028 <é>").id(
		t)
	all(func(s *stream) {
		e := s.next()
		want := fmt.Sprintf(
			`{"tracker_id":101,"message":{"id":%d,"submit_time":"2016-02-29T10:00:00Z","update_time":null,"text":"line\nbreak `+"\u2028"+
				` <é>","type":"OUTGOING","status":"PENDING","employee_id":7},`+
				`"delivery":{"state":"QUEUED","parts":1,"parts_acked":0,"delivered_at":null,"read_at":null,"expires_at":null,"reason":null}}`, id)
		if e.name != "message" || e.data != want {
			t.Fatalf("got  %s %s\nwant %s", e.name, e.data, want)
		}
	})
	w.progress(101, id, 3, 2)
	all(func(s *stream) {
		if d := s.want("progress", 101, id).Delivery; d.Parts != 3 || d.PartsAcked != 2 {
			t.Errorf("progress %+v", d)
		}
	})
	w.ack(101, id)
	all(func(s *stream) {
		if m := s.want("delivered", 101, id).Message; m.Status != "DELIVERED" ||
			m.UpdateTime == nil || *m.UpdateTime != "2016-02-29T10:00:00Z" {
			t.Errorf("delivered %+v", m)
		}
	})
	if _, err := w.store.Ack(context.Background(), []queue.AckReq{{
		Tracker: 101, ID: id,
		Opened: true,
	}}); err != nil {
		t.Fatal(err)
	}
	all(func(s *stream) { s.want("read", 101, id) })
	for name, st := range map[string]queue.Status{
		"failed":  queue.StatusFailed,
		"expired": queue.StatusExpired, "progress": queue.StatusSent,
	} {
		id := w.send(102, name)
		all(func(s *stream) { s.want("message", 102, id) })
		why := queue.ReasonNone
		if st == queue.StatusFailed {
			why = queue.ReasonRefused
		}
		w.end(102, id, st, why)
		all(func(s *stream) {
			d, failed := s.want(name, 102, id).Delivery, st == queue.StatusFailed
			if failed != (d.Reason != nil) || failed && *d.Reason != "refused by the device" {
				t.Errorf("%s: %+v", name, d)
			}
		})
	}
	id = w.send(102, "to be withdrawn")
	all(func(s *stream) { s.want("message", 102, id) })
	w.form("tracker/chat/cancel", "message_id", itoa(id))
	all(func(s *stream) { s.want("cancelled", 102, id) })
	id = w.receive(102, "from the driver")
	all(func(s *stream) {
		if m := s.want("message", 102, id).Message; m.Type != "INCOMING" {
			t.Errorf("%+v", m)
		}
	})
	w.form("tracker/chat/mark_read", "message_id", itoa(id)).is(t, `{"success":true}`)
	all(func(s *stream) { s.want("read", 102, id) })
	w.presence(all)

	id = w.send(foreign, "the other account's")
	stranger.want("message", foreign, id)
	id = w.send(101, "last")
	all(func(s *stream) { s.want("message", 101, id) })
}

// presence: a session that takes over tells nothing.
func (w *world) presence(all func(func(s *stream))) {
	w.tb.Helper()
	online := func(s *stream, want bool) {
		if e := s.want("tracker", 101, 0); *e.Online != want || *e.Since != "2016-02-29T10:00:00Z" {
			w.tb.Fatalf("%+v", e)
		}
	}
	w.acquire(101)
	all(func(s *stream) { online(s, true) })
	l := w.acquire(101)
	if _, err := w.store.Release(context.Background(), []queue.Lease{l}); err != nil {
		w.tb.Fatal(err)
	}
	all(func(s *stream) { online(s, false) })
}

// TestFeedResumes goes on where a reader was, on another API over the same store.
func TestFeedResumes(t *testing.T) {
	w := newWorld(t)
	s := w.stream(events(berlinKey)).hello()
	first := w.send(101, "seen")
	s.want("message", 101, first)
	s.close()
	w.clock.Add(30_000)
	id, in := w.send(101, "missed"), w.receive(102, "missed as well")
	w.ack(101, id)
	failed := w.send(101, "failed")
	w.end(101, failed, queue.StatusFailed, queue.ReasonStorage)
	w.form("tracker/chat/mark_read", "message_id", itoa(in))
	w.acquire(102)
	w.send(foreign, "not theirs")

	later := w.beside()
	var before []int64
	for _, header := range [][]string{{"Last-Event-ID", s.last}, {"Last-Event-ID", "1"}} {
		target := events(berlinKey)
		if before != nil {
			target += "&last_event_id=" + s.last // wins
		}
		r := later.stream(target, header...)
		if e := r.next(); !strings.Contains(e.data, `"id":`+itoa(first)+",") {
			// may come again, because it is recent
			t.Fatalf("%+v", e)
		}
		r.want("message", 101, id)
		r.want("delivered", 101, id)
		r.want("message", 101, failed)
		r.want("failed", 101, failed)
		for _, id := range before {
			r.want("message", 101, id)
		}
		// Trackers come one after the other.
		r.want("message", 102, in)
		r.want("read", 102, in)
		if e := r.want("tracker", 102, 0); !*e.Online {
			t.Errorf("%+v", e)
		}
		live := later.send(101, "live")
		r.want("message", 101, live)
		before = append(before, live)
		if n, err := strconv.ParseInt(r.last, 10, 64); err != nil || itoa(n) == s.last {
			t.Errorf("position %s after %s", r.last, s.last)
		}
	}
}

func TestFeedResets(t *testing.T) {
	w := newWorld(t)
	day := w.clock.Load() - 24*60*60*1000
	known := w.stream(events(berlinKey), "Last-Event-ID", itoa(day)).hello()
	known.want("message", 101, w.send(101, "live"))
	for _, last := range []string{"1", "nonsense", "-5", itoa(day - 1)} {
		s := w.stream(events(berlinKey), "Last-Event-ID", last)
		if e := s.next(); e.name != "reset" || e.data != "{}" || e.id == "" {
			t.Errorf("%s: %+v", last, e)
		}
		s.want("message", 101, w.send(101, "live"))
		s.close()
	}
	// More than is told one by one.
	at := itoa(w.clock.Load() - 5*60*1000)
	reqs := make([]queue.SendReq, 2501)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: queue.TrackerID(bulkFirst + i%300), Text: "x"}
	}
	for range 4 {
		if _, err := w.store.Send(context.Background(), reqs); err != nil {
			t.Fatal(err)
		}
	}
	s := w.stream(events(berlinKey), "Last-Event-ID", at)
	for n := 0; s.next().name != "reset"; n++ {
		if n > 10_000 {
			t.Fatal("no reset")
		}
	}
	s.want("message", 101, w.send(101, "live"))
}

// TestFeedDropsSlowClients: one that does not read is cut off, the others get everything.
func TestFeedDropsSlowClients(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.FeedBuffer = 16 })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+events(berlinKey),
		nil)
	if err != nil {
		t.Fatal(err)
	}
	slow, err := http.DefaultClient.Do(req) // and nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	s := w.stream(events(berlinKey)).hello()
	text := strings.Repeat("\U0001F69A", 20_000)
	for n := 0; w.metric("trackchat_feed_dropped_total") == 0; n++ {
		if n > 1000 {
			t.Fatal("the slow client is still there")
		}
		s.want("message", 101, w.send(101, text))
	}
	s.want("message", 101, w.send(101, "and on"))
}

func TestFeedEndsWithItsKey(t *testing.T) {
	w := newWorld(t)
	if _, err := w.store.ImportDirectory(context.Background(), accounts(), trackers(),
		false); err != nil {
		t.Fatal(err)
	}
	hash := "0123456789abcdef0123456789abcdef"
	if err := w.store.PutSession(context.Background(), queue.Session{
		Hash:    queue.HashKey(hash),
		Account: 1, CreatedMs: w.clock.Load(), ExpiresMs: w.clock.Load() + 1000_000,
	}); err != nil {
		t.Fatal(err)
	}
	keyed, session := w.stream(events(berlinKey)).hello(), w.stream(events(hash)).hello()
	w.form("user/logout", "hash", hash)
	if _, err := w.store.EndSession(context.Background(), queue.HashKey(hash)); err != nil {
		t.Fatal(err)
	}
	session.ended()
	keyed.want("message", 101, w.send(101, "still there"))
	as := accounts()
	as[0].Keys = nil
	w.dir.Replace(queue.NewSnapshot(as, trackers()))
	keyed.ended()
	w.do(http.MethodGet, events(berlinKey), "").refused(t, 4)
}

// TestFeedFollowsTrackers: whose a tracker is when something happens decides who is told.
func TestFeedFollowsTrackers(t *testing.T) {
	w := newWorld(t)
	berlin, ural := w.stream(events(berlinKey)).hello(), w.stream(events(uralKey)).hello()
	berlin.want("message", 101, w.send(101, "before"))
	ts := trackers()
	ts[0].Account = 2
	w.dir.Replace(queue.NewSnapshot(accounts(), append(ts, queue.Tracker{
		ID: 900, Account: 1,
		Protocol: "x", DeviceID: "900",
	})))
	ural.want("message", 101, w.send(101, "after"))
	berlin.want("message", 900, w.send(900, "new"))
}

func TestFeedBounds(t *testing.T) {
	w := newWorld(t)
	w.api.HurryFeed(20*time.Millisecond, 2)
	a := w.stream(events(berlinKey)).hello()
	w.stream(events(berlinKey)).hello()
	got := w.do(http.MethodGet, events(berlinKey), "")
	got.refused(t, 15)
	if got.header.Get("Retry-After") == "" || w.metric("trackchat_http_refused_total") != 1 {
		t.Errorf("refused with %v", got.header)
	}
	w.stream(events(uralKey)).hello() // another account's own
	// A heartbeat holds a comment and the store's state, and moves the position.
	for range 3 {
		e, ok := <-a.events
		if !ok || !e.comment || e.name != "heartbeat" || e.id == "" || e.data != `{"store":"ok"}` {
			t.Fatalf("%+v", e)
		}
	}
	a.close()
	if !eventually(func() bool { return w.metric("trackchat_feed_subscribers") == 2 }) {
		t.Fatal("a reader that has left is still counted")
	}
	b := w.stream(events(berlinKey)).hello()
	w.api.Close()
	b.ended()
	w.do(http.MethodGet, events(berlinKey), "").refused(t, 14)
}

func TestFeedRefusals(t *testing.T) {
	w := newWorld(t)
	w.do(http.MethodGet, "/v2/tracker/chat/events", "").refused(t, 3)
	w.do(http.MethodGet, events(unknownKey), "").refused(t, 4)
	w.do(http.MethodPut, events(berlinKey), "").refused(t, 112)
	w.do(http.MethodPost, "/v2/tracker/chat/events", "{", "Content-Type",
		"application/json").refused(t, 5)
}
