package sqlitestore

import (
	"context"

	"trackchat/queue"
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

func (s *Store) Listen(ctx context.Context, node queue.NodeID, tell func([]queue.Wake)) error {
	return s.wakes.Listen(ctx, node, tell)
}
