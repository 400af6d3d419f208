package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	rosterTag    = "{chat:nodes}"
	rosterMemory = 24 * time.Hour // how long the end of a node that died is known
)

// nodes are the processes that share this Redis: what they tell of themselves, and ask each other.
type nodes struct {
	*client
	asks chan struct{} // has room for as many as may ask at a time
}

// report is what a node tells of itself.
type report struct {
	StartedMs int64 `json:"started"`
	Sessions  int   `json:"sessions"`
	Draining  bool  `json:"draining,omitempty"`
	Flags     byte  `json:"flags,omitempty"` // of records that it reads, see record.go
}

func (ns *nodes) Heartbeat(ctx context.Context, n queue.Node) error {
	if n.ID == "" || len(n.ID) > maxNode {
		return fmt.Errorf("node id %q must have 1 to %d bytes", n.ID, maxNode)
	}
	text, err := json.Marshal(report{n.StartedMs, n.Sessions, n.Draining, knownFlags})
	if err != nil {
		return fmt.Errorf("writing a node's report: %w", err)
	}
	_, _, err = ns.roster(ctx, string(n.ID), string(text))
	return err
}

func (ns *nodes) Leave(ctx context.Context, id queue.NodeID) error {
	_, _, err := ns.roster(ctx, string(id), "")
	return err
}

