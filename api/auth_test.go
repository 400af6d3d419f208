package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
)

const unreadPath = "/v2/tracker/chat/unread/count"

func TestHashPlaces(t *testing.T) {
	w := newWorld(t)
	const ok, bad = `{"success":true,"value":{}}`, "12"
	form := func(body, query string, header ...string) answer {
		t.Helper()
		return w.do(http.MethodPost, unreadPath+"?"+query, body, append(header, "Content-Type",
			formType)...)
	}
	// The first place that has one decides.
	form("hash="+berlinKey, "hash="+bad, "Authorization", "NVX "+bad).is(t, ok)
	form("hash="+bad, "hash="+berlinKey, "Authorization", "NVX "+berlinKey).refused(t, 3)
	form("session_key="+berlinKey, "hash="+bad).is(t, ok)
	form("session_key="+bad+"&hash="+berlinKey, "").is(t, ok)
	form("", "hash="+berlinKey, "Authorization", "NVX "+bad).is(t, ok)
	form("", "session_key="+berlinKey, "Authorization", "NVX "+bad).is(t, ok)
	form("", "session_key="+bad, "Authorization", "NVX "+berlinKey).refused(t, 3)
	form("", "", "Authorization", "NVX "+strings.ToUpper(berlinKey)).is(t, ok)
	form("hash=null", "session_key=undefined", "Authorization", "NVX "+berlinKey).is(t, ok)
	w.do(http.MethodPost, unreadPath+"?hash="+berlinKey, `{"hash":null}`).is(t, ok)

	for _, header := range []string{
		"", "NVX", "NVX ", berlinKey, "NVX  " + berlinKey, "NVX\t" + berlinKey, "nvx " + berlinKey,
		"Bearer " + berlinKey, "NVX " + berlinKey + "0", "NVX " + berlinKey[1:],
		"NVX " + berlinKey + " x", "NVX g" + berlinKey[1:], "NVX" + berlinKey,
	} {
		form("", "", "Authorization", header).refused(t, 3)
	}
	for _, body := range []string{
		`{}`, `{"hash":12345678901234567890123456789012}`, `{"hash":""}`,
		`{"hash":["` + berlinKey + `"]}`, `{"hash":" ` + berlinKey + `"}`, `{"hash":true}`,
	} {
		a := w.do(http.MethodPost, unreadPath, body, "Content-Type", "application/json")
		if strings.Contains(body, "1234") {
			a.refused(t, 4) // a number of 32 digits is 32 hex characters
			continue
		}
		a.refused(t, 3)
	}
	form("hash="+unknownKey, "").refused(t, 4)
	form("hash="+unknownKey, "hash="+berlinKey).refused(t, 4)
	form("", "", "Authorization", "NVX "+unknownKey).refused(t, 4)

	// A revoked key is unknown from then on.
	w.dir.Replace(queue.NewSnapshot(nil, trackers()))
	form("hash="+berlinKey, "").refused(t, 4)
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.RateLimit = 3 })
	const ok = `{"success":true,"value":{}}`
	for range 3 {
		w.formAs(berlinKey, "tracker/chat/unread/count").is(t, ok)
	}
	a := w.formAs(strings.ToUpper(berlinKey), "tracker/chat/unread/count")
	a.refused(t, 15)
	if got := a.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q", got)
	}
	w.formAs(uralKey, "tracker/chat/unread/count").is(t, ok)
	w.formAs(unknownKey, "tracker/chat/unread/count").refused(t, 4)
	w.clock.Add(334)
	w.formAs(berlinKey, "tracker/chat/unread/count").is(t, ok)
	w.formAs(berlinKey, "tracker/chat/unread/count").refused(t, 15)
	w.clock.Add(time.Hour.Milliseconds())
	for range 3 {
		w.formAs(berlinKey, "tracker/chat/unread/count").is(t, ok)
	}
	w.formAs(berlinKey, "tracker/chat/unread/count").refused(t, 15)

	slow := newWorld(t, func(o *api.Options) { o.RateLimit = 0.1 })
	slow.form("tracker/chat/unread/count").is(t, ok)
	a = slow.form("tracker/chat/unread/count")
	a.refused(t, 15)
	if got := a.header.Get("Retry-After"); got != "10" {
		t.Errorf("Retry-After %q", got)
	}

	off := newWorld(t)
	for range 200 {
		off.form("tracker/chat/unread/count").is(t, ok)
	}
}

