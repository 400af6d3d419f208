package queuetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// Machine runs random operations on a store and on Model and compares every answer. The store must
// take its time from the fixture's clock.
func Machine(t *testing.T, f Fixture) {
	t.Helper()
	if f.Clock == nil {
		t.Fatal("the comparison with the model needs a settable clock")
	}
	base := queue.TrackerID(0)
	rapid.Check(t, func(rt *rapid.T) {
		base += 10 // every run has trackers of its own, so that one store serves them all
		m := &machine{
			T: rt, f: &f, t: t, real: f.Store, model: NewModel(f.Clock.Now, f.MaxPending),
			ids: make(map[int64]int64),
		}
		m.nobody()
		for i := range queue.TrackerID(3) {
			m.trackers = append(m.trackers, base+i+1)
		}
		moved := queue.Tracker{ID: base + 3, Conversation: 1} // a key is negative then
		m.trackers[2] = moved.Key()
		rt.Repeat(map[string]func(*rapid.T){
			"send": m.send, "receive": m.receive, "ack": m.ack, "end": m.end, "expire": m.expire,
			"progress": m.progress, "mark": m.mark, "markAll": m.markAll,
			"acquire": m.acquire, "release": m.release, "touch": m.touch, "kick": m.kick,
			"beat": m.beat, "claim": m.claim, "peek": m.peek, "trim": m.trim, "clock": m.clock,
			"list": m.list, "changes": m.changes, "reopen": m.reopen, "": m.invariants,
		})
	})
}

type machine struct {
	*rapid.T
	f     *Fixture
	t     *testing.T // outlives the run
	real  queue.Store
	model *Model

	trackers []queue.TrackerID
	ids      map[int64]int64 // the model's id to the store's
	stored   []queue.Ref     // with the model's ids
	leases   []queue.Lease
	reopens  int
	steps    int
}

// theirs translates an id of the model; ids that were never given stay what they are.
func (m *machine) theirs(id int64) int64 {
	if id, ok := m.ids[id]; ok {
		return id
	}
	return -id
}

func (m *machine) must(err error) {
	if err != nil {
		m.Fatal(err)
	}
}

// same compares answers of the model and the store.
func (m *machine) same(what string, model, real any) {
	if d := cmp.Diff(model, real, cmpopts.EquateEmpty(), cmpopts.EquateErrors()); d != "" {
		m.Fatalf("%s (-model +store):\n%s", what, d)
	}
}

// sameMessages is same for messages of the model, without the effort of a difference where there is
// none.
func (m *machine) sameMessages(what string, model, real []queue.Message) {
	theirs := m.messages(model)
	if !slices.EqualFunc(theirs, real, equal) {
		m.Fatalf("%s (-model +store):\n%s", what, cmp.Diff(theirs, real, cmpopts.EquateEmpty()))
	}
}

func (m *machine) tracker() queue.TrackerID {
	return rapid.SampledFrom(m.trackers).Draw(m.T, "tracker")
}

// ref draws a message, mostly a real one.
func (m *machine) ref() queue.Ref {
	if len(m.stored) == 0 || rapid.IntRange(0, 9).Draw(m.T, "unknown") == 0 {
		return queue.Ref{Tracker: m.tracker(), ID: 1 << 40}
	}
	r := rapid.SampledFrom(m.stored).Draw(m.T, "message")
	if rapid.IntRange(0, 19).Draw(m.T, "foreign") == 0 {
		r.Tracker = m.tracker()
	}
	return r
}

// storesNew notes a new message of both sides.
func (m *machine) storesNew(t queue.TrackerID, model, real int64) {
	if known, ok := m.ids[model]; ok {
		m.same("id of a repetition", known, real)
		return
	}
	for _, other := range m.ids {
		if other == real {
			m.Fatalf("id %d was given twice", real)
		}
	}
	m.ids[model] = real
	m.stored = append(m.stored, queue.Ref{Tracker: t, ID: model})
}

// messages translates the model's messages to what the store should answer.
func (m *machine) messages(msgs []queue.Message) []queue.Message {
	list := slices.Clone(msgs)
	for i := range list {
		list[i].ID = m.theirs(list[i].ID)
	}
	return list
}

func (m *machine) send(*rapid.T) {
	// a full tracker makes room of what is due, and a store may take more than it needs.
	m.expire(nil)
	n := rapid.IntRange(1, 4).Draw(m.T, "requests")
	reqs := make([]queue.SendReq, 0, n)
	for range n {
		r := queue.SendReq{Tracker: m.tracker(), Employee: rapid.Int64Range(0, 3).Draw(m.T,
			"employee"), Text: rapid.StringN(1, 40, -1).Draw(m.T, "text")}
		if k := rapid.IntRange(0, 6).Draw(m.T, "key"); k > 4 {
			r.Key = fmt.Sprint("key ", k)
		}
		if s := rapid.Int64Range(0, 200).Draw(m.T, "ttl"); s > 100 {
			r.ExpiresMs = m.f.Clock.Now().UnixMilli() + s*1000
		}
		if rapid.Bool().Draw(m.T, "authored") {
			r.Author = &queue.Author{
				Kind: queue.AuthorUser, ID: "1", Name: rapid.StringN(0, 5, -1).Draw(m.T, "author"),
			}
		}
		r.Choices = rapid.SliceOfN(rapid.StringN(0, 5, -1), 0, 2).Draw(m.T, "choices")
		r.Urgent = rapid.Bool().Draw(m.T, "urgent")
		reqs = append(reqs, r)
	}
	want, err := m.model.Send(m.t.Context(), reqs)
	m.must(err)
	got, err := m.real.Send(m.t.Context(), reqs)
	m.must(err)
	for i := range want {
		if want[i].Dup != got[i].Dup || !errors.Is(got[i].Err, want[i].Err) {
			m.Fatalf("send %d: model %+v, store %+v", i, want[i], got[i])
		}
		if want[i].Err == nil {
			m.storesNew(reqs[i].Tracker, want[i].ID, got[i].ID)
		}
	}
}

