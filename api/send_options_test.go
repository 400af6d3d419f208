package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"trackchat/api"
	"trackchat/queue"
)

func TestExtrasRefusals(t *testing.T) {
	w := newWorld(t)
	foreignID, otherID := w.send(foreign, "x"), w.send(102, "x")
	long := strings.Repeat("é", 51)
	for name, values := range map[string][]string{
		"ttl":             {"0", "-1", "x", "1.5", "31536001"},
		"idempotency_key": {strings.Repeat("k", 256), "a\nb", "a\x7fb", "\xff", "a\u202eb"},
		"choices": {
			`["yes",""]`, `["yes"," "]`, `["yes","yes"]`, `["yes"," yes"]`,
			`["a\nb"]`, `["a\tb"]`, `["` + long + `"]`, `[1]`,
			`["a","b","c","d","e","f","g","h","i"]`, `["\ue000"]`, `{"a":1}x,`, "a,,b",
		},
		"reply_to": {"x", itoa(foreignID), itoa(otherID), "-1", "4711"},
	} {
		for _, v := range values {
			w.form("tracker/chat/send", "tracker_id", "101", "message", "x", name, v).invalid(t,
				name)
			w.form("tracker/chat/broadcast", "trackers", "101", "message", "x", name, v).invalid(t,
				name)
		}
	}
	w.form("tracker/chat/broadcast", "trackers", "101,102", "message", "x", "reply_to",
		itoa(otherID)).invalid(t, "reply_to")
	w.form("tracker/chat/send", "tracker_id", "x", "message", "", "ttl", "x", "idempotency_key",
		"\x7f", "choices", "[1]", "reply_to", "x").
		invalid(t, "tracker_id", "message", "reply_to", "ttl", "idempotency_key", "choices")
	if n := len(w.stored(101)); n != 0 {
		t.Errorf("%d stored", n)
	}
}

func TestExtrasAreStored(t *testing.T) {
	w := newWorld(t)
	in := w.receive(101, "question")
	id := w.json("tracker/chat/send",
		`"tracker_id":101,"message":"x","ttl":31536000,"choices":["yes","no"],"reply_to":`+itoa(
			in)).id(t)
	if got := w.read(id); *got.Delivery.ExpiresAt != "2017-02-28 11:00:00" ||
		!slices.Equal(got.Choices, []string{"yes", "no"}) || got.ReplyTo != in {
		t.Errorf("%s", jsonText(got))
	}
	plain := w.json("tracker/chat/send",
		`"tracker_id":101,"message":"x","ttl":null,"choices":[],"reply_to":"undefined","idempotency_key":null`).id(t)
	if m := w.stored(101)[2]; m.ID != plain || m.ExpiresMs != 0 || m.Choices != nil ||
		m.ReplyTo != 0 {
		t.Errorf("%+v", m)
	}
	w.form("tracker/chat/broadcast", "trackers", "102,1001", "message", "all", "ttl", "5",
		"choices", "ok").is(t, `{"success":true,"sent_to":[102,1001],"not_sent_to":[]}`)
	for _, id := range []queue.TrackerID{102, 1001} {
		if m := w.stored(id)[0]; m.ExpiresMs != w.now().UnixMilli()+5000 ||
			!slices.Equal(m.Choices, []string{"ok"}) {
			t.Errorf("%+v", m)
		}
	}
}

// TestChoicesSpellings: the same list in every spelling that a client may use.
func TestChoicesSpellings(t *testing.T) {
	w := newWorld(t)
	for _, members := range []string{
		`"choices":["да","I say: \"no\""]`,
		`"choices":"[\"да\",\"I say: \\\"no\\\"\"]"`, `"choices[]":[" да ","I say: \"no\""]`,
		`"choices":"да, I say: \"no\""`,
	} {
		if got := w.read(w.json("tracker/chat/send", `"tracker_id":101,"message":"x",`+members).id(
			t)); !slices.Equal(got.Choices, []string{"да", `I say: "no"`}) {
			t.Errorf("%s: %q", members, got.Choices)
		}
	}
	for _, pairs := range [][]string{
		{"choices", "да", "choices", `I say: "no"`},
		{"choices[]", "да", "choices[]", `I say: "no"`},
		{"choices", `["да","I say: \"no\""]`},
		{"choices", `да,I say: "no"`},
	} {
		if got := w.read(w.form("tracker/chat/send", append([]string{
			"tracker_id", "101", "message",
			"x",
		}, pairs...)...).id(t)); !slices.Equal(got.Choices, []string{"да", `I say: "no"`}) {
			t.Errorf("%s: %q", pairs, got.Choices)
		}
	}
	eight := `["1","2","3","4","5","6","7","` + strings.Repeat("é", 50) + `"]`
	if got := w.read(w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "choices",
		eight).id(t)); len(got.Choices) != 8 {
		t.Errorf("%q", got.Choices)
	}
}

