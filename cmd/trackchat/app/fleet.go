package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"trackchat/api/admin"
	"trackchat/gateway"
	"trackchat/queue"

	"go.uber.org/zap"
)

// peerPatience is how long other nodes may take to answer, and this one.
const peerPatience = 2 * time.Second

// fleetAdmin is the fleet as any process of it sees it, for administration: what only a node itself
// knows is asked of it through the store.
type fleetAdmin struct{ a *App }

var _ admin.Fleet = fleetAdmin{}

// peerQuestion is what nodes ask each other; one of its members is set.
type peerQuestion struct {
	Sessions *gateway.SessionQuery `json:"sessions,omitempty"`
	Drain    bool                  `json:"drain,omitempty"`
}

// peerAnswer answers a peerQuestion.
type peerAnswer struct {
	Sessions []admin.DeviceSession `json:"sessions,omitempty"`
	Error    string                `json:"error,omitempty"`
}

func (n fleetAdmin) Nodes(ctx context.Context) ([]admin.Node, error) {
	known, err := n.a.store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]admin.Node, len(known))
	for i, k := range known {
		list[i] = admin.Node{
			ID: k.ID, Started: time.UnixMilli(k.StartedMs),
			Reported: time.UnixMilli(k.BeatMs), Sessions: k.Sessions, Draining: k.Draining,
		}
		if gw := n.a.serving.Load(); gw != nil && gw.Node() == k.ID {
			list[i].Sessions, list[i].Draining = gw.Sessions(), gw.Draining()
		}
	}
	return list, nil
}

func (n fleetAdmin) Sessions(ctx context.Context, q admin.SessionQuery) (admin.SessionPage, error) {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	known, err := n.a.store.Nodes(ctx)
	if err != nil {
		return admin.SessionPage{}, err
	}
	ask := peerQuestion{Sessions: &gateway.SessionQuery{
		Tracker: q.Tracker, Protocol: q.Protocol,
		After: q.After, Limit: q.Limit,
	}}
	answers, err := n.ask(ctx, known, ask)
	if err != nil {
		return admin.SessionPage{}, err
	}
	page := admin.SessionPage{}
	for _, k := range known {
		answer, ok := answers[k.ID]
		if !ok || answer.Error != "" {
			n.a.log.Warn("a node does not tell its sessions", zap.String("node", string(k.ID)),
				zap.String("error", answer.Error))
			page.Silent = append(page.Silent, k.ID)
		}
		page.Sessions = append(page.Sessions, answer.Sessions...)
	}
	slices.SortFunc(page.Sessions, func(a, b admin.DeviceSession) int {
		return cmp.Or(cmp.Compare(a.Tracker, b.Tracker), cmp.Compare(a.Node, b.Node))
	})
	page.Sessions = page.Sessions[:min(len(page.Sessions), q.Limit)]
	return page, nil
}

// Disconnect: the store takes the ownership away and tells the owner, wherever that is.
func (n fleetAdmin) Disconnect(ctx context.Context, t queue.TrackerID) (bool, error) {
	key := t
	if known, ok := n.a.directory.Current().Tracker(t); ok {
		key = known.Key()
	}
	known, err := n.a.store.Presence(ctx, []queue.TrackerID{key})
	if err != nil || !known[key].Online {
		return false, err
	}
	done, err := n.a.store.Kick(ctx, []queue.TrackerID{key})
	return err == nil && done[0], err
}

