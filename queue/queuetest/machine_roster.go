package queuetest

import (
	"trackchat/queue"

	"pgregory.net/rapid"
)

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