func (m *machine) receive(*rapid.T) {
	in := make([]queue.Incoming, rapid.IntRange(1, 3).Draw(m.T, "texts"))
	for i := range in {
		in[i] = queue.Incoming{
			Tracker: m.tracker(), Text: rapid.StringN(1, 10, -1).Draw(m.T, "text"),
			Key:    rapid.Uint64Range(0, 50).Draw(m.T, "key"),
			Window: time.Duration(rapid.IntRange(0, 90).Draw(m.T, "window")) * time.Second,
			Epoch:  rapid.Int64Range(0, 2).Draw(m.T, "epoch"),
		}
	}
	want, err := m.model.Receive(m.t.Context(), in)
	m.must(err)
	got, err := m.real.Receive(m.t.Context(), in)
	m.must(err)
	for i := range want {
		if want[i].Dup != got[i].Dup {
			m.Fatalf("receive %+v: model %+v, store %+v", in[i], want[i], got[i])
		}
		m.storesNew(in[i].Tracker, want[i].ID, got[i].ID)
	}
}

func (m *machine) ack(*rapid.T) {
	mine := make([]queue.AckReq, rapid.IntRange(1, 4).Draw(m.T, "acks"))
	real := make([]queue.AckReq, len(mine))
	for i := range mine {
		r := m.ref()
		mine[i] = queue.AckReq{Tracker: r.Tracker, ID: r.ID, Opened: rapid.Bool().Draw(m.T,
			"opened"), Replaced: m.replaced()}
		real[i] = mine[i]
		real[i].ID, real[i].Hint = m.theirs(r.ID), rapid.Int64Range(0, 999).Draw(m.T, "hint")
	}
	want, err := m.model.Ack(m.t.Context(), mine)
	m.must(err)
	got, err := m.real.Ack(m.t.Context(), real)
	m.must(err)
	m.same("ack", want, got)
}

func (m *machine) end(*rapid.T) {
	r := m.ref()
	e := queue.EndReq{
		Tracker: r.Tracker, ID: r.ID,
		Status: rapid.SampledFrom([]queue.Status{
			queue.StatusFailed, queue.StatusExpired,
			queue.StatusCancelled, queue.StatusSent,
		}).Draw(m.T, "status"),
		Reason: queue.Reason(rapid.IntRange(0, 8).Draw(m.T, "reason")), Replaced: m.replaced(),
	}
	if e.Status != queue.StatusFailed {
		e.Reason = queue.ReasonNone
	}
	want, err := m.model.End(m.t.Context(), []queue.EndReq{e})
	m.must(err)
	e.ID = m.theirs(e.ID)
	got, err := m.real.End(m.t.Context(), []queue.EndReq{e})
	m.must(err)
	m.same("end", want, got)
}

func (m *machine) replaced() int {
	return max(0, rapid.IntRange(-20_000, queue.MaxText).Draw(m.T, "replaced"))
}

// expire compares what is left afterwards: the store may hold due messages of other runs.
func (m *machine) expire(*rapid.T) {
	_, err := m.model.Expire(m.t.Context())
	m.must(err)
	for more := true; more; {
		st, err := m.real.Expire(m.t.Context())
		m.must(err)
		more = st.More
	}
}

func (m *machine) progress(*rapid.T) {
	r := m.ref()
	p := queue.ProgressReq{Tracker: r.Tracker, ID: r.ID, Parts: rapid.IntRange(1, 5).Draw(m.T,
		"parts"), Acked: rapid.IntRange(-1, 6).Draw(m.T, "acked")}
	if p.Tries = max(0, rapid.IntRange(-5, 5).Draw(m.T, "tries")); p.Tries > 0 {
		p.TriedMs = rapid.Int64Range(1, 1000).Draw(m.T, "tried")
	}
	m.must(m.model.Progress(m.t.Context(), []queue.ProgressReq{p}))
	p.ID = m.theirs(p.ID)
	m.must(m.real.Progress(m.t.Context(), []queue.ProgressReq{p}))
}

func (m *machine) mark(*rapid.T) {
	mine := make([]queue.Ref, rapid.IntRange(1, 3).Draw(m.T, "messages"))
	real := make([]queue.Ref, len(mine))
	for i := range mine {
		mine[i] = m.ref()
		real[i] = queue.Ref{Tracker: mine[i].Tracker, ID: m.theirs(mine[i].ID)}
	}
	want, err := m.model.MarkRead(m.t.Context(), mine)
	m.must(err)
	got, err := m.real.MarkRead(m.t.Context(), real)
	m.must(err)
	m.same("mark read", want, got)
}

func (m *machine) markAll(*rapid.T) {
	ts := []queue.TrackerID{m.tracker(), m.tracker()}
	want, err := m.model.MarkReadAll(m.t.Context(), ts)
	m.must(err)
	got, err := m.real.MarkReadAll(m.t.Context(), ts)
	m.must(err)
	m.same("mark all read", want, got)
}
