package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"trackchat/queue"
)

// TestObjects sends texts in JSON objects of every shape.
func TestObjects(t *testing.T) {
	w := newWorld(t)
	post := func(object string) answer {
		t.Helper()
		return w.do(http.MethodPost, "/v2/tracker/chat/send", object, "Content-Type",
			"application/json")
	}
	head := `"hash":"` + berlinKey + `","tracker_id":101,`
	for object, want := range map[string]string{
		`{` + head + `"message":"a","message":"b"}`:          "b",
		`{` + head + `"mess\u0061ge":"escaped"}`:             "escaped",
		`{` + head + `"message[]":"list"}`:                   "list",
		`{` + head + `"message[]":"list","message":"plain"}`: "plain",
		`{` + head + `"message":"plain","message[]":"list"}`: "plain",
		`{` + head + `"message":17}`:                         "17",
		`{` + head + `"message":true , "x":null}`:            "true",
		" \r\n{\t\"message\" :\n\"space\" ,\r" + head +
			"\"x\" : [ ] }\n ": "space",
		`{"x":{"message":[1,"}]\"\\",{"message":"no"}]},` + head +
			`"message":"beside"}`: "beside",
		`{` + head + `"message":"last","x":[[],{},[{"y":"z"}]],"":0,"é\ud800":-1.5e3}`: "last",
		`{"message":"first",` + strings.Repeat(`"x":1,`, 20_000) + head +
			`"session_key":"" }`: "first",
	} {
		id := post(object).id(t)
		ms, err := w.store.Find(t.Context(), []int64{id})
		if err != nil || ms[0].Text != want {
			t.Errorf("%.200s: stored as %q, want %q (%v)", object, ms[0].Text, want, err)
		}
	}
	post(`{}`).refused(t, 3)
	post(` { } `).refused(t, 3)
	for _, broken := range []string{
		`{`, `{"a"}`, `{"a":1,}`, `{"a":1}}`, `{"a":1}{`, `{a:1}`,
		`{"a":01}`, `{"a":"` + "\n" + `"}`, `{"a":"\x"}`, `{"a":[}`, `[]`, `"a"`, `{"a":tru}`,
	} {
		post(broken).refused(t, 5)
	}
	var many strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&many, `"x%d":0,`, i)
	}
	post(`{`+many.String()+head+`"message":"too many names"}`).refused(t, 9)
}

// TestBodiesDoNotMix has many clients send at the same time: each text arrives at its own tracker,
// whole.
func TestBodiesDoNotMix(t *testing.T) {
	w := newWorld(t)
	const clients, each = 16, 20
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				text := strings.Repeat(fmt.Sprintf("%c%d ", 'a'+c, i), 1+(c*37+i*101)%900)
				w.json("tracker/chat/send",
					fmt.Sprintf(`"tracker_id":%d,"message":%q,"choices":["%c","no"]`, bulkFirst+c,
						text, 'a'+c)).id(t)
			}
		})
	}
	wg.Wait()
	for c := range clients {
		ms := w.stored(queue.TrackerID(bulkFirst + c))
		if len(ms) != each {
			t.Fatalf("client %d: %d texts", c, len(ms))
		}
		for i := range ms {
			if text := strings.Repeat(fmt.Sprintf("%c%d ", 'a'+c, i),
				1+(c*37+i*101)%900); ms[i].Text != text || ms[i].Choices[0] != string(rune('a'+c)) {
				t.Fatalf("client %d: %.50q %q, want %.50q", c, ms[i].Text, ms[i].Choices, text)
			}
		}
	}
}

// TestWholeAnswers compares answers with all their headers, short and long ones.
func TestWholeAnswers(t *testing.T) {
	w := newWorld(t)
	for range 40 {
		w.send(plain, strings.Repeat("x", 100))
	}
	const common = "Access-Control-Allow-Headers: Content-Type, Authorization, NVX-ISO-DateTime, Last-Event-ID, Idempotency-Key, X-Requested-With\n" +
		"Access-Control-Allow-Methods: GET, POST, OPTIONS\nAccess-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: Retry-After, X-Request-Id\n"
	rest := func(length int, more string) string {
		return fmt.Sprintf("Cache-Control: no-store\nContent-Length: %d\nContent-Type: application/json; charset=utf-8\n%sVary: Accept-Encoding\nX-Content-Type-Options: nosniff\nX-Request-Id: mine\n", length, more)
	}
	for _, c := range []struct{ method, target, want string }{
		{http.MethodPost, "tracker/chat/unread/count?hash=" + berlinKey, "200\n" + common +
			rest(27, "") + `{"success":true,"value":{}}`},
		{http.MethodGet, "tracker/chat/nothing", "400\n" + common + rest(68, "") +
			`{"success":false,"status":{"code":112,"description":"Wrong method"}}`},
		{http.MethodOptions, "tracker/chat/send", "200\n" + common +
			"Access-Control-Max-Age: 600\n" + rest(16, "") + `{"success":true}`},
		{http.MethodHead, "tracker/chat/list", "400\n" + common + rest(68, "")},
	} {
		a := w.do(c.method, "/v2/"+c.target, "", "X-Request-Id", "mine")
		a.header.Del("Date")
		var got strings.Builder
		fmt.Fprintln(&got, a.status)
		if err := a.header.Write(&got); err != nil {
			t.Fatal(err)
		}
		if text := strings.ReplaceAll(got.String(), "\r", "") + a.body; text != c.want {
			t.Errorf("%s %s\ngot  %s\nwant %s", c.method, c.target, text, c.want)
		}
	}
	long := w.do(http.MethodGet, "/v2/tracker/chat/list?tracker_id=101&hash="+berlinKey, "",
		"Accept-Encoding", "identity")
	if n := len(long.list(t)); n != 40 || len(long.body) < 4096 ||
		long.header.Get("Content-Length") != itoa(len(long.body)) {
		t.Errorf("%d messages in %d bytes, length %q", n, len(long.body),
			long.header.Get("Content-Length"))
	}
}

