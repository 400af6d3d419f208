package queuetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trackchat/queue"
)

func (m *Model) Acquire(ctx context.Context, node queue.NodeID,
	ts []queue.TrackerID,
) ([]queue.Lease, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.Lease, len(ts))
	for i, id := range ts {
		t := m.tracker(id)
		m.wake(t.owner, queue.Wake{Kind: queue.WakeKick, Tracker: id, Epoch: t.epoch})
		owned := t.owner != ""
		t.epoch++
		t.owner, t.since = node, m.now().UnixMilli()
		m.heard(t, t.since)
		m.presence(id, owned)
		res[i] = queue.Lease{
			Tracker: id, Node: node, Epoch: t.epoch,
			Pending: t.count(queue.StatusPending), LastOut: t.lastOut,
		}
	}
	return res, nil
}

func (m *Model) Release(ctx context.Context, ls []queue.Lease) ([]bool, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]bool, len(ls))
	for i, l := range ls {
		t := m.tracker(l.Tracker)
		if res[i] = t.epoch == l.Epoch; res[i] && t.owner != "" {
			t.owner, t.since = "", m.now().UnixMilli()
			m.heard(t, l.SeenMs)
			m.presence(l.Tracker, true)
		}
	}
	return res, nil
}

func (m *Model) Claim(ctx context.Context, reqs []queue.ClaimReq) ([]queue.ClaimResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.ClaimResult, len(reqs))
	for i, r := range reqs {
		res[i] = m.tracker(r.Lease.Tracker).claim(r)
	}
	return res, nil
}

func (t *modelTracker) claim(r queue.ClaimReq) queue.ClaimResult {
	res := queue.ClaimResult{Next: r.Cursor}
	if t.epoch != r.Lease.Epoch {
		res.Err = queue.ErrFenced
		return res
	}
	bytes := 0
	for _, msg := range t.msgs {
		if msg.Status != queue.StatusPending || msg.ID <= int64(r.Cursor) {
			continue
		}
		if bytes += len(msg.Text); r.Full(len(res.Msgs), bytes) {
			res.More = true
			break
		}
		res.Msgs = append(res.Msgs, msg)
		res.Next = queue.Cursor(msg.ID)
	}
	return res
}

func (m *Model) CheckLeases(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var res []queue.PeekResult
	for _, l := range ls {
		t := m.tracker(l.Tracker)
		r := queue.PeekResult{
			Tracker: l.Tracker, Epoch: l.Epoch,
			Pending: t.count(queue.StatusPending), LastOut: t.lastOut, Fenced: t.epoch != l.Epoch,
		}
		if r.Pending > 0 || r.Fenced {
			res = append(res, r)
		}
	}
	return res, nil
}

func (m *Model) Ack(ctx context.Context, acks []queue.AckReq) ([]queue.AckResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.AckResult, len(acks))
	for i, r := range acks {
		t := m.tracker(r.Tracker)
		if msg := t.find(r.ID); msg != nil && !msg.Status.Incoming() {
			res[i] = m.ack(t, msg, r)
		}
	}
	return res, nil
}

func (m *Model) ack(t *modelTracker, msg *queue.Message, r queue.AckReq) queue.AckResult {
	res := queue.AckAlready
	if !msg.Status.Acknowledged() {
		res = queue.AckDelivered
		msg.Status, msg.Reason, msg.UpdateMs, msg.Acked = queue.StatusDelivered, queue.ReasonNone,
			m.tick(t), msg.Parts
		msg.ChangeMs, msg.Replaced, msg.Tries, msg.TriedMs = msg.UpdateMs, r.Replaced, 0, 0
		m.hint(queue.ChangeDelivered, msg.Tracker, msg.ID, msg.ChangeMs)
	}
	if r.Opened && msg.Status == queue.StatusDelivered {
		msg.Status, msg.ReadMs = queue.StatusOpened, m.tick(t)
		msg.ChangeMs = msg.ReadMs
		m.hint(queue.ChangeOpened, msg.Tracker, msg.ID, msg.ChangeMs)
	}
	return res
}

