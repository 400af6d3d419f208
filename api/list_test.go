package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"trackchat/queue"
)

// seconds stores n messages, one a second from 10:00:00 UTC.
func (w *world) seconds(t queue.TrackerID, n int) {
	w.tb.Helper()
	w.setTime("2016-02-29T10:00:00.250Z")
	for i := range n {
		w.send(t, itoa(i))
		w.clock.Add(1000)
	}
}

func texts(ms []message) string {
	all := make([]string, len(ms))
	for i, m := range ms {
		all[i] = m.Text
	}
	return strings.Join(all, " ")
}

func TestMessageObject(t *testing.T) {
	w := newWorld(t)
	out := w.form("tracker/chat/send", "tracker_id", "101", "message", `to "you" \ <b>&`).id(t)
	w.clock.Add(1000)
	in := w.receive(101, "back\tto\nyou \u2028\x01")
	read := func() string { return w.form("tracker/chat/list", "tracker_id", "101").body }
	first := `{"id":%d,"submit_time":"2016-02-29 11:00:00","update_time":%s,"text":"to \"you\" \\ <b>&","type":"OUTGOING","status":"%s","employee_id":7}`
	second := `{"id":%d,"submit_time":"2016-02-29 11:00:01","update_time":%s,"text":"back\tto\nyou ` + "\u2028" + `\u0001","type":"INCOMING","status":"%s","employee_id":null}`
	want := func(u1, s1, u2, s2 string) string {
		return `{"success":true,"list":[` + fmt.Sprintf(first, out, u1, s1) + "," +
			fmt.Sprintf(second, in, u2, s2) + `]}`
	}
	if got := read(); got != want("null", "PENDING", "null", "PENDING") {
		t.Errorf("stored: %s", got)
	}
	w.clock.Add(1000)
	w.ack(101, out)
	if got := read(); got != want(`"2016-02-29 11:00:02"`, "DELIVERED", "null", "PENDING") {
		t.Errorf("acknowledged: %s", got)
	}
	w.clock.Add(1000)
	w.form("tracker/chat/mark_read", "message_id", itoa(in)).is(t, `{"success":true}`)
	if got := read(); got != want(`"2016-02-29 11:00:02"`, "DELIVERED", `"2016-02-29 11:00:03"`,
		"DELIVERED") {
		t.Errorf("read: %s", got)
	}
	w.clock.Add(60_000)
	w.form("tracker/chat/mark_read", "message_id", itoa(in)).is(t, `{"success":true}`)
	if got := read(); got != want(`"2016-02-29 11:00:02"`, "DELIVERED", `"2016-02-29 11:00:03"`,
		"DELIVERED") {
		t.Errorf("read again: %s", got)
	}
}

// TestEndedMessages: whatever ended without the device's ack is PENDING without a time.
func TestEndedMessages(t *testing.T) {
	w := newWorld(t)
	for _, s := range []queue.Status{
		queue.StatusFailed, queue.StatusExpired, queue.StatusCancelled,
		queue.StatusSent,
	} {
		id := w.send(101, "x")
		rs, err := w.store.End(context.Background(), []queue.EndReq{{
			Tracker: 101, ID: id,
			Status: s,
		}})
		if err != nil || rs[0] != queue.EndNow {
			t.Fatal(rs, err)
		}
	}
	for _, m := range w.form("tracker/chat/list", "tracker_id", "101").list(t) {
		if m.Status != "PENDING" || m.UpdateTime != nil {
			t.Errorf("got %+v", m)
		}
	}
}

