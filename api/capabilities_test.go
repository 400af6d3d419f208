package api_test

import (
	"errors"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/queue"
)

// withOdd adds tracker 110, whose device nobody can say anything about, to those of account 1.
func withOdd(w *world) *world {
	odd := queue.Tracker{
		ID: 110, Account: 1, Label: "odd", Protocol: "odd", DeviceID: "110",
		Chat: true, Features: []string{queue.FeatureChat},
	}
	w.dir.Replace(queue.NewSnapshot(accounts(), append(trackers(), odd)))
	return w
}

// says requires code 7 for one parameter, with this problem.
func (a answer) says(tb testing.TB, parameter, problem string) {
	tb.Helper()
	a.invalid(tb, parameter)
	if !strings.Contains(a.body, `"error":"`+problem+`"}`) {
		tb.Errorf("got %s\nwant %s", a.body, problem)
	}
}

func TestCapabilities(t *testing.T) {
	f := new(fault)
	w := withOdd(newWorld(t, func(o *api.Options) { f.Messages, o.Store = o.Store, f }))
	ask := func(id string) answer {
		t.Helper()
		return w.form("tracker/chat/capabilities", "tracker_id", id)
	}
	ask("101").is(t, `{"success":true,"value":{"protocol":"jt808","charset":"gbk",`+
		`"part_bytes":500,"max_characters":20000,"choices":8,`+
		`"read_receipts":false,"delivered":"device","urgent":true,"online":false}}`)
	ask("102").is(t, `{"success":true,"value":{"protocol":"wialon","charset":"utf8",`+
		`"part_bytes":500,"max_characters":700,"choices":0,`+
		`"read_receipts":true,"delivered":"none","urgent":false,"online":false}}`)
	ask("110").refused(t, 214)
	w.formAs(uralKey, "tracker/chat/capabilities", "tracker_id", "101").refused(t, 201)
	w.beat("a-1")
	w.connect("a-1", 101)
	if got := ask("101").body; !strings.HasSuffix(got, `"online":true}}`) {
		t.Errorf("connected: %s", got)
	}
	f.after = func(err error) error { return errors.Join(err, queue.ErrUnavailable) }
	if got := ask("101").body; !strings.HasSuffix(got, `"delivered":"device","urgent":true,"online":null}}`) {
		t.Errorf("without a store: %s", got)
	}
}

// An API that knows of no device says so, whatever is asked.
func TestNoCapabilities(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Capabilities = nil })
	w.form("tracker/chat/capabilities", "tracker_id", "101").refused(t, 214)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi","strict":1`).refused(t, 214)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"hi"`).id(t)
}

func TestStrictSend(t *testing.T) {
	w := withOdd(newWorld(t))
	send := func(members string) answer {
		t.Helper()
		return w.json("tracker/chat/send", members)
	}
	const cannot = "the device cannot show"
	send(`"tracker_id":101,"message":"Płońsk → 7","strict":true`).id(t)
	send(`"tracker_id":102,"message":"سلام 😀","strict":true`).id(t)
	send(`"tracker_id":101,"message":"سلام","strict":false`).id(t)
	send(`"tracker_id":110,"message":"سلام"`).id(t)
	send(`"tracker_id":101,"message":"سلام 7 😀 سلام","strict":"true"`).
		says(t, "message", cannot+": س ل ا م 😀")
	send(`"tracker_id":101,"message":"ابتثجحخدذرزس","strict":1`).
		says(t, "message", cannot+": ا ب ت ث ج ح خ د ذ ر")
	send(`"tracker_id":101,"message":"ok?","choices":["نعم","no 😀"],"strict":true`).
		says(t, "choices", cannot+": ن ع م 😀")
	send(`"tracker_id":102,"message":"ok?","choices":["yes","no"],"strict":true`).
		says(t, "choices", cannot+" more than 0 choices")
	send(`"tracker_id":101,"message":"😀","choices":["😀"],"strict":true`).
		invalid(t, "message", "choices")
	send(`"tracker_id":101,"message":"ok?","choices":["yes","no"],"strict":true`).id(t)
	long := strings.Repeat("long ", 60)
	send(`"tracker_id":101,"message":"`+long+`","choices":["yes","no"],"strict":true`).
		says(t, "choices", cannot+" answers beside more than 255 bytes of text")
	send(`"tracker_id":110,"message":"hi","strict":true`).refused(t, 214)
	// A key remembers answers, not refusals.
	send(`"tracker_id":101,"message":"😀","strict":true,"idempotency_key":"k"`).invalid(t, "message")
	send(`"tracker_id":101,"message":":)","strict":true,"idempotency_key":"k"`).id(t)
	for id, want := range map[queue.TrackerID]int{101: 4, 102: 1, 110: 1} {
		if n := len(w.stored(id)); n != want {
			t.Errorf("%d stored for %d, want %d", n, id, want)
		}
	}
}

// A strict broadcast goes to all or, where one of the devices would lose something, to none.
func TestStrictBroadcast(t *testing.T) {
	w := withOdd(newWorld(t))
	send := func(members string) answer {
		t.Helper()
		return w.json("tracker/chat/broadcast", members)
	}
	send(`"trackers":[1001,102,104,101],"message":"a سلام 😀","strict":true`).
		says(t, "message", "the devices of trackers 1001, 101 cannot show: س ل ا م 😀")
	send(`"trackers":[101,102],"message":"ok?","choices":["yes"],"strict":true`).
		says(t, "choices", "the devices of trackers 102 cannot show more than 0 choices")
	long := strings.Repeat("long ", 60)
	send(`"trackers":[101,1001],"message":"`+long+`","choices":["yes"],"strict":true`).
		says(t, "choices", "the devices of trackers 101, 1001 cannot show answers beside more than 255 bytes of text")
	send(`"trackers":[1001,999],"message":"😀","strict":true`).refused(t, 217)
	for _, id := range []queue.TrackerID{101, 102, 1001} {
		if n := len(w.stored(id)); n != 0 {
			t.Errorf("%d stored for %d", n, id)
		}
	}
	send(`"trackers":[102,104],"message":"😀","strict":true`).
		is(t, `{"success":true,"sent_to":[102],"not_sent_to":[104]}`)
	send(`"trackers":[110,101,102],"message":"hi","strict":true`).
		is(t, `{"success":true,"sent_to":[101,102],"not_sent_to":[110]}`)
	send(`"trackers":[110,101],"message":"😀"`).
		is(t, `{"success":true,"sent_to":[110,101],"not_sent_to":[]}`)
}
