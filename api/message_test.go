package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trackchat/queue"
)

// delivery is what a client sees of a message in detail.
type delivery struct {
	State       string  `json:"state"`
	Parts       int     `json:"parts"`
	PartsAcked  int     `json:"parts_acked"`
	DeliveredAt *string `json:"delivered_at"`
	ReadAt      *string `json:"read_at"`
	ExpiresAt   *string `json:"expires_at"`
	Reason      *string `json:"reason"`
	Tries       int     `json:"tries,omitempty"`
	Unanswered  *string `json:"unanswered_since,omitempty"`
	Replaced    int     `json:"replaced,omitempty"`
}

type detail struct {
	message
	Delivery *delivery `json:"delivery"`
	Choices  []string  `json:"choices"`
	ReplyTo  int64     `json:"reply_to"`
	Urgent   bool      `json:"urgent"`
}

// read returns a message in detail, having compared it with what list shows of it.
func (w *world) read(id int64) detail {
	w.tb.Helper()
	a := w.form("tracker/chat/read", "message_id", itoa(id))
	var got struct {
		Success bool
		Value   detail
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !got.Success ||
		got.Value.ID != id {
		w.tb.Fatalf("%v: %d %s", err, a.status, a.body)
	}
	object := strings.TrimSuffix(strings.TrimPrefix(a.body, `{"success":true,"value":`), "}")
	if list := w.form("tracker/chat/list", "tracker_id", "101", "detail", "true", "from",
		"2000-01-01 00:00:00"); !strings.Contains(list.body, object) {
		w.tb.Errorf("read %s\nlist %s", a.body, list.body)
	}
	bare := object[:strings.Index(object, `,"delivery":`)] + "}"
	if list := w.form("tracker/chat/list", "tracker_id", "101", "from",
		"2000-01-01 00:00:00"); !strings.Contains(list.body, bare) ||
		strings.Contains(list.body, "delivery") {
		w.tb.Errorf("read %s\nlist %s", a.body, list.body)
	}
	return got.Value
}

func (w *world) end(t queue.TrackerID, id int64, st queue.Status, why queue.Reason) {
	w.tb.Helper()
	rs, err := w.store.End(w.tb.Context(), []queue.EndReq{{
		Tracker: t, ID: id, Status: st,
		Reason: why,
	}})
	if err != nil || rs[0] != queue.EndNow {
		w.tb.Fatal(err, rs)
	}
}

func TestDeliveryForm(t *testing.T) {
	w := newWorld(t)
	id := itoa(w.form("tracker/chat/send", "tracker_id", "101", "message", "hi", "ttl", "60").id(t))
	const bare = `,"submit_time":"2016-02-29 11:00:00","update_time":null,"text":"hi","type":"OUTGOING","status":"PENDING","employee_id":7`
	queued := `{"success":true,"value":{"id":` + id + bare +
		`,"delivery":{"state":"QUEUED","parts":1,"parts_acked":0,"delivered_at":null,"read_at":null,"expires_at":"2016-02-29 11:01:00","reason":null}}}`
	w.form("tracker/chat/read", "message_id", id).is(t, queued)
	w.json("tracker/chat/read", `"message_id":`+id).is(t, queued)
	w.do("GET", "/api-v2/tracker/chat/read/?hash="+berlinKey+"&message_id="+id, "").is(t, queued)
	iso := strings.ReplaceAll(strings.ReplaceAll(queued, " 11:00:00", "T11:00:00+01:00"),
		" 11:01:00", "T11:01:00+01:00")
	w.form("tracker/chat/read", "message_id", id, "iso_datetime", "true").is(t, iso)
	w.setTime("2016-02-29T10:01:00.249Z")
	w.form("tracker/chat/read", "message_id", id).is(t, queued)
	w.setTime("2016-02-29T10:01:00.250Z")
	w.form("tracker/chat/read", "message_id", id).is(t, strings.Replace(queued, "QUEUED", "EXPIRED",
		1))

	in := w.receive(101, "yes")
	w.form("tracker/chat/read", "message_id", itoa(in)).is(t,
		`{"success":true,"value":{"id":`+itoa(in)+
			`,"submit_time":"2016-02-29 11:01:00","update_time":null,"text":"yes","type":"INCOMING","status":"PENDING","employee_id":null,"delivery":null}}`)
}

func TestDeliveryStates(t *testing.T) {
	w := newWorld(t)
	two := func() int64 {
		id := w.send(101, "two parts")
		if err := w.store.Progress(t.Context(), []queue.ProgressReq{{
			Tracker: 101, ID: id, Parts: 2,
			Acked: 1,
		}}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	sent := "2016-02-29 11:00:00"
	ended, read := "2016-02-29 11:05:07", "2016-02-29 11:06:00"
	reason := "device storage full"
	queued, half, delivered, opened, failed, expired, cancelled, unconfirmed := w.send(101, "a"),
		two(), two(), two(), two(), two(), w.send(101, "b"), w.send(101, "c")
	w.setTime("2016-02-29T10:05:07.999Z")
	w.ack(101, delivered)
	w.ack(101, opened)
	w.end(101, failed, queue.StatusFailed, queue.ReasonStorage)
	w.end(101, expired, queue.StatusExpired, queue.ReasonNone)
	w.end(101, cancelled, queue.StatusCancelled, queue.ReasonNone)
	w.end(101, unconfirmed, queue.StatusSent, queue.ReasonNone)
	w.setTime("2016-02-29T10:06:00Z")
	replaced := w.send(101, "d")
	if _, err := w.store.Ack(t.Context(), []queue.AckReq{
		{Tracker: 101, ID: opened, Opened: true},
		{Tracker: 101, ID: replaced, Replaced: 3},
	}); err != nil {
		t.Fatal(err)
	}
	if got := w.read(replaced).Delivery; got.State != "DELIVERED" || got.Replaced != 3 {
		t.Errorf("%s", jsonText(got))
	}
	for _, c := range []struct {
		id     int64
		status string
		update *string
		want   delivery
	}{
		{queued, "PENDING", nil, delivery{State: "QUEUED", Parts: 1}},
		{half, "PENDING", nil, delivery{State: "QUEUED", Parts: 2, PartsAcked: 1}},
		{delivered, "DELIVERED", &ended, delivery{
			State: "DELIVERED", Parts: 2, PartsAcked: 2,
			DeliveredAt: &ended,
		}},
		{opened, "DELIVERED", &ended, delivery{
			State: "READ", Parts: 2, PartsAcked: 2,
			DeliveredAt: &ended, ReadAt: &read,
		}},
		{failed, "PENDING", nil, delivery{
			State: "FAILED", Parts: 2, PartsAcked: 1,
			Reason: &reason,
		}},
		{expired, "PENDING", nil, delivery{State: "EXPIRED", Parts: 2, PartsAcked: 1}},
		{cancelled, "PENDING", nil, delivery{State: "CANCELLED", Parts: 1}},
		{unconfirmed, "PENDING", nil, delivery{State: "SENT", Parts: 1}},
	} {
		got := w.read(c.id)
		if jsonText(got.Delivery) != jsonText(c.want) || got.Status != c.status ||
			jsonText(got.UpdateTime) != jsonText(c.update) || got.SubmitTime != sent {
			t.Errorf("got  %s\nwant %s %s %s", jsonText(got), c.status, jsonText(c.update),
				jsonText(c.want))
		}
	}
	// A late ack makes any of them DELIVERED.
	for _, id := range []int64{failed, expired, cancelled, unconfirmed} {
		w.ack(101, id)
		if got := w.read(id); got.Status != "DELIVERED" || *got.UpdateTime != read ||
			got.Delivery.State != "DELIVERED" || *got.Delivery.DeliveredAt != read ||
			got.Delivery.Reason != nil {
			t.Errorf("acknowledged late: %s", jsonText(got))
		}
	}
}

// TestTriesAreTold: how often a device was handed a text and did not answer is told in detail and
// in the feed, live and again, until it answers or the text ends.
func TestTriesAreTold(t *testing.T) {
	w := newWorld(t)
	s := w.stream(events(berlinKey)).hello()
	a := w.form("tracker/chat/send", "tracker_id", "101", "message", "hello?", "ttl", "600")
	id := a.id(t)
	from := s.next().id
	first := w.clock.Load()
	w.setTime("2016-02-29T10:02:00Z")
	for n, parts := range []int{1, 2} {
		note := queue.ProgressReq{Tracker: 101, ID: id, Parts: parts, Tries: n + 1, TriedMs: first}
		if err := w.store.Progress(t.Context(), []queue.ProgressReq{note}); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`"reason":null,"tries":%d,"unanswered_since":"2016-02-29T10:00:00Z"}`,
			n+1)
		if e := s.next(); e.name != "progress" || !strings.Contains(e.data, want) {
			t.Errorf("live %s %s", e.name, e.data)
		}
	}
	again := w.beside().stream(events(berlinKey), "Last-Event-ID", from)
	e := again.next()
	if e.name == "message" { // the last event may come again
		e = again.next()
	}
	if e.name != "progress" {
		t.Errorf("told again: %+v", e)
	}
	if got := w.read(id).Delivery; got.Tries != 2 || *got.Unanswered != "2016-02-29 11:00:00" {
		t.Errorf("read %s", jsonText(got))
	}
	w.setTime("2016-02-29T10:11:00Z")
	if got := w.read(id).Delivery; got.State != "EXPIRED" || got.Tries != 0 ||
		got.Unanswered != nil {
		t.Errorf("when its time is over %s", jsonText(got))
	}
	w.ack(101, id)
	if got := w.read(id).Delivery; got.State != "DELIVERED" || got.Tries != 0 ||
		got.Unanswered != nil {
		t.Errorf("delivered %s", jsonText(got))
	}
}

// byID are the operations on a single message.
var byID = []string{"tracker/chat/read", "tracker/chat/cancel"}

func TestSingleMessageRefusals(t *testing.T) {
	w := newWorld(t)
	at := map[int]int64{
		foreign: w.send(foreign, "x"), blocked: w.send(blocked, "x"),
		mute: w.send(mute, "x"), cheap: w.send(cheap, "x"), blockedMute: w.send(blockedMute, "x"),
		cheapMute: w.send(cheapMute, "x"),
	}
	for _, op := range byID {
		w.form(op).invalid(t, "message_id")
		w.form(op, "message_id", "x").invalid(t, "message_id")
		w.form(op, "message_id", "1.5").invalid(t, "message_id")
		for _, id := range []int64{0, -1, at[foreign], at[foreign] + 1<<30, 1 << 60} {
			w.form(op, "message_id", itoa(id)).refused(t, 201)
		}
		for id, code := range map[int]int{
			blocked: 208, blockedMute: 208, mute: 214, cheapMute: 214,
			cheap: 236,
		} {
			w.form(op, "message_id", itoa(at[id])).refused(t, code)
		}
		w.formAs(unknownKey, op, "message_id", "1").refused(t, 4)
	}
	if m := w.stored(foreign)[0]; m.Status != queue.StatusPending {
		t.Errorf("%+v", m)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	pending, acked, opened, failed, sent := w.send(101, "a"), w.send(101, "b"), w.send(101, "c"),
		w.send(101, "d"), w.send(101, "e")
	w.ack(101, acked)
	if _, err := w.store.Ack(t.Context(), []queue.AckReq{{
		Tracker: 101, ID: opened,
		Opened: true,
	}}); err != nil {
		t.Fatal(err)
	}
	w.end(101, failed, queue.StatusFailed, queue.ReasonRefused)
	w.end(101, sent, queue.StatusSent, queue.ReasonNone)
	overdue := w.form("tracker/chat/send", "tracker_id", "101", "message", "f", "ttl", "1").id(t)
	w.setTime("2016-02-29T10:00:02Z")

	for _, c := range []struct {
		id    int64
		code  int // 0 success
		state string
	}{
		{pending, 0, "CANCELLED"},
		{acked, 13, "DELIVERED"},
		{opened, 13, "READ"},
		{sent, 13, "SENT"},
		{failed, 0, "FAILED"},
		{overdue, 0, "EXPIRED"},
		{w.receive(101, "in"), 201, ""},
	} {
		for range 2 {
			a := w.form("tracker/chat/cancel", "message_id", itoa(c.id))
			if c.code == 0 {
				a.is(t, `{"success":true}`)
			} else {
				a.refused(t, c.code)
			}
			if got := w.read(c.id); c.state != "" && got.Delivery.State != c.state {
				t.Errorf("state %s, want %s", got.Delivery.State, c.state)
			}
		}
	}
	w.ack(101, pending)
	w.form("tracker/chat/cancel", "message_id", itoa(pending)).refused(t, 13)
}

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
		"tracker/chat/list":   {{"tracker_id", "101"}, {"tracker_id", "999"}},
		"tracker/chat/export": {{"tracker_id", "101"}, {"tracker_id", "999"}},
		"tracker/chat/search": {
			{"tracker_id", "101", "query", "secret"},
			{"tracker_id", "999", "query", "secret"},
		},
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
		"tracker/chat/last/list":     {{"trackers", "101"}, {"trackers", "999"}},
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