func (n fleetAdmin) Drain(ctx context.Context, node queue.NodeID) error {
	if gw := n.a.serving.Load(); node == "" || gw != nil && gw.Node() == node {
		return n.a.Drain(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	known, err := n.a.store.Nodes(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(known, func(k queue.Node) bool { return k.ID == node })
	if i < 0 {
		return queue.ErrNotFound
	}
	answers, err := n.ask(ctx, known[i:i+1], peerQuestion{Drain: true})
	if err != nil {
		return err
	}
	answer, ok := answers[node]
	switch {
	case !ok:
		return fmt.Errorf("%w: node %s does not answer", queue.ErrUnavailable, node)
	case answer.Error != "":
		return fmt.Errorf("%w: node %s: %s", queue.ErrUnavailable, node, answer.Error)
	}
	return nil
}

// ask asks living nodes, this one directly.
func (n fleetAdmin) ask(ctx context.Context, known []queue.Node,
	q peerQuestion,
) (map[queue.NodeID]peerAnswer, error) {
	answers := make(map[queue.NodeID]peerAnswer, len(known))
	var others []queue.NodeID
	for _, k := range known {
		if gw := n.a.serving.Load(); gw != nil && gw.Node() == k.ID {
			answers[k.ID] = n.a.answerPeer(ctx, &q)
			continue
		}
		others = append(others, k.ID)
	}
	peers, ok := n.a.store.(queue.Peers)
	if len(others) == 0 || !ok {
		return answers, nil
	}
	text, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("writing a question: %w", err)
	}
	said, err := peers.Ask(ctx, others, text)
	if err != nil {
		return nil, err
	}
	for id, text := range said {
		var answer peerAnswer
		if err := json.Unmarshal(text, &answer); err != nil {
			answer.Error = err.Error() // a node of another version
		}
		answers[id] = answer
	}
	return answers, nil
}

// startAnswering answers what other nodes ask, where the store carries questions.
func (a *App) startAnswering(ctx context.Context) error {
	peers, ok := a.store.(queue.Peers)
	if !ok {
		return nil
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	questions, err := peers.Questions(run, a.gateway.Node())
	if err != nil {
		cancel()
		return fmt.Errorf("listening to questions of other nodes: %w", err)
	}
	a.meanwhile(ctx, func(context.Context) {
		for q := range questions {
			a.answer(run, q)
		}
	})
	a.onStop(func(context.Context) error { // before the wait for the loop
		cancel()
		return nil
	})
	return nil
}

func (a *App) answer(ctx context.Context, q queue.Question) {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	var ask peerQuestion
	var answer peerAnswer
	if err := json.Unmarshal(q.Body, &ask); err != nil {
		answer.Error = err.Error()
	} else {
		answer = a.answerPeer(ctx, &ask)
	}
	text, err := json.Marshal(answer)
	if err == nil {
		err = q.Answer(ctx, text)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("a question of another node was not answered", zap.Error(err))
	}
}

// answerPeer answers for this node.
func (a *App) answerPeer(ctx context.Context, q *peerQuestion) peerAnswer {
	gw := a.serving.Load()
	var answer peerAnswer
	var err error
	switch {
	case gw == nil:
		err = errors.New("serves no devices")
	case q.Drain:
		err = a.Drain(ctx)
	case q.Sessions != nil:
		var list []gateway.SessionInfo
		if list, err = gw.Inspect(ctx, *q.Sessions); err == nil {
			answer.Sessions = deviceSessions(gw.Node(), list)
		}
	default:
		err = errors.New("unknown question")
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer
}

func deviceSessions(node queue.NodeID, list []gateway.SessionInfo) []admin.DeviceSession {
	sessions := make([]admin.DeviceSession, len(list))
	for i, s := range list {
		sessions[i] = admin.DeviceSession{
			Tracker: s.Tracker, Protocol: s.Protocol, Node: node, Remote: s.Remote.String(),
			Since: time.UnixMilli(s.SinceMs), LastSeen: time.UnixMilli(s.SeenMs),
			InFlight: s.InFlight, BytesIn: s.BytesIn, BytesOut: s.BytesOut,
		}
	}
	return sessions
}

const (
	beatEvery  = queue.NodeLife / 5
	beatWithin = 2 * time.Second
)

// startReporting tells the store from now on that this node lives, and at the end that it does not.
// It comes before the first device is let in: the trackers of an unknown node count as offline.
func (a *App) startReporting(ctx context.Context) error {
	started := time.Now().UnixMilli()
	beat := func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, beatWithin)
		defer cancel()
		return a.store.Heartbeat(bounded, queue.Node{
			ID: a.gateway.Node(), StartedMs: started,
			Sessions: a.gateway.Sessions(), Draining: a.gateway.Draining(),
		})
	}
	if err := beat(ctx); err != nil {
		return fmt.Errorf("reporting the node: %w", err)
	}
	a.onStop(func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, beatWithin)
		defer cancel()
		if err := a.store.Leave(bounded, a.gateway.Node()); err != nil {
			a.log.Warn("the end of this node is known to others only after a while",
				zap.Duration("after", queue.NodeLife), zap.Error(err))
		}
		return nil
	})
	a.meanwhile(ctx, func(ctx context.Context) { a.report(ctx, beat) })
	return nil
}

// report calls beat again and again until ctx ends.
func (a *App) report(ctx context.Context, beat func(context.Context) error) {
	failing := false
	every(ctx, beatEvery, func(ctx context.Context) {
		err := beat(ctx)
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failed {
				a.log.Warn("this node cannot report itself; its trackers count as offline meanwhile", zap.Error(err))
			} else {
				a.log.Info("this node reports itself again")
			}
		}
	})
}
