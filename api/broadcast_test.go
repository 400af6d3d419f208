package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/queue"
)

// kept is what is told of a broadcast that is kept.
type kept struct {
	ID         int64
	SubmitTime string `json:"submit_time"`
	Text       string
	Trackers   int
	Sent       int
	NotSent    int `json:"not_sent"`
	Complete   bool
	Counts     map[string]int
	List       []struct {
		TrackerID queue.TrackerID `json:"tracker_id"`
		MessageID *int64          `json:"message_id"`
		State     string
		Delivery  *struct {
			State  string
			Reason *string
		}
	}
}

// reported sends a broadcast that is kept.
func (w *world) reported(pairs ...string) (id int64, counts string) {
	w.tb.Helper()
	w.clock.Add(1) // the newest has the greatest id
	a := w.form("tracker/chat/broadcast", append(pairs, "message", "all of you")...)
	var got struct {
		ID                  int64 `json:"broadcast_id"`
		Trackers, Sent      int
		NotSent             int `json:"not_sent"`
		Success             bool
		SentTo, NotSentToID []int64
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !got.Success || got.ID == 0 {
		w.tb.Fatalf("%v: %d %s", pairs, a.status, a.body)
	}
	return got.ID, fmt.Sprint(got.Trackers, got.Sent, got.NotSent)
}

func (w *world) kept(id int64, pairs ...string) kept {
	w.tb.Helper()
	a := w.form("tracker/chat/broadcast/read", append(pairs, "broadcast_id", itoa(id))...)
	var got struct {
		Success bool
		Value   kept
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !got.Success {
		w.tb.Fatalf("%d %s", a.status, a.body)
	}
	return got.Value
}

// TestBroadcastToMany: to groups, tags and everybody, in steps, each tracker once; what cannot be
// sent to is counted.
func TestBroadcastToMany(t *testing.T) {
	w := newLiveWorld(t)
	north, _, _ := w.form("account/group/create", "title", "North").made(t)
	w.form("account/group/assign", "group_id", itoa(north), "trackers", "101,103,1001").succeeds(t)
	w.form("account/tag/assign", "tags", "a,b", "trackers", "102,104").succeeds(t)
	w.form("account/tag/assign", "tags", "b", "trackers", "1002").succeeds(t)
	group := []string{"groups", itoa(north)}
	for _, c := range []struct {
		to      []string
		counts  string
		targets string
	}{
		{group, "3 2 1", "101 103- 1001"},                                    // 103 is blocked
		{[]string{"tags", "a"}, "2 1 1", "102 104-"},                         // 104 has no chat
		{[]string{"tags", "a,b"}, "3 2 1", "102 104- 1002"},                  // each once
		{append(group, "trackers", "101,102"), "4 3 1", "101 102 103- 1001"}, // named ones first
		{[]string{"report", "true", "trackers", "1002,101"}, "2 2 0", "1002 101"},
	} {
		id, counts := w.reported(c.to...)
		var targets []string
		for _, x := range w.kept(id).List {
			text := itoa(int64(x.TrackerID))
			if x.MessageID == nil {
				text += "-"
				if x.State != "NOT_SENT" {
					t.Errorf("%+v", x)
				}
			}
			targets = append(targets, text)
		}
		if got := strings.Join(targets, " "); counts != c.counts || got != c.targets {
			t.Errorf("%v: %s to %s, want %s to %s", c.to, counts, got, c.counts, c.targets)
		}
	}
	all, counts := w.reported("all", "true")
	b := w.kept(all)
	if counts != "407 402 5" || len(b.List) != 407 || b.Counts["QUEUED"] != 402 ||
		b.Counts["NOT_SENT"] != 5 || !b.Complete {
		t.Errorf("%s: %+v", counts, b.Counts)
	}
	if page := w.kept(all, "limit", "2", "offset", "405"); len(page.List) != 2 ||
		page.List[1].TrackerID != bulkLast || page.Counts["QUEUED"] != 402 {
		t.Errorf("last page %+v", page)
	}
	for _, x := range b.List { // each got it once
		if x.MessageID != nil {
			m := w.stored(x.TrackerID)
			if last := m[len(m)-1]; last.ID != *x.MessageID || last.Text != "all of you" {
				t.Fatalf("%+v: %+v", x, last)
			}
		}
	}
	w.form("tracker/chat/broadcast", "groups", "77", "message", "x").refused(t, 217)
	w.form("tracker/chat/broadcast", "all", "true", "trackers", "201", "message", "x").refused(t, 217)
	w.form("tracker/chat/broadcast", "tags", "nobody's", "message", "x").invalid(t, "trackers")
	w.form("tracker/chat/broadcast", "report", "true", "message", "x").invalid(t, "trackers")
	w.formAs(emptyKey, "tracker/chat/broadcast", "all", "true", "message", "x").invalid(t,
		"trackers")
	// The platform's own broadcast is as it was, and is not kept.
	w.form("tracker/chat/broadcast", "trackers", "102", "message", "x").is(t,
		`{"success":true,"sent_to":[102],"not_sent_to":[]}`)
	if got := w.broadcasts(berlinKey); len(got) != 6 || got[0].ID != all {
		t.Errorf("kept are %+v", got)
	}
}

func (w *world) broadcasts(key string, pairs ...string) []kept {
	w.tb.Helper()
	a := w.formAs(key, "tracker/chat/broadcast/list", pairs...)
	var got struct {
		Success bool
		List    []kept
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !got.Success {
		w.tb.Fatalf("%d %s", a.status, a.body)
	}
	return got.List
}

// TestBroadcastResult follows what becomes of a broadcast at each tracker.
func TestBroadcastResult(t *testing.T) {
	w := newLiveWorld(t)
	w.setTime("2016-02-29T10:00:01Z")
	id, _ := w.reported("report", "true", "trackers", "101,102,1001,1002,1003")
	list := w.kept(id).List
	w.ack(101, *list[0].MessageID)
	w.form("tracker/chat/cancel", "message_id", itoa(*list[1].MessageID)).succeeds(t)
	w.end(1001, *list[2].MessageID, queue.StatusFailed, queue.ReasonRefused)
	w.edit(queue.Edit{Kind: queue.EditDropTracker, Tracker: queue.Tracker{ID: 1002}})
	b := w.kept(id)
	want := []string{"DELIVERED", "CANCELLED", "FAILED", "FORGOTTEN", "QUEUED"}
	for i, state := range want {
		if b.List[i].State != state || b.Counts[state] != 1 {
			t.Errorf("%d: %s of %v, want %s", i, b.List[i].State, b.Counts, state)
		}
	}
	for i, x := range w.kept(id, "detail", "true").List {
		if known := x.State != "FORGOTTEN"; (x.Delivery != nil) != known ||
			known && (x.Delivery.State != x.State ||
				(x.Delivery.Reason != nil) != (x.State == "FAILED")) || b.List[i].Delivery != nil {
			t.Errorf("%+v: %+v, undetailed %+v", x, x.Delivery, b.List[i].Delivery)
		}
	}
	if b.Text != "all of you" || b.SubmitTime != "2016-02-29 11:00:01" || b.Sent != 5 {
		t.Errorf("%+v", b)
	}
	// Of another account, of nobody.
	w.formAs(uralKey, "tracker/chat/broadcast/read", "broadcast_id", itoa(id)).refused(t, 201)
	w.form("tracker/chat/broadcast/read", "broadcast_id", itoa(id+1)).refused(t, 201)
	w.form("tracker/chat/broadcast/read", "broadcast_id", "-1").refused(t, 201)
	w.setTime("2016-02-29T10:00:02Z")
	next, _ := w.reported("report", "true", "trackers", "101")
	if got := w.broadcasts(berlinKey, "limit", "1"); len(got) != 1 || got[0].ID != next {
		t.Errorf("newest %+v", got)
	}
	if got := w.broadcasts(berlinKey, "before", itoa(next)); len(got) != 1 || got[0].ID != id {
		t.Errorf("before it %+v", got)
	}
	if got := w.broadcasts(uralKey); len(got) != 0 {
		t.Errorf("another account has %+v", got)
	}
}

// failAfter is a store that fails once it was asked to send a number of times.
type failAfter struct {
	queue.Messages
	sends int
}

func (s *failAfter) Send(ctx context.Context, reqs []queue.SendReq) ([]queue.SendResult, error) {
	if s.sends--; s.sends < 0 {
		return nil, queue.ErrUnavailable
	}
	return s.Messages.Send(ctx, reqs)
}

// TestBroadcastCut: a store that fails amid a broadcast leaves nothing untold, and a repetition
// with the same key goes on where it was.
func TestBroadcastCut(t *testing.T) {
	store := &failAfter{sends: 1}
	w := newLiveWorld(t, func(o *api.Options) { store.Messages, o.Store = o.Store, store })
	id, counts := w.reported("all", "true")
	if counts != "407 295 112" {
		t.Errorf("counts %s", counts)
	}
	if b := w.kept(id); !b.Complete || b.Sent != 295 || b.NotSent != 112 || len(b.List) != 300 ||
		b.Counts["NOT_SENT"] != 112 {
		t.Errorf("%+v", b)
	}
	w.clock.Add(1)
	w.form("tracker/chat/broadcast", "all", "true", "message", "x").refused(t, 8) // nothing is sent
	w.clock.Add(1)
	store.sends = 1
	again := []string{"all", "true", "message", "with a key", "idempotency_key", "k"}
	w.form("tracker/chat/broadcast", again...).refused(t, 8)
	store.sends = 10
	first := w.form("tracker/chat/broadcast", again...)
	first.contains(t, `"trackers":407,"sent":402,"not_sent":5`)
	w.form("tracker/chat/broadcast", again...).is(t, first.body)
	w.form("tracker/chat/broadcast", append(again, "tags", "a")...).invalid(t, "idempotency_key")
	// What is remembered of one key is not taken for what is of another.
	for _, key := range []string{"bk", "kb"} {
		w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "idempotency_key", key).id(t)
	}
	if got := w.broadcasts(berlinKey); len(got) != 3 || !got[0].Complete || got[0].Sent != 402 ||
		!got[1].Complete || got[1].Sent != 0 || got[1].NotSent != 407 {
		t.Errorf("kept are %+v", got)
	}
	for _, id := range []queue.TrackerID{plain, bulkFirst, bulkLast} {
		n := 0
		for _, m := range w.stored(id) {
			if m.Text == "with a key" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("tracker %d got it %d times", id, n)
		}
	}
}