// shaped posts a form whose names are not changed.
func (w *world) shaped(op, form string) answer {
	w.tb.Helper()
	return w.do(http.MethodPost, "/v2/"+op, "hash="+berlinKey+"&"+form, "Content-Type", formType)
}

// TestNoListIsReadAsAbsent: a list that is given in a shape that means nothing is refused by every
// operation that takes one, in a form, a query and JSON; nothing is sent, marked or listed.
func TestNoListIsReadAsAbsent(t *testing.T) {
	w := newWorld(t)
	in := w.receive(101, "unread")
	for op, lists := range map[string]struct{ name, rest, members string }{
		"tracker/chat/broadcast":     {"trackers", "&message=x", `,"message":"x"`},
		"tracker/chat/mark_read_all": {"trackers", "", ""},
		"tracker/chat/updated/list":  {"trackers", "", ""},
		"tracker/chat/last/list":     {"trackers", "", ""},
		"tracker/chat/mark_read": {"message_ids", "&message_id=" + itoa(in), `,"message_id":` +
			itoa(in)},
		"tracker/chat/send": {
			"choices", "&tracker_id=101&message=x",
			`,"tracker_id":101,"message":"x"`,
		},
		"tracker/list": {"labels", "", ""},
	} {
		n := lists.name
		for _, form := range []string{
			n + "[a]=101", n + "[0][id]=101", n + "[0][]=101", n + "[-1]=101", n + "[0=101", n +
				"[ 0]=101", n + ".0=101", n + "[]x=101", n + "]=101&" + n + "[=101",
			n + "[18446744073709551616]=101", n + "[0]=", n + "=101&" + n + "[a]=102", n +
				"[0]=101&" + n + "[1]=",
		} {
			w.shaped(op, form+lists.rest).invalid(t, n)
			w.do(http.MethodGet, "/v2/"+op+"?hash="+berlinKey+"&"+strings.ReplaceAll(
				form+lists.rest, " ", "%20"), "").invalid(t, n)
		}
		for _, members := range []string{
			`"` + n + `":{"0":101}`, `"` + n + `":{}`, `"` + n + `[a]":101`, `"` + n +
				`[0]":{"id":101}`, `"` + n + `[]":{"0":101}`, `"` + n + `.0":101`,
			`"` + n + `":[[101]]`, `"` + n + `":[{"id":101}]`, `"` + n + `":true`, `"` + n +
				`[0]":null`, `"` + n + `":"{\"0\":101}x,"`,
		} {
			if strings.HasSuffix(members, `true`) && (n == "labels" || n == "choices") {
				continue // a text
			}
			if strings.Contains(members, `x,"`) && n == "labels" {
				continue // two texts
			}
			w.json(op, members+lists.members).invalid(t, n)
		}
	}
	if ms := w.stored(101); len(ms) != 1 || ms[0].UpdateMs != 0 {
		t.Errorf("stored %+v", ms)
	}
	// The same for what is no list: silently without its time limit a text would wait for ever.
	for _, name := range []string{"ttl", "reply_to", "strict", "urgent", "idempotency_key"} {
		w.shaped("tracker/chat/send", "tracker_id=101&message=x&"+name+"[0]=1").invalid(t, name)
		w.json("tracker/chat/send", `"tracker_id":101,"message":"x","`+name+`[a]":1`).invalid(t,
			name)
	}
	w.shaped("tracker/chat/unread/count", "other[a]=1&x.y=2&[=3&]=4&.=5&[0]=6").is(t,
		`{"success":true,"value":{"101":1}}`)
	// An empty list touches nothing, as ever.
	for _, form := range []string{"trackers=", "trackers[]=", "trackers=[]"} {
		w.shaped("tracker/chat/mark_read_all", form).is(t, `{"success":true}`)
	}
	w.shaped("tracker/chat/mark_read_all", "trackers[0]=102").is(t, `{"success":true}`)
	w.form("tracker/chat/unread/count").is(t, `{"success":true,"value":{"101":1}}`)
	w.shaped("tracker/chat/mark_read_all", "trackers[4]=101").is(t, `{"success":true}`)
	w.form("tracker/chat/unread/count").is(t, `{"success":true,"value":{}}`)
}

// TestElementsAreWhole: what is given as an element is not cut at its commas.
func TestElementsAreWhole(t *testing.T) {
	w := newWorld(t)
	for form, want := range map[string][]string{
		"choices[1]=No&choices[0]=Yes,+sir": {"Yes, sir", "No"},
		"choices[]=Yes,+sir":                {"Yes, sir"},
		"choices[0]=[x]":                    {"[x]"},
		"choices=Yes,No":                    {"Yes", "No"},
		"choices=":                          nil,
	} {
		id := w.shaped("tracker/chat/send", "tracker_id=101&message=x&"+form).id(t)
		ms := w.stored(101)
		if m := ms[len(ms)-1]; m.ID != id || !slices.Equal(m.Choices, want) {
			t.Errorf("%s: %+v", form, m)
		}
	}
	if got := w.shaped("tracker/list", "labels[0]=truck+2").body; strings.Count(got,
		`"label"`) != 1 {
		t.Errorf("listed %.300s", got)
	}
}
