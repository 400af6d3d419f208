package batch_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trackchat/queue"
	"trackchat/queue/batch"
)

type item struct {
	batch.Ticket

	name string
	load batch.Load
}

func (it *item) Load() batch.Load { return it.load }

func light(name string) *item { return &item{name: name, load: batch.Load{Weight: 1, Bytes: 10}} }

func bulk(name string) *item {
	return &item{name: name, load: batch.Load{Weight: 1, Bytes: 10, Bulk: true}}
}

type lane struct {
	*batch.Lane[*item]

	t      *testing.T
	room   *batch.Room
	starts int
}

func newLane(t *testing.T, items, bytes int) *lane {
	t.Helper()
	l := &lane{t: t, room: batch.NewRoom(items, bytes)}
	l.Lane = batch.NewLane[*item](l.room, func() { l.starts++ })
	return l
}

func (l *lane) put(items ...*item) *batch.Call {
	l.t.Helper()
	c, err := batch.NewCall(l.room, items...)
	if err == nil {
		err = l.Put(items...)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// want takes a batch and compares the names.
func (l *lane) want(weight, bytes int, names ...string) {
	l.t.Helper()
	got := l.Take(nil, weight, bytes)
	var is []string
	for _, it := range got {
		is = append(is, it.name)
	}
	if !slices.Equal(is, names) {
		l.t.Fatalf("took %v, want %v", is, names)
	}
}

func TestWhatTakesLoadAwayGoesFirst(t *testing.T) {
	l := newLane(t, 100, 10_000)
	l.put(bulk("text 1"), bulk("text 2"), light("ack 1"), light("ack 2"), light("ack 3"))
	l.want(2, 1000, "ack 1", "ack 2", "text 1") // so that no text waits for ever
	l.want(2, 1000, "ack 3", "text 2")
	l.put(light("ack 4"), &item{name: "huge", load: batch.Load{Weight: 9, Bytes: 9000}},
		light("ack 5"), light("ack 6"))
	l.want(3, 1000, "ack 4")
	l.want(3, 1000, "huge")
	l.want(3, 15, "ack 5")
	l.want(3, 15, "ack 6")
	if l.starts != 1 {
		t.Fatalf("started %d times before it was at rest", l.starts)
	}
	l.want(3, 1000)
	if l.put(light("ack 7")); l.starts != 2 || l.room.Items() != 1 || l.room.Bytes() != 10 {
		t.Fatalf("%d starts, %d items of %d bytes", l.starts, l.room.Items(), l.room.Bytes())
	}
}

func TestRoomIsBounded(t *testing.T) {
	l := newLane(t, 8, 100)
	refused := func(items ...*item) {
		t.Helper()
		had := [2]int64{l.room.Items(), l.room.Bytes()}
		if _, err := batch.NewCall(l.room, items...); !errors.Is(err, queue.ErrOverloaded) {
			t.Fatalf("%d items beside %v: %v", len(items), had, err)
		}
		if has := [2]int64{l.room.Items(), l.room.Bytes()}; has != had {
			t.Fatalf("refused items take room: %v, before %v", has, had)
		}
	}
	for range 6 { // three quarters
		l.put(bulk("text"))
	}
	refused(bulk("text"))
	l.put(light("ack"), light("ack"))
	refused(light("ack"))
	l.Take(nil, 100, 1000)
	refused(slices.Repeat([]*item{light("ack")}, 9)...)
	l.put(&item{load: batch.Load{Weight: 1, Bytes: 1000, Bulk: true}}) // alone it may be larger
	refused(light("ack"))
	l.Take(nil, 100, 1000)
	l.put(&item{load: batch.Load{Weight: 1, Bytes: 70, Bulk: true}})
	refused(bulk("text"))
	l.put(light("ack"), light("ack"), light("ack"))
	refused(light("ack"))
}

func TestClosedLane(t *testing.T) {
	l := newLane(t, 8, 100)
	l.put(light("before"))
	l.Close()
	it := light("after")
	if _, err := batch.NewCall(l.room, it); err != nil {
		t.Fatal(err)
	}
	if err := l.Put(it); !errors.Is(err, queue.ErrUnavailable) {
		t.Fatal(err)
	}
	l.want(8, 100, "before")
	l.want(8, 100)
	if l.room.Items() != 0 || l.room.Bytes() != 0 {
		t.Fatalf("%d items of %d bytes", l.room.Items(), l.room.Bytes())
	}
}

func TestCallsThatAreGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		deadline bool
		taken    int           // of two items
		answered time.Duration // after the context has ended
		want     []error
		after    time.Duration
	}{
		"nothing is taken":                 {want: []error{context.Canceled}},
		"nothing is taken by the deadline": {deadline: true, want: []error{context.DeadlineExceeded}},
		"cancelled, and answered at last": {
			taken: 2, answered: 500 * time.Millisecond, after: 500 * time.Millisecond,
		},
		"cancelled, and not answered in time": {
			taken: 1, answered: 2 * time.Second, after: time.Second,
			want: []error{queue.ErrUnknownOutcome, context.Canceled},
		},
		"the deadline does not wait for the answer": {
			taken: 1, answered: 500 * time.Millisecond, deadline: true,
			want: []error{queue.ErrUnknownOutcome, context.DeadlineExceeded},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const live = time.Minute
				l := newLane(t, 8, 100)
				items := []*item{light("a"), light("b")}
				call := l.put(items...)
				var got []*item
				if c.taken > 0 {
					got = l.Take(nil, c.taken, 100)
				}
				ctx, cancel := context.WithCancel(t.Context())
				if c.deadline {
					ctx, cancel = context.WithTimeout(t.Context(), live)
				}
				defer cancel()
				var answering sync.WaitGroup
				answering.Go(func() {
					time.Sleep(live)
					if !c.deadline {
						cancel()
					}
					time.Sleep(c.answered)
					for _, it := range got {
						it.Finish(nil)
					}
				})
				start := time.Now()
				err := call.Wait(ctx)
				if after := time.Since(start) - live; after != c.after {
					t.Errorf("waited %v after the end", after)
				}
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				}
				if len(c.want) == 0 && err != nil {
					t.Error(err)
				}
				if c.want != nil && c.taken == 0 && errors.Is(err, queue.ErrUnknownOutcome) {
					t.Error("unknown, though nothing was taken")
				}
				l.want(8, 100)
				if l.room.Items() != 0 { // what is given up is carried out by nobody
					t.Errorf("%d items wait", l.room.Items())
				}
				answering.Wait()
			})
		})
	}
}
