package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// found is what a search answers.
type found struct {
	List []message
	Next *int64
}

func (w *world) search(key string, pairs ...string) (f found) {
	w.tb.Helper()
	a := w.formAs(key, "tracker/chat/search", pairs...)
	if err := json.Unmarshal([]byte(a.body), &f); err != nil || a.status != 200 || f.List == nil {
		w.tb.Fatalf("%v: %d %s", err, a.status, a.body)
	}
	return f
}

// receiveAll stores texts from a tracker.
func (w *world) receiveAll(t queue.TrackerID, texts ...string) (ids []int64) {
	w.tb.Helper()
	return receiveInto(w.tb, w.store, t, texts)
}

func receiveInto(tb testing.TB, store queue.Delivery, t queue.TrackerID,
	texts []string,
) (ids []int64) {
	tb.Helper()
	all := make([]queue.Incoming, len(texts))
	for i, text := range texts {
		all[i] = queue.Incoming{Tracker: t, Text: text}
	}
	for some := range slices.Chunk(all, 1000) {
		rs, err := store.Receive(tb.Context(), some)
		if err != nil {
			tb.Fatal(err)
		}
		for _, r := range rs {
			if r.Err != nil {
				tb.Fatal(r.Err)
			}
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	w.receiveAll(101, "Straße nach Płońsk", "no match", "ПРИВЕТ, как дела", "100% = ok_",
		"İstanbul ΣΊΣΥΦΟΣ")
	w.clock.Add(1000)
	w.receive(101, "in der\nSTRASSE")
	w.send(102, "Straße of another tracker")
	for query, want := range map[string]string{
		"strasse": "in der\nSTRASSE|Straße nach Płońsk", "PŁOŃ": "Straße nach Płońsk",
		"привет": "ПРИВЕТ, как дела", "0% = OK_": "100% = ok_", "%": "100% = ok_",
		"σίσυφος": "İstanbul ΣΊΣΥΦΟΣ", "der\nst": "in der\nSTRASSE", "nothing": "", "_x": "",
		" match": "no match", "*": "", strings.Repeat("ß", 100): "",
	} {
		f := w.search(berlinKey, "tracker_id", "101", "query", query)
		var got []string
		for _, m := range f.List {
			got = append(got, m.Text)
		}
		if strings.Join(got, "|") != want || f.Next != nil {
			t.Errorf("%q finds %q, next %v", query, got, f.Next)
		}
	}
	w.json("tracker/chat/search", `"tracker_id":101,"query":"NO MATCH","iso_datetime":true`).is(t,
		`{"success":true,"list":[{"id":`+itoa(w.stored(101)[1].ID)+
			`,"submit_time":"2016-02-29T11:00:00+01:00","update_time":null,"text":"no match","type":"INCOMING","status":"PENDING","employee_id":null}],"next":null}`)
	search := func(pairs ...string) answer {
		return w.form("tracker/chat/search", append([]string{"tracker_id", "101"}, pairs...)...)
	}
	search().invalid(t, "query")
	search("query", "").invalid(t, "query")
	search("query", " \n").invalid(t, "query")
	search("query", strings.Repeat("ß", 101)).invalid(t, "query")
	search("query", "x", "limit", "0", "after_id", "-1").invalid(t, "limit", "after_id")
	search("query", "x", "limit", "101", "after_id", "x").invalid(t, "limit", "after_id")
	w.form("tracker/chat/search").invalid(t, "tracker_id", "query")
}

// TestSearchGoesOn: by the limit of hits, and by what one call looks at, nothing is left out and
// nothing comes twice.
func TestSearchGoesOn(t *testing.T) {
	calls := 0
	f := new(fault)
	w := newWorld(t, func(o *api.Options) { f.Messages, o.Store = o.Store, f })
	f.before = func(context.Context) error {
		calls++
		return nil
	}
	const hits = 230
	all := make([]string, 4500)
	for i := range all {
		all[i] = "message"
		if i%(len(all)/hits) == 0 && i/(len(all)/hits) < hits {
			all[i] = "needle"
		}
	}
	ids := w.receiveAll(101, all...)
	var want []int64
	for i, text := range all {
		if text == "needle" {
			want = append(want, ids[i])
		}
	}
	slices.Reverse(want)
	for _, limit := range []string{"1", "7", "50", "100"} {
		var got []int64
		after := "0"
		for {
			page := w.search(berlinKey, "tracker_id", "101", "query", "NEEDLE", "limit", limit,
				"after_id", after)
			for _, m := range page.List {
				got = append(got, m.ID)
			}
			if page.Next == nil || len(got) > len(want) {
				break
			}
			after = itoa(*page.Next)
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %s: %d hits, want %d", limit, len(got), len(want))
		}
	}
	for range 4 { // 22,500 in all
		w.receiveAll(101, all...)
	}
	calls = 0
	first := w.search(berlinKey, "tracker_id", "101", "query", "not there")
	if first.Next == nil || len(first.List) != 0 || calls > 20_000/64+2 {
		t.Fatalf("all was looked at, or too little: %+v, %d calls", first, calls)
	}
	if then := w.search(berlinKey, "tracker_id", "101", "query", "not there", "after_id",
		itoa(*first.Next)); then.Next != nil {
		t.Errorf("went on to %d", *then.Next)
	}
}

// TestSearchTakesItsTime: a slow store makes a search shorter, and long texts do.
func TestSearchTakesItsTime(t *testing.T) {
	f := new(fault)
	w := newWorld(t, func(o *api.Options) { f.Messages, o.Store = o.Store, f })
	w.receiveAll(101, slices.Repeat([]string{"text"}, 1000)...)
	f.before = func(context.Context) error {
		w.clock.Add(time.Second.Milliseconds())
		return nil
	}
	n, after := 0, "0"
	for ; after != ""; n++ {
		page := w.search(berlinKey, "tracker_id", "101", "query", "not there", "after_id", after)
		if after = ""; page.Next != nil {
			after = itoa(*page.Next)
		}
	}
	if n < 3 || n > 1000/64 {
		t.Errorf("%d searches", n)
	}
	f.before = nil
	w.receiveAll(102, slices.Repeat([]string{strings.Repeat("😀", queue.MaxText)}, 600)...) // 48 MB
	if page := w.search(berlinKey, "tracker_id", "102", "query", "x"); page.Next == nil {
		t.Error("48 MB were looked at at once")
	}
	f.after = func(error) error { return errors.New("down") }
	w.form("tracker/chat/search", "tracker_id", "101", "query", "x").refused(t, 14)
}

// TestSearchesAtATime: an account has a few.
func TestSearchesAtATime(t *testing.T) {
	f := new(fault)
	w := newWorld(t, func(o *api.Options) {
		f.Messages, o.Store, o.Timeout = o.Store, f, time.Minute
	})
	begun, release := make(chan struct{}, 4), make(chan struct{})
	f.before = func(context.Context) error {
		begun <- struct{}{}
		<-release
		return nil
	}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			w.form("tracker/chat/search", "tracker_id", "101", "query", "x").is(t,
				`{"success":true,"list":[],"next":null}`)
		})
	}
	for range 4 {
		<-begun
	}
	a := w.form("tracker/chat/search", "tracker_id", "102", "query", "x")
	a.refused(t, 15)
	if a.header.Get("Retry-After") != "1" || w.metric("trackchat_http_refused_total") != 1 {
		t.Errorf("refused with %v", a.header)
	}
	close(release)
	running.Wait()
	w.form("tracker/chat/search", "tracker_id", "101", "query", "x").is(t,
		`{"success":true,"list":[],"next":null}`)
}

