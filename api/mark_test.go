package api_test

import (
	"context"
	"slices"
	"testing"

	"trackchat/queue"
)

func (w *world) unread(key, want string) {
	w.tb.Helper()
	w.formAs(key, "tracker/chat/unread/count").is(w.tb, `{"success":true,"value":{`+want+`}}`)
}

func TestMarkRead(t *testing.T) {
	w := newWorld(t)
	const ok = `{"success":true}`
	a, b, c, d := w.receive(101, "a"), w.receive(101, "b"), w.receive(102, "c"), w.receive(102, "d")
	out, strange := w.send(101, "out"), w.receive(foreign, "theirs")
	all := `"101":2,"102":2`
	w.unread(berlinKey, all)
	for _, wrong := range []int64{out, strange, 12345, 0, -1, 1 << 62} {
		w.form("tracker/chat/mark_read", "message_id", itoa(wrong)).refused(t, 201)
		w.form("tracker/chat/mark_read", "message_ids", itoa(a)+","+itoa(wrong)).refused(t, 201)
		w.form("tracker/chat/mark_read", "message_ids", itoa(wrong)+","+itoa(a)).refused(t, 201)
		w.form("tracker/chat/mark_read", "message_ids", itoa(a), "message_id",
			itoa(wrong)).refused(t, 201)
	}
	w.unread(berlinKey, all)
	w.unread(uralKey, `"201":1`)
	w.form("tracker/chat/mark_read", "message_id", itoa(a)).is(t, ok)
	w.unread(berlinKey, `"101":1,"102":2`)
	w.form("tracker/chat/mark_read", "message_id", itoa(a), "message_ids",
		itoa(c)+","+itoa(b)+","+itoa(c)).is(t, ok)
	w.unread(berlinKey, `"102":1`)
	w.form("tracker/chat/mark_read", "message_id", "null", "message_ids", itoa(d)).is(t, ok)
	w.unread(berlinKey, ``)
	w.form("tracker/chat/mark_read", "message_ids", "").invalid(t, "message_ids")
	w.form("tracker/chat/mark_read", "message_ids", "[]", "message_id", itoa(a)).invalid(t,
		"message_ids")
	w.form("tracker/chat/mark_read", "message_ids", "null").invalid(t, "message_id", "message_ids")
}

func TestMarkReadLimits(t *testing.T) {
	w := newWorld(t)
	in := make([]queue.Incoming, 1025)
	for i := range in {
		in[i] = queue.Incoming{Tracker: 101, Text: "x"}
	}
	rs, err := w.store.Receive(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int64, len(rs))
	for i := range rs {
		ids[i] = rs[i].ID
	}
	w.unread(berlinKey, `"101":1025`)
	w.json("tracker/chat/mark_read", `"message_ids":`+jsonText(ids)).invalid(t, "message_ids")
	w.json("tracker/chat/mark_read", `"message_ids":`+jsonText(slices.Concat(ids[:1023],
		ids[:1023]))).is(t, `{"success":true}`)
	w.unread(berlinKey, `"101":2`)
	w.json("tracker/chat/mark_read", `"message_ids":`+jsonText(ids[:1024])+`,"message_id":`+itoa(
		ids[1024])).is(t, `{"success":true}`)
	w.unread(berlinKey, ``)
}

func TestMarkReadAll(t *testing.T) {
	w := newWorld(t)
	const ok = `{"success":true}`
	for _, id := range []queue.TrackerID{101, 102, blocked, cheap, mute, foreign} {
		w.receive(id, "x")
	}
	all := `"101":1,"102":1,"103":1,"104":1,"105":1`
	w.unread(berlinKey, all)
	for _, id := range []int{unknown, foreign, blocked, blockedMute, 0} {
		w.form("tracker/chat/mark_read_all", "trackers", "101,"+itoa(id)).refused(t, 201)
	}
	w.json("tracker/chat/mark_read_all", `"trackers":[]`).is(t, ok)
	w.form("tracker/chat/mark_read_all", "trackers", "").is(t, ok)
	w.form("tracker/chat/mark_read_all", "trackers[]", "").is(t, ok)
	w.unread(berlinKey, all)
	w.form("tracker/chat/mark_read_all", "trackers", "101,101,105").is(t, ok)
	w.unread(berlinKey, `"102":1,"103":1,"104":1`)
	w.json("tracker/chat/mark_read_all", `"trackers":null`).is(t, ok)
	w.unread(berlinKey, ``)
	w.unread(uralKey, `"201":1`)
	w.formAs(emptyKey, "tracker/chat/mark_read_all").is(t, ok)
}

