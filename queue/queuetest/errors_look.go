package queuetest

import (
	"fmt"
	"slices"

	"trackchat/queue"
)

// look reads what is stored, by part: one for each tracker and one for the rest.
func (r *round) look() map[string]string {
	r.t.Helper()
	parts := make(map[string]string)
	ts := r.trackers()
	unread, err := r.sound.Unread(r.ctx, ts)
	r.must(err)
	times, err := r.sound.LastTimes(r.ctx, ts)
	r.must(err)
	presence, err := r.sound.Presence(r.ctx, ts)
	r.must(err)
	owned := r.epochs(ts)
	for i, t := range ts {
		msgs, err := r.sound.List(r.ctx, queue.ListQuery{Tracker: t, ToMs: forever, Limit: 1024})
		r.must(err)
		for _, m := range msgs {
			r.name(partOf(i), m.ID)
		}
		parts[partOf(i)] = r.show([]any{msgs, unread[t], times[t], presence[t], owned[t]})
	}
	if r.c.admin {
		parts["rest"] = r.rest()
	}
	return parts
}

// name gives a message a name, once.
func (r *round) name(part string, id int64) {
	n := fmt.Sprint(id)
	if _, known := r.names[n]; !known {
		r.seen[part]++
		r.names[n] = fmt.Sprintf("%s#%d", part, r.seen[part])
	}
}

// epochs are what a session would find: whether the owner of each epoch is still the one, what is
// to be delivered and the newest message.
func (r *round) epochs(ts []queue.TrackerID) map[queue.TrackerID][]queue.PeekResult {
	const most = 4
	leases := make([]queue.Lease, 0, most*len(ts))
	for _, t := range ts {
		for epoch := range int64(most) {
			leases = append(leases, queue.Lease{Tracker: t, Epoch: epoch})
		}
	}
	peeked, err := r.sound.CheckLeases(r.ctx, leases)
	r.must(err)
	found := make(map[queue.TrackerID][]queue.PeekResult)
	for _, p := range peeked {
		found[p.Tracker] = append(found[p.Tracker], p)
	}
	return found
}

// rest is what is stored of the round beside its trackers' messages.
func (r *round) rest() string {
	r.t.Helper()
	first, last := queue.AccountID(r.base), queue.AccountID(r.base+999)
	accounts, err := r.sound.Accounts(r.ctx, first, 10)
	r.must(err)
	trackers, err := r.sound.Trackers(r.ctx, queue.TrackerID(r.base), r.c.size())
	r.must(err)
	sessions, err := r.sound.Sessions(r.ctx, []queue.KeyHash{r.key(0), r.key(1), r.key(2)})
	r.must(err)
	recalled, err := r.sound.IdempotentAnswer(r.ctx, r.account(0), "key")
	r.must(err)
	hooks, err := r.sound.Webhooks(r.ctx)
	r.must(err)
	hooks = slices.DeleteFunc(hooks, func(h queue.Webhook) bool {
		return h.Account < first || h.Account > last
	})
	nodes, err := r.sound.Nodes(r.ctx)
	r.must(err)
	nodes = slices.DeleteFunc(nodes, func(n queue.Node) bool { return n.ID != r.node() })
	return r.show([]any{accounts, trackers, sessions, string(recalled), hooks, nodes})
}

// clean removes what operations on everything would meet in the next round.
func (r *round) clean() {
	r.t.Helper()
	r.must(r.sound.Leave(r.ctx, r.node()))
	if !r.c.admin {
		return
	}
	var edits []queue.Edit
	for i := range r.c.size() {
		edits = append(edits, queue.Edit{
			Kind:    queue.EditDropTracker,
			Tracker: queue.Tracker{ID: r.tracker(i)},
		})
	}
	for i := range 2 {
		edits = append(edits, queue.Edit{
			Kind:    queue.EditDropAccount,
			Account: queue.Account{ID: r.account(i)},
		})
	}
	_, err := r.sound.EditDirectory(r.ctx, edits)
	r.must(err)
	for i := range 2 {
		_, err := r.sound.DropWebhook(r.ctx, r.account(i))
		r.must(err)
	}
}
