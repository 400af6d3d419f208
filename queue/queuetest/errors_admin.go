package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trackchat/queue"
)

// manyKeys is how many different keys a round may have.
const manyKeys = 6

// largeLabel makes a change that Redis does not take in one piece.
var largeLabel = strings.Repeat("large", 7000) //nolint:gochecknoglobals // a constant

// key is a key of an account, or of a session.
func (r *round) key(i int) queue.KeyHash { return queue.HashKey(fmt.Sprint(r.base, i)) }

func (r *round) accountRow(i int) queue.Account {
	return queue.Account{ID: r.account(i), Login: fmt.Sprint("login", r.base, i), Password: "hash"}
}

func (r *round) trackerRow(i int) queue.Tracker {
	return queue.Tracker{
		ID: r.tracker(i), Account: r.account(0), Protocol: "p",
		DeviceID: fmt.Sprint(r.tracker(i)), Chat: true, Features: []string{queue.FeatureChat},
	}
}

func (r *round) edit(edits ...queue.Edit) {
	r.t.Helper()
	res, err := r.s.EditDirectory(r.ctx, edits)
	r.must(err)
	for _, e := range res {
		r.must(e.Err)
	}
}

// furnish stores an account with a key and a session, two of its trackers with messages, a webhook
// and an answer.
func furnish(r *round) {
	r.t.Helper()
	a := r.accountRow(0)
	a.Keys = []queue.Key{{Hash: r.key(0)}}
	r.edit(putAccount(a), putAccount(r.accountRow(1)), putTracker(r.trackerRow(0)),
		putTracker(r.trackerRow(1)))
	r.send(0, "pending")
	r.receive(0, queue.Incoming{Text: "unread"})
	r.must(r.s.PutSession(r.ctx, r.session(1)))
	hook := queue.Webhook{Account: r.account(0), URL: "https://example.org", Secret: "s"}
	r.must(r.s.PutWebhook(r.ctx, hook))
	b := queue.Broadcast{ID: 1, Trackers: 2}
	r.must(r.s.SaveBroadcast(r.ctx, r.account(0), b, 0, r.targets(0)))
	_, err := r.s.LeaseWebhooks(r.ctx, r.node(), []queue.AccountID{r.account(0)}, time.Hour)
	r.must(err)
	r.beat()
}

func (r *round) targets(i int) []queue.BroadcastTarget {
	return []queue.BroadcastTarget{{Tracker: r.tracker(i), Message: int64(i) + 1}}
}

func (r *round) session(i int) queue.Session {
	return queue.Session{
		Hash: r.key(i), Account: r.account(0), CreatedMs: r.now + int64(i), ExpiresMs: r.now +
			dayMs,
	}
}

// errorEdits are the operations on the directory. A directory that is being changed by somebody
// else makes them begin anew, and so does a repetition of their own.
func errorEdits() []errorCase {
	edits := func(list func(r *round) []queue.Edit) func(r *round) (any, error) {
		return func(r *round) (any, error) { return r.s.EditDirectory(r.ctx, list(r)) }
	}
	return []errorCase{
		{method: "LoadDirectory", still: true, set: furnish, run: func(r *round) (any, error) {
			accounts, trackers, err := r.s.LoadDirectory(r.ctx)
			return []any{accounts, trackers}, err
		}},
		{method: "ImportDirectory", set: furnish, run: func(r *round) (any, error) {
			a, t := r.accountRow(0), r.trackerRow(1)
			a.Title, t.Label = "changed", "changed"
			accounts := []queue.Account{a, r.accountRow(1)}
			return r.s.ImportDirectory(r.ctx, accounts, []queue.Tracker{t, r.trackerRow(2)}, false)
		}},
		{
			method: "ImportDirectory", what: " drop", steps: true, set: furnish,
			run: func(r *round) (any, error) {
				t := r.trackerRow(0)
				t.Account, t.History = r.account(1), queue.HistoryDrop
				return r.s.ImportDirectory(r.ctx, nil, []queue.Tracker{t}, false)
			},
		},
		{method: "EditDirectory", set: furnish, run: edits(func(r *round) []queue.Edit {
			a, t := r.accountRow(0), r.trackerRow(0)
			a.Title, a.Password, t.Label = "changed", "changed", "changed"
			return []queue.Edit{
				{Kind: queue.EditPutAccount, Account: a, KeepKeys: true},
				putTracker(t),
				putTracker(r.trackerRow(2)),
				changeAccount(a.ID, func(a *queue.Account) error {
					a.Keys = []queue.Key{{Hash: r.key(5), Name: "changed", Role: queue.RoleViewer}}
					a.People = a.People.Clone()
					a.People.Groups = []queue.Group{{ID: a.People.NextID(), Title: "changed"}}
					return nil
				}),
				{
					Kind: queue.EditChangeTracker, Tracker: t,
					ChangeTracker: func(t *queue.Tracker) error {
						t.Sorting = &queue.Sorting{Tags: []string{"changed"}}
						return nil
					},
				},
			}
		})},
		{
			method: "EditDirectory", what: " drop", steps: true, set: furnish,
			run: edits(func(r *round) []queue.Edit {
				return []queue.Edit{
					{Kind: queue.EditDropTracker, Tracker: r.trackerRow(0)},
					{Kind: queue.EditDropAccount, Account: r.accountRow(1)},
				}
			}),
		},
		{
			method: "EditDirectory", what: " large", set: furnish,
			run: edits(func(r *round) []queue.Edit {
				list := make([]queue.Edit, 2)
				for i := range list {
					t := r.trackerRow(i)
					t.Label = largeLabel
					list[i] = putTracker(t)
				}
				return list
			}),
		},
		{
			method: "EditDirectory", what: " move", set: furnish,
			run: edits(func(r *round) []queue.Edit {
				t := r.trackerRow(0)
				t.Account, t.History = r.account(1), queue.HistoryMove
				return []queue.Edit{putTracker(t)}
			}),
		},
		{method: "Accounts", still: true, set: furnish, run: func(r *round) (any, error) {
			return r.s.Accounts(r.ctx, queue.AccountID(r.base), 2)
		}},
		{method: "Trackers", still: true, set: furnish, run: func(r *round) (any, error) {
			return r.s.Trackers(r.ctx, queue.TrackerID(r.base), 2)
		}},
		{method: "DirectoryChanges", still: true, set: func(r *round) {
			for more := true; more; {
				c, err := r.sound.DirectoryChanges(r.ctx, r.since, 1000)
				r.must(err)
				r.since, more = c.Version, c.More
			}
			furnish(r)
			r.edit(queue.Edit{Kind: queue.EditDropTracker, Tracker: r.trackerRow(1)})
		}, run: func(r *round) (any, error) {
			return r.s.DirectoryChanges(r.ctx, r.since, 100)
		}},
	}
}

