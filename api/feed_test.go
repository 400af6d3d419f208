package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/api/live"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// TestEventsCarryTheQuestion: choices, reply_to and urgent come with each event of a message, over
// the feed, again after a reconnect, and to webhooks.
func TestEventsCarryTheQuestion(t *testing.T) {
	w := newWorld(t)
	type question struct {
		Message *message
		Choices []string
		ReplyTo *int64 `json:"reply_to"`
		Urgent  *bool
	}
	hooked := make(chan question, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var q question
		if err != nil || json.Unmarshal(body, &q) != nil {
			t.Errorf("%v: %s", err, body)
		}
		hooked <- q
	}))
	t.Cleanup(receiver.Close)
	w.putHook(1, receiver.URL)
	w.hooks()
	s := w.stream(events(berlinKey)).hello()
	in := w.receive(101, "Where to?")
	s.want("message", 101, in)
	from := s.last
	id := w.json("tracker/chat/send",
		`"tracker_id":101,"message":"Depot?","choices":["Yes","No, \"x\""],"urgent":true,"reply_to":`+itoa(
			in)).id(t)
	check := func(how string, id int64, q *question) {
		t.Helper()
		switch {
		case q.Message.ID != id:
			t.Errorf("%s: message %d, want %d", how, q.Message.ID, id)
		case id == in && (q.Choices != nil || q.ReplyTo != nil || q.Urgent != nil):
			t.Errorf("%s: a plain message with %+v", how, q)
		case id != in && (len(q.Choices) != 2 || q.Choices[1] != `No, "x"` || q.ReplyTo == nil ||
			*q.ReplyTo != in || q.Urgent == nil || !*q.Urgent):
			t.Errorf("%s: %+v", how, q)
		}
	}
	told := func(how string, s *stream, name string, id int64) {
		t.Helper()
		e := s.next()
		var q question
		if err := json.Unmarshal([]byte(e.data), &q); err != nil || e.name != name {
			t.Fatalf("%s: %s %s: %v", how, e.name, e.data, err)
		}
		check(how, id, &q)
	}
	told("live", s, "message", id)
	w.ack(101, id)
	told("live", s, "delivered", id)
	again := w.beside().stream(events(berlinKey), "Last-Event-ID", from)
	told("again", again, "message", in)
	told("again", again, "message", id)
	told("again", again, "delivered", id)
	deadline := time.After(patience)
	for seen := map[int64]bool{}; len(seen) < 2; {
		select {
		case q := <-hooked:
			seen[q.Message.ID] = true
			check("webhook", q.Message.ID, &q)
		case <-deadline:
			t.Fatal("the webhook is not called")
		}
	}
}

// heartbeat waits for a heartbeat with that state.
func (s *stream) heartbeat(state string) {
	s.tb.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.tb.Fatal("the feed has ended")
			}
			if e.name == "heartbeat" && e.data == `{"store":"`+state+`"}` {
				return
			}
		case <-deadline:
			s.tb.Fatalf("never %s", state)
		}
	}
}

// TestFeedTellsTheStoresState: a Redis that hangs or is gone is told to every reader within
// seconds, to those who come meanwhile at once, and its return as well.
func TestFeedTellsTheStoresState(t *testing.T) {
	redis := queuetest.StartRedis(t)
	proxy := queuetest.StartProxy(t, redis.Addr)
	store, err := redisstore.Open(context.Background(),
		redisstore.Options{Addrs: []string{proxy.Addr}, Now: time.Now, MaxPending: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, func(o *api.Options) {
		o.Store, o.Feed, o.Now, o.Timeout = store, store, time.Now, time.Second
	})
	w.api.HurryFeed(time.Hour, 10) // nothing is told because it is time for it
	s, stranger := w.stream(events(berlinKey)).hello(), w.stream(events(uralKey)).hello()
	s.heartbeat("ok")
	stranger.heartbeat("ok")
	for _, fault := range []struct {
		name           string
		breaks, repair func()
	}{
		{"hangs", proxy.Stall, proxy.Resume},
		{"is gone", func() { redis.Kill(t) }, func() { redis.Start(t) }},
	} {
		fault.breaks()
		s.heartbeat("down")
		stranger.heartbeat("down")
		late := w.stream(events(berlinKey)).hello()
		late.heartbeat("down")
		w.form("tracker/chat/send", "tracker_id", "101", "message", fault.name).refused(t, 8)
		fault.repair()
		s.heartbeat("ok")
		late.heartbeat("ok")
		stranger.heartbeat("ok")
		id := w.form("tracker/chat/send", "tracker_id", "101", "message",
			"after it "+fault.name).id(t)
		for !strings.Contains(s.next().data, `"id":`+itoa(id)+",") {
			// the refused one may be stored
		}
		late.close()
	}
}

// atOnce stores messages at the present time, whose texts are numbers from the first on.
func (w *world) atOnce(t queue.TrackerID, first, n int) (ids []int64) {
	w.tb.Helper()
	reqs := make([]queue.SendReq, n)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: t, Text: itoa(first + i)}
	}
	rs, err := w.store.Send(context.Background(), reqs)
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, r := range rs {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestFeedReplaysManyTexts: what was missed is read in pages, which may end amid a millisecond or
// with it; each text is told once and in order.
func TestFeedReplaysManyTexts(t *testing.T) {
	w := newWorld(t)
	since := itoa(w.clock.Load())
	w.clock.Add(10_000)
	var want []int64
	for _, n := range []int{64, 40, 40, 1, 63, 1025, 1} { // a page has 64
		want = append(want, w.atOnce(101, len(want), n)...)
		w.clock.Add(1)
	}
	s := w.stream(events(berlinKey), "Last-Event-ID", since)
	for _, id := range want {
		s.want("message", 101, id)
	}
	s.want("message", 101, w.send(101, "live"))
}

// forgetful is a store to which all changes of a tracker are too long ago, as they are to Redis
// after a few thousand.
type forgetful struct {
	live.Store
	of queue.TrackerID
}

func (f forgetful) Changes(ctx context.Context, t queue.TrackerID, since int64,
	limit int,
) ([]queue.Message, error) {
	if t == f.of {
		return nil, queue.ErrTooOld
	}
	return f.Store.Changes(ctx, t, since, limit)
}

// TestWebhookReplaysManyTexts: where changes are too long ago a webhook is told that, and then all
// texts since, in pages of 1,024 that may end amid a millisecond.
func TestWebhookReplaysManyTexts(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Feed = forgetful{o.Feed, 101} })
	r := newReceiver(t, nil)
	w.putHook(1, r.url)
	w.clock.Add(10_000)
	want := []string{"reset "}
	for _, n := range []int{1000, 50, 1} { // the first page ends among the fifty
		w.atOnce(101, len(want)-1, n)
		for range n {
			want = append(want, "message "+itoa(len(want)-1))
		}
		w.clock.Add(1)
	}
	w.send(102, "of another tracker")
	w.hooks()
	r.wait(102, "message of another tracker")
	r.wait(101, want...)
}