// TestManyKeys has more keys than the API remembers at a time. Forgetting one gives its owner a
// token too many and refuses nobody.
func TestManyKeys(t *testing.T) {
	const keys, remembered = 66_000, 65_536
	account := queue.Account{ID: 1, Keys: make([]queue.Key, keys)}
	for i := range account.Keys {
		account.Keys[i].Hash = queue.HashKey(fmt.Sprintf("%032x", i))
	}
	now := time.Unix(1e9, 0)
	o := api.Options{
		Directory: new(queue.Directory), Now: func() time.Time { return now },
		RateLimit: 1,
	}
	o.Directory.Replace(queue.NewSnapshot([]queue.Account{account}, nil))
	h := api.New(o)
	round := func(keys int) (limited int) {
		for i := range keys {
			switch rec := record(h, http.MethodGet, unreadPath+"?hash="+fmt.Sprintf("%032x",
				i)); rec.Code {
			case http.StatusTooManyRequests:
				limited++
			case http.StatusPaymentRequired: // there are no trackers
			default:
				t.Fatalf("key %d: %d %s", i, rec.Code, rec.Body)
			}
		}
		return limited
	}
	if n := round(keys); n != 0 {
		t.Errorf("%d keys limited at their first request", n)
	}
	if n := round(keys); n > remembered || n < remembered/2 {
		t.Errorf("%d keys remembered", n)
	}
	now = now.Add(time.Hour)
	if n := round(1000); n != 0 {
		t.Errorf("%d keys limited an hour later", n)
	}
}

func TestCORS(t *testing.T) {
	const headers = "Content-Type, Authorization, NVX-ISO-DateTime, Last-Event-ID, Idempotency-Key, X-Requested-With"
	w := newWorld(t)
	for _, path := range []string{"/", "/v2/tracker/chat/send", "/api-v2/nothing/", "/console/x"} {
		a := w.do(http.MethodOptions, path, "", "Origin", "https://a.example",
			"Access-Control-Request-Method", "POST")
		a.is(t, `{"success":true}`)
		if a.header.Get("Access-Control-Allow-Origin") != "*" ||
			a.header.Get("Access-Control-Allow-Headers") != headers {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	for _, a := range []answer{
		w.do(http.MethodGet, "/nothing", ""), w.form("tracker/chat/send"),
		w.form("tracker/chat/unread/count"), w.do(http.MethodPut, "/tracker/list", ""),
	} {
		if a.header.Get("Access-Control-Allow-Origin") != "*" ||
			a.header.Get("Access-Control-Allow-Headers") != headers {
			t.Errorf("%s: %v", a.body, a.header)
		}
	}
}

// TestCORSAllowsWhatIsAskedFor: libraries send headers of their own, which are harmless.
func TestCORSAllowsWhatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	ask := func(names string) string {
		return w.do(http.MethodOptions, "/v2/tracker/list", "", "Origin", "https://a.example",
			"Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", names).header.Get("Access-Control-Allow-Headers")
	}
	if got := ask("traceparent,x-app-version"); !strings.HasSuffix(got,
		", X-Requested-With, traceparent,x-app-version") {
		t.Errorf("allowed %q", got)
	}
	if got := ask(strings.Repeat("x", 5000)); !strings.HasSuffix(got, ", X-Requested-With") {
		t.Errorf("allowed %.300q", got)
	}
}

func TestCORSOrigins(t *testing.T) {
	o := api.Options{
		Now: time.Now, Directory: new(queue.Directory),
		CORSOrigins: []string{"https://a.example"},
	}
	for origin, want := range map[string]string{
		"https://a.example": "https://a.example",
		"https://b.example": "", "": "",
	} {
		for _, method := range []string{http.MethodOptions, http.MethodGet} {
			h := record(api.New(o), method, "/nothing", "Origin", origin).Header()
			if h.Get("Access-Control-Allow-Origin") != want ||
				strings.Join(h["Vary"], ", ") != "Accept-Encoding, Origin" ||
				(h.Get("Access-Control-Allow-Methods") != "") != (want != "") {
				t.Errorf("%s from %q: %v", method, origin, h)
			}
		}
	}
	o.CORSOrigins = []string{}
	if h := record(api.New(o), http.MethodGet, "/nothing", "Origin", "https://a.example").Header(); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("none allowed: %v", h)
	}
}
