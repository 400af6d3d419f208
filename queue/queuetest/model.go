package queuetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
	"trackchat/queue/directory"
)

var _ queue.Store = (*Model)(nil)

// Model implements queue.Store in memory, as simply as can be: counts are counted, nothing is
// indexed. It is what other stores are compared with.
type Model struct {
	now        func() time.Time
	maxPending int

	mu       sync.Mutex // guards everything below
	closed   bool
	next     int64
	trackers map[queue.TrackerID]*modelTracker
	accounts []queue.Account
	devices  []queue.Tracker
	kept     map[queue.TrackerID]queue.Tracker // that imports have removed
	history  map[modelEntry]int64              // version of the newest change
	version  int64
	sessions []queue.Session
	answers  map[modelQuestion]modelAnswer
	nodes    map[queue.NodeID]queue.Node
	wakes    *queue.Fanout[queue.NodeID, queue.Wake]
	changes  *queue.Fanout[struct{}, queue.Change]
	hooks    []*modelHook

	broadcasts map[queue.AccountID][]modelBroadcast // ordered by id
	revision   int64
}

type modelTracker struct {
	msgs    []queue.Message // by id, which is by time
	keys    map[string]modelKey
	ring    []modelText // of all keyed texts
	clock   int64
	lastOut int64
	epoch   int64
	owner   queue.NodeID
	since   int64
	seen    int64
}

type (
	modelKey struct{ id, untilMs int64 }

	modelQuestion struct {
		account queue.AccountID
		key     string
	}
	modelAnswer struct {
		text    string
		untilMs int64
	}
	modelText struct {
		key           uint64
		id, ms, epoch int64
	}
)

// NewModel returns an empty model.
func NewModel(now func() time.Time, maxPending int) *Model {
	m := &Model{
		now: now, maxPending: maxPending, trackers: make(map[queue.TrackerID]*modelTracker),
		history: make(map[modelEntry]int64), nodes: make(map[queue.NodeID]queue.Node),
		broadcasts: make(map[queue.AccountID][]modelBroadcast),
		answers:    make(map[modelQuestion]modelAnswer),
		kept:       make(map[queue.TrackerID]queue.Tracker),
	}
	m.listeners()
	return m
}

// listeners begins without any.
func (m *Model) listeners() {
	m.wakes = new(queue.Fanout[queue.NodeID, queue.Wake])
	m.changes = new(queue.Fanout[struct{}, queue.Change])
}

// Reopen is a restart: what is stored stays, who listened is gone.
func (m *Model) Reopen() *Model {
	_ = m.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = false
	m.listeners()
	return m
}

// enter takes the lock if the call may go on.
func (m *Model) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return fmt.Errorf("%w: closed", queue.ErrUnavailable)
	}
	return nil
}

func (m *Model) tracker(id queue.TrackerID) *modelTracker {
	t := m.trackers[id]
	if t == nil {
		t = &modelTracker{keys: make(map[string]modelKey)}
		m.trackers[id] = t
	}
	return t
}

// tick returns the time of a change.
func (m *Model) tick(t *modelTracker) int64 {
	t.clock = max(t.clock, m.now().UnixMilli())
	return t.clock
}

// find returns the message of a tracker, nil if there is none.
func (t *modelTracker) find(id int64) *queue.Message {
	for i := range t.msgs {
		if t.msgs[i].ID == id {
			return &t.msgs[i]
		}
	}
	return nil
}

func (t *modelTracker) count(st queue.Status) int {
	n := 0
	for i := range t.msgs {
		if t.msgs[i].Status == st {
			n++
		}
	}
	return n
}

func (m *Model) store(t *modelTracker, msg queue.Message) queue.Message {
	m.next++
	msg.ID = m.next
	msg.SubmitMs = m.tick(t)
	msg.ChangeMs = msg.SubmitMs
	t.msgs = append(t.msgs, msg)
	m.hint(queue.ChangeStored, msg.Tracker, msg.ID, msg.ChangeMs)
	return msg
}

func (m *Model) Send(ctx context.Context, reqs []queue.SendReq) ([]queue.SendResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.SendResult, len(reqs))
	for i, r := range reqs {
		res[i] = m.send(r)
	}
	return res, nil
}

