package api_test

import (
	"net/http"
	"net/url"
	"strings"
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
			ms, err := w.store.Get(t.Context(), []queue.Ref{{Tracker: 1001, ID: id}})
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
	w.json("tracker/chat/updated/list", `"trackers":`+jsonText(bulk)).refused(t, 221)
	w.json("tracker/chat/updated/list", `"trackers":`+jsonText(bulk[:300])).refused(t, 217)
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