func (ns *nodes) Nodes(ctx context.Context) ([]queue.Node, error) {
	nodes, now, err := ns.roster(ctx, "", "")
	if err != nil {
		return nil, err
	}
	nodes = slices.DeleteFunc(nodes, func(n queue.Node) bool {
		return !queue.Living(n.BeatMs,
			now)
	})
	slices.SortFunc(nodes, func(a, b queue.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

// roster notes a report, or that node left, or nothing, and returns all that is known and the time.
func (ns *nodes) roster(ctx context.Context, node, text string) ([]queue.Node, int64, error) {
	q := ns.evalsha(slotOf(strings.Trim(rosterTag, "{}")), rosterTag, scriptRoster, node,
		ns.scriptClock(), text, rosterMemory.Milliseconds())
	q.writes = node != ""
	if err := ns.ask(ctx, "roster", []*query{q}); err != nil {
		return nil, 0, err
	}
	rows, _ := q.reply.([]any)
	if len(rows)%2 != 1 {
		return nil, 0, fmt.Errorf("%w: roster of %d values", queue.ErrCorrupt, len(rows))
	}
	head, _ := rows[0].(string)
	now, err := strconv.ParseInt(head, 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: roster's time: %w", queue.ErrCorrupt, err)
	}
	nodes, authors := make([]queue.Node, 0, len(rows)/2), true
	for i := 1; i < len(rows); i += 2 {
		id, _ := rows[i].(string)
		value, _ := rows[i+1].(string)
		beat, text, _ := strings.Cut(value, " ")
		var r report
		ms, err := strconv.ParseInt(beat, 10, 64)
		if err == nil {
			err = json.Unmarshal([]byte(text), &r)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: report of node %q: %w", queue.ErrCorrupt, id, err)
		}
		authors = authors && (r.Flags&flagAuthor != 0 || !queue.Living(ms, now))
		nodes = append(nodes, queue.Node{
			ID: queue.NodeID(id), StartedMs: r.StartedMs, BeatMs: ms,
			Sessions: r.Sessions, Draining: r.Draining,
		})
	}
	ns.older.Store(!authors)
	return nodes, now, nil
}

// Questions wait in a list of the node that is asked, answers in a list of the question; both end
// by themselves.
const (
	peerLife  = 30 * time.Second // of lists that nobody reads
	peerQueue = 100              // questions that wait for one node; older ones are dropped
	peerAsks  = 4                // questions of this process at a time: each holds a connection
	peerWait  = 2 * time.Second  // of one look into a list
	peerPause = time.Second      // after a look that failed
)

func questionsKey(node queue.NodeID) string { return rosterTag + ":q:" + string(node) }

func answersKey(id string) string { return rosterTag + ":a:" + id }

// asked is a question on its way.
type asked struct {
	ID   string `json:"id"`
	Body []byte `json:"body"`
}

// answered is an answer on its way.
type answered struct {
	Node queue.NodeID `json:"node"`
	Body []byte       `json:"body"`
}

// peerMaster serves the lists.
func (ns *nodes) peerMaster() (*master, error) {
	if m := ns.cluster.serving(slotOf(strings.Trim(rosterTag, "{}"))); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%w: no master serves %s", queue.ErrUnavailable, rosterTag)
}

// push appends to a list that has no more than most entries and ends by itself.
func push(ctx context.Context, p redis.Pipeliner, key string, value []byte, most int64) {
	p.RPush(ctx, key, value)
	p.LTrim(ctx, key, -most, -1)
	p.Expire(ctx, key, peerLife)
}

func (ns *nodes) Ask(ctx context.Context, nodes []queue.NodeID,
	question []byte,
) (map[queue.NodeID][]byte, error) {
	answers := make(map[queue.NodeID][]byte, len(nodes))
	if len(nodes) == 0 {
		return answers, ctx.Err()
	}
	if err := ns.enter(); err != nil {
		return nil, err
	}
	defer ns.calls.Done()
	select {
	case ns.asks <- struct{}{}:
		defer func() { <-ns.asks }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	id := rand.Text()
	text, err := json.Marshal(asked{id, question})
	if err != nil {
		return nil, fmt.Errorf("writing a question: %w", err)
	}
	m, err := ns.peerMaster()
	if err != nil {
		return nil, err
	}
	pipe := m.redis.Pipeline()
	for _, n := range nodes {
		push(ctx, pipe, questionsKey(n), text, peerQueue)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		ns.cluster.stale()
		_, err = classify(err)
		return nil, fmt.Errorf("asking nodes: %w", err)
	}
	for len(answers) < len(nodes) {
		value, err := pop(ctx, m, answersKey(id))
		if ctx.Err() != nil || err != nil {
			return answers, nil // what has come so far
		}
		var a answered
		if value != "" && json.Unmarshal([]byte(value), &a) == nil {
			answers[a.Node] = a.Body
		}
	}
	return answers, nil
}

// pop waits a while for the first entry of a list and takes it; empty if none came.
func pop(ctx context.Context, m *master, key string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, 2*peerWait)
	defer cancel()
	values, err := m.redis.BLPop(bounded, peerWait, key).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("waiting at %s: %w", key, err)
	case len(values) != 2:
		return "", fmt.Errorf("%w: BLPOP answered %d values", queue.ErrCorrupt, len(values))
	}
	return values[1], nil
}

func (ns *nodes) Questions(ctx context.Context, node queue.NodeID) (<-chan queue.Question, error) {
	if node == "" || len(node) > maxNode {
		return nil, fmt.Errorf("node id %q must have 1 to %d bytes", node, maxNode)
	}
	if err := ns.enter(); err != nil {
		return nil, err
	}
	out := make(chan queue.Question)
	go func() {
		defer ns.calls.Done()
		defer close(out)
		life, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			select {
			case <-ns.over: // the store closes
				stop()
			case <-life.Done():
			}
			ns.nudge(context.WithoutCancel(ctx), node) // a look that waits ends at once
		}()
		ns.hearQuestions(life, node, out)
	}()
	return out, nil
}

// hearQuestions hands on what node is asked until ctx ends.
func (ns *nodes) hearQuestions(ctx context.Context, node queue.NodeID, out chan<- queue.Question) {
	failing := false
	for ctx.Err() == nil {
		value, err := ns.question(ctx, node)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if !failing {
				ns.log.Warn("questions of other nodes are not heard", zap.Error(err))
			}
			failing = true
			ns.cluster.stale()
			select {
			case <-ctx.Done():
			case <-time.After(peerPause):
			}
			continue
		}
		failing = false
		var q asked
		if value == "" || json.Unmarshal([]byte(value), &q) != nil {
			continue
		}
		select {
		case out <- queue.Question{Body: q.Body, Answer: func(ctx context.Context,
			body []byte,
		) error {
			return ns.answer(ctx, node, q.ID, body)
		}}:
		case <-ctx.Done():
		}
	}
}

func (ns *nodes) question(ctx context.Context, node queue.NodeID) (string, error) {
	m, err := ns.peerMaster()
	if err != nil {
		return "", err
	}
	return pop(ctx, m, questionsKey(node))
}

func (ns *nodes) answer(ctx context.Context, node queue.NodeID, id string, body []byte) error {
	text, err := json.Marshal(answered{node, body})
	if err != nil {
		return fmt.Errorf("writing an answer: %w", err)
	}
	m, err := ns.peerMaster()
	if err != nil {
		return err
	}
	pipe := m.redis.Pipeline()
	push(ctx, pipe, answersKey(id), text, 1<<10)
	if _, err := pipe.Exec(ctx); err != nil {
		_, err = classify(err)
		return fmt.Errorf("answering: %w", err)
	}
	return nil
}

// nudge puts an empty question, which is none, into a node's list.
func (ns *nodes) nudge(ctx context.Context, node queue.NodeID) {
	m, err := ns.peerMaster()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	pipe := m.redis.Pipeline()
	push(ctx, pipe, questionsKey(node), nil, peerQueue)
	_, _ = pipe.Exec(ctx) // else the look ends by itself a moment later
}
