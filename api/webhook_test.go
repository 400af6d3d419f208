package api_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/api/admin"
	"trackchat/api/live"
	"trackchat/queue"
)

const hookSecret = "0123456789abcdef"

// receiver is an account's own server.
type receiver struct {
	tb     testing.TB
	url    string
	answer func(n int, event, text string) int // status of the n-th call

	mu    sync.Mutex // guards what follows
	calls int
	taken map[queue.TrackerID][]string // event and text of those answered with 200, in order
}

func newReceiver(tb testing.TB, answer func(n int, event, text string) int) *receiver {
	tb.Helper()
	r := &receiver{tb: tb, answer: answer, taken: map[queue.TrackerID][]string{}}
	s := httptest.NewServer(r)
	tb.Cleanup(s.Close)
	r.url = s.URL + "/hook?x=1"
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte(req.Header.Get("X-Timestamp") + "." + string(body)))
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); err != nil ||
		req.Method != http.MethodPost || req.Header.Get("X-Signature") != want ||
		req.URL.RawQuery != "x=1" {
		r.tb.Errorf("%s %s signed %q, want %q: %v", req.Method, req.URL,
			req.Header.Get("X-Signature"), want, err)
	}
	var got struct {
		told
		Event string
	}
	if err := json.Unmarshal(body, &got); err != nil {
		r.tb.Errorf("body %s: %v", body, err)
	}
	text := ""
	if got.Message != nil {
		text = got.Message.Text
	}
	r.mu.Lock()
	r.calls++
	status := http.StatusOK
	if r.answer != nil {
		status = r.answer(r.calls, got.Event, text)
	}
	if status == http.StatusOK {
		r.taken[got.TrackerID] = append(r.taken[got.TrackerID], got.Event+" "+text)
	}
	r.mu.Unlock()
	if status/100 == 3 {
		w.Header().Set("Location", r.url)
	}
	w.WriteHeader(status)
}

// wait waits until what was taken of a tracker is as wanted, repetitions apart.
func (r *receiver) wait(t queue.TrackerID, want ...string) {
	r.tb.Helper()
	var got []string
	eventually(func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = firsts(r.taken[t])
		return len(got) >= len(want)
	})
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		r.tb.Fatalf("tracker %d: taken %q, want %q", t, got, want)
	}
}

// firsts leaves repetitions out.
func firsts(list []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func (w *world) hooks(change ...func(*live.WebhookOptions)) *live.Webhooks {
	w.tb.Helper()
	// A clock that goes: pauses and leases end by it.
	o := live.WebhookOptions{
		Feed: w.api.Feed(), Store: w.store, Node: "n-1", AllowPrivate: true,
		Now: time.Now, Registerer: w.reg, Pause: time.Millisecond,
	}
	for _, f := range change {
		f(&o)
	}
	h := live.StartWebhooks(o)
	w.tb.Cleanup(h.Close)
	return h
}

func (w *world) putHook(account queue.AccountID, url string) {
	w.tb.Helper()
	err := w.store.PutWebhook(context.Background(), queue.Webhook{
		Account: account, URL: url,
		Secret: hookSecret, Progress: queue.WebhookProgress{PositionMs: w.clock.Load()},
	})
	if err != nil {
		w.tb.Fatal(err)
	}
}

// TestWebhook delivers through a receiver that fails now and then, in order for each tracker, also
// what happened while nobody delivered.
func TestWebhook(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, func(n int, _, _ string) int {
		if n%3 == 1 {
			return []int{500, 302, 404, 429}[n/3%4]
		}
		return http.StatusOK
	})
	w.putHook(1, r.url)
	id := w.send(101, "before")
	h := w.hooks()
	w.ack(101, id)
	in := w.receive(102, "from the driver")
	w.send(foreign, "another account's")
	r.wait(101, "message before", "delivered before")
	r.wait(102, "message from the driver")
	h.Close()

	w.clock.Add(5000)
	w.form("tracker/chat/mark_read", "message_id", itoa(in))
	w.end(101, w.send(101, "refused"), queue.StatusFailed, queue.ReasonRefused)
	w.acquire(102)
	w.beside().hooks(func(o *live.WebhookOptions) { o.Node = "n-2" })
	r.wait(102, "message from the driver", "read from the driver", "tracker ")
	r.wait(101, "message before", "delivered before", "message refused", "failed refused")
	r.wait(foreign)
}

// TestWebhookSharesNothingBetweenAccounts: neither a dead receiver nor one that never answers holds
// up another account.
func TestWebhookSharesNothingBetweenAccounts(t *testing.T) {
	w := newWorld(t)
	dead := newReceiver(t, func(int, string, string) int { return http.StatusServiceUnavailable })
	hang := make(chan struct{})
	slow := newReceiver(t, func(int, string, string) int { <-hang; return http.StatusOK })
	t.Cleanup(func() { close(hang) })
	good := newReceiver(t, nil)
	w.putHook(1, dead.url)
	w.putHook(5, slow.url)
	w.putHook(2, good.url)
	w.hooks()
	for i := range 20 {
		w.send(queue.TrackerID(bulkFirst+i), "never")
	}
	w.send(501, "hangs")
	w.send(foreign, "arrives")
	good.wait(foreign, "message arrives")
	a := w.state(func(p queue.WebhookProgress) bool { return p.FailingSinceMs != 0 })
	if !strings.Contains(a.LastError, "503") || a.DeliveredMs != 0 {
		t.Errorf("state %+v", a)
	}
}