func (m *Model) Progress(ctx context.Context, ps []queue.ProgressReq) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, p := range ps {
		t := m.tracker(p.Tracker)
		msg := t.find(p.ID)
		if msg == nil || msg.Status != queue.StatusPending || !p.Valid() {
			continue
		}
		if p.Parts != msg.Parts || p.Acked > msg.Acked ||
			p.Acked == msg.Acked && p.Tries > msg.Tries {
			msg.Parts, msg.Acked, msg.ChangeMs = p.Parts, p.Acked, m.tick(t)
			msg.Tries, msg.TriedMs = p.Tries, min(p.TriedMs, msg.ChangeMs)
			m.hint(queue.ChangeProgress, p.Tracker, p.ID, msg.ChangeMs)
		}
	}
	return nil
}

func (m *Model) End(ctx context.Context, ends []queue.EndReq) ([]queue.EndResult, error) {
	for _, r := range ends {
		if !slices.Contains([]queue.Status{
			queue.StatusFailed, queue.StatusExpired,
			queue.StatusCancelled, queue.StatusSent,
		}, r.Status) {
			return nil, fmt.Errorf("%q is no end", r.Status)
		}
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.EndResult, len(ends))
	for i, r := range ends {
		t := m.tracker(r.Tracker)
		msg := t.find(r.ID)
		if msg == nil || msg.Status.Incoming() {
			continue
		}
		if res[i] = queue.EndAlready; msg.Status != queue.StatusPending {
			continue
		}
		res[i] = queue.EndNow
		m.end(t, msg, r)
	}
	return res, nil
}

func (m *Model) end(t *modelTracker, msg *queue.Message, r queue.EndReq) {
	msg.Status, msg.Reason, msg.ChangeMs, msg.Tries, msg.TriedMs = r.Status, r.Reason, m.tick(t), 0,
		0
	if r.Status == queue.StatusSent {
		msg.Reason, msg.Replaced, msg.Acked = queue.ReasonNone, r.Replaced, 0
	}
	m.hint(queue.ChangeKind(r.Status), r.Tracker, r.ID, msg.ChangeMs)
	if r.Status == queue.StatusCancelled || r.Status == queue.StatusExpired {
		m.wake(t.owner, queue.Wake{
			Kind: queue.WakeEnd, Tracker: r.Tracker, Epoch: t.epoch,
			Msg: queue.Message{ID: r.ID},
		})
	}
}

func (m *Model) Expire(ctx context.Context) (queue.ExpireStats, error) {
	if err := m.enter(ctx); err != nil {
		return queue.ExpireStats{}, err
	}
	defer m.mu.Unlock()
	ended := 0
	for id, t := range m.trackers {
		ended += m.expire(id, t)
	}
	return queue.ExpireStats{Ended: ended}, nil
}

func (m *Model) expire(id queue.TrackerID, t *modelTracker) int {
	ended := 0
	for i := range t.msgs {
		if msg := &t.msgs[i]; msg.Overdue(m.now().UnixMilli()) {
			m.end(t, msg, queue.EndReq{Tracker: id, ID: msg.ID, Status: queue.StatusExpired})
			ended++
		}
	}
	return ended
}

func (m *Model) IdempotentAnswer(ctx context.Context, a queue.AccountID, key string) ([]byte,
	error,
) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return m.answer(a, key), nil
}

func (m *Model) answer(a queue.AccountID, key string) []byte {
	if r, ok := m.answers[modelQuestion{a, key}]; ok && r.untilMs > m.now().UnixMilli() {
		return []byte(r.text)
	}
	return nil
}

func (m *Model) SaveAnswer(ctx context.Context, a queue.AccountID, key string,
	answer []byte) ([]byte,
	error,
) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if known := m.answer(a, key); known != nil {
		return known, nil
	}
	m.answers[modelQuestion{a, key}] = modelAnswer{string(answer), m.now().UnixMilli() +
		(24 * time.Hour).Milliseconds()}
	return answer, nil
}