// TestSearchOfAMovedTracker: each account finds its own.
func TestSearchOfAMovedTracker(t *testing.T) {
	w := newWorld(t)
	w.receiveAll(plain, "old 1", "old 2")
	w.clock.Add(1000)
	m := w.moved(queue.Former{Account: 1})
	w.receiveAll(m.Key(), "now 1", "now 2")
	for key, want := range map[string]string{berlinKey: "old 2 old 1", uralKey: "now 2 now 1"} {
		if got := texts(w.search(key, "tracker_id", "101", "query", "O").List); got != want {
			t.Errorf("finds %s, want %s", got, want)
		}
	}
	w.moved(queue.Former{Account: 2})
	var got []string
	after := "0"
	for after != "" && len(got) < 9 {
		page := w.search(uralKey, "tracker_id", "101", "query", "O", "limit", "1", "after_id",
			after)
		for _, m := range page.List {
			got = append(got, m.Text)
		}
		if after = ""; page.Next != nil {
			after = itoa(*page.Next)
		}
	}
	if strings.Join(got, ",") != "now 2,now 1,old 2,old 1" {
		t.Errorf("both conversations: %s", got)
	}
	w.form("tracker/chat/search", "tracker_id", "101", "query", "x").refused(t, 201)
}

// TestSearchAndExportWithRedis: its pages follow each other without a gap too, also where texts are
// long.
func TestSearchAndExportWithRedis(t *testing.T) {
	store, err := redisstore.Open(t.Context(), redisstore.Options{
		Addrs: []string{queuetest.StartRedis(t).Addr}, Now: time.Now, MaxPending: maxPending,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, func(o *api.Options) { o.Store, o.Feed, o.Now = store, store, time.Now })
	all := make([]string, 1000)
	for i := range all {
		all[i] = "text " + itoa(i)
		if i%97 == 0 {
			all[i] = "Needle" + strings.Repeat("😀", queue.MaxText/2)
		}
	}
	ids := receiveInto(t, store, 101, all)
	var got []string
	for after := "0"; after != ""; {
		page := w.search(berlinKey, "tracker_id", "101", "query", "NEEDLE", "limit", "3",
			"after_id", after)
		for _, m := range page.List {
			got = append(got, itoa(m.ID))
		}
		if after = ""; page.Next != nil {
			after = itoa(*page.Next)
		}
	}
	var want []string
	for i, id := range slices.Backward(ids) {
		if i%97 == 0 {
			want = append(want, itoa(id))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	lines := w.download("GET", ofAccount(berlinKey, "")).table(t)
	if len(lines) != len(all) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		if line["id"] != itoa(ids[i]) || line["text"] != all[i] {
			t.Fatalf("line %d is %s %.20s", i, line["id"], line["text"])
		}
	}
}
