package api

import (
	"container/heap"
	"container/list"
	"context"
	"sync"
	"sync/atomic"
)

// fair bounds something that many hold at a time (connections, bytes, turns), so that strangers
// cannot take it from each other or from those who are known. Where it is used up, a holder goes of
// the place (an address) whose strangers have most of it.
type fair struct {
	most int64 // in all
	rest int64 // of strangers
	each int64 // of one place; 0: no bound of its own
	last bool  // of a place the holder goes who came last, not the one who has held for longest

	mu      sync.Mutex
	used    int64
	loose   int64 // of used: strangers'
	places  map[string]*place
	fullest fullest
}

// place is what those of one address hold, or those whom one account is known by.
type place struct {
	key      string
	used     int64
	open     int64     // of used: by those who can be cut off
	cuttable list.List // of *holder, by the time of their coming
	holders  int
	at       int // in fullest; -1: of those who are known
}

// holder is one who holds some of it.
type holder struct {
	fair  *fair
	place *place
	has   int64
	entry *list.Element // in place.cuttable; nil: is not cut off
	// ends what it is doing. It takes no lock, and whoever leaves waits until it is done.
	cut     func()
	gone    bool        // was cut off
	adopted atomic.Bool // has a place of those who are known
}

func newFair(most, rest, each int64) *fair {
	return &fair{most: most, rest: rest, each: each, places: make(map[string]*place)}
}

// join adds one who holds nothing yet and calls cut if others need what it holds. Who is known has
// a place of another kind, which only its own holders can fill.
func (f *fair) join(key string, known bool, cut func()) *holder {
	h := &holder{fair: f, cut: cut}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.enter(h, key, known)
	h.entry = h.place.cuttable.PushBack(h)
	return h
}

func (f *fair) enter(h *holder, key string, known bool) {
	if known {
		key = "known " + key
	}
	p, ok := f.places[key]
	if !ok {
		p = &place{key: key, at: -1}
		f.places[key] = p
		if !known {
			heap.Push(&f.fullest, p)
		}
	}
	p.holders++
	h.place = p
}

// grow takes n more; false: there is no room, or the holder was cut off.
func (h *holder) grow(n int64) bool {
	f := h.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	for !h.gone {
		victim, full := f.victim(h, n)
		if !full {
			break
		}
		if victim == nil || victim == h {
			return false
		}
		victim.gone = true
		f.remove(victim)
		victim.cut()
	}
	if h.gone {
		return false
	}
	f.add(h, n)
	return true
}

// victim says whether there is no room for n more, and who has to go then; nil: nobody can.
func (f *fair) victim(h *holder, n int64) (victim *holder, full bool) {
	p := h.place
	switch {
	case f.each > 0 && p.used+n > f.each:
	case f.used+n > f.most, p.at >= 0 && f.loose+n > f.rest:
		if p = nil; len(f.fullest) > 0 {
			p = f.fullest[0]
		}
	default:
		return nil, false
	}
	if p == nil || p.open == 0 && p != h.place {
		return nil, true
	}
	entry := p.cuttable.Front()
	if f.last {
		entry = p.cuttable.Back()
	}
	if entry == nil {
		return nil, true
	}
	victim, _ = entry.Value.(*holder)
	return victim, true
}

// add changes what a holder has, and all sums with it.
func (f *fair) add(h *holder, n int64) {
	p := h.place
	h.has += n
	p.used += n
	f.used += n
	if h.entry != nil {
		p.open += n
	}
	if p.at >= 0 {
		f.loose += n
		heap.Fix(&f.fullest, p.at)
	}
}

// remove takes a holder out with all it has.
func (f *fair) remove(h *holder) {
	p := h.place
	f.add(h, -h.has)
	if h.entry != nil {
		p.cuttable.Remove(h.entry)
		h.entry = nil
	}
	if p.holders--; p.holders == 0 {
		delete(f.places, p.key)
		if p.at >= 0 {
			heap.Remove(&f.fullest, p.at)
		}
	}
	h.place = nil
}

// settle lets a holder keep what it has for as long as it stays; false: it was cut off.
func (h *holder) settle() bool {
	f := h.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.entry != nil {
		had := h.has
		f.add(h, -had)
		h.place.cuttable.Remove(h.entry)
		h.entry = nil
		f.add(h, had)
	}
	return !h.gone
}

// adopt makes one who is known of a stranger, who keeps what it has.
func (h *holder) adopt(key string) {
	if h.adopted.Load() {
		return
	}
	h.adopted.Store(true)
	f := h.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.gone || h.place == nil || h.place.at < 0 {
		return
	}
	has := h.has
	f.remove(h)
	f.enter(h, key, true)
	f.add(h, has)
}

type seatKey struct{}

// withSeat has known find what a connection holds of all.
func withSeat(ctx context.Context, h *holder) context.Context {
	return context.WithValue(ctx, seatKey{}, h)
}

// knownOn notes that somebody who is known asks on a connection: no stranger gets its seat.
func knownOn(ctx context.Context, key string) {
	if h, ok := ctx.Value(seatKey{}).(*holder); ok {
		h.adopt(key)
	}
}

// leave gives everything back. A nil holder, or one that was cut off or has left, has nothing.
func (h *holder) leave() {
	if h == nil {
		return
	}
	f := h.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.place != nil {
		f.remove(h)
	}
}

// held is how much is in use.
func (f *fair) held() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// fullest is a heap of strangers' places: the first has most that can be had back.
type fullest []*place

func (s fullest) Len() int           { return len(s) }
func (s fullest) Less(i, j int) bool { return s[i].open > s[j].open }

func (s fullest) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].at, s[j].at = i, j
}

// Push is what container/heap calls.
func (s *fullest) Push(x any) {
	p, _ := x.(*place)
	p.at = len(*s)
	*s = append(*s, p)
}

// Pop is what container/heap calls.
func (s *fullest) Pop() any {
	last := len(*s) - 1
	p := (*s)[last]
	*s = (*s)[:last]
	return p
}

// semaphore is what as many can hold at a time as it has room for; those who wait come in their
// order.
type semaphore chan struct{}

// acquire waits for a place; false: ctx ended before. release gives it back.
func (s semaphore) acquire(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	default:
	}
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// release gives back what acquire took.
func (s semaphore) release() { <-s }
