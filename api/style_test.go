package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/queue"
)

// style is a way to write the parameters of a request: ints, strings and int slices.
type style struct {
	name  string
	write func(p map[string]any) (method, query, contentType, body string)
}

func jsonBody(p map[string]any) string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func spell(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []int64:
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(v), " ", ","), "[]")
	default:
		return fmt.Sprint(v)
	}
}

func pairs(p map[string]any) url.Values {
	v := url.Values{}
	for name, x := range p {
		v.Set(name, spell(x))
	}
	return v
}

// stringly makes every number a string and every list a string that holds JSON.
func stringly(p map[string]any) map[string]any {
	q := map[string]any{}
	for name, x := range p {
		if ids, ok := x.([]int64); ok {
			q[name] = jsonText(ids)
		} else {
			q[name] = spell(x)
		}
	}
	return q
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func multipartBody(p map[string]any) (contentType, body string) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if err := m.WriteField(name, spell(p[name])); err != nil {
			panic(err)
		}
	}
	if err := m.Close(); err != nil {
		panic(err)
	}
	return m.FormDataContentType(), b.String()
}

const formType = "application/x-www-form-urlencoded"

func styles() []style {
	post := func(contentType string, body func(map[string]any) string) func(map[string]any) (string,
		string, string, string) {
		return func(p map[string]any) (string, string, string, string) {
			return http.MethodPost, "", contentType, body(p)
		}
	}
	return []style{
		{"json", post("application/json", jsonBody)},
		{"json with charset", post("Application/JSON; charset=UTF-8", jsonBody)},
		{"json of strings", post("application/json",
			func(p map[string]any) string { return jsonBody(stringly(p)) })},
		{"json called a form", post(formType, jsonBody)},
		{"json called nothing", post("", jsonBody)},
		{"json called text", post("text/plain", jsonBody)},
		{"form", post(formType, func(p map[string]any) string { return pairs(p).Encode() })},
		{
			"form called nothing",
			post("", func(p map[string]any) string { return pairs(p).Encode() }),
		},
		{"multipart", func(p map[string]any) (string, string, string, string) {
			contentType, body := multipartBody(p)
			return http.MethodPost, "", contentType, body
		}},
		{"query", func(p map[string]any) (string, string, string, string) {
			return http.MethodGet, pairs(p).Encode(), "", ""
		}},
		{"query with a json type", func(p map[string]any) (string, string, string, string) {
			return http.MethodGet, pairs(p).Encode(), "application/json", ""
		}},
		{"query of an empty post", func(p map[string]any) (string, string, string, string) {
			return http.MethodPost, pairs(p).Encode(), "application/json", ""
		}},
		{"body and query", func(p map[string]any) (string, string, string, string) {
			body, query := map[string]any{}, map[string]any{}
			for i, name := range slices.Sorted(maps.Keys(p)) {
				[]map[string]any{body, query}[i%2][name] = p[name]
			}
			for name := range body {
				query[name] = "overridden"
			}
			return http.MethodPost, pairs(query).Encode(), "application/json", jsonBody(body)
		}},
	}
}

// auths put the hash somewhere: into the parameters or the header.
func auths() map[string]func(p map[string]any) (header string) {
	return map[string]func(map[string]any) string{
		"hash": func(p map[string]any) string { p["hash"] = berlinKey; return "" },
		"session_key": func(p map[string]any) string {
			p["session_key"] = strings.ToUpper(
				berlinKey)
			return ""
		},
		"header": func(map[string]any) string { return "NVX " + berlinKey },
	}
}

