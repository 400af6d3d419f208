package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestEventsCarryTheQuestion: choices and reply_to come with each event of a message, over the
// feed, again after a reconnect, and to webhooks.
func TestEventsCarryTheQuestion(t *testing.T) {
	w := newWorld(t)
	type question struct {
		Message *message
		Choices []string
		ReplyTo *int64 `json:"reply_to"`
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
		`"tracker_id":101,"message":"Depot?","choices":["Yes","No, \"x\""],"reply_to":`+itoa(
			in)).id(t)
	check := func(how string, id int64, q *question) {
		t.Helper()
		switch {
		case q.Message.ID != id:
			t.Errorf("%s: message %d, want %d", how, q.Message.ID, id)
		case id == in && (q.Choices != nil || q.ReplyTo != nil):
			t.Errorf("%s: a plain message with %+v", how, q)
		case id != in && (len(q.Choices) != 2 || q.Choices[1] != `No, "x"` || q.ReplyTo == nil ||
			*q.ReplyTo != in):
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