func TestIdempotentSend(t *testing.T) {
	w := newWorld(t)
	first := w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key",
		"order 1").body
	same := func(a answer) { t.Helper(); a.is(t, first) }
	same(w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key",
		"order 1"))
	same(w.json("tracker/chat/send",
		`"tracker_id":"101","message":"x","strict":false,"choices":[],"ttl":"","idempotency_key":"order 1"`))
	for _, other := range []string{
		`"tracker_id":101,"message":"another text"`, `"tracker_id":102,"message":"x"`,
		`"tracker_id":` + itoa(unknown) + `,"message":"x"`,
		`"tracker_id":101,"message":"x","ttl":5`, `"tracker_id":101,"message":"x","choices":["y"]`,
		`"tracker_id":101,"message":"x","strict":true`,
		`"tracker_id":101,"message":"x","reply_to":` + itoa(w.stored(101)[0].ID),
	} {
		w.json("tracker/chat/send", other+`,"idempotency_key":"order 1"`).invalid(t,
			"idempotency_key")
	}
	header := func(path, key string) answer {
		t.Helper()
		return w.do(http.MethodGet, path+"&hash="+berlinKey, "", "Idempotency-Key", key)
	}
	same(header("/tracker/chat/send?tracker_id=101&message=x", "order 1"))
	same(header("/tracker/chat/send?tracker_id=101&message=x&idempotency_key=order+1", "order 2"))
	w.form("tracker/chat/send", "tracker_id", "101", "idempotency_key", "order 1").invalid(t,
		"message")
	w.form("tracker/chat/broadcast", "trackers", "101", "message", "x", "idempotency_key",
		"order 1").invalid(t, "idempotency_key")
	if n, m := len(w.stored(101)), len(w.stored(102)); n != 1 || m != 0 {
		t.Errorf("%d and %d stored", n, m)
	}
	w.ack(101, w.stored(101)[0].ID)
	same(w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key",
		"order 1"))

	// Refusals are not remembered, other keys and accounts are not meant.
	w.form("tracker/chat/send", "tracker_id", itoa(unknown), "message", "x", "idempotency_key",
		"order 3").refused(t, 201)
	w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key",
		"order 3").id(t)
	w.formAs(uralKey, "tracker/chat/send", "tracker_id", itoa(foreign), "message", "x",
		"idempotency_key", "order 1").id(t)
	header("/tracker/chat/send?tracker_id=101&message=x", "заказ "+strings.Repeat("k", 249)).id(t)
	header("/tracker/chat/send?tracker_id=101&message=x", strings.Repeat("k", 256)).invalid(t,
		"idempotency_key")
	if n := len(w.stored(101)); n != 3 {
		t.Errorf("%d stored", n)
	}
	w.setTime("2016-03-01T10:00:01Z")
	if a := w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key",
		"order 1"); a.body == first || a.id(t) == 0 {
		t.Errorf("after 24 hours: %s", a.body)
	}
}

func TestIdempotentBroadcast(t *testing.T) {
	w := newWorld(t)
	reqs := make([]queue.SendReq, maxPending)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 102, Text: "x"}
	}
	if _, err := w.store.Send(t.Context(), reqs); err != nil {
		t.Fatal(err)
	}
	const first = `{"success":true,"sent_to":[1001,101],"not_sent_to":[102,104]}`
	w.form("tracker/chat/broadcast", "trackers", "1001,102,104,101", "message", "x",
		"idempotency_key", "k").is(t, first)
	w.ack(102, w.stored(102)[0].ID) // there is room now
	w.form("tracker/chat/broadcast", "trackers", "1001,102,104,101", "message", "x",
		"idempotency_key", "k").is(t, first)
	w.json("tracker/chat/broadcast",
		`"trackers":[101,102,104,1001,101],"message":"x","idempotency_key":"k"`).is(t, first)
	w.json("tracker/chat/broadcast",
		`"trackers":[1002],"message":"x","idempotency_key":"k"`).invalid(t, "idempotency_key")
	w.json("tracker/chat/broadcast",
		`"trackers":[101,102,104,1001],"message":"y","idempotency_key":"k"`).invalid(t,
		"idempotency_key")
	w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key",
		"k").invalid(t, "idempotency_key")
	if a, b, c := len(w.stored(101)), len(w.stored(1001)), len(w.stored(1002)); a != 1 || b != 1 ||
		c != 0 {
		t.Errorf("%d, %d and %d stored", a, b, c)
	}
}

