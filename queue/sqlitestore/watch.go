package sqlitestore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
)

// throughEvery is how often readers of an idle store are told that nothing has happened.
const throughEvery = time.Second

// recordChange has a change of a message told once the transaction is committed.
func (w *writer) recordChange(kind queue.ChangeKind, t *tracker, id int64) {
	w.changes = append(w.changes, queue.Change{Kind: kind, Tracker: t.id, ID: id, Ms: t.changeMs})
}

// notePresence has told that a session began or ended; owned says that there was one before.
func (w *writer) notePresence(t *tracker, owned bool) {
	c := queue.Change{Kind: queue.ChangePresence, Tracker: t.id, Ms: w.now}
	if owned {
		c.ID = queue.PresenceOwned
	}
	w.changes = append(w.changes, c)
}

// changeFeed are the readers of changes in this process.
type changeFeed struct {
	limit   int // changes that wait for one reader
	metrics *queue.StoreMetrics
	pumps   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	busy   bool // a transaction is open or its changes are not told yet
	subs   []*watcher
}

type watcher struct {
	buffer *queue.Buffer[queue.Change]
	stop   context.CancelFunc
}

func newChangeFeed(limit int, metrics *queue.StoreMetrics) *changeFeed {
	return &changeFeed{limit: limit, metrics: metrics}
}

func (s *Store) Watch(ctx context.Context) (<-chan []queue.Change, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ws := s.changes
	life, stop := context.WithCancel(ctx)
	sub := &watcher{buffer: queue.NewChangeBuffer(ws.limit), stop: stop}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		stop()
		return nil, fmt.Errorf("%w: closed", queue.ErrUnavailable)
	}
	ws.subs = append(ws.subs, sub)
	out := make(chan []queue.Change)
	ws.pumps.Go(func() { s.tick(life, sub) })
	ws.pumps.Go(func() {
		defer close(out)
		sub.buffer.Pump(life.Done(), out)
		stop()
		ws.remove(sub)
	})
	return out, nil
}

// tick tells a reader of an idle store how late it is. Whatever begins after a moment without a
// transaction is dated later.
func (s *Store) tick(ctx context.Context, sub *watcher) {
	every := time.NewTicker(throughEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		now := s.now().UnixMilli()
		s.changes.mu.Lock()
		if !s.changes.busy {
			sub.buffer.Add(queue.Change{Kind: queue.ChangeWatermark, Ms: now})
		}
		s.changes.mu.Unlock()
	}
}

// begin notes that a transaction is about to take its time.
func (ws *changeFeed) begin() {
	ws.mu.Lock()
	ws.busy = true
	ws.mu.Unlock()
}

// end tells what a transaction that began at ms has changed, nothing where it failed. It never
// waits for a reader.
func (ws *changeFeed) end(changes []queue.Change, ms int64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.busy = false
	if len(changes) == 0 {
		return
	}
	for _, sub := range ws.subs {
		if !sub.buffer.Add(append(slices.Clip(changes), queue.Change{
			Kind: queue.ChangeWatermark,
			Ms:   ms,
		})...) {
			ws.metrics.Overflowed()
		}
	}
}

func (ws *changeFeed) remove(sub *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.subs = slices.DeleteFunc(ws.subs, func(s *watcher) bool { return s == sub })
}

// close ends every reader's channel and waits until that is done.
func (ws *changeFeed) close() {
	ws.mu.Lock()
	ws.closed = true
	for _, sub := range ws.subs {
		sub.stop()
	}
	ws.mu.Unlock()
	ws.pumps.Wait()
}
