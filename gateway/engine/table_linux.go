package engine

import (
	"sync"
	"sync/atomic"
)

const pageSize = 1024 // descriptors a page

type page [pageSize]atomic.Pointer[loopConn]

// table finds the connection of a descriptor. Descriptors are numbered anew all the time, so every event names the connection's generation
// too, and an event of one that has gone finds nothing.
type table struct {
	pages atomic.Pointer[[]*page]
	mu    sync.Mutex // serialises growing
}

func (t *table) slot(fd int) *atomic.Pointer[loopConn] {
	pages := t.pages.Load()
	if pages == nil || fd/pageSize >= len(*pages) {
		return nil
	}
	return &(*pages)[fd/pageSize][fd%pageSize]
}

// get returns the connection, or nil when the descriptor is another's by now.
func (t *table) get(fd int, generation uint32) *loopConn {
	if s := t.slot(fd); s != nil {
		if c := s.Load(); c != nil && uint32(c.id) == generation {
			return c
		}
	}
	return nil
}

// put enters a connection; no other one may be under its descriptor.
func (t *table) put(c *loopConn) {
	s := t.slot(int(c.fd))
	if s == nil {
		t.grow(int(c.fd))
		s = t.slot(int(c.fd))
	}
	s.Store(c)
}

// drop takes out a connection. It must happen before its descriptor is closed.
func (t *table) drop(c *loopConn) { t.slot(int(c.fd)).CompareAndSwap(c, nil) }

func (t *table) grow(fd int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var pages []*page
	if old := t.pages.Load(); old != nil {
		pages = append(pages, *old...)
	}
	for fd/pageSize >= len(pages) {
		pages = append(pages, new(page))
	}
	t.pages.Store(&pages)
}

// of yields the connections of a loop.
func (t *table) of(l *loop) func(yield func(*loopConn) bool) {
	return func(yield func(*loopConn) bool) {
		pages := t.pages.Load()
		if pages == nil {
			return
		}
		for _, p := range *pages {
			for i := range p {
				if c := p[i].Load(); c != nil && c.srv.loop == l && !yield(c) {
					return
				}
			}
		}
	}
}