// TestOneKeyForManyTexts: of different requests with one key at the same time one is sent, and the
// others are told that theirs is not.
func TestOneKeyForManyTexts(t *testing.T) {
	w := newWorld(t)
	answers := make([]answer, 12)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = w.form("tracker/chat/send", "tracker_id", itoa(bulkFirst+i), "message",
				itoa(i), "idempotency_key", "k")
		})
	}
	wg.Wait()
	sent := 0
	for i, a := range answers {
		ms := w.stored(queue.TrackerID(bulkFirst + i))
		if len(ms) == 0 {
			a.invalid(t, "idempotency_key")
			continue
		}
		sent++
		if id := a.id(t); len(ms) != 1 || ms[0].ID != id || ms[0].Text != itoa(i) {
			t.Errorf("request %d: %s, stored %+v", i, a.body, ms)
		}
	}
	if sent != 1 {
		t.Errorf("%d sent", sent)
	}
}

// TestIdempotentAtOnce: of many equal requests at the same time all get one answer, and one message
// is stored.
func TestIdempotentAtOnce(t *testing.T) {
	w := newWorld(t)
	answers := make([]string, 12)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = w.form("tracker/chat/send", "tracker_id", "101", "message", "x",
				"idempotency_key", "k").body
		})
	}
	wg.Wait()
	for _, a := range answers {
		if a != answers[0] || !strings.HasPrefix(a, `{"success":true,"id":`) {
			t.Errorf("answers %s and %s", answers[0], a)
		}
	}
	if n := len(w.stored(101)); n != 1 {
		t.Errorf("%d stored", n)
	}
}

// cutSender is a store whose answers, or parts of them, get lost until the given number of calls
// has been made.
type cutSender struct {
	queue.Messages
	sends, remembers int
}

func (s *cutSender) Send(ctx context.Context, reqs []queue.SendReq) ([]queue.SendResult, error) {
	if s.sends--; s.sends < 0 || len(reqs) == 1 {
		return s.Messages.Send(ctx, reqs)
	}
	rs, err := s.Messages.Send(ctx, reqs[:1])
	for range reqs[1:] {
		rs = append(rs, queue.SendResult{Err: queue.ErrUnavailable})
	}
	return rs, err
}

func (s *cutSender) SaveAnswer(ctx context.Context, a queue.AccountID, key string,
	answer []byte,
) ([]byte, error) {
	if s.remembers--; s.remembers >= 0 {
		return nil, fmt.Errorf("%w: cut", queue.ErrUnknownOutcome)
	}
	return s.Messages.SaveAnswer(ctx, a, key, answer)
}

// TestIdempotencyGoesOn: a request that got no answer, because the process or the store went away
// at any step of it, is finished by its repetition.
func TestIdempotencyGoesOn(t *testing.T) {
	var cut *cutSender
	w := newWorld(t, func(o *api.Options) {
		cut = &cutSender{Messages: o.Store, sends: 2, remembers: 2}
		o.Store = cut
	})
	send := func() answer {
		return w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key",
			"k")
	}
	send().refused(t, 8) // stored, and not remembered
	send().refused(t, 8)
	id := send().id(t)
	if send().id(t) != id {
		t.Error("another message")
	}
	all := func() answer {
		return w.form("tracker/chat/broadcast", "trackers", "101,102,1001", "message", "x",
			"idempotency_key", "b")
	}
	cut.sends = 2
	all().refused(t, 8)
	all().refused(t, 8)
	all().is(t, `{"success":true,"sent_to":[101,102,1001],"not_sent_to":[]}`)
	all().is(t, `{"success":true,"sent_to":[101,102,1001],"not_sent_to":[]}`)
	for tracker, want := range map[queue.TrackerID]int{101: 2, 102: 1, 1001: 1} {
		if n := len(w.stored(tracker)); n != want {
			t.Errorf("tracker %d has %d messages", tracker, n)
		}
	}
}
