package queuetest

import (
	"errors"
	"slices"
	"time"

	"trackchat/queue"

	"pgregory.net/rapid"
)

// lease translates a lease of the model: epochs are both sides' own, but they rise together.
func (m *machine) leaseTheirs(l queue.Lease) queue.Lease {
	l.LastOut = m.theirsOrNone(l.LastOut)
	return l
}

func (m *machine) theirsOrNone(id int64) int64 {
	if id == 0 {
		return 0
	}
	return m.theirs(id)
}

func (m *machine) acquire(*rapid.T) {
	ts := []queue.TrackerID{m.tracker()}
	node := rapid.SampledFrom(machineNodes()).Draw(m.T, "node")
	want, err := m.model.Acquire(m.t.Context(), node, ts)
	m.must(err)
	got, err := m.real.Acquire(m.t.Context(), node, ts)
	m.must(err)
	m.same("lease", m.leaseTheirs(want[0]), got[0])
	m.leases = append(m.leases, want[0])
}

func (m *machine) lease() queue.Lease {
	if len(m.leases) == 0 {
		m.Skip("no lease yet")
	}
	return rapid.SampledFrom(m.leases).Draw(m.T, "lease")
}

func (m *machine) release(*rapid.T) {
	ls := []queue.Lease{m.heardLease()}
	want, err := m.model.Release(m.t.Context(), ls)
	m.must(err)
	got, err := m.real.Release(m.t.Context(), ls)
	m.must(err)
	m.same("release", want, got)
}

// claim reads a whole backlog page by page on both sides.
func (m *machine) claim(*rapid.T) {
	l, bytes := m.lease(), rapid.IntRange(0, 100).Draw(m.T, "bytes")
	most := rapid.IntRange(0, 3).Draw(m.T, "most")
	var mine, theirs queue.Cursor
	for more := true; more; {
		want, err := m.model.Claim(m.t.Context(), []queue.ClaimReq{{
			Lease: l, Cursor: mine,
			MaxBytes: bytes, Max: most,
		}})
		m.must(err)
		got, err := m.real.Claim(m.t.Context(), []queue.ClaimReq{{
			Lease: l, Cursor: theirs,
			MaxBytes: bytes, Max: most,
		}})
		m.must(err)
		if !errors.Is(got[0].Err, want[0].Err) || want[0].More != got[0].More {
			m.Fatalf("claim: model %+v, store %+v", want[0], got[0])
		}
		m.sameMessages("claim", want[0].Msgs, got[0].Msgs)
		mine, theirs, more = want[0].Next, got[0].Next, want[0].More
	}
}

func (m *machine) peek(*rapid.T) {
	ls := []queue.Lease{m.lease(), m.lease()}
	if ls[0].Tracker == ls[1].Tracker {
		ls = ls[:1]
	}
	want, err := m.model.CheckLeases(m.t.Context(), ls)
	m.must(err)
	for i := range want {
		want[i].LastOut = m.theirsOrNone(want[i].LastOut)
	}
	got, err := m.real.CheckLeases(m.t.Context(), ls)
	m.must(err)
	slices.SortFunc(got, func(a, b queue.PeekResult) int {
		return slices.Index(m.trackers, a.Tracker) - slices.Index(m.trackers, b.Tracker)
	})
	slices.SortFunc(want, func(a, b queue.PeekResult) int {
		return slices.Index(m.trackers, a.Tracker) - slices.Index(m.trackers, b.Tracker)
	})
	m.same("peek", want, got)
}

func (m *machine) clock(*rapid.T) {
	m.f.Clock.Advance(time.Duration(rapid.IntRange(-3_000_000, 9_000_000).Draw(m.T,
		"ms")) * time.Millisecond)
}

func (m *machine) list(*rapid.T) {
	q := queue.ListQuery{Tracker: m.tracker(), ToMs: forever, Limit: rapid.IntRange(1, 20).Draw(m.T,
		"limit"), Desc: rapid.Bool().Draw(m.T, "desc")}
	all, err := m.model.List(m.t.Context(), queue.ListQuery{
		Tracker: q.Tracker, ToMs: forever,
		Limit: 1024,
	})
	m.must(err)
	if len(all) > 0 {
		q.FromMs = rapid.SampledFrom(all).Draw(m.T, "from").SubmitMs
		q.ToMs = rapid.SampledFrom(all).Draw(m.T, "to").SubmitMs
		if rapid.Bool().Draw(m.T, "paged") {
			q.Beyond = rapid.SampledFrom(all).Draw(m.T, "beyond").ID
		}
	}
	want, err := m.model.List(m.t.Context(), q)
	m.must(err)
	q.Beyond = m.theirsOrNone(q.Beyond)
	got, err := m.real.List(m.t.Context(), q)
	m.must(err)
	m.sameMessages("list", want, got)
}

func (m *machine) changes(*rapid.T) {
	t, limit, since := m.tracker(), rapid.IntRange(1, 10).Draw(m.T, "limit"), int64(0)
	all, err := m.model.Changes(m.t.Context(), t, 0, 1<<20)
	m.must(err)
	if len(all) > 0 {
		since = rapid.SampledFrom(all).Draw(m.T, "since").ChangeMs
	}
	want, err := m.model.Changes(m.t.Context(), t, since, limit)
	m.must(err)
	got, err := m.real.Changes(m.t.Context(), t, since, limit)
	if errors.Is(err, queue.ErrTooOld) {
		return
	}
	m.must(err)
	m.sameMessages("changes", want, got)
}

