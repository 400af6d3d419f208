package api_test

import (
	"fmt"
	"strings"
	"testing"

	"trackchat/api/live"
	"trackchat/queue"
)

// moved is the directory after tracker 101 was put into account 2, and what it has there.
func (w *world) moved(former ...queue.Former) *queue.Tracker {
	w.tb.Helper()
	ts := trackers()
	ts[0].Account, ts[0].Conversation, ts[0].Former = 2, 1, &former
	w.dir.Replace(queue.NewSnapshot(accounts(), ts))
	t, _ := w.dir.Current().Tracker(plain)
	return t
}

// TestConversationsOfAMovedTracker: each account gets at its own messages by every operation, and
// at no other, whatever the present account has done to the tracker.
func TestConversationsOfAMovedTracker(t *testing.T) {
	w := newWorld(t)
	old, said := w.send(plain, "old"), w.receive(plain, "said")
	w.clock.Add(1000)
	m := w.moved(queue.Former{Account: 1})
	fresh, heard := w.send(m.Key(), "fresh"), w.receive(m.Key(), "heard")

	texts := func(key string, pairs ...string) string {
		t.Helper()
		list := w.formAs(key, "tracker/chat/list", append([]string{"tracker_id", "101"},
			pairs...)...).list(t)
		var got []string
		for _, m := range list {
			got = append(got, m.Text)
		}
		return strings.Join(got, ",")
	}
	if got := texts(berlinKey); got != "old,said" {
		t.Errorf("the former account lists %s", got)
	}
	if got := texts(uralKey); got != "fresh,heard" {
		t.Errorf("the present account lists %s", got)
	}
	for _, c := range []struct {
		key, name string
		own, not  []int64
	}{{berlinKey, "former", []int64{old, said}, []int64{fresh, heard}}, {
		uralKey, "present",
		[]int64{fresh, heard},
		[]int64{old, said},
	}} {
		for _, id := range c.not {
			for _, op := range []string{"read", "cancel", "mark_read"} {
				w.formAs(c.key, "tracker/chat/"+op, "message_id", itoa(id)).refused(t, 201)
			}
		}
		if a := w.formAs(c.key, "tracker/chat/read", "message_id",
			itoa(c.own[0])); a.status != 200 {
			t.Errorf("%s: %s", c.name, a.body)
		}
		w.formAs(c.key, "tracker/chat/mark_read", "message_ids", fmt.Sprint("[", c.own[1], ",",
			c.not[1], "]")).refused(t, 201)
	}
	w.formAs(uralKey, "tracker/chat/send", "tracker_id", "101", "message", "x", "reply_to",
		itoa(said)).invalid(t, "reply_to")
	w.form("tracker/chat/send", "tracker_id", "101", "message", "x").refused(t, 201)
	w.form("tracker/chat/broadcast", "trackers", "101", "message", "x").refused(t, 217)
	w.form("tracker/chat/updated/list", "trackers", "101").refused(t, 217)
	w.form("tracker/chat/last/list", "trackers", "101").refused(t, 217)
	w.form("tracker/chat/mark_read_all", "trackers", "101").refused(t, 201)
	w.form("tracker/read", "tracker_id", "101").refused(t, 201)
	w.unread(berlinKey, "")
	w.unread(uralKey, `"101":1`)
	w.form("tracker/chat/mark_read_all").is(t, `{"success":true}`)
	w.unread(uralKey, `"101":1`)
	w.formAs(uralKey, "tracker/chat/mark_read_all").is(t, `{"success":true}`)
	w.unread(uralKey, "")
	if unread, err := w.store.Unread(t.Context(), []queue.TrackerID{plain}); err != nil ||
		unread[plain] != 1 {
		t.Errorf("what the former account had not read: %v %v", unread, err)
	}
	w.form("tracker/chat/mark_read", "message_id", itoa(said)).is(t, `{"success":true}`)
	w.formAs(uralKey, "tracker/chat/updated/list", "trackers", "101").is(t,
		`{"success":true,"value":{"101":"2016-02-29 15:00:01"}}`)
	if a := w.formAs(uralKey, "tracker/chat/last/list", "trackers",
		"101"); !strings.Contains(a.body, `"text":"heard"`) {
		t.Errorf("the present account's last message: %s", a.body)
	}

	// Blocked or without a chat, as the other account wants it: that is nothing to the former one.
	ts := trackers()
	ts[0].Account, ts[0].Conversation, ts[0].Former, ts[0].Blocked = 2, 1,
		&[]queue.Former{{Account: 1}}, true
	w.dir.Replace(queue.NewSnapshot(accounts(), ts))
	if got := texts(berlinKey); got != "old,said" {
		t.Errorf("the former account of a blocked tracker lists %s", got)
	}
	w.formAs(uralKey, "tracker/chat/list", "tracker_id", "101").refused(t, 208)

	// Who has it now and had kept something before reads both, in order.
	w.moved(queue.Former{Account: 2})
	if got := texts(uralKey); got != "old,said,fresh,heard" {
		t.Errorf("both conversations: %s", got)
	}
	if got := texts(uralKey, "ascending", "false", "limit", "3"); got != "heard,fresh,said" {
		t.Errorf("the newest of both conversations: %s", got)
	}
	w.form("tracker/chat/list", "tracker_id", "101").refused(t, 201)
}

// TestFeedOfAMovedTracker: live, replayed and by webhook, each account is told its own.
func TestFeedOfAMovedTracker(t *testing.T) {
	w := newWorld(t)
	first := newReceiver(t, nil)
	w.putHook(1, first.url)
	old := w.send(plain, "old")
	m := w.moved(queue.Former{Account: 1})
	second := newReceiver(t, nil)
	w.putHook(2, second.url)
	former, present := w.stream(events(berlinKey)).hello(), w.stream(events(uralKey)).hello()
	fresh := w.send(m.Key(), "fresh")
	present.want("message", plain, fresh)
	w.end(plain, old, queue.StatusFailed, queue.ReasonMoved)
	if got := former.want("failed", plain,
		old); *got.Delivery.Reason != "tracker moved to another account" {
		t.Errorf("%+v", got.Delivery)
	}
	w.ack(m.Key(), fresh)
	present.want("delivered", plain, fresh)
	w.clock.Add(1000)
	w.ack(plain, old) // it had been written before the move
	former.want("delivered", plain, old)

	again := w.stream(events(berlinKey), "Last-Event-ID", former.last)
	later := w.receive(m.Key(), "later")
	present.want("message", plain, later)
	w.send(other, "another of the first")
	for e := again.next(); !strings.Contains(e.data, "another of the first"); e = again.next() {
		if strings.Contains(e.data, "fresh") || strings.Contains(e.data, "later") {
			t.Errorf("the former account is told %s", e.data)
		}
	}

	// A webhook that comes late finds what its account had before the move.
	w.hooks(func(o *live.WebhookOptions) { o.Node = "n-1" })
	first.wait(other, "message another of the first")
	first.wait(plain, "message old", "delivered old")
	second.wait(plain, "message fresh", "delivered fresh", "message later")
}
