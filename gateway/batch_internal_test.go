package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"trackchat/queue"
)

// gatherer is a batcher of acks that notes its calls: when they came, and of how many.
func gatherer(t *testing.T) (b *batcher[queue.AckReq, queue.AckResult], calls *[]gathered) {
	t.Helper()
	begin := time.Now()
	calls = new([]gathered)
	g := &Gateway{o: Options{StoreTimeout: time.Minute}}
	b = newBatcher(g, "ack", true, func(_ context.Context, qs []queue.AckReq) ([]queue.AckResult,
		error,
	) {
		*calls = append(*calls, gathered{time.Since(begin), len(qs)})
		time.Sleep(time.Millisecond) // of the bubble's clock: the store at work
		return make([]queue.AckResult, len(qs)), nil
	}, func(request[queue.AckReq], queue.AckResult, error) {})
	b.gather, b.enough = ackGather, ackEnough
	return b, calls
}

type gathered struct {
	at    time.Duration
	items int
}

func TestAcksGather(t *testing.T) {
	const gather, call = ackGather, time.Millisecond
	for name, c := range map[string]struct {
		load func(add func(n int), settle func())
		want []gathered
	}{
		"one waits as long as it may": {
			func(add func(int), _ func()) { add(1) },
			[]gathered{{gather, 1}},
		},
		"those that come while a call is made wait as well": {
			func(add func(int), _ func()) {
				add(2)
				time.Sleep(gather + call/2)
				add(3)
			},
			[]gathered{{gather, 2}, {2*gather + call, 3}},
		},
		"enough of them do not wait": {
			func(add func(int), _ func()) {
				add(ackEnough - 1)
				time.Sleep(call)
				add(1)
			},
			[]gathered{{call, ackEnough}},
		},
		"what one call does not hold has the next one at once": {
			func(add func(int), _ func()) {
				add(1)
				time.Sleep(gather + call/2)
				add(2 * batchItems)
			},
			[]gathered{{gather, 1}, {gather + call, batchItems}, {gather + 2*call, batchItems}},
		},
		"one that is waited for does not wait": {
			func(add func(int), settle func()) {
				add(1)
				time.Sleep(call)
				settle()
			},
			[]gathered{{call, 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, calls := gatherer(t)
				ctx, stop := context.WithCancel(t.Context())
				go b.run(ctx)
				synctest.Wait()
				s := &session{delivery: delivery{tracker: 7}}
				c.load(func(n int) {
					for range n {
						b.add(s, 0, queue.AckReq{Tracker: 7})
					}
				}, func() { b.settle([]queue.TrackerID{7}) })
				time.Sleep(time.Second)
				stop()
				synctest.Wait()
				if len(*calls) != len(c.want) {
					t.Fatalf("calls %v, want %v", *calls, c.want)
				}
				for i, got := range *calls {
					if got != c.want[i] {
						t.Errorf("call %d: %v, want %v", i, got, c.want[i])
					}
				}
			})
		})
	}
}