func (m *Model) send(r queue.SendReq) queue.SendResult {
	t := m.tracker(r.Tracker)
	now := m.now().UnixMilli()
	if queue.TextTooLong(r.Text) {
		return queue.SendResult{Err: queue.ErrTooLarge}
	}
	if k, ok := t.keys[r.Key]; ok && r.Key != "" && k.untilMs > now {
		return queue.SendResult{ID: k.id, Dup: true}
	}
	if t.count(queue.StatusPending) >= m.maxPending {
		m.expire(r.Tracker, t)
	}
	if t.count(queue.StatusPending) >= m.maxPending {
		return queue.SendResult{Err: queue.ErrQueueFull}
	}
	msg := m.store(t, queue.Message{
		Tracker: r.Tracker, Status: queue.StatusPending, Employee: r.Employee, Text: r.Text,
		ExpiresMs: r.ExpiresMs, Choices: slices.Clone(r.Choices), ReplyTo: r.ReplyTo,
		Urgent: r.Urgent, Author: r.Author,
	})
	if r.Key != "" {
		t.keys[r.Key] = modelKey{msg.ID, now + (24 * time.Hour).Milliseconds()}
	}
	m.wake(t.owner, queue.Wake{
		Kind: queue.WakeMessage, Tracker: r.Tracker, Epoch: t.epoch,
		Prev: t.lastOut, Msg: msg,
	})
	t.lastOut = msg.ID
	return queue.SendResult{ID: msg.ID}
}

func (m *Model) List(ctx context.Context, q queue.ListQuery) ([]queue.Message, error) {
	msgs, err := m.selectFrom(ctx, q.Tracker, func(msg queue.Message) bool {
		beyond := q.Beyond == 0 || q.Desc && msg.ID < q.Beyond || !q.Desc && msg.ID > q.Beyond
		return beyond && msg.SubmitMs >= q.FromMs && msg.SubmitMs <= q.ToMs
	})
	if q.Desc {
		slices.Reverse(msgs)
	}
	return msgs[:min(len(msgs), max(1, min(q.Limit, 1024)))], err
}

// selectFrom copies what the others return.
func (m *Model) selectFrom(ctx context.Context, id queue.TrackerID, want func(queue.Message) bool) (
	[]queue.Message, error,
) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var msgs []queue.Message
	for _, msg := range m.tracker(id).msgs {
		if want(msg) {
			msgs = append(msgs, msg)
		}
	}
	return msgs, nil
}

func (m *Model) Find(ctx context.Context, ids []int64) ([]queue.Message, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	found := make([]queue.Message, len(ids))
	for i, id := range ids {
		for _, t := range m.trackers {
			if msg := t.find(id); msg != nil {
				found[i] = *msg
			}
		}
	}
	return found, nil
}

func (m *Model) MarkRead(ctx context.Context, refs []queue.Ref) ([]queue.MarkResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]queue.MarkResult, len(refs))
	all := true
	for i, r := range refs {
		if msg := m.tracker(r.Tracker).find(r.ID); msg == nil || !msg.Status.Incoming() {
			all = false
		} else if res[i] = queue.MarkAlready; msg.Status == queue.StatusUnread {
			res[i] = queue.MarkNewly
		}
	}
	for i, r := range refs {
		if !all || res[i] != queue.MarkNewly {
			continue
		}
		t := m.tracker(r.Tracker)
		if !m.read(t, t.find(r.ID)) {
			res[i] = queue.MarkAlready
		}
	}
	return res, nil
}

func (m *Model) read(t *modelTracker, msg *queue.Message) bool {
	if msg.Status != queue.StatusUnread {
		return false
	}
	msg.Status = queue.StatusRead
	msg.UpdateMs = m.tick(t)
	msg.ChangeMs = msg.UpdateMs
	m.hint(queue.ChangeRead, msg.Tracker, msg.ID, msg.ChangeMs)
	return true
}

func (m *Model) MarkReadAll(ctx context.Context, ts []queue.TrackerID) (int, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	n := 0
	for _, id := range ts {
		t := m.tracker(id)
		for i := range t.msgs {
			if m.read(t, &t.msgs[i]) {
				n++
			}
		}
	}
	return n, nil
}

