package api_test

import (
	"encoding/json"
	"fmt"
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