// TestWebhookPlacesAreSharedByAccount: receivers that do not answer, more than there are places for
// all their calls, hold up neither the first call of another account nor those after it.
func TestWebhookPlacesAreSharedByAccount(t *testing.T) {
	const accountsHanging, trackersEach = 60, 8
	w := newWorld(t)
	hang := make(chan struct{})
	hung := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter,
		*http.Request,
	) {
		<-hang
	}))
	t.Cleanup(hung.Close)
	t.Cleanup(func() { close(hang) })
	as, ts := accounts(), trackers()
	for i := range accountsHanging {
		a := queue.AccountID(100 + i)
		as = append(as, queue.Account{ID: a, Login: itoa(int64(a))})
		for j := range trackersEach {
			id := queue.TrackerID(10_000 + 10*i + j)
			ts = append(ts, queue.Tracker{
				ID: id, Account: a, Protocol: "jt808", DeviceID: itoa(int64(id)), Chat: true,
				Features: []string{"chat"},
			})
		}
		w.putHook(a, hung.URL)
	}
	w.dir.Replace(queue.NewSnapshot(as, ts))
	good := newReceiver(t, nil)
	w.putHook(2, good.url)
	w.hooks(func(o *live.WebhookOptions) { o.Timeout = time.Hour })
	eventually(func() bool { return w.metric("trackchat_webhook_accounts") == accountsHanging+1 })
	for _, tr := range ts {
		if tr.Account >= 100 {
			w.send(tr.ID, "hangs")
		}
	}
	if !eventually(func() bool {
		return w.metric("trackchat_webhook_waiting") >=
			accountsHanging*trackersEach-256
	}) {
		t.Fatalf("%v calls wait", w.metric("trackchat_webhook_waiting"))
	}
	for i := range 30 {
		w.send(foreign, "first "+itoa(int64(i)))
		w.send(202, "second "+itoa(int64(i)))
		good.wait(foreign, manyTexts("first ", i+1)...)
		good.wait(202, manyTexts("second ", i+1)...)
	}
}

func manyTexts(prefix string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = "message " + prefix + itoa(int64(i))
	}
	return texts
}

// state waits until the progress of an account is as wanted.
func (w *world) state(want func(queue.WebhookProgress) bool) queue.WebhookProgress {
	w.tb.Helper()
	var found queue.WebhookProgress
	wanted := func() bool {
		list, err := w.store.Webhooks(context.Background())
		if err != nil {
			w.tb.Fatal(err)
		}
		for _, h := range list {
			if h.Account == 1 && want(h.Progress) {
				found = h.Progress
				return true
			}
		}
		return false
	}
	if !eventually(wanted) {
		list, _ := w.store.Webhooks(context.Background())
		w.tb.Fatalf("the progress of account 1 is never as wanted: %+v, now %d", list,
			w.clock.Load())
	}
	return found
}

