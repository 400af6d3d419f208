package main

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue/queuetest"
)

const (
	// of account 2, which has the trackers above liveTrackers.
	otherKey     = "b6aa75587e5c59c32d347da438505fc3"
	liveTrackers = 4  // of each account
	liveTexts    = 12 // for each tracker
	liveReaders  = 12 // of the feed, half of them of each account
	liveSecret   = "0123456789abcdef"
)

// TestLive has readers of the feed on every API node, and a webhook that fails now and then, follow
// what happens on other nodes while all of those are killed one after the other: each is told
// everything of its account at least once, and nothing of another one.
func TestLive(t *testing.T) {
	t.Parallel()
	type starter = func(testing.TB, apptest.ChildOptions) (apis, others []*apptest.Child)
	for backend, start := range map[string]starter{
		"embedded": func(tb testing.TB, o apptest.ChildOptions) (apis, others []*apptest.Child) {
			tb.Helper()
			return []*apptest.Child{apptest.NewChild(tb, o)}, nil
		},
		"redis": func(tb testing.TB, o apptest.ChildOptions) (apis, others []*apptest.Child) {
			tb.Helper()
			o.Redis = []string{queuetest.StartRedis(tb).Addr}
			part := func(node, role string) *apptest.Child {
				own := o
				own.Node, own.Roles = node, []string{role}
				return apptest.NewChild(tb, own)
			}
			return []*apptest.Child{part("api-1", config.RoleAPI), part("api-2", config.RoleAPI)},
				[]*apptest.Child{part("gateway", config.RoleGateway)}
		},
	} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			apis, others := start(t, apptest.ChildOptions{
				Directory: liveDirectory(),
				Extra:     "webhooks: {allow_private: true}\n",
			})
			for _, c := range append(slices.Clone(apis), others...) {
				c.Start()
			}
			followKilled(t, apis, others)
		})
	}
}

func liveDirectory() string {
	text := apptest.DirectoryYAML(liveTrackers)
	text = strings.Replace(text, "trackers:\n",
		fmt.Sprintf("  - {id: 2, login: other, password: other, title: Other fleet, time_zone: UTC, keys: [%s]}\ntrackers:\n", otherKey), 1)
	for id := liveTrackers + 1; id <= 2*liveTrackers; id++ {
		text += fmt.Sprintf(
			"  - {id: %d, account: 2, label: Truck %d, protocol: %s, device_id: %q}\n", id, id,
			apptest.ProtocolOf(id), apptest.DeviceOf(id))
	}
	return text
}

// liveKey is the key of a tracker's account.
func liveKey(id int) string {
	if id > liveTrackers {
		return otherKey
	}
	return apptest.Key
}

func followKilled(t *testing.T, apis, others []*apptest.Child) {
	t.Helper()
	hook := newLiveHook(t)
	for _, account := range []string{"1", "2"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
			"http://"+apis[0].Ports["admin"]+"/admin/accounts/"+account+"/webhook",
			strings.NewReader(`{"url":"`+hook.url+account+`","secret":"`+liveSecret+`"}`))
		apptest.Must(t, err)
		res, err := http.DefaultClient.Do(req)
		apptest.Must(t, err)
		apptest.Must(t, res.Body.Close())
		if res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
	}
	readers := make([]*liveReader, liveReaders)
	for i := range readers {
		readers[i] = startLiveReader(t, apis, i, []string{apptest.Key, otherKey}[i%2])
	}
	for _, r := range readers {
		apptest.Eventually(t, "listening", func() bool { return r.position() != "" })
	}
	gateway := apis[0]
	if len(others) > 0 {
		gateway = others[0]
	}
	for id := 1; id <= 2*liveTrackers; id++ {
		apptest.PlayDevice(t, gateway.Ports[apptest.ProtocolOf(id)], id, nil)
	}
	victims := append(slices.Clone(apis), others...)
	sent := map[int][]string{} // texts by tracker
	for n := range liveTexts {
		if n > 0 && n%4 == 0 {
			victim := victims[(n/4)%len(victims)]
			victim.Kill()
			victim.Start()
		}
		for id := 1; id <= 2*liveTrackers; id++ {
			text := fmt.Sprintf("text %d for %d", n, id)
			if sendLive(t, apis, id, text) {
				sent[id] = append(sent[id], text)
			}
		}
	}
	for i, r := range readers {
		for id, texts := range sent {
			for _, text := range texts {
				for _, name := range []string{"message", "delivered"} {
					own := liveKey(id) == r.key
					if own {
						apptest.Eventually(t, fmt.Sprintf("told reader %d of %s %q", i, name, text),
							func() bool { return r.has(name, text) })
					} else if r.has(name, text) {
						t.Errorf("reader %d was told %s %q of another account", i, name, text)
					}
				}
			}
		}
	}
	hook.check(sent)
}

