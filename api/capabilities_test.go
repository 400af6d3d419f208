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
	odd := queue.Tracker{ID: 110, Account: 1, Label: "odd", Protocol: "odd", DeviceID: "110", Chat: true, Features: []string{queue.FeatureChat}}
	w.dir.Replace(queue.NewSnapshot(accounts(), append(trackers(), odd)))
	return w
}

func TestCapabilities(t *testing.T) {
	f := new(fault)
	w := withOdd(newWorld(t, func(o *api.Options) { f.Sender, o.Store = o.Store, f }))
	w.form("tracker/chat/capabilities", "tracker_id", "101").
		is(t, `{"success":true,"value":{"protocol":"jt808","charset":"gbk","part_bytes":500,"max_characters":20000,"choices":8,"read_receipts":false,"delivered":"device","online":false}}`)
	w.form("tracker/chat/capabilities", "tracker_id", "102").
		is(t, `{"success":true,"value":{"protocol":"wialon","charset":"utf8","part_bytes":500,"max_characters":700,"choices":0,"read_receipts":true,"delivered":"none","online":false}}`)
	w.form("tracker/chat/capabilities", "tracker_id", "110").refused(t, 214)
	w.formAs(uralKey, "tracker/chat/capabilities", "tracker_id", "101").refused(t, 201)
	w.beat("a-1")
	w.connect("a-1", 101)
	if got := w.form("tracker/chat/capabilities", "tracker_id", "101").body; !strings.HasSuffix(got, `"online":true}}`) {
		t.Errorf("connected: %s", got)
	}
	f.after = func(err error) error { return errors.Join(err, queue.ErrUnavailable) }
	if got := w.form("tracker/chat/capabilities", "tracker_id", "101").body; !strings.HasSuffix(got, `"delivered":"device","online":null}}`) {
		t.Errorf("without a store: %s", got)
	}
}

// An API that knows of no device says so, whatever is asked.
func TestNoCapabilities(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Capabilities = nil })
	w.form("tracker/chat/capabilities", "tracker_id", "101").refused(t, 214)
	w.form("tracker/chat/send", "tracker_id", "101", "message", "hi", "strict", "1").refused(t, 214)
	w.form("tracker/chat/send", "tracker_id", "101", "message", "hi").id(t)
}

func TestStrictSend(t *testing.T) {
	w := withOdd(newWorld(t))
	const sent = `"message":"Płońsk → 7"`
	w.json("tracker/chat/send", `"tracker_id":101,`+sent+`,"strict":true`).id(t)
	w.json("tracker/chat/send", `"tracker_id":102,"message":"سلام 😀","strict":true`).id(t)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"سلام","strict":false`).id(t)
	w.json("tracker/chat/send", `"tracker_id":110,"message":"سلام"`).id(t)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"سلام 7 😀 سلام","strict":"true"`).
		is400(t, `{"success":false,"status":{"code":7,"description":"Invalid parameters"},"errors":[{"parameter":"message","error":"the device cannot show: س ل ا م 😀"}]}`)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"ابتثجحخدذرزس","strict":1`).
		is400(t, `{"success":false,"status":{"code":7,"description":"Invalid parameters"},"errors":[{"parameter":"message","error":"the device cannot show: ا ب ت ث ج ح خ د ذ ر"}]}`)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"ok?","choices":["نعم","no 😀"],"strict":true`).
		is400(t, `{"success":false,"status":{"code":7,"description":"Invalid parameters"},"errors":[{"parameter":"choices","error":"the device cannot show: ن ع م 😀"}]}`)
	w.json("tracker/chat/send", `"tracker_id":102,"message":"ok?","choices":["yes","no"],"strict":true`).
		is400(t, `{"success":false,"status":{"code":7,"description":"Invalid parameters"},"errors":[{"parameter":"choices","error":"the device cannot show more than 0 choices"}]}`)
	w.json("tracker/chat/send", `"tracker_id":101,"message":"😀","choices":["😀"],"strict":true`).invalid(t, "message", "choices")
	w.json("tracker/chat/send", `"tracker_id":101,"message":"ok?","choices":["yes","no"],"strict":true`).id(t)
	w.json("tracker/chat/send", `"tracker_id":110,`+sent+`,"strict":true`).refused(t, 214)
	// A key remembers answers, not refusals.
	w.json("tracker/chat/send", `"tracker_id":101,"message":"😀","strict":true,"idempotency_key":"k"`).invalid(t, "message")
	w.json("tracker/chat/send", `"tracker_id":101,"message":":)","strict":true,"idempotency_key":"k"`).id(t)
	if n, m, o := len(w.stored(101)), len(w.stored(102)), len(w.stored(110)); n != 4 || m != 1 || o != 1 {
		t.Errorf("%d, %d and %d stored", n, m, o)
	}
}

// A strict broadcast goes to all or, where one of the devices would lose something, to none.
func TestStrictBroadcast(t *testing.T) {
	w := withOdd(newWorld(t))
	w.json("tracker/chat/broadcast", `"trackers":[1001,102,104,101],"message":"a سلام 😀","strict":true`).
		is400(t, `{"success":false,"status":{"code":7,"description":"Invalid parameters"},"errors":[{"parameter":"message","error":"the devices of trackers 1001, 101 cannot show: س ل ا م 😀"}]}`)
	w.json("tracker/chat/broadcast", `"trackers":[101,102],"message":"ok?","choices":["yes"],"strict":true`).
		is400(t, `{"success":false,"status":{"code":7,"description":"Invalid parameters"},"errors":[{"parameter":"choices","error":"the devices of trackers 102 cannot show more than 0 choices"}]}`)
	w.json("tracker/chat/broadcast", `"trackers":[1001,999],"message":"😀","strict":true`).refused(t, 217)
	for _, id := range []queue.TrackerID{101, 102, 1001} {
		if n := len(w.stored(id)); n != 0 {
			t.Errorf("%d stored for %d", n, id)
		}
	}
	w.json("tracker/chat/broadcast", `"trackers":[102,104],"message":"😀","strict":true`).is(t, `{"success":true,"sent_to":[102],"not_sent_to":[104]}`)
	w.json("tracker/chat/broadcast", `"trackers":[110,101,102],"message":"hi","strict":true`).is(t, `{"success":true,"sent_to":[101,102],"not_sent_to":[110]}`)
	w.json("tracker/chat/broadcast", `"trackers":[110,101],"message":"😀"`).is(t, `{"success":true,"sent_to":[110,101],"not_sent_to":[]}`)
}