func (m *Model) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.ReceiveResult, len(in))
	for i, r := range in {
		res[i] = m.receive(r)
	}
	return res, nil
}

func (m *Model) receive(in queue.Incoming) queue.ReceiveResult {
	if queue.TextTooLong(in.Text) {
		return queue.ReceiveResult{Err: queue.ErrTooLarge}
	}
	t := m.tracker(in.Tracker)
	now := max(t.clock, m.now().UnixMilli())
	var repeated *modelText
	for i := max(0, len(t.ring)-32); i < len(t.ring) && in.Key != 0; i++ {
		r := &t.ring[i]
		if r.key != in.Key || now-r.ms >= in.Window.Milliseconds() {
			continue
		}
		switch {
		case in.Epoch == 0:
			repeated = r // the newest
		case r.epoch != in.Epoch && repeated == nil:
			repeated = r // the oldest
		}
	}
	if repeated != nil {
		if in.Epoch != 0 {
			repeated.epoch = in.Epoch
		}
		return queue.ReceiveResult{ID: repeated.id, Dup: true}
	}
	msg := m.store(t, queue.Message{
		Tracker: in.Tracker, Status: queue.StatusUnread,
		Employee: in.Employee, Text: in.Text, ReplyTo: in.ReplyTo,
	})
	if in.Key != 0 {
		t.ring = append(t.ring, modelText{in.Key, msg.ID, msg.SubmitMs, in.Epoch})
	}
	return queue.ReceiveResult{ID: msg.ID}
}

func (m *Model) Unacknowledged(ctx context.Context, id queue.TrackerID, limit int) ([]queue.Message,
	error,
) {
	msgs, err := m.selectFrom(ctx, id, func(msg queue.Message) bool {
		return !msg.Status.Incoming() && !msg.Status.Acknowledged()
	})
	slices.Reverse(msgs)
	return msgs[:min(len(msgs), max(1, min(limit, 64)))], err
}

func (m *Model) Listen(ctx context.Context, node queue.NodeID, tell func([]queue.Wake)) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	return m.wakes.Listen(ctx, node, tell)
}

func (m *Model) wake(node queue.NodeID, w queue.Wake) {
	if node != "" {
		m.wakes.Tell(node, []queue.Wake{w})
	}
}

func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wakes.Close()
	m.changes.Close()
	return nil
}

func (m *Model) Watch(ctx context.Context, tell func([]queue.Change)) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := m.changes.Listen(ctx, struct{}{}, tell); err != nil {
		return err
	}
	go m.tellLate(ctx)
	return nil
}

// tellLate says ten times a second that nothing is left to be told.
func (m *Model) tellLate(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		m.told()
		m.mu.Unlock()
	}
}

// hint tells a change, and that nothing before it is left to be told.
func (m *Model) hint(kind queue.ChangeKind, t queue.TrackerID, id, ms int64) {
	m.told(queue.Change{Kind: kind, Tracker: t, ID: id, Ms: ms})
}

func (m *Model) told(list ...queue.Change) {
	m.changes.Tell(struct{}{}, append(list, queue.Change{
		Kind: queue.ChangeWatermark, Ms: m.now().UnixMilli(),
	}))
}

// presence tells that a session began or ended; owned says that there was one before.
func (m *Model) presence(t queue.TrackerID, owned bool) {
	id := int64(0)
	if owned {
		id = queue.PresenceOwned
	}
	m.hint(queue.ChangePresence, t, id, m.now().UnixMilli())
}

func (m *Model) Changed(ctx context.Context, ts []queue.TrackerID,
	sinceMs int64,
) ([]queue.TrackerID, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var changed []queue.TrackerID
	for _, id := range ts {
		if t := m.trackers[id]; t != nil && t.clock > 0 && t.clock >= sinceMs {
			changed = append(changed, id)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed), nil
}
