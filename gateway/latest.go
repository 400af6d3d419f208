package gateway

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// latest keeps what is known by a key, at most so much: what was not touched for longest gives way.
type latest[K comparable, V any] struct {
	most    int
	dropped func() // told of each entry that gave way
	n       atomic.Int64

	mu    sync.Mutex // guards what follows
	of    map[K]*list.Element
	order list.List // of latestEntry; newest first
}

type latestEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLatest[K comparable, V any](most int, dropped func()) *latest[K, V] {
	return &latest[K, V]{most: most, dropped: dropped, of: make(map[K]*list.Element)}
}

// touch has f change the value of a key, which begins as the zero one.
func (l *latest[K, V]) touch(key K, f func(*V)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.of[key]
	if e == nil {
		if len(l.of) >= l.most {
			l.removeLocked(l.order.Back())
			l.dropped()
		}
		e = l.order.PushFront(&latestEntry[K, V]{key: key})
		l.of[key] = e
		l.n.Add(1)
	}
	l.order.MoveToFront(e)
	f(&e.Value.(*latestEntry[K, V]).value)
}

// remove forgets a key; where there are none it costs next to nothing.
func (l *latest[K, V]) remove(key K) {
	if l.n.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.of[key]; e != nil {
		l.removeLocked(e)
	}
}

func (l *latest[K, V]) removeLocked(e *list.Element) {
	delete(l.of, l.order.Remove(e).(*latestEntry[K, V]).key)
	l.n.Add(-1)
}

// list returns up to limit values that ok lets pass, newest first.
func (l *latest[K, V]) list(limit int, ok func(*V) bool) []V {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []V
	for e := l.order.Front(); e != nil && len(found) < limit; e = e.Next() {
		if v := &e.Value.(*latestEntry[K, V]).value; ok(v) {
			found = append(found, *v)
		}
	}
	return found
}