func TestEveryOperationInEveryStyle(t *testing.T) {
	w := newWorld(t)
	listed := w.send(1001, "listed")
	w.receive(1002, "unread")
	marked := w.receive(1003, "marked")
	calls := map[string]struct {
		params map[string]any
		want   string
	}{
		"tracker/chat/list": {
			map[string]any{
				"tracker_id": 1001, "limit": 5, "ascending": false,
				"from": "2016-02-01 00:00:00",
			},
			`{"success":true,"list":[{"id":` + itoa(listed) +
				`,"submit_time":"2016-02-29 11:00:00","update_time":null,"text":"listed","type":"OUTGOING","status":"PENDING","employee_id":null}]}`,
		},
		"tracker/chat/send": {map[string]any{
			"tracker_id": 101,
			"message":    "a=b&c;d+e%20 ä😀\n[1]", "strict": false,
		}, `{"success":true,"id":*}`},
		"tracker/chat/capabilities": {
			map[string]any{"tracker_id": 101},
			`{"success":true,"value":{"protocol":"jt808",*,"online":false}}`,
		},
		"tracker/chat/broadcast": {
			map[string]any{
				"trackers": []int64{102, mute, 1004},
				"message":  "hi", "strict": true,
			},
			`{"success":true,"sent_to":[102,1004],"not_sent_to":[104]}`,
		},
		"tracker/chat/mark_read": {map[string]any{
			"message_id":  marked,
			"message_ids": []int64{marked},
		}, `{"success":true}`},
		"tracker/chat/mark_read_all": {
			map[string]any{"trackers": []int64{1003, 1005}},
			`{"success":true}`,
		},
		"tracker/chat/updated/list": {map[string]any{
			"trackers":     []int64{1005, 1001},
			"iso_datetime": true,
		}, `{"success":true,"value":{"1001":"2016-02-29T11:00:00+01:00"}}`},
		"tracker/chat/last/list": {map[string]any{
			"trackers":     []int64{1005, 1001},
			"iso_datetime": true,
		}, `{"success":true,"value":{"1001":{"id":` + itoa(listed) +
			`,"submit_time":"2016-02-29T11:00:00+01:00",*}}}`},
		"tracker/chat/unread/count": {map[string]any{}, `{"success":true,"value":{"1002":1*}}`},
		"tracker/list": {
			map[string]any{},
			`{"success":true,"list":[{"id":101,*,"clone":false,"online":false,"last_seen":null}]}`,
		},
		"tracker/read": {
			map[string]any{"tracker_id": 102},
			`{"success":true,"value":{"id":102,*}}`,
		},
		"tracker/get_state": {
			map[string]any{"tracker_id": 102},
			`{"success":true,"user_time":"2016-02-29 11:00:00","state":{"source_id":102,*}}`,
		},
		"tracker/get_states": {
			map[string]any{
				"trackers":        []int64{102, 9},
				"allow_not_exist": true,
			},
			`{"success":true,"user_time":"2016-02-29 11:00:00","states":{"102":{*}},"not_exist":[9]}`,
		},
		"tracker/group/list": {map[string]any{}, `{"success":true,"list":[]}`},
		"employee/list": {
			map[string]any{},
			`{"success":true,"list":[{"id":7,"tracker_id":101,*}]}`,
		},
	}
	sent := 0
	for op, c := range calls {
		begin, end, _ := strings.Cut(c.want, "*") // a star stands for anything
		for _, s := range styles() {
			for where, auth := range auths() {
				for _, prefix := range []string{"/v2/", "/api-v2/", "/"} {
					for _, slash := range []string{"", "/"} {
						p := maps.Clone(c.params)
						header := auth(p)
						method, query, contentType, body := s.write(p)
						a := w.do(method, prefix+op+slash+"?"+query, body, "Content-Type",
							contentType, "Authorization", header)
						if a.status != http.StatusOK || !strings.HasPrefix(a.body, begin) ||
							!strings.HasSuffix(a.body, end) || end == "" && a.body != begin {
							t.Fatalf("%s%s%s as %s, %s: %d %s", prefix, op, slash, s.name, where,
								a.status, a.body)
						}
						sent++
					}
				}
			}
		}
	}
	if want := len(calls) * len(styles()) * len(auths()) * 3 * 2; sent != want {
		t.Errorf("%d calls, want %d", sent, want)
	}
	stored := w.stored(plain)
	if n := len(styles()) * len(auths()) * 6; len(stored) != n {
		t.Errorf("%d messages, want %d", len(stored), n)
	}
	for _, m := range stored {
		if m.Text != "a=b&c;d+e%20 ä😀\n[1]" || m.Employee != 7 {
			t.Fatalf("stored %+v", m)
		}
	}
}