func TestUnreadTariff(t *testing.T) {
	w := newWorld(t)
	w.formAs(noChatKey, "tracker/chat/unread/count").refused(t, 236)
	w.formAs(emptyKey, "tracker/chat/unread/count").refused(t, 236)
}

func TestUpdated(t *testing.T) {
	w := newWorld(t)
	w.form("tracker/chat/updated/list", "trackers", "101,102").is(t, `{"success":true,"value":{}}`)
	w.send(102, "x")
	w.clock.Add(23_000)
	w.receive(101, "x")
	w.clock.Add(1000)
	w.receive(102, "x")
	w.ack(102, w.stored(102)[0].ID)
	w.form("tracker/chat/updated/list", "trackers", "102,1001,101,104").is(t,
		`{"success":true,"value":{"102":"2016-02-29 11:00:24","101":"2016-02-29 11:00:23"}}`)
	w.form("tracker/chat/list", "tracker_id", "102", "from", "2016-02-29 11:00:24", "to",
		"2016-02-29 11:00:24").list(t)
}

// TestIsolation asks as account 2 for what belongs to account 1: each answer is that for what does
// not exist.
func TestIsolation(t *testing.T) {
	w := newWorld(t)
	in := w.receive(101, "secret")
	out := w.send(101, "secret")
	for op, params := range map[string][2][]string{
		"tracker/chat/list": {{"tracker_id", "101"}, {"tracker_id", "999"}},
		"tracker/chat/send": {{"tracker_id", "101", "message", "x"}, {
			"tracker_id", "999",
			"message", "x",
		}},
		"tracker/chat/broadcast": {
			{"trackers", "201,101", "message", "x"},
			{"trackers", "201,999", "message", "x"},
		},
		"tracker/chat/mark_read":     {{"message_id", itoa(in)}, {"message_id", "999"}},
		"tracker/chat/mark_read_all": {{"trackers", "101"}, {"trackers", "999"}},
		"tracker/chat/updated/list":  {{"trackers", "101"}, {"trackers", "999"}},
		"tracker/read":               {{"tracker_id", "101"}, {"tracker_id", "999"}},
		"tracker/chat/read":          {{"message_id", itoa(in)}, {"message_id", "999"}},
		"tracker/chat/cancel":        {{"message_id", itoa(out)}, {"message_id", "999"}},
	} {
		theirs, nobodys := w.formAs(uralKey, op, params[0]...), w.formAs(uralKey, op, params[1]...)
		if theirs.body != nobodys.body || theirs.status != nobodys.status || theirs.status == 200 {
			t.Errorf("%s: %d %s, but %d %s", op, theirs.status, theirs.body, nobodys.status,
				nobodys.body)
		}
	}
	w.unread(uralKey, ``)
	w.formAs(uralKey, "tracker/chat/mark_read_all").is(t, `{"success":true}`)
	w.unread(berlinKey, `"101":1`)
	if ms := w.stored(101); len(ms) != 2 || len(w.stored(foreign)) != 0 {
		t.Errorf("stored %v", ms)
	}
}

func TestTrackers(t *testing.T) {
	w := newWorld(t)
	const first = `{"id":201,"label":"Ural 1","group_id":0,"source":{"id":201,"device_id":"201","model":"m","blocked":false,"tariff_id":1,"phone":null},"clone":false,"online":false,"last_seen":null}`
	const second = `{"id":202,"label":"Ural 2","group_id":0,"source":{"id":202,"device_id":"202","model":"m","blocked":false,"tariff_id":1,"phone":null},"clone":false,"online":false,"last_seen":null}`
	w.formAs(uralKey, "tracker/list").is(t, `{"success":true,"list":[`+first+","+second+`]}`)
	w.formAs(emptyKey, "tracker/list").is(t, `{"success":true,"list":[]}`)
	w.formAs(uralKey, "tracker/read", "tracker_id", "202").is(t,
		`{"success":true,"value":`+second+`}`)
	w.form("tracker/read", "tracker_id", "101").is(t,
		`{"success":true,"value":{"id":101,"label":"Truck \"1\" <é>","group_id":0,"source":{"id":101,"device_id":"13812345678","model":"jt808","blocked":false,"tariff_id":1,"phone":null},"clone":false,"online":false,"last_seen":null}}`)
	w.form("tracker/read", "tracker_id", "103").is(t,
		`{"success":true,"value":{"id":103,"label":"b","group_id":0,"source":{"id":103,"device_id":"103","model":"m","blocked":true,"tariff_id":1,"phone":null},"clone":false,"online":false,"last_seen":null}}`)
	w.form("tracker/read", "tracker_id", "999").refused(t, 201)
}
