package auth

import (
	"container/heap"
	"container/list"
	"context"
	"sync"
	"sync/atomic"
)

// FairShare bounds something that many hold at a time (connections, bytes, turns), so that
// strangers cannot take it from each other or from those who are known. Where it is used up, a
// holder goes of the place (an address) whose strangers have most of it.
type FairShare struct {
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

// Holder is one who holds some of it.
type Holder struct {
	fair  *FairShare
	place *place
	has   int64
	entry *list.Element // in place.cuttable; nil: is not cut off
	// ends what it is doing. It takes no lock, and whoever leaves waits until it is done.
	cut     func()
	gone    bool        // was cut off
	adopted atomic.Bool // has a place of those who are known
}

// NewFairShare shares out most in all, of which strangers may have rest, and one place each; each
// 0: a place has no bound of its own.
func NewFairShare(most, rest, each int64) *FairShare {
	return &FairShare{most: most, rest: rest, each: each, places: make(map[string]*place)}
}

// Join adds one who holds nothing yet and calls cut if others need what it holds. Who is known has
// a place of another kind, which only its own holders can fill.
func (f *FairShare) Join(key string, known bool, cut func()) *Holder {
	h := &Holder{fair: f, cut: cut}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.enter(h, key, known)
	h.entry = h.place.cuttable.PushBack(h)
	return h
}

func (f *FairShare) enter(h *Holder, key string, known bool) {
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

// Grow takes n more; false: there is no room, or the holder was cut off.
func (h *Holder) Grow(n int64) bool {
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
func (f *FairShare) victim(h *Holder, n int64) (victim *Holder, full bool) {
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
	victim, _ = entry.Value.(*Holder)
	return victim, true
}

// add changes what a holder has, and all sums with it.
func (f *FairShare) add(h *Holder, n int64) {
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
func (f *FairShare) remove(h *Holder) {
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

// Settle lets a holder keep what it has for as long as it stays; false: it was cut off.
func (h *Holder) Settle() bool {
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
func (h *Holder) adopt(key string) {
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

// WithSeat has Known find what a connection holds of all.
func WithSeat(ctx context.Context, h *Holder) context.Context {
	return context.WithValue(ctx, seatKey{}, h)
}

// Known notes that somebody who is known asks on a connection: no stranger gets its seat.
func Known(ctx context.Context, key string) {
	if h, ok := ctx.Value(seatKey{}).(*Holder); ok {
		h.adopt(key)
	}
}

// Leave gives everything back. A nil holder, or one that was cut off or has left, has nothing.
func (h *Holder) Leave() {
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

// Limit is how much there is.
func (f *FairShare) Limit() int64 { return f.most }

// Held is how much is in use.
func (f *FairShare) Held() int64 {
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

// Semaphore is held by as many at a time as it has room for; the others wait in their order.
type Semaphore chan struct{}

// Acquire waits for a place; false: ctx ended before. Release gives it back.
func (s Semaphore) Acquire(ctx context.Context) bool {
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

// Release gives back what Acquire took.
func (s Semaphore) Release() { <-s }
