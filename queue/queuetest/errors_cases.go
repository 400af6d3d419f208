package queuetest

import (
	"slices"
	"time"

	"trackchat/queue"
)

// errorCase is an operation, and what it meets.
type errorCase struct {
	method string
	what   string // tells the cases of a method apart
	set    func(r *round)
	run    func(r *round) (any, error)

	trackers int  // 0: 3
	many     bool // more than a batch
	items    bool // result i is about tracker i, and may have an error of its own
	admin    bool // more is to be looked at than messages
	still    bool // changes nothing that could be seen
	steps    bool // an unknown outcome may be a part of it, which the next call completes
	silent   bool // may have no statement: what is asked is kept in memory
	direct   bool // never repeated by a store that recovers
	// repeats says that the store cannot tell a repetition that it makes itself from a second call,
	// and answers as if it were one.
	repeats bool
}

func (c *errorCase) size() int {
	if c.trackers == 0 {
		return 3
	}
	return c.trackers
}

func errorCases(batch int) []errorCase {
	all := make([]errorCase, 0, 64)
	for _, c := range errorWrites() {
		if c.set == nil {
			c.set = populate
		}
		all = append(all, c)
	}
	for _, c := range errorReads() {
		c.set, c.still = populate, true
		all = append(all, c)
	}
	for _, c := range append(errorEdits(), errorAdmin()...) {
		c.admin = true
		all = append(all, c)
	}
	if batch == 0 {
		return slices.DeleteFunc(all, func(c errorCase) bool { return c.many })
	}
	for i := range all {
		if all[i].many {
			all[i].trackers = batch + 6
		}
	}
	return all
}

// send stores messages for tracker i.
func (r *round) send(i int, texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		r.sendAs(i, queue.SendReq{Text: text})
	}
}

func (r *round) sendAs(i int, req queue.SendReq) {
	r.t.Helper()
	req.Tracker = r.tracker(i)
	res, err := r.s.Send(r.ctx, []queue.SendReq{req})
	r.must(err)
	r.must(res[0].Err)
	r.keep(i, res[0].ID)
}

func (r *round) receive(i int, in queue.Incoming) {
	r.t.Helper()
	in.Tracker = r.tracker(i)
	res, err := r.s.Receive(r.ctx, []queue.Incoming{in})
	r.must(err)
	r.must(res[0].Err)
	r.keep(i, res[0].ID)
}

func (r *round) keep(i int, id int64) {
	r.refs[i] = append(r.refs[i], queue.Ref{Tracker: r.tracker(i), ID: id})
	r.name(partOf(i), id)
}

func (r *round) beat() {
	r.t.Helper()
	r.must(r.s.Heartbeat(r.ctx, queue.Node{ID: r.node(), StartedMs: 1}))
}

func (r *round) acquire() {
	r.t.Helper()
	r.beat()
	leases, err := r.s.Acquire(r.ctx, r.node(), r.trackers())
	r.must(err)
	r.leases = leases
}

// Messages that populate stores, by their places among a tracker's.
const (
	pendingMsg = iota
	deliveredMsg
	failedMsg
	unreadMsg
	otherPending
)

const (
	keyLife = time.Hour
	laterMs = 1000
	dayMs   = 86_400_000
)

// populate gives each tracker a message in every state that matters, and an owner.
func populate(r *round) {
	r.t.Helper()
	acks := make([]queue.AckReq, 0, r.c.size())
	ends := make([]queue.EndReq, 0, r.c.size())
	for i, t := range r.trackers() {
		r.send(i, "pending", "delivered", "failed")
		r.receive(i, queue.Incoming{Text: "unread", Key: 7, Window: keyLife, Epoch: 1})
		r.send(i, "waits")
		acks = append(acks, queue.AckReq{Tracker: t, ID: r.refs[i][deliveredMsg].ID})
		ends = append(ends, queue.EndReq{
			Tracker: t, ID: r.refs[i][failedMsg].ID, Status: queue.StatusFailed,
			Reason: queue.ReasonRefused,
		})
	}
	_, err := r.s.Ack(r.ctx, acks)
	r.must(err)
	_, err = r.s.End(r.ctx, ends)
	r.must(err)
	r.acquire()
}

