package api_test

import (
	"context"
	"testing"

	"trackchat/api"
	"trackchat/api/live"
	"trackchat/queue"
)

// atOnce stores messages at the present time, whose texts are numbers from the first on.
func (w *world) atOnce(t queue.TrackerID, first, n int) (ids []int64) {
	w.tb.Helper()
	reqs := make([]queue.SendReq, n)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: t, Text: itoa(first + i)}
	}
	rs, err := w.store.Send(context.Background(), reqs)
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, r := range rs {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestFeedReplaysManyTexts: what was missed is read in pages, which may end amid a millisecond or
// with it; each text is told once and in order.
func TestFeedReplaysManyTexts(t *testing.T) {
	w := newWorld(t)
	since := itoa(w.clock.Load())
	w.clock.Add(10_000)
	var want []int64
	for _, n := range []int{64, 40, 40, 1, 63, 1025, 1} { // a page has 64
		want = append(want, w.atOnce(101, len(want), n)...)
		w.clock.Add(1)
	}
	s := w.stream(events(berlinKey), "Last-Event-ID", since)
	for _, id := range want {
		s.want("message", 101, id)
	}
	s.want("message", 101, w.send(101, "live"))
}

// forgetful is a store to which all changes of a tracker are too long ago, as they are to Redis
// after a few thousand.
type forgetful struct {
	live.Store
	of queue.TrackerID
}

func (f forgetful) Changes(ctx context.Context, t queue.TrackerID, since int64,
	limit int,
) ([]queue.Message, error) {
	if t == f.of {
		return nil, queue.ErrTooOld
	}
	return f.Store.Changes(ctx, t, since, limit)
}

// TestWebhookReplaysManyTexts: where changes are too long ago a webhook is told that, and then all
// texts since, in pages of 1,024 that may end amid a millisecond.
func TestWebhookReplaysManyTexts(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Feed = forgetful{o.Feed, 101} })
	r := newReceiver(t, nil)
	w.putHook(1, r.url)
	w.clock.Add(10_000)
	want := []string{"reset "}
	for _, n := range []int{1000, 50, 1} { // the first page ends among the fifty
		w.atOnce(101, len(want)-1, n)
		for range n {
			want = append(want, "message "+itoa(len(want)-1))
		}
		w.clock.Add(1)
	}
	w.send(102, "of another tracker")
	w.hooks()
	r.wait(102, "message of another tracker")
	r.wait(101, want...)
}