// TestWebhookWhenTheClockIsSet: what waits while the clock is set back by an hour is delivered
// after a restart.
func TestWebhookWhenTheClockIsSet(t *testing.T) {
	w := newWorld(t)
	var down atomic.Bool
	r := newReceiver(t, func(int, string, string) int {
		if down.Load() {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	early := w.clock.Load()
	late := w.clock.Add(time.Hour.Milliseconds())
	w.putHook(1, r.url)
	h := w.hooks()
	w.send(101, "an hour ahead")
	r.wait(101, "message an hour ahead")
	w.clock.Store(early + 10_000)
	down.Store(true)
	w.send(102, "set back")
	w.state(func(p queue.WebhookProgress) bool { return p.LastError != "" && p.PositionMs < late })
	h.Close()
	down.Store(false)
	w.clock.Add(5000)
	w.beside().hooks(func(o *live.WebhookOptions) { o.Node = "n-2" })
	r.wait(102, "message set back")
}

// TestWebhookGivesUp: an event that is refused for too long is dropped, and those after it come.
func TestWebhookGivesUp(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, func(_ int, _, text string) int {
		if text == "poison" {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	w.putHook(1, r.url)
	w.hooks(func(o *live.WebhookOptions) { o.RetryFor = 20 * time.Millisecond })
	w.send(101, "poison")
	w.send(101, "after it")
	w.send(102, "beside it")
	r.wait(101, "message after it")
	r.wait(102, "message beside it")
	// It may have come both by the feed and by what is read again at the start, and been given up
	// twice.
	n := w.state(func(p queue.WebhookProgress) bool {
		return p.Dropped > 0 &&
			p.FailingSinceMs == 0
	})
	if told := w.metric("trackchat_webhook_dropped_total"); told != float64(n.Dropped) {
		t.Errorf("given up: %+v, told %v", n, told)
	}
}

// TestWebhookAddresses: neither a name that points into a private network nor an address of one is
// called.
func TestWebhookAddresses(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, nil)
	w.putHook(1, strings.Replace(r.url, "127.0.0.1", "localhost", 1))
	w.hooks(func(o *live.WebhookOptions) { o.AllowPrivate = false })
	w.send(101, "secret")
	p := w.state(func(p queue.WebhookProgress) bool { return p.FailingSinceMs != 0 })
	if r.calls != 0 || !strings.Contains(p.LastError, "not public") {
		t.Errorf("%d calls, %+v", r.calls, p)
	}
}

func TestWebhookAdministration(t *testing.T) {
	w := newAdminWorld(t, func(o *admin.Options) { o.Now = time.Now })
	const path = "/admin/accounts/1/webhook"
	w.put(path, `{"url":"https://hooks.example/"}`).refused(t, 201) // no such account
	w.put("/admin/accounts/1", `{}`).succeeds(t)
	w.get(path).refused(t, 201)
	w.delete(path).refused(t, 201)
	w.post(path+"/replay", "").refused(t, 201)
	for _, url := range []string{
		"", "nonsense", "ftp://hooks.example/", "https://",
		"https://user:secret@hooks.example/", "http://127.0.0.1/", "http://[::1]:80/",
		"https://a.example/#x",
	} {
		w.put(path, `{"url":"`+url+`"}`).invalid(t, "url")
	}
	w.put(path, `{"url":"https://hooks.example/","secret":"short"}`).invalid(t, "secret")
	made := w.put(path, `{"url":"https://hooks.example/"}`)
	if !strings.Contains(made.body, `"secret":"`) {
		t.Errorf("a new webhook without a secret: %s", made.body)
	}
	w.put(path, `{"url":"https://other.example/"}`).is(t,
		`{"success":true,"value":{"url":"https://other.example/"}}`)
	list, err := w.store.Webhooks(t.Context())
	if err != nil || !strings.Contains(made.body, list[0].Secret) {
		t.Errorf("the secret has changed: %v", err)
	}
	a := w.get(path)
	if !strings.Contains(a.body, `"url":"https://other.example/"`) ||
		!strings.Contains(a.body, `"failing_since":null`) ||
		strings.Contains(a.body, list[0].Secret) {
		t.Errorf("state %s", a.body)
	}
	w.post(path+"/replay", `{"since":"2016-02-29T00:00:00Z"}`).is(t, `{"success":true}`)
	if list, _ = w.store.Webhooks(t.Context()); list[0].Progress.PositionMs != 1456704000000 {
		t.Errorf("position %d", list[0].Progress.PositionMs)
	}
	w.post(path+"/replay", `{"since":"yesterday"}`).invalid(t, "since")
	w.delete(path).is(t, `{"success":true}`)
	w.put(path, `{"url":"https://hooks.example/"}`).succeeds(t)
	w.delete("/admin/accounts/1").succeeds(t)
	if list, _ = w.store.Webhooks(t.Context()); len(list) != 0 {
		t.Errorf("the webhook of a removed account is still there")
	}
}

// TestWebhookLineHasOneCaller stores each text about when its tracker's line of events runs empty:
// each is delivered once, after the one before.
func TestWebhookLineHasOneCaller(t *testing.T) {
	const texts, senders = 600, 4 // undelivered ones of a tracker have a bound
	w := newWorld(t)
	var taken [senders]chan string
	for i := range taken {
		taken[i] = make(chan string, 2*texts)
	}
	r := newReceiver(t, func(n int, _, text string) int {
		taken[text[0]-'0'] <- text
		// the next may come before this is answered, or after.
		time.Sleep(time.Duration(n%64) * 25 * time.Microsecond)
		return http.StatusOK
	})
	w.putHook(1, r.url)
	w.hooks()
	var sending sync.WaitGroup
	for i, line := range taken {
		sending.Go(func() {
			first := itoa(i) + " text 0"
			for n := range texts {
				want := itoa(i) + " text " + itoa(n)
				w.send(bulkFirst+queue.TrackerID(i), want)
				got := ""
				for got == "" || n > 0 && got == first {
					// that one may also be read anew at the start
					select {
					case got = <-line:
					case <-time.After(20 * time.Second):
						t.Errorf("%q is not delivered", want)
						return
					}
				}
				if got != want {
					t.Errorf("%q is delivered instead of %q", got, want)
					return
				}
			}
		})
	}
	sending.Wait()
	for _, line := range taken {
		for len(line) > 0 {
			if again := <-line; !strings.HasSuffix(again, " text 0") {
				t.Errorf("%q is delivered once more", again)
			}
		}
	}
}