func TestListSpellings(t *testing.T) {
	w := newWorld(t)
	const want = `{"success":true,"sent_to":[1002,101,1001],"not_sent_to":[]}`
	key := "hash=" + berlinKey + "&message=hi&"
	for _, list := range []string{
		"trackers=1002&trackers=101&trackers=1001",
		"trackers[]=1002&trackers[]=101&trackers[]=1001",
		"trackers%5B%5D=1002&trackers%5B%5D=101&trackers=1001",
		"trackers=1002,101,1001",
		"trackers=1002%2C+101%2C1001",
		"trackers=[1002,101,1001]",
		`trackers=["1002",+"101",1001]`,
		"trackers=[1002,101]&trackers=1001,101",
		"trackers[0]=1002&trackers[1]=101&trackers[2]=1001",
		"trackers[7]=1001&trackers[0]=1002.0&trackers%5B3%5D=101&trackers[9]=1002",
		"trackers[]=&trackers[]=1002&trackers[]=101&trackers[]=1001",
		"trackers=1002,101,1002,1001,101",
	} {
		w.do(http.MethodPost, "/tracker/chat/broadcast", key+list, "Content-Type", formType).is(t,
			want)
		w.do(http.MethodGet, "/tracker/chat/broadcast?"+strings.NewReplacer(`"`, "%22", " ",
			"+").Replace(key+list), "").is(t, want)
	}
	for _, list := range []string{
		`"trackers":[1002,101,1001]`, `"trackers":["1002","101","1001"]`,
		`"trackers":"[1002, 101, 1001]"`, `"trackers":"[\"1002\",\"101\",\"1001\"]"`,
		`"trackers":"1002,101,1001"`, `"trackers":" 1002 , 101 , 1001 "`,
		`"trackers":[1002,"101", 1001 ,101]`, `"trackers[]":[1002,101,1001]`,
		`"trackers[2]":1001,"trackers[0]":"1002","trackers[1]":101`,
		`"trackers":[1002.0,"101.0",1001]`,
		`"trackers":[5],"trackers":[1002,101,1001]`, `"trackers[]":[5],"trackers":[1002,101,1001]`,
	} {
		w.json("tracker/chat/broadcast", list+`,"message":"hi"`).is(t, want)
	}
	for range 20 { // the order in which members are looked at varies
		w.json("tracker/chat/broadcast",
			`"trackers":[1002,101,1001],"message":"hi","trackers[]":[5]`).is(t, want)
	}
	w.json("tracker/chat/broadcast", `"trackers":101,"message":"hi"`).is(t,
		`{"success":true,"sent_to":[101],"not_sent_to":[]}`)
	for _, list := range []string{
		`[1.5]`, `[1e3]`, `[null]`, `[true]`, `[[1]]`, `{"1":1}`, `"[1,]"`, `"[1"`, `"1,"`, `"x"`,
		`["1,2"]`, `[9223372036854775808]`, `true`, `[""]`, `"\ud800"`, `1.5`,
	} {
		w.json("tracker/chat/broadcast", `"trackers":`+list+`,"message":"hi"`).invalid(t,
			"trackers")
	}
	for _, empty := range []string{`[]`, `""`, `"[]"`, `" "`, `"[ ]"`} {
		w.json("tracker/chat/broadcast", `"trackers":`+empty+`,"message":"hi"`).invalid(t,
			"trackers")
	}
	for _, absent := range []string{`null`, `"null"`, `"undefined"`} {
		w.json("tracker/chat/broadcast", `"trackers":`+absent+`,"message":"hi"`).invalid(t,
			"trackers")
	}
}

