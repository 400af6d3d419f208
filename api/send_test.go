package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"trackchat/api"
	"trackchat/queue"
)

func TestSend(t *testing.T) {
	w := newWorld(t)
	a := w.form("tracker/chat/send", "tracker_id", "101", "message", "same").id(t)
	b := w.form("tracker/chat/send", "tracker_id", "101", "message", "same").id(t)
	if a >= b {
		t.Errorf("ids %d, %d", a, b)
	}
	ms := w.stored(101)
	if len(ms) != 2 || ms[0].ID != a || ms[1].ID != b || ms[0].Employee != 7 ||
		ms[0].Status != queue.StatusPending {
		t.Errorf("stored %+v", ms)
	}
}

func TestText(t *testing.T) {
	w := newWorld(t)
	ascii, wide := strings.Repeat("a", queue.MaxText), strings.Repeat("😀", queue.MaxText)
	for _, c := range [][2]string{
		{"hi", "hi"},
		{" hi ", " hi "},
		{"null", "null"},
		{"undefined", "undefined"},
		{"line\r\nline\n\r\n\ttab", "line\nline\n\n\ttab"},
		{"👩‍👩‍👧 שלום 한국 \u200b\ufffd", "👩‍👩‍👧 שלום 한국 \u200b\ufffd"},
		{`"\u0041"</script>`, `"\u0041"</script>`},
		{ascii, ascii},
		{wide, wide},
		{strings.Repeat("a\r\n", queue.MaxText/2), strings.Repeat("a\n", queue.MaxText/2)},
	} {
		for _, id := range []int64{
			w.form("tracker/chat/send", "tracker_id", "1001", "message", c[0]).id(t),
			w.json("tracker/chat/send", `"tracker_id":1001,"message":`+jsonText(c[0])).id(t),
			w.do(http.MethodGet,
				"/tracker/chat/send?tracker_id=1001&hash="+berlinKey+"&message="+url.QueryEscape(
					c[0]), "").id(t),
		} {
			ms, err := w.store.Find(t.Context(), []int64{id})
			if err != nil || ms[0].Text != c[1] {
				t.Errorf("%.40q is stored as %.40q (%v)", c[0], ms[0].Text, err)
			}
		}
	}
	for text, want := range map[string]string{
		`"\ud83d\ude00"`: "😀", `"\\ud800"`: `\ud800`,
		`"\u0061\n"`: "a\n", `5`: "5", `"\ufffd"`: "\ufffd", `"\/\b\f"`: "",
	} {
		a := w.json("tracker/chat/send", `"tracker_id":1002,"message":`+text)
		if want == "" {
			a.invalid(t, "message")
			continue
		}
		a.id(t)
		if ms := w.stored(1002); ms[len(ms)-1].Text != want {
			t.Errorf("%s is stored as %q", text, ms[len(ms)-1].Text)
		}
	}
}

func TestWrongText(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{
		"", " ", "\n", "\r\n\t ", "\u00a0\u3000", "a\rb", "a\x00", "\x1b[1m", "a\x7f", "a\u0085b",
		"a\u009f", "\ue000", "x\uf8ff", "\U000f0000", "\U0010fffd",
		"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80", strings.Repeat("a", queue.MaxText+1),
		strings.Repeat("😀", queue.MaxText+1), strings.Repeat("a\r\n", queue.MaxText/2) + "b",
	} {
		w.form("tracker/chat/send", "tracker_id", "101", "message", text).invalid(t, "message")
		w.form("tracker/chat/broadcast", "trackers", "101", "message", text).invalid(t, "message")
		w.do(http.MethodGet,
			"/tracker/chat/send?tracker_id=101&hash="+berlinKey+"&message="+url.QueryEscape(text),
			"").invalid(t, "message")
	}
	for _, text := range []string{
		`""`, `null`, `"\ud800"`, `"a\udc00b"`, `"\ud800\ud800"`, `"\ud800\u0041"`,
		`"\udc00\ud800"`, `"\ud83d\\ude00"`, `"\ud83d\n"`, `"\ud83d` + "\xff" + `"`, "\"\xff\"",
		`["a"]`, `{"a":1}`, `"\u0000"`, `"\ue000"`,
	} {
		w.json("tracker/chat/send", `"tracker_id":101,"message":`+text).invalid(t, "message")
		w.json("tracker/chat/broadcast", `"trackers":[101],"message":`+text).invalid(t, "message")
	}
	if n := len(w.stored(101)); n != 0 {
		t.Errorf("%d stored", n)
	}
}

