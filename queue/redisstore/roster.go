package redisstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trackchat/queue"
)

const (
	rosterTag    = "{chat:nodes}"
	rosterMemory = 24 * time.Hour // how long the end of a node that died is known
)

// report is what a node tells of itself.
type report struct {
	StartedMs int64 `json:"started"`
	Sessions  int   `json:"sessions"`
	Draining  bool  `json:"draining,omitempty"`
}

func (s *Store) Heartbeat(ctx context.Context, n queue.Node) error {
	if n.ID == "" || len(n.ID) > maxNode {
		return fmt.Errorf("node id %q must have 1 to %d bytes", n.ID, maxNode)
	}
	text, err := json.Marshal(report{n.StartedMs, n.Sessions, n.Draining})
	if err != nil {
		return fmt.Errorf("writing a node's report: %w", err)
	}
	_, _, err = s.roster(ctx, string(n.ID), string(text))
	return err
}

func (s *Store) Leave(ctx context.Context, id queue.NodeID) error {
	_, _, err := s.roster(ctx, string(id), "")
	return err
}

func (s *Store) Nodes(ctx context.Context) ([]queue.Node, error) {
	nodes, now, err := s.roster(ctx, "", "")
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
func (s *Store) roster(ctx context.Context, node, text string) ([]queue.Node, int64, error) {
	sc := s.scripts[scriptRoster]
	q := &query{
		slot: slotOf(strings.Trim(rosterTag, "{}")), sc: sc, writes: node != "",
		args: []any{
			"evalsha", sc.sha, 1, rosterTag, node, s.scriptClock(), text,
			rosterMemory.Milliseconds(),
		},
	}
	if err := s.ask(ctx, "roster", []*query{q}); err != nil {
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
	nodes := make([]queue.Node, 0, len(rows)/2)
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
		nodes = append(nodes, queue.Node{
			ID: queue.NodeID(id), StartedMs: r.StartedMs, BeatMs: ms,
			Sessions: r.Sessions, Draining: r.Draining,
		})
	}
	return nodes, now, nil
}

func (s *Store) Presence(ctx context.Context,
	ts []queue.TrackerID,
) (map[queue.TrackerID]queue.Presence, error) {
	states, err := s.states(ctx, "presence", ts)
	if err != nil {
		return nil, err
	}
	nodes, now, err := s.roster(ctx, "", "")
	if err != nil {
		return nil, err
	}
	beats := make(map[queue.NodeID]int64, len(nodes))
	for _, n := range nodes {
		beats[n.ID] = n.BeatMs
	}
	known := make(map[queue.TrackerID]queue.Presence)
	for i, t := range ts {
		if st := &states[i]; st.since > 0 {
			known[t] = queue.PresenceOf(st.owner, queue.Presence{
				SinceMs: st.since,
				SeenMs:  st.seen,
			}, beats[st.owner], now)
		}
	}
	return known, nil
}