func TestScalars(t *testing.T) {
	w := newWorld(t)
	id := w.send(101, "x")
	found := func(a answer) {
		t.Helper()
		if ms := a.list(t); len(ms) != 1 || ms[0].ID != id {
			t.Errorf("got %v", ms)
		}
	}
	for _, members := range []string{
		`"tracker_id":101`, `"tracker_id":"101"`, `"tracker_id":" 101 "`,
		`"tracker_id":5,"tracker_id":101`, `"tracker_id":101,"unknown":{"deep":[1,{"a":null}]}`,
		`"tracker_id":101,"from":null,"to":null,"limit":null,"ascending":null,"iso_datetime":null`,
		`"tracker_id":101,"from":"null","to":"undefined","limit":"null","ascending":"undefined","iso_datetime":"null"`,
		`"tracker_id":101,"from":"","to":"","limit":"","ascending":"","iso_datetime":"","detail":"","after_id":""`, `"tracker_id":101.0`, `"tracker_id":"101.000"`,
		`"tracker_id":101,"limit":"1","ascending":"TRUE"`, `"tracker_id":101,"ascending":1`,
		`"tracker_id":101,"ascending":"0"`, `"tracker_id":101,"ascending":false`,
	} {
		found(w.json("tracker/chat/list", members))
	}
	found(w.do(http.MethodGet,
		"/tracker/chat/list?tracker_id=101&tracker_id=5&from=null&to=undefined&limit=undefined&hash="+berlinKey, ""))
	found(w.do(http.MethodGet,
		"/tracker/chat/list?tracker_id=101.0&from=&to=&limit=&ascending=&hash="+berlinKey, ""))
	found(w.do(http.MethodPost, "/tracker/chat/list",
		"\ufeff {\"tracker_id\":101,\"hash\":\""+berlinKey+"\"}", "Content-Type",
		"application/json"))
	found(w.do(http.MethodPost, "/tracker/chat/list", "\ufefftracker_id=101&hash="+berlinKey,
		"Content-Type", formType))
	found(w.do(http.MethodGet, "/tracker/chat/list?tracker_id=101&hash=", "", "Authorization",
		"NVX "+berlinKey))
	found(w.do(http.MethodGet, "/tracker/chat/list?&&tracker_id=101&hash="+berlinKey+"&", ""))
	found(w.do(http.MethodPost, "/tracker/chat/list?tracker_id=101",
		`{"tracker_id":null,"hash":"`+berlinKey+`"}`))
	found(w.do(http.MethodPost, "/tracker/chat/list?tracker_id=5",
		`{"tracker_id":101,"hash":"`+berlinKey+`"}`))
	found(w.do(http.MethodGet, "/tracker/chat/list", `{"tracker_id":101,"hash":"`+berlinKey+`"}`,
		"Content-Type", "application/json"))
	for _, id := range []string{
		`101.5`, `"101."`, `".0"`, `"101.0.0"`, `101.00000000000000001`,
		`1e2`, `"0x65"`, `"1_01"`, `true`, `[101]`, `{}`, `""`, `"abc"`, `9223372036854775808`,
		`-9223372036854775809`, `1e400`,
	} {
		w.json("tracker/chat/list", `"tracker_id":`+id).invalid(t, "tracker_id")
	}
	for _, is := range []string{`2`, `"yes"`, `[true]`, `{}`, `"\ud800"`} {
		w.json("tracker/chat/list", `"tracker_id":101,"ascending":`+is).invalid(t, "ascending")
	}
	for _, id := range []string{
		`9223372036854775807`, `"-9223372036854775808"`,
		`9007199254740993`,
	} {
		w.json("tracker/chat/list", `"tracker_id":`+id).refused(t, 201)
	}
}

// TestInt64 has two trackers whose ids are the same number for a float64.
func TestInt64(t *testing.T) {
	w := newWorld(t)
	const even, odd = 9007199254740992, 9007199254740993
	ts := []queue.Tracker{
		{ID: even, Account: 1, DeviceID: "1", Chat: true, Features: []string{queue.FeatureChat}},
		{ID: odd, Account: 1, DeviceID: "2", Chat: true, Features: []string{queue.FeatureChat}},
	}
	w.dir.Replace(queue.NewSnapshot(accounts(), ts))
	w.json("tracker/chat/send", `"tracker_id":9007199254740993,"message":"odd"`).id(t)
	w.json("tracker/chat/broadcast", `"trackers":[9007199254740993],"message":"odd"`).is(t,
		`{"success":true,"sent_to":[9007199254740993],"not_sent_to":[]}`)
	if len(w.stored(odd)) != 2 || len(w.stored(even)) != 0 {
		t.Errorf("stored %d and %d", len(w.stored(odd)), len(w.stored(even)))
	}
}

