package load

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// afterFailure is how long a connection rests that was broken, so that a stack that is down is not
// asked without a pause.
const afterFailure = 20 * time.Millisecond

// loop is one stretch of requests.
type loop struct {
	target func(k int64) int // device that the request k (from 0) begins with
	batch  int               // texts of a request
	most   int64             // requests; 0: until the time is over
	length time.Duration     // closed loop: at most, but for
	least  int64             // closed loop: so many requests, however long they take
	window int64             // closed loop: most texts accepted and not at their device; 0: any
	rate   float64           // texts a second; 0: closed loop
}

// spread goes through the devices from one on in an order that is not their own: a prime apart.
func spread(from, devices int) func(int64) int {
	live := int64(devices - from)
	return func(k int64) int { return from + int(k*7919%live) }
}

// request is one that is due.
type request struct{ k, planned int64 }

// run sends until the loop is over or the ledger is full.
func (r *run) run(ctx context.Context, l loop) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := r.paced(ctx, l)
	if l.rate == 0 {
		next = r.free(ctx, l)
	}
	var all sync.WaitGroup
	for i := range r.clients {
		all.Go(func() {
			var body []byte
			for q, ok := next(); ok; q, ok = next() {
				seq, room := r.ledger.Take(l.batch)
				if !room {
					cancel()
					return
				}
				device := l.target(q.k)
				for place := range l.batch {
					r.ledger.Send(seq+int64(place), (device+place)%r.o.Devices, q.planned)
				}
				body = r.send(ctx, &r.clients[i], l.batch, seq, device, body)
			}
		})
	}
	all.Wait()
}

// free gives the requests of a closed loop: each as soon as there is room in the window.
func (r *run) free(ctx context.Context, l loop) func() (request, bool) {
	end := r.ledger.Now() + int64(l.length)
	base := r.ledger.Accepted() - r.ledger.Arrived()
	var count atomic.Int64
	return func() (request, bool) {
		k := count.Add(1) - 1
		for l.most == 0 || k < l.most {
			now := r.ledger.Now()
			if now >= end && k >= l.least || ctx.Err() != nil {
				break
			}
			if l.window == 0 || r.ledger.Accepted()-r.ledger.Arrived()-base < l.window {
				return request{k, now}, true
			}
			time.Sleep(time.Millisecond)
		}
		return request{}, false
	}
}

// mostDue bounds how many requests may be late, which is minutes of them.
const mostDue = 1 << 20

// paced gives the requests of an open loop when their time has come. Those that find no free
// connection wait, which counts in their latency.
func (r *run) paced(ctx context.Context, l loop) func() (request, bool) {
	due := make(chan request, min(max(l.most, 0), mostDue))
	if l.rate > 0 {
		go func() {
			defer close(due)
			begin := r.ledger.Now()
			for k := range l.most {
				after := float64(k) * float64(l.batch) / l.rate * float64(time.Second)
				planned := begin + int64(after)
				for w := planned - r.ledger.Now(); w > 0; w = planned - r.ledger.Now() {
					nap(time.Duration(w))
				}
				select {
				case due <- request{k, planned}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return func() (request, bool) {
		q, ok := <-due
		return q, ok && ctx.Err() == nil
	}
}

// nap sleeps about as long as asked. Go's own timers are up to a millisecond late in a process that
// is idle otherwise, which would be seen in every latency.
func nap(d time.Duration) {
	if d > 2*time.Millisecond {
		time.Sleep(d - time.Millisecond)
		return
	}
	ts := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&ts, nil) // an early return only means another look at the clock
}

// send makes one request and notes what came of it.
func (r *run) send(ctx context.Context, c *client, batch int, seq int64, device int,
	buf []byte,
) []byte {
	path, body := r.api.request(buf[:0], seq, device, batch)
	status, answer, err := c.post(ctx, path, body)
	id := idOf(answer)
	for i := range batch {
		switch s := seq + int64(i); {
		case err != nil:
			r.ledger.Unanswered(s)
		case status == 200:
			r.ledger.Accept(s, id)
		default:
			r.ledger.Refuse(s)
		}
	}
	if err != nil {
		time.Sleep(afterFailure)
	} else if status != 200 {
		r.refused(status, answer)
	}
	return body
}