func TestFullQueue(t *testing.T) {
	w := newWorld(t)
	reqs := make([]queue.SendReq, maxPending)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 101, Text: "x"}
	}
	if _, err := w.store.Send(t.Context(), reqs); err != nil {
		t.Fatal(err)
	}
	w.form("tracker/chat/send", "tracker_id", "101", "message", "x").refused(t, 267)
	w.form("tracker/chat/send", "tracker_id", "102", "message", "x").id(t)
	w.form("tracker/chat/broadcast", "trackers", "1001,101,104,102", "message", "x").is(t,
		`{"success":true,"sent_to":[1001,102],"not_sent_to":[101,104]}`)
	w.form("tracker/chat/broadcast", "trackers", "101", "message", "x").is(t,
		`{"success":true,"sent_to":[],"not_sent_to":[101]}`)
	w.ack(101, w.stored(101)[0].ID)
	w.form("tracker/chat/send", "tracker_id", "101", "message", "x").id(t)
}

func TestBroadcast(t *testing.T) {
	w := newWorld(t)
	w.form("tracker/chat/broadcast", "trackers", "104", "message", "x").is(t,
		`{"success":true,"sent_to":[],"not_sent_to":[104]}`)
	w.form("tracker/chat/broadcast", "trackers", "102,104,101,102", "message", "x\r\ny").is(t,
		`{"success":true,"sent_to":[102,101],"not_sent_to":[104]}`)
	if ms := w.stored(101); len(ms) != 1 || ms[0].Text != "x\ny" || ms[0].Employee != 7 {
		t.Errorf("stored %+v", ms)
	}
	if ms := w.stored(102); len(ms) != 1 || ms[0].Employee != 0 {
		t.Errorf("stored %+v", ms)
	}
	for _, id := range []int{unknown, foreign, 0, -1, blocked, blockedMute, cheap, cheapMute} {
		w.form("tracker/chat/broadcast", "trackers", "1001,"+itoa(id), "message", "x").refused(t,
			217)
		w.form("tracker/chat/updated/list", "trackers", "1001,"+itoa(id)).refused(t, 217)
		w.form("tracker/chat/last/list", "trackers", "1001,"+itoa(id)).refused(t, 217)
		w.form("tracker/chat/broadcast", "trackers", "1001,"+itoa(id)).invalid(t, "message")
	}
	if n := len(w.stored(1001)); n != 0 {
		t.Errorf("%d stored by refused broadcasts", n)
	}
	bulk := make([]int64, 0, 301)
	for id := int64(bulkFirst); len(bulk) < 301; id++ {
		bulk = append(bulk, id)
	}
	w.json("tracker/chat/broadcast", `"trackers":`+jsonText(bulk[:300])+`,"message":"x"`).is(t,
		`{"success":true,"sent_to":`+jsonText(bulk[:300])+`,"not_sent_to":[]}`)
	w.json("tracker/chat/broadcast", `"trackers":`+jsonText(append(bulk[:300:300],
		bulk[:300]...))+`,"message":"y"`).is(t,
		`{"success":true,"sent_to":`+jsonText(bulk[:300])+`,"not_sent_to":[]}`)
	w.json("tracker/chat/broadcast", `"trackers":`+jsonText(bulk)+`,"message":"x"`).refused(t, 221)
	bulk[5] = unknown
	w.json("tracker/chat/broadcast", `"trackers":`+jsonText(bulk)+`,"message":"x"`).refused(t, 221)
	w.json("tracker/chat/broadcast", `"trackers":`+jsonText(bulk)).invalid(t, "message")
	for _, op := range []string{"tracker/chat/updated/list", "tracker/chat/last/list"} {
		w.json(op, `"trackers":`+jsonText(bulk)).refused(t, 221)
		w.json(op, `"trackers":`+jsonText(bulk[:300])).refused(t, 217)
	}
	if n := len(w.stored(1001)); n != 2 {
		t.Errorf("%d stored", n)
	}
}

// While memory is short nothing new is accepted; everything else is answered.
func TestMemoryShort(t *testing.T) {
	var short atomic.Bool
	w := newWorld(t, func(o *api.Options) { o.Full = short.Load })
	expect := func(want, op string, pairs ...string) {
		t.Helper()
		if got := w.form("tracker/chat/"+op, pairs...).body; !strings.Contains(got, want) {
			t.Errorf("%s %q: %s, want %s", op, pairs, got, want)
		}
	}
	short.Store(true)
	expect(`"code":8,`, "send", "tracker_id", "101", "message", "text")
	expect(`"code":8,`, "broadcast", "trackers", "[101,102]", "message", "text")
	expect(`"code":201,`, "send", "tracker_id", "999", "message", "text")
	expect(`"list":[]`, "list", "tracker_id", "101")
	short.Store(false)
	expect(`"success":true`, "send", "tracker_id", "101", "message", "text")
}

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