func TestListWindow(t *testing.T) {
	w := newWorld(t)
	w.form("tracker/chat/list", "tracker_id", "101").is(t, `{"success":true,"list":[]}`)
	w.seconds(101, 10)
	for _, c := range []struct{ from, to, want string }{
		{"2016-02-29 11:00:03", "2016-02-29 11:00:05", "3 4 5"},
		{"2016-02-29 11:00:03", "2016-02-29 11:00:03", "3"},
		{"2016-02-29T10:00:03Z", "2016-02-29T15:00:05+05:00", "3 4 5"},
		{"2016-02-29T10:00:03.999Z", "2016-02-29T10:00:05.000Z", "3 4 5"},
		{"2016-02-29 10:59:00", "2016-02-29 11:00:00", "0"},
		{"2016-02-29 11:00:10", "2016-03-01 00:00:00", ""},
		{"2016-02-22 11:00:00", "2016-02-29 10:59:59", ""},
	} {
		got := w.form("tracker/chat/list", "tracker_id", "101", "from", c.from, "to", c.to).list(t)
		if texts(got) != c.want {
			t.Errorf("%s to %s: %q", c.from, c.to, texts(got))
		}
	}
	get := func(from string) answer {
		t.Helper()
		return w.do(http.MethodGet,
			"/tracker/chat/list?hash="+berlinKey+"&tracker_id=101&to=2016-02-29+11:00:04&from="+from, "")
	}
	for _, from := range []string{
		"2016-02-29T15:00:03+05:00", "2016-02-29T15:00:03%2B05:00", "2016-02-29T15:00:03%2005:00",
		"2016-02-29+11:00:03",
		"2016-02-29T11:00:03", "2016-02-29T11:00:03.5", "2016-02-29+11:00:03.123456789",
		"2016-02-29T15:00:03%2B0500", "2016-02-29T15:00:03+0500",
		"2016-02-29T15:00:03%2B05", "2016-02-29T15:00:03+%2B05:00",
		"2016-02-29T15:00:03.999%20%2B0500", "2016-02-29T15:00:03++05:00",
		"2016-02-29+10:00:03Z", "2016-02-29t10:00:03z", "2016-02-29T05:30:03-04:30",
		"2016-02-29+05:30:03+-0430", "+2016-02-29T10:00:03+Z+",
	} {
		if got := texts(get(from).list(t)); got != "3 4" {
			t.Errorf("from %s: %q", from, got)
		}
	}
	for _, from := range []string{
		"x", "2016-02-29", "2016-02-29T11:00", "2016-02-30+11:00:00", "2016-02-29+24:00:00",
		"2016-02-29+11:60:00", "2016-02-29+1:00:00", "2016-2-29+11:00:00",
		"2016-02-29+11:00:03.",
		"2016-02-29T5:00:03Z", "2016-02-29T15:00:03,5Z", "2016-02-29T15:00:03+5:00", "1456740000",
		"2016-02-29++11:00:03", "2016-02-29T11:00:0305:00", "2016-02-29T11:00:03.x",
		"2016-02-29T11:00:03%2B", "2016-02-29T11:00:03%2B24:00", "2016-02-29T11:00:03%2B05:60",
		"2016-02-29T11:00:03%2B050", "2016-02-29T11:00:03%2B05:0", "2016-02-29T11:00:03Z5",
		"2016-02-29T11:00:03--5:00", "2016-02-29T11:00:03%2B%2B5:00",
		"2016-02-29T11:00:03+Europe/Berlin", "2016-02-29x11:00:03", "2016-02-29T11-00-03",
	} {
		get(from).invalid(t, "from")
	}
	w.json("tracker/chat/list", `"tracker_id":101,"from":1456740000`).invalid(t, "from")
	w.json("tracker/chat/list", `"tracker_id":101,"from":["2016-02-29 11:00:03"]`).invalid(t,
		"from")
	get("2016-02-29+11:00:05").invalid(t, "from")
	w.form("tracker/chat/list", "tracker_id", "101", "from", "2016-03-29 11:00:05").invalid(t,
		"from")
	w.form("tracker/chat/list", "tracker_id", "101", "to", "2016-02-01 11:00:05").invalid(t, "from")
}

func TestListDefaults(t *testing.T) {
	w := newWorld(t)
	w.send(101, "first")
	ask := func() string { return texts(w.form("tracker/chat/list", "tracker_id", "101").list(t)) }
	w.setTime("2016-02-29T10:00:00.000Z") // the store's clock may be ahead within the second
	if got := ask(); got != "first" {
		t.Errorf("at once: %q", got)
	}
	w.setTime("2016-03-07T10:00:00.999Z")
	if got := ask(); got != "first" {
		t.Errorf("after seven days: %q", got)
	}
	w.setTime("2016-03-07T10:00:01Z")
	if got := ask(); got != "" {
		t.Errorf("after seven days and a second: %q", got)
	}
}

