package sqlitestore

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// wakeMessage tells the owner of t about m. The owner was read in the transaction that stores m:
// either it gets the wake or its Acquire comes later and counts m.
func (w *writer) wakeMessage(t *tracker, m queue.Message, prev int64) {
	if t.owner == "" {
		return
	}
	hint := len(m.Text) > wakeText
	if hint {
		m.Text, m.Choices = "", nil
	}
	w.wake(t.owner, queue.Wake{
		Kind: queue.WakeMessage, Tracker: t.id, Epoch: t.epoch, Prev: prev,
		Hint: hint, Msg: m,
	})
}

// wakeEnd tells the owner that a message is not to be sent any more. The other ends are the owner's
// own doing.
func (w *writer) wakeEnd(t *tracker, r *queue.EndReq) {
	if t.owner != "" && (r.Status == queue.StatusCancelled || r.Status == queue.StatusExpired) {
		w.wake(t.owner, queue.Wake{
			Kind: queue.WakeEnd, Tracker: t.id, Epoch: t.epoch,
			Msg: queue.Message{ID: r.ID, Tracker: t.id, Status: r.Status},
		})
	}
}

func (w *writer) wake(node queue.NodeID, wake queue.Wake) {
	w.wakes[node] = append(w.wakes[node], wake)
}

// wakes hands what the writer has to tell to the nodes of this process.
type wakes struct {
	limit int                // wakes that wait for one reader
	lost  prometheus.Counter // overflows

	mu     sync.Mutex
	closed bool
	subs   map[queue.NodeID][]*subscriber
	pumps  sync.WaitGroup
}

// subscriber is one reader of a node's wakes.
type subscriber struct {
	buffer *queue.Buffer[queue.Wake]
	stop   context.CancelFunc
}

func newWakes(limit int) *wakes {
	return &wakes{limit: limit, subs: make(map[queue.NodeID][]*subscriber)}
}

// Wakes: The channel is also closed when the store is.
func (s *Store) Wakes(ctx context.Context, node queue.NodeID) (<-chan []queue.Wake, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ws := s.wakes
	life, stop := context.WithCancel(ctx)
	sub := &subscriber{buffer: queue.NewWakeBuffer(ws.limit), stop: stop}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		stop()
		return nil, fmt.Errorf("%w: closed", queue.ErrUnavailable)
	}
	ws.subs[node] = append(ws.subs[node], sub)
	out := make(chan []queue.Wake)
	ws.pumps.Go(func() {
		defer close(out)
		sub.buffer.Pump(life.Done(), out)
		stop()
		ws.remove(node, sub)
	})
	return out, nil
}

// publish never waits for a reader.
func (ws *wakes) publish(batch map[queue.NodeID][]queue.Wake) {
	if len(batch) == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for node, list := range batch {
		for _, sub := range ws.subs[node] {
			if !sub.buffer.Add(list...) {
				ws.lost.Inc()
			}
		}
	}
}

func (ws *wakes) remove(node queue.NodeID, sub *subscriber) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	left := slices.DeleteFunc(ws.subs[node], func(s *subscriber) bool { return s == sub })
	if len(left) == 0 {
		delete(ws.subs, node)
		return
	}
	ws.subs[node] = left
}

// close ends every reader's channel and waits until that is done.
func (ws *wakes) close() {
	ws.mu.Lock()
	if !ws.closed {
		ws.closed = true
		for _, list := range ws.subs {
			for _, sub := range list {
				sub.stop()
			}
		}
	}
	ws.mu.Unlock()
	ws.pumps.Wait()
}