// sendLive sends by some API; false where nobody can say whether it was stored.
func sendLive(t *testing.T, apis []*apptest.Child, id int, text string) bool {
	t.Helper()
	a, err := apis[id%len(apis)].Client().Try("send", url.Values{
		"hash":       {liveKey(id)},
		"tracker_id": {strconv.Itoa(id)}, "message": {text},
	})
	return err == nil && a.Success
}

// liveReader is a client of the feed that comes back to whichever node answers.
type liveReader struct {
	key   string
	bases []string

	mu   sync.Mutex // guards what follows
	last string
	seen map[string]bool // event and text
}

func startLiveReader(t *testing.T, apis []*apptest.Child, n int, key string) *liveReader {
	t.Helper()
	r := &liveReader{key: key, seen: map[string]bool{}}
	for i := range apis {
		r.bases = append(r.bases, apis[(n/2+i)%len(apis)].Client().Base)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			r.follow(ctx, r.bases[i%len(r.bases)])
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return r
}

func (r *liveReader) position() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func (r *liveReader) has(name, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[name+" "+text]
}

// follow reads one stream to its end.
func (r *liveReader) follow(ctx context.Context, base string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"events?hash="+r.key, nil)
	if err != nil {
		return
	}
	if last := r.position(); last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return
	}
	name := ""
	for lines := bufio.NewReader(res.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		r.mu.Lock()
		switch field {
		case "event":
			name = value
		case "id":
			r.last = value
		case "data":
			var e struct{ Message apptest.Message }
			if json.Unmarshal([]byte(value), &e) == nil {
				r.seen[name+" "+e.Message.Text] = true
			}
		}
		r.mu.Unlock()
	}
}

// liveHook is the server of both accounts: every fifth call fails.
type liveHook struct {
	t   testing.TB
	url string

	mu    sync.Mutex // guards what follows
	calls int
	taken map[int][]string // event and text by tracker, in order
}

func newLiveHook(tb testing.TB) *liveHook {
	tb.Helper()
	h := &liveHook{t: tb, taken: map[int][]string{}}
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	h.url = s.URL + "/"
	return h
}

func (h *liveHook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller was killed
	}
	mac := hmac.New(sha256.New, []byte(liveSecret))
	mac.Write([]byte(r.Header.Get("X-Timestamp") + "." + string(body)))
	if r.Header.Get("X-Signature") != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
		h.t.Errorf("signature %q", r.Header.Get("X-Signature"))
	}
	var e struct {
		Event     string
		TrackerID int `json:"tracker_id"`
		Message   apptest.Message
	}
	if err := json.Unmarshal(body, &e); err != nil {
		h.t.Errorf("body %s: %v", body, err)
	}
	if key := liveKey(e.TrackerID); r.URL.Path == "/1" && key != apptest.Key ||
		r.URL.Path == "/2" && key != otherKey {
		h.t.Errorf("tracker %d at %s", e.TrackerID, r.URL.Path)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls++; h.calls%5 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.taken[e.TrackerID] = append(h.taken[e.TrackerID], e.Event+" "+e.Message.Text)
}

// check waits until everything was taken, and looks at the order in which it came first.
func (h *liveHook) check(sent map[int][]string) {
	h.t.Helper()
	for id, texts := range sent {
		for _, name := range []string{"message", "delivered"} {
			var firsts []string
			apptest.Eventually(h.t, fmt.Sprintf("taken %s of tracker %d", name, id), func() bool {
				h.mu.Lock()
				defer h.mu.Unlock()
				firsts = firsts[:0]
				for _, took := range h.taken[id] {
					text, ok := strings.CutPrefix(took, name+" ")
					if ok && slices.Contains(texts, text) && !slices.Contains(firsts, text) {
						firsts = append(firsts, text)
					}
				}
				return len(firsts) == len(texts)
			})
			if !slices.Equal(firsts, texts) {
				h.t.Errorf("tracker %d: %s came as %q, sent were %q", id, name, firsts, texts)
			}
		}
	}
}
