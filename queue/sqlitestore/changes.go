package sqlitestore

import (
	"context"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
)

// throughEvery is how often listeners of an idle store are told that nothing has happened.
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

// everybody is who listens to changes.
type everybody struct{}

// changeFeed tells the changes in this process.
type changeFeed struct {
	told queue.Fanout[everybody, queue.Change]

	mu   sync.Mutex
	busy bool // guarded by mu: a transaction is open or its changes are not told yet
}

func (s *Store) Watch(ctx context.Context, tell func([]queue.Change)) error {
	return s.changes.told.Listen(ctx, everybody{}, tell)
}

// tick tells listeners of an idle store how late they are. Whatever begins after a moment without a
// transaction is dated later.
func (f *changeFeed) tick(now func() time.Time, stop <-chan struct{}) {
	every := time.NewTicker(throughEvery)
	defer every.Stop()
	for {
		select {
		case <-stop:
			return
		case <-every.C:
		}
		ms := now().UnixMilli()
		f.mu.Lock()
		if !f.busy {
			f.tell(nil, ms)
		}
		f.mu.Unlock()
	}
}

// begin notes that a transaction is about to take its time.
func (f *changeFeed) begin() {
	f.mu.Lock()
	f.busy = true
	f.mu.Unlock()
}

// end tells what a transaction that began at ms has changed, nothing where it failed.
func (f *changeFeed) end(changes []queue.Change, ms int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy = false
	if len(changes) > 0 {
		f.tell(changes, ms)
	}
}

func (f *changeFeed) tell(changes []queue.Change, ms int64) {
	f.told.Tell(everybody{}, append(slices.Clip(changes), queue.Change{
		Kind: queue.ChangeWatermark, Ms: ms,
	}))
}

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