func errorAdmin() []errorCase {
	type sessions = []queue.KeyHash
	list := []errorCase{
		{method: "SaveAnswer", run: func(r *round) (any, error) {
			answer, err := r.s.SaveAnswer(r.ctx, r.account(0), "key", []byte("answer"))
			return string(answer), err
		}},
		{method: "IdempotentAnswer", still: true, run: func(r *round) (any, error) {
			answer, err := r.s.IdempotentAnswer(r.ctx, r.account(0), "key")
			return string(answer), err
		}},
		{method: "Heartbeat", silent: true, run: func(r *round) (any, error) {
			return nil, r.s.Heartbeat(r.ctx, queue.Node{ID: r.node(), StartedMs: 1, Sessions: 2})
		}},
		{method: "Leave", silent: true, run: func(r *round) (any, error) {
			return nil, r.s.Leave(r.ctx, r.node())
		}},
		{method: "Nodes", still: true, silent: true, run: func(r *round) (any, error) {
			nodes, err := r.s.Nodes(r.ctx)
			return nodes, err
		}},
		{method: "SaveBroadcast", run: func(r *round) (any, error) {
			b := queue.Broadcast{ID: 1, Trackers: 2, Sent: 2, Complete: true}
			return nil, r.s.SaveBroadcast(r.ctx, r.account(0), b, 1, r.targets(1))
		}},
		{method: "Broadcasts", still: true, run: func(r *round) (any, error) {
			return r.s.Broadcasts(r.ctx, r.account(0), 0, 10)
		}},
		{method: "BroadcastTargets", still: true, run: func(r *round) (any, error) {
			return r.s.BroadcastTargets(r.ctx, r.account(0), 1)
		}},
		{method: "PutWebhook", run: func(r *round) (any, error) {
			return nil, r.s.PutWebhook(r.ctx, queue.Webhook{
				Account: r.account(1),
				URL:     "https://b",
			})
		}},
		{method: "PutWebhook", what: " again", run: func(r *round) (any, error) {
			return nil, r.s.PutWebhook(r.ctx, queue.Webhook{
				Account: r.account(0),
				URL:     "https://b",
			})
		}},
		{method: "DropWebhook", repeats: true, run: func(r *round) (any, error) {
			return r.s.DropWebhook(r.ctx, r.account(0))
		}},
		{method: "ReplayWebhook", run: func(r *round) (any, error) {
			return r.s.ReplayWebhook(r.ctx, r.account(0), 5)
		}},
		{method: "Webhooks", still: true, run: func(r *round) (any,
			error,
		) {
			return r.s.Webhooks(r.ctx)
		}},
		{method: "LeaseWebhooks", still: true, run: func(r *round) (any, error) {
			accounts := []queue.AccountID{r.account(0), r.account(1)}
			return r.s.LeaseWebhooks(r.ctx, r.node(), accounts, time.Hour)
		}},
		{method: "SaveWebhook", run: func(r *round) (any, error) {
			p := queue.WebhookProgress{PositionMs: 9, LastError: "refused"}
			return r.s.SaveWebhook(r.ctx, r.node(), r.account(0), r.now, p)
		}},
		{method: "PutSession", run: func(r *round) (any, error) {
			return nil, r.s.PutSession(r.ctx, r.session(2))
		}},
		{method: "RenewSession", run: func(r *round) (any, error) {
			return r.s.RenewSession(r.ctx, r.key(1), r.now+2*dayMs)
		}},
		{method: "EndSession", repeats: true, run: func(r *round) (any, error) {
			return r.s.EndSession(r.ctx, r.key(1))
		}},
		{method: "Sessions", still: true, run: func(r *round) (any, error) {
			return r.s.Sessions(r.ctx, sessions{r.key(1), r.key(2)})
		}},
	}
	for i := range list {
		list[i].set = furnish
	}
	list[1].set = func(r *round) {
		furnish(r)
		_, err := r.s.SaveAnswer(r.ctx, r.account(0), "key", []byte("answer"))
		r.must(err)
	}
	return list
}

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
	broadcasts := make([]any, 0, 4)
	for i := range 2 {
		list, err := r.sound.Broadcasts(r.ctx, r.account(i), 0, 10)
		r.must(err)
		targets, err := r.sound.BroadcastTargets(r.ctx, r.account(i), 1)
		r.must(err)
		broadcasts = append(broadcasts, list, targets)
	}
	return r.show([]any{accounts, trackers, sessions, string(recalled), hooks, broadcasts, nodes})
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
