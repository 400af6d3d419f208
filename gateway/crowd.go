package gateway

import (
	"container/heap"
	"sync"
)

// leavesMost bounds the connections that are being closed for newcomers, where
// Limits.Unauthenticated is lower.
const leavesMost = 1024

// crowd are the connections that have not logged in. Where there is no room for another one, the
// oldest of the place that has most of them gives way, so that nobody who connects in numbers, or
// says nothing, keeps others out.
type crowd struct {
	most int // 0: no bound

	mu     sync.Mutex
	at     map[place]*throng
	order  throngs
	n      int
	leaves int // are being closed for newcomers
}

// throng are those of one place, the oldest first.
type throng struct {
	at          place
	first, last *stranger
	n           int
	index       int // in crowd.order
}

// stranger is a session's place in the crowd.
type stranger struct {
	s          *session
	of         *throng // nil: it had to give way
	prev, next *stranger
}

func newCrowd(most int) *crowd { return &crowd{most: most, at: make(map[place]*throng)} }

// swamped reports whether as many are being closed as there may be: the loops cannot follow.
func (c *crowd) swamped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most > 0 && c.leaves >= max(c.most, leavesMost)
}

// enter puts a session in, and returns the one that has to give way for it and is to be closed, nil
// if there is room.
func (c *crowd) enter(s *session) (out *session) {
	at := placeOf(s.conn.RemoteAddr().Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.at[at]
	if t == nil {
		t = &throng{at: at}
		c.at[at] = t
		heap.Push(&c.order, t)
	}
	in := &stranger{s: s, of: t, prev: t.last}
	if t.last == nil {
		t.first = in
	} else {
		t.last.next = in
	}
	t.last = in
	t.n++
	c.n++
	heap.Fix(&c.order, t.index)
	s.ensureActivity().stranger = in
	if c.most <= 0 || c.n <= c.most {
		return nil
	}
	oldest := c.order[0].first
	c.leaves++
	c.takeOut(oldest)
	return oldest.s
}

// leave takes a session out that has logged in or ended.
func (c *crowd) leave(s *session) {
	in := s.stranger
	if in == nil {
		return
	}
	s.ensureActivity().stranger = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.of == nil {
		c.leaves--
		return
	}
	c.takeOut(in)
}

func (c *crowd) takeOut(in *stranger) {
	t := in.of
	if in.prev == nil {
		t.first = in.next
	} else {
		in.prev.next = in.next
	}
	if in.next == nil {
		t.last = in.prev
	} else {
		in.next.prev = in.prev
	}
	in.of, in.prev, in.next = nil, nil, nil
	c.n--
	if t.n--; t.n == 0 {
		heap.Remove(&c.order, t.index)
		delete(c.at, t.at)
		return
	}
	heap.Fix(&c.order, t.index)
}

// throngs are a heap, the fullest first.
type throngs []*throng

func (h throngs) Len() int           { return len(h) }
func (h throngs) Less(i, j int) bool { return h[i].n > h[j].n }

func (h throngs) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *throngs) Push(x any) {
	t, _ := x.(*throng) // it is one
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *throngs) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return t
}

// arrives has a new connection wait for its login among the others.
func (d *admission) arrives(s *session) {
	out := d.crowd.enter(s)
	if out == nil {
		return
	}
	out.l.turnAway("unauthenticated", out.conn.RemoteAddr())
	out.post(func() {
		if out.tracker == 0 { // else it has just logged in, and stays
			out.close(reasonCrowded)
		}
	})
}