// each makes a list of something for every tracker.
func each[T any](r *round, one func(i int, t queue.TrackerID) T) []T {
	list := make([]T, 0, r.c.size())
	for i, t := range r.trackers() {
		list = append(list, one(i, t))
	}
	return list
}

// ref is a message of each tracker.
func (r *round) ref(place int) []queue.Ref {
	return each(r, func(i int, _ queue.TrackerID) queue.Ref { return r.refs[i][place] })
}

func errorWrites() []errorCase {
	return append(errorStores(), []errorCase{
		{method: "MarkRead", items: true, run: func(r *round) (any, error) {
			return r.s.MarkRead(r.ctx, r.ref(unreadMsg))
		}},
		{method: "MarkReadAll", run: func(r *round) (any, error) {
			return r.s.MarkReadAll(r.ctx, r.trackers())
		}},
		{method: "End", items: true, run: func(r *round) (any, error) {
			places := []int{pendingMsg, failedMsg, otherPending}
			return r.s.End(r.ctx, each(r, func(i int, t queue.TrackerID) queue.EndReq {
				return queue.EndReq{
					Tracker: t, ID: r.refs[i][places[i]].ID, Status: queue.StatusCancelled,
				}
			}))
		}},
		{method: "Ack", items: true, run: func(r *round) (any, error) {
			places := []int{pendingMsg, deliveredMsg, failedMsg}
			return r.s.Ack(r.ctx, each(r, func(i int, t queue.TrackerID) queue.AckReq {
				return queue.AckReq{Tracker: t, ID: r.refs[i][places[i]].ID, Opened: i != 2}
			}))
		}},
		{method: "Progress", run: func(r *round) (any, error) {
			return nil, r.s.Progress(r.ctx,
				each(r, func(i int, t queue.TrackerID) queue.ProgressReq {
					return queue.ProgressReq{
						Tracker: t, ID: r.refs[i][pendingMsg].ID, Parts: 3,
						Acked: 1,
					}
				}))
		}},
		{method: "Acquire", items: true, run: func(r *round) (any, error) {
			return r.s.Acquire(r.ctx, r.node(), r.trackers())
		}},
		{method: "Release", items: true, run: func(r *round) (any, error) {
			return r.s.Release(r.ctx, r.leases)
		}},
		// Sessions without messages: a store keeps nothing of them in memory.
		{
			method: "Release", what: " at rest", items: true, set: func(r *round) { r.acquire() },
			run: func(r *round) (any, error) { return r.s.Release(r.ctx, r.leases) },
		},
		{
			method: "Acquire", what: " at rest", items: true, set: func(r *round) { r.acquire() },
			run: func(r *round) (any, error) { return r.s.Acquire(r.ctx, r.node(), r.trackers()) },
		},
		{method: "Touch", run: func(r *round) (any, error) {
			leases := append([]queue.Lease(nil), r.leases...)
			for i := range leases {
				leases[i].SeenMs = r.now + laterMs
			}
			return nil, r.s.Touch(r.ctx, leases)
		}, set: func(r *round) {
			populate(r)
			r.clock.Advance(laterMs * time.Millisecond)
		}},
		{method: "Kick", items: true, run: func(r *round) (any, error) {
			return r.s.Kick(r.ctx, r.trackers())
		}},
		{
			method: "Expire", run: func(r *round) (any, error) { return r.s.Expire(r.ctx) },
			set: func(r *round) {
				_, err := r.sound.Expire(r.ctx) // what other cases have left
				r.must(err)
				populate(r)
				for i := range r.trackers() {
					r.sendAs(i, queue.SendReq{Text: "due", ExpiresMs: r.now - 1})
				}
			},
		},
	}...)
}

func (r *round) trim(t queue.TrackerID) (queue.TrimStats, error) {
	var p queue.Partition
	if placed, ok := r.s.(queue.Partitioned); ok {
		p = placed.PartitionOf(t)
	}
	return r.s.Trim(r.ctx, p, queue.Retention{CutoffMs: r.now + 1, Max: 64})
}

