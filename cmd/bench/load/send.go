package load

import (
	"context"
	"sync"
	"sync/atomic"
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
	length time.Duration     // closed loop: at most
	window int64             // closed loop: most texts accepted and not at their device; 0: any
	rate   float64           // texts a second; 0: closed loop
}

// spread goes through the devices from one on in an order that is not their own: a prime apart.
func spread(from, devices int) func(int64) int {
	live := int64(devices - from)
	return func(k int64) int { return from + int(k*7919%live) }
}

// run sends until the loop is over or the ledger is full.
func (r *run) run(ctx context.Context, l loop) {
	begin := r.ledger.Now()
	end := begin + int64(l.length)
	if l.rate > 0 {
		// a moment for the connections to begin with
		begin += int64(50 * time.Millisecond)
	}
	base := r.ledger.Accepted() - r.ledger.Arrived()
	var next atomic.Int64
	var all sync.WaitGroup
	for i := range r.clients {
		all.Go(func() {
			var body []byte
			for ctx.Err() == nil {
				k := next.Add(1) - 1
				if l.most > 0 && k >= l.most {
					return
				}
				planned, over := r.wait(l, k, begin, end, base)
				if over {
					return
				}
				seq, room := r.ledger.Take(l.batch)
				if !room {
					return
				}
				device := l.target(k)
				for place := range l.batch {
					r.ledger.Send(seq+int64(place), (device+place)%r.o.Devices, planned)
				}
				body = r.send(ctx, &r.clients[i], l.batch, seq, device, body)
			}
		})
	}
	all.Wait()
}

// wait waits until a request is due. A closed loop's is due when there is room in the window.
func (r *run) wait(l loop, k, begin, end, base int64) (planned int64, over bool) {
	if l.rate > 0 {
		planned = begin + int64(float64(k)*float64(l.batch)/l.rate*float64(time.Second))
		if w := planned - r.ledger.Now(); w > 0 {
			time.Sleep(time.Duration(w))
		}
		return planned, false
	}
	for {
		now := r.ledger.Now()
		if now >= end {
			return 0, true
		}
		if l.window == 0 || r.ledger.Accepted()-r.ledger.Arrived()-base < l.window {
			return now, false
		}
		time.Sleep(time.Millisecond)
	}
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
