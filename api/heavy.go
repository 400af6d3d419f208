package api

import (
	"sync"

	"trackchat/queue"
)

// heavy counts operations of a kind that take much, of which few run at a time.
type heavy struct {
	most, each int // in all, and of one account

	mu      sync.Mutex
	running map[queue.AccountID]int // guarded by mu
	total   int                     // guarded by mu
}

func newHeavy(most, each int) *heavy {
	return &heavy{most: most, each: each, running: make(map[queue.AccountID]int)}
}

// begin takes a place, which end gives back; false: there is none.
func (h *heavy) begin(account queue.AccountID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= h.most || h.running[account] >= h.each {
		return false
	}
	h.running[account]++
	h.total++
	return true
}

func (h *heavy) end(account queue.AccountID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	if h.running[account]--; h.running[account] == 0 {
		delete(h.running, account)
	}
}

func (h *heavy) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total
}