// errorStores are the operations that store messages, or remove them: Trim comes before the others
// leave so many.
func errorStores() []errorCase {
	send := func(r *round) (any, error) {
		reqs := each(r, func(_ int, t queue.TrackerID) queue.SendReq {
			return queue.SendReq{Tracker: t, Text: "new", Key: "key", ExpiresMs: r.now + dayMs}
		})
		if len(reqs) == 3 {
			reqs[2].Choices, reqs[2].ReplyTo = []string{"yes", "no"}, 1
			reqs[2].Urgent = true
		}
		return r.s.Send(r.ctx, reqs)
	}
	receive := func(r *round) (any, error) {
		return r.s.Receive(r.ctx, each(r, func(_ int, t queue.TrackerID) queue.Incoming {
			return queue.Incoming{Tracker: t, Text: "new", Key: 9, Window: keyLife}
		}))
	}
	nothing := func(*round) {}
	return []errorCase{
		{method: "Trim", trackers: 1, set: func(r *round) {
			for more := true; more; {
				st, err := r.trim(r.tracker(0))
				r.must(err)
				more = st.More
			}
			r.send(0, "old")
			_, err := r.s.Ack(r.ctx, []queue.AckReq{{Tracker: r.tracker(0), ID: r.refs[0][0].ID}})
			r.must(err)
		}, run: func(r *round) (any, error) { return r.trim(r.tracker(0)) }},
		{method: "Send", items: true, run: send},
		{method: "Send", what: " first", items: true, set: nothing, run: send},
		{method: "Send", what: " many", items: true, many: true, set: nothing, run: send},
		{method: "Send", what: " full", items: true, run: send, set: func(r *round) {
			for i := range r.trackers() {
				r.send(i, "a", "b", "c")
				r.sendAs(i, queue.SendReq{Text: "due", ExpiresMs: r.now - 1})
			}
		}},
		{method: "Receive", items: true, run: receive},
		{method: "Receive", what: " first", items: true, set: nothing, run: receive},
		{method: "Receive", what: " many", items: true, many: true, set: nothing, run: receive},
		{method: "Receive", what: " copies", items: true, still: true, run: func(r *round) (any,
			error,
		) {
			return r.s.Receive(r.ctx, each(r, func(i int, t queue.TrackerID) queue.Incoming {
				return queue.Incoming{
					Tracker: t, Text: "unread", Key: 7, Window: keyLife, Epoch: int64(2 * i),
				}
			}))
		}},
	}
}

func errorReads() []errorCase {
	return []errorCase{
		{method: "List", run: func(r *round) (any, error) {
			return r.s.List(r.ctx, queue.ListQuery{Tracker: r.tracker(0), ToMs: forever, Limit: 10})
		}},
		{method: "Find", items: true, run: func(r *round) (any, error) {
			return r.s.Find(r.ctx, each(r, func(i int, _ queue.TrackerID) int64 {
				return r.refs[i][failedMsg].ID
			}))
		}},
		{method: "LastTimes", run: func(r *round) (any, error) {
			return r.s.LastTimes(r.ctx, r.trackers())
		}},
		{method: "Unread", run: func(r *round) (any, error) {
			return r.s.Unread(r.ctx, r.trackers())
		}},
		{method: "Presence", run: func(r *round) (any, error) {
			return r.s.Presence(r.ctx, r.trackers())
		}},
		{method: "Claim", items: true, run: func(r *round) (any, error) {
			return r.s.Claim(r.ctx, each(r, func(i int, _ queue.TrackerID) queue.ClaimReq {
				return queue.ClaimReq{Lease: r.leases[i], MaxBytes: 1 << 10}
			}))
		}},
		{method: "CheckLeases", run: func(r *round) (any, error) {
			return r.s.CheckLeases(r.ctx,
				r.leases)
		}},
		{method: "Unacknowledged", run: func(r *round) (any, error) {
			return r.s.Unacknowledged(r.ctx, r.tracker(0), 10)
		}},
		{method: "Changed", run: func(r *round) (any, error) {
			return r.s.Changed(r.ctx, r.trackers(), r.now)
		}},
		{method: "Changes", run: func(r *round) (any, error) {
			return r.s.Changes(r.ctx, r.tracker(0), r.now, 2)
		}},
		{method: "Check", direct: true, run: func(r *round) (any, error) {
			rep, err := r.s.Check(r.ctx)
			if err == nil && len(rep.Problems) > 0 {
				err = queue.ErrUnavailable
			}
			return rep.Counted, err
		}},
	}
}