func TestWrongFormat(t *testing.T) {
	w := newWorld(t)
	for _, c := range [][2]string{
		{"application/json", `{`},
		{"application/json", `[]`},
		{"application/json", `null`},
		{"application/json", `"x"`},
		{"application/json", `tracker_id=101`},
		{"application/json", `{"a":1} x`},
		{"application/json", `{"a":01}`},
		{"application/json", `{'a':1}`},
		{"application/json", `{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`},
		{"application/json", `{"a":` + strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 71)},
		{"text/plain", `{"a":`},
		{formType, `a=%zz`},
		{formType, `%zz=1`},
		{"text/xml", `<a/>`},
		{"multipart/form-data", "--x\r\n\r\n--x--"},
		{"multipart/form-data; boundary=x", "no part"},
		{
			"multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ncut",
		},
	} {
		w.do(http.MethodPost, "/tracker/chat/list", c[1], "Content-Type", c[0]).refused(t, 5)
	}
	w.do(http.MethodGet, "/tracker/chat/list?a=%zz", "").refused(t, 5)
	w.do(http.MethodPost, "/tracker/chat/list", " \n", "Content-Type", "application/json").refused(
		t, 3)
	w.do(http.MethodPost, "/tracker/chat/list", "", "Content-Type", "multipart/form-data").refused(
		t, 3)
	w.do(http.MethodPost, "/tracker/chat/list", "", "Content-Type", "text/xml").refused(t, 3)
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	w.json("tracker/chat/unread/count", `"a":`+deep+`,"b":"[[[[\"{{{{\\"`).is(t,
		`{"success":true,"value":{}}`)
}

// chunked hides the length of a body.
type chunked struct{ *strings.Reader }

func TestTooLarge(t *testing.T) {
	const limit = 4000
	w := newWorld(t, func(o *api.Options) { o.MaxBody = limit })
	body := func(size int) string {
		b := `{"hash":"` + berlinKey + `","pad":""}`
		return strings.Replace(b, `""`, `"`+strings.Repeat("x", size-len(b))+`"`, 1)
	}
	send := func(b, contentType string, hidden bool) answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			w.url+"/tracker/chat/unread/count", strings.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if hidden {
			req.Body, req.ContentLength, req.GetBody = http.NoBody, -1, nil
			req.Body = nopCloser{chunked{strings.NewReader(b)}}
		}
		req.Header.Set("Content-Type", contentType)
		return w.roundTrip(req)
	}
	for _, hidden := range []bool{false, true} {
		send(body(limit), "application/json", hidden).is(t, `{"success":true,"value":{}}`)
		send(body(limit+1), "application/json", hidden).refused(t, 9)
		send(body(3<<20), "application/json", hidden).refused(t, 9)
		contentType, form := multipartBody(map[string]any{
			"hash": berlinKey,
			"pad":  strings.Repeat("x", limit),
		})
		send(form, contentType, hidden).refused(t, 9)
	}
	send("a="+strings.Repeat("&a=1", limit/4), formType, false).refused(t, 9)

	w = newWorld(t)
	w.form("tracker/chat/unread/count", "pad", strings.Repeat("x", 1<<20)).refused(t, 9)
	w.form("tracker/chat/unread/count", "pad", strings.Repeat("x", 1<<20-100)).is(t,
		`{"success":true,"value":{}}`)
	many := strings.Repeat("&a=1", 10_001)
	w.do(http.MethodPost, "/tracker/chat/unread/count", "hash="+berlinKey+many, "Content-Type",
		formType).refused(t, 9)
	w.do(http.MethodGet, "/tracker/chat/unread/count?hash="+berlinKey+many, "").refused(t, 9)
	var members strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&members, `"n%d":1,`, i)
	}
	w.json("tracker/chat/unread/count", members.String()+`"last":1`).refused(t, 9)
}

type nopCloser struct{ chunked }

func (nopCloser) Close() error { return nil }

func TestMultipartValues(t *testing.T) {
	w := newWorld(t)
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, f := range [][2]string{
		{"hash", berlinKey},
		{"trackers[]", "102"},
		{"trackers[]", "101"},
		{"message", "line 1\r\nline 2"},
	} {
		if err := m.WriteField(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	w.do(http.MethodPost, "/tracker/chat/broadcast", b.String(), "Content-Type",
		m.FormDataContentType()).is(t, `{"success":true,"sent_to":[102,101],"not_sent_to":[]}`)
	if ms := w.stored(102); len(ms) != 1 || ms[0].Text != "line 1\nline 2" {
		t.Errorf("stored %v", ms)
	}
}