func TestListLimit(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	reqs := make([]queue.SendReq, 1030)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 101, Text: itoa(i)}
	}
	if _, err := w.store.Send(ctx, reqs); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		limit, ascending   string
		n                  int
		first, second, end string
	}{
		{"1", "true", 1, "0", "", "0"},
		{"1", "false", 1, "1029", "", "1029"},
		{"2", "false", 2, "1029", "1028", "1028"},
		{"1023", "true", 1023, "0", "1", "1022"},
		{"1024", "true", 1024, "0", "1", "1023"},
		{"1024", "false", 1024, "1029", "1028", "6"},
		{"null", "null", 1024, "0", "1", "1023"},
	} {
		got := w.form("tracker/chat/list", "tracker_id", "101", "limit", c.limit, "ascending",
			c.ascending).list(t)
		if len(got) != c.n || got[0].Text != c.first || got[len(got)-1].Text != c.end ||
			c.n > 1 && got[1].Text != c.second {
			t.Errorf("limit %s ascending %s: %d from %s to %s", c.limit, c.ascending, len(got),
				got[0].Text, got[len(got)-1].Text)
		}
	}
	for _, limit := range []string{"0", "1025", "-1", "x", "1.5", "9223372036854775808"} {
		w.form("tracker/chat/list", "tracker_id", "101", "limit", limit).invalid(t, "limit")
	}
}

// TestLongList reads an answer of 20 MB, which is written out as it is encoded.
func TestLongList(t *testing.T) {
	w := newWorld(t)
	text := strings.Repeat("😀", queue.MaxText)
	reqs := make([]queue.SendReq, 250)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 101, Text: text}
	}
	if _, err := w.store.Send(context.Background(), reqs); err != nil {
		t.Fatal(err)
	}
	got := w.form("tracker/chat/list", "tracker_id", "101").list(t)
	if len(got) != len(reqs) {
		t.Fatalf("%d messages", len(got))
	}
	for _, m := range got {
		if m.Text != text {
			t.Fatalf("message %d is damaged", m.ID)
		}
	}
}

// TestListPagesWithinASecond: more messages in one second than a page holds do not end the
// history, in either direction.
func TestListPagesWithinASecond(t *testing.T) {
	w := newWorld(t)
	const n = 2*1024 + 300
	reqs := make([]queue.SendReq, n)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 101, Text: itoa(i)}
	}
	rs, err := w.store.Send(context.Background(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Add(1000)
	last := w.send(101, "later")
	want := make([]int64, 0, n+1)
	for _, r := range rs {
		want = append(want, r.ID)
	}
	want = append(want, last)
	for _, ascending := range []string{"true", "false"} {
		var got []int64
		bound, at, after := "from", "2016-02-29 11:00:00", "0"
		if ascending == "false" {
			bound, at = "to", "2016-02-29 11:00:01"
			slices.Reverse(want)
		}
		for len(got) <= n+1 {
			page := w.form("tracker/chat/list", "tracker_id", "101", "ascending", ascending, bound,
				at, "after_id", after).list(t)
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				got = append(got, m.ID)
			}
			at, after = page[len(page)-1].SubmitTime, itoa(got[len(got)-1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("ascending %s: %d messages in pages, want %d", ascending, len(got), len(want))
		}
	}
	w.form("tracker/chat/list", "tracker_id", "101", "after_id", "-1").invalid(t, "after_id")
	w.form("tracker/chat/list", "tracker_id", "101", "after_id", "x").invalid(t, "after_id")
	if got := w.form("tracker/chat/list", "tracker_id", "101", "limit", "1", "after_id",
		"null").list(t); got[0].ID != rs[0].ID {
		t.Errorf("without a page before: %+v", got)
	}
}
