package api_test

import (
	"context"
	"slices"
	"testing"

	"trackchat/queue"
)

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