// trim lets the store decide what goes within the rules and makes the model forget the same.
func (m *machine) trim(*rapid.T) {
	cutoff := m.f.Clock.Now().UnixMilli() - rapid.Int64Range(0, 10_000_000).Draw(m.T, "age")
	for p := range 256 {
		for more := true; more; {
			st, err := m.real.Trim(m.t.Context(), queue.Partition(p),
				queue.Retention{CutoffMs: cutoff, Max: 50})
			if err != nil && p > 0 {
				break // the backend has fewer partitions
			}
			m.must(err)
			more = st.More
		}
	}
	for _, id := range m.trackers {
		t := m.model.tracker(id)
		got, err := m.real.Find(m.t.Context(), m.theirIDs(t.msgs))
		m.must(err)
		kept := t.msgs[:0]
		for i, msg := range t.msgs {
			switch {
			case got[i].ID != 0:
				kept = append(kept, msg)
			case msg.Status == queue.StatusPending || msg.SubmitMs >= cutoff:
				m.Fatalf("trim to %d took %+v", cutoff, msg)
			}
		}
		t.msgs = kept
	}
}

func (m *machine) theirIDs(msgs []queue.Message) []int64 {
	list := make([]int64, len(msgs))
	for i := range msgs {
		list[i] = m.theirs(msgs[i].ID)
	}
	return list
}

// reopen is rare, because it takes long.
func (m *machine) reopen(*rapid.T) {
	if m.reopens++; m.reopens > 1 {
		m.Skip("often enough")
	}
	m.f.Store = m.f.Reopen(m.t)
	m.real = m.f.Store
	m.model.Reopen()
	m.nobody()
}

// invariants compares what every answer depends on, after every third step: what went wrong stays
// wrong.
func (m *machine) invariants(*rapid.T) {
	if m.steps++; m.steps%3 != 0 {
		return
	}
	ctx := m.t.Context()
	wantUnread, err := m.model.Unread(ctx, m.trackers)
	m.must(err)
	gotUnread, err := m.real.Unread(ctx, m.trackers)
	m.must(err)
	m.same("unread", wantUnread, gotUnread)
	wantTimes, err := m.model.LastTimes(ctx, m.trackers)
	m.must(err)
	gotTimes, err := m.real.LastTimes(ctx, m.trackers)
	m.must(err)
	m.same("last times", wantTimes, gotTimes)
	wantPresence, err := m.model.Presence(ctx, m.trackers)
	m.must(err)
	gotPresence, err := m.real.Presence(ctx, m.trackers)
	m.must(err)
	m.same("presence", wantPresence, gotPresence)
	for _, t := range m.trackers {
		q := queue.ListQuery{Tracker: t, ToMs: forever, Limit: 1024}
		want, err := m.model.List(ctx, q)
		m.must(err)
		got, err := m.real.List(ctx, q)
		m.must(err)
		m.sameMessages("messages", want, got)
		wantOpen, err := m.model.Unacknowledged(ctx, t, 5)
		m.must(err)
		gotOpen, err := m.real.Unacknowledged(ctx, t, 5)
		m.must(err)
		m.sameMessages("unacknowledged", wantOpen, gotOpen)
		m.pendingCounted(t, got)
	}
}

// pendingCounted holds the store's own count against its own messages.
func (m *machine) pendingCounted(t queue.TrackerID, msgs []queue.Message) {
	n := 0
	for _, msg := range msgs {
		if msg.Status == queue.StatusPending {
			n++
		}
	}
	for _, l := range slices.Backward(m.leases) {
		if l.Tracker != t {
			continue
		}
		got, err := m.real.CheckLeases(m.t.Context(), []queue.Lease{l})
		m.must(err)
		if len(got) == 0 && n > 0 || len(got) == 1 && got[0].Pending != n {
			m.Fatalf("tracker %d: peek %+v, %d pending", t, got, n)
		}
		return
	}
}

// machineNodes own the machine's leases.
func machineNodes() []queue.NodeID { return []queue.NodeID{"a", "b"} }

// nobody takes the nodes off: what an earlier run or process left of them is the store's business.
func (m *machine) nobody() {
	for _, id := range machineNodes() {
		m.must(m.model.Leave(m.t.Context(), id))
		m.must(m.real.Leave(m.t.Context(), id))
	}
}

// heardLease is a lease whose device was heard of about now.
func (m *machine) heardLease() queue.Lease {
	l := m.lease()
	if age := rapid.Int64Range(-20_000, 60_000).Draw(m.T, "age"); age < 50_000 {
		l.SeenMs = m.f.Clock.Now().UnixMilli() - age
	}
	return l
}

func (m *machine) touch(*rapid.T) {
	ls := []queue.Lease{m.heardLease()}
	m.must(m.model.Touch(m.t.Context(), ls))
	m.must(m.real.Touch(m.t.Context(), ls))
}

func (m *machine) kick(*rapid.T) {
	ts := []queue.TrackerID{m.tracker()}
	want, err := m.model.Kick(m.t.Context(), ts)
	m.must(err)
	got, err := m.real.Kick(m.t.Context(), ts)
	m.must(err)
	m.same("kick", want, got)
}

func (m *machine) beat(*rapid.T) {
	n := queue.Node{
		ID:       rapid.SampledFrom(machineNodes()).Draw(m.T, "node"),
		Sessions: rapid.IntRange(0, 9).Draw(m.T, "sessions"),
	}
	m.must(m.model.Heartbeat(m.t.Context(), n))
	m.must(m.real.Heartbeat(m.t.Context(), n))
	want, err := m.model.Nodes(m.t.Context())
	m.must(err)
	got, err := m.real.Nodes(m.t.Context())
	m.must(err)
	m.same("nodes", want, got)
}