func (m *Model) LastTimes(ctx context.Context, ts []queue.TrackerID) (map[queue.TrackerID]int64,
	error,
) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make(map[queue.TrackerID]int64)
	for _, id := range ts {
		if msgs := m.tracker(id).msgs; len(msgs) > 0 {
			res[id] = msgs[len(msgs)-1].SubmitMs
		}
	}
	return res, nil
}

func (m *Model) Unread(ctx context.Context, ts []queue.TrackerID) (map[queue.TrackerID]int, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make(map[queue.TrackerID]int)
	for _, id := range ts {
		if n := m.tracker(id).count(queue.StatusUnread); n > 0 {
			res[id] = n
		}
	}
	return res, nil
}

func (m *Model) Changes(ctx context.Context, id queue.TrackerID, sinceMs int64,
	limit int,
) ([]queue.Message, error) {
	msgs, err := m.selectFrom(ctx, id,
		func(msg queue.Message) bool { return msg.ChangeMs >= sinceMs })
	slices.SortStableFunc(msgs, func(a, b queue.Message) int {
		return cmp.Compare(a.ChangeMs,
			b.ChangeMs)
	})
	for n := max(limit, 1); n < len(msgs); n++ {
		if msgs[n].ChangeMs != msgs[n-1].ChangeMs {
			return msgs[:n], err
		}
	}
	return msgs, err
}

// Partitions: the model has one.
func (m *Model) Partitions() int { return 1 }

func (m *Model) Trim(ctx context.Context, p queue.Partition, r queue.Retention) (queue.TrimStats,
	error,
) {
	if p != 0 {
		return queue.TrimStats{}, fmt.Errorf("trimming partition %d: the model has only 0", p)
	}
	if err := m.enter(ctx); err != nil {
		return queue.TrimStats{}, err
	}
	defer m.mu.Unlock()
	var st queue.TrimStats
	for _, t := range m.trackers {
		t.msgs = slices.DeleteFunc(t.msgs, func(msg queue.Message) bool {
			old := msg.SubmitMs < r.CutoffMs && msg.Status != queue.StatusPending
			if old && st.Removed == r.Max {
				st.More = true
				return false
			}
			if old {
				st.Removed++
			}
			return old
		})
	}
	return st, nil
}

func (m *Model) Check(ctx context.Context) (queue.Report, error) {
	if err := m.enter(ctx); err != nil {
		return queue.Report{}, err
	}
	defer m.mu.Unlock()
	rep := queue.Report{Counted: true}
	for _, t := range m.trackers {
		for i := range t.msgs {
			if t.msgs[i].Status == queue.StatusPending {
				rep.Pending++
			}
		}
	}
	return rep, nil
}

func (m *Model) LoadDirectory(ctx context.Context) ([]queue.Account, []queue.Tracker, error) {
	if err := m.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer m.mu.Unlock()
	return slices.Clone(m.accounts), slices.Clone(m.devices), nil
}

func (m *Model) ImportDirectory(ctx context.Context, accounts []queue.Account,
	trackers []queue.Tracker, prune bool,
) (queue.ImportStats, error) {
	if err := m.enter(ctx); err != nil {
		return queue.ImportStats{}, err
	}
	defer m.mu.Unlock()
	kept := make(directory.Removed)
	for id, t := range m.kept {
		kept[id] = &t
	}
	s := queue.NewSnapshot(slices.Clone(m.accounts), slices.Clone(m.devices))
	d, stats, err := directory.Import(s, kept, accounts, trackers, prune)
	if err != nil {
		return queue.ImportStats{}, err
	}
	for _, r := range d.Accounts {
		if r.Is == nil {
			m.removeAccount(r.ID)
		} else {
			m.putAccount(*r.Is)
		}
	}
	for _, r := range d.Trackers {
		if r.Is == nil {
			m.kept[r.ID] = *r.Was
			m.removeTracker(r.ID)
		} else {
			m.putTracker(*r.Is)
		}
	}
	m.drop(d.Dropped)
	return stats, nil
}
