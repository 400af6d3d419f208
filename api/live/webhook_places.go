package live

import (
	"context"
	"slices"
	"sync"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// hookPlaces shares the calls that may be under way at a time among accounts. Receivers that do not
// answer hold their places for as long as a call may take, so places are kept back for accounts
// that have no call under way, up to half of all; and a place that gets free goes to the account
// that has the fewest, of those to the one that has waited longest.
type hookPlaces struct {
	total   int
	waiting prometheus.Gauge

	mu    sync.Mutex // guards what follows
	hooks int        // accounts that this node delivers for
	used  int
	held  map[queue.AccountID]int
	queue []*hookWait // oldest first
}

// hookWait is a call that waits for a place.
type hookWait struct {
	account queue.AccountID
	granted chan struct{} // closed when it has one
}

func newHookPlaces(total int, waiting prometheus.Gauge) *hookPlaces {
	return &hookPlaces{total: total, waiting: waiting, held: make(map[queue.AccountID]int)}
}

// setHooks tells how many accounts share the places.
func (p *hookPlaces) setHooks(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks = n
	p.grant()
}

// enter waits for a place; false where ctx ended before. A place is given back by leave.
func (p *hookPlaces) enter(ctx context.Context, a queue.AccountID) bool {
	w := &hookWait{account: a, granted: make(chan struct{})}
	p.mu.Lock()
	p.queue = append(p.queue, w)
	p.grant()
	p.mu.Unlock()
	select {
	case <-w.granted:
		return true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue, w); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		p.waiting.Set(float64(len(p.queue)))
		return false
	}
	p.free(a) // granted meanwhile
	return false
}

func (p *hookPlaces) leave(a queue.AccountID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free(a)
}

func (p *hookPlaces) free(a queue.AccountID) {
	p.used--
	if p.held[a]--; p.held[a] == 0 {
		delete(p.held, a)
	}
	p.grant()
}

// grant gives out the places that there are.
func (p *hookPlaces) grant() {
	for p.used < p.total && len(p.queue) > 0 {
		next := 0
		for i, w := range p.queue {
			if p.held[w.account] < p.held[p.queue[next].account] {
				next = i
			}
		}
		w := p.queue[next]
		kept := min(max(0, p.hooks-len(p.held)), p.total/2)
		if p.held[w.account] > 0 && p.used+kept >= p.total {
			break
		}
		p.queue = slices.Delete(p.queue, next, next+1)
		p.used++
		p.held[w.account]++
		close(w.granted)
	}
	p.waiting.Set(float64(len(p.queue)))
}
