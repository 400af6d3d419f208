package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"trackchat/queue"
)

// states reads trackers' states.
func (s *Store) states(ctx context.Context, op string, ts []queue.TrackerID) ([]state, error) {
	texts, err := s.stateTexts(ctx, op, ts)
	if err != nil {
		return nil, err
	}
	states := make([]state, len(ts))
	for i, text := range texts {
		if states[i], err = decodeState(text); err != nil {
			s.metrics.Corrupt(op)
			return nil, fmt.Errorf("tracker %d: %w", ts[i], err)
		}
	}
	return states, nil
}

// stateReads is how many states one MGET of one master's reads.
const stateReads = 256

// stateTexts reads what decodeState decodes, with one MGET for each partition, or for stateReads
// trackers of any where one master holds all.
func (s *Store) stateTexts(ctx context.Context, op string, ts []queue.TrackerID) ([]string, error) {
	members := make(map[int][]int) // partition, or number of the MGET, to indexes
	for i, t := range ts {
		group := i / stateReads
		if s.IndependentPartitions() {
			group = partitionOf(t)
		}
		members[group] = append(members[group], i)
	}
	qs, index := make([]*query, 0, len(members)), make([][]int, 0, len(members))
	for _, list := range members {
		args := make([]any, 1, len(list)+1)
		args[0] = "mget"
		for _, i := range list {
			args = append(args, s.trackerKey(ts[i]))
		}
		qs, index = append(qs, &query{slot: s.slots[partitionOf(ts[list[0]])], args: args}),
			append(index, list)
	}
	if err := s.ask(ctx, op, qs); err != nil {
		return nil, err
	}
	texts := make([]string, len(ts))
	for q, list := range index {
		values, ok := qs[q].reply.([]any)
		if !ok || len(values) != len(list) {
			return nil, fmt.Errorf("%w: MGET answered %T", queue.ErrCorrupt, qs[q].reply)
		}
		for k, i := range list {
			texts[i], _ = values[k].(string)
		}
	}
	return texts, nil
}

func (s *Store) LastTimes(ctx context.Context, ts []queue.TrackerID) (map[queue.TrackerID]int64,
	error,
) {
	states, err := s.states(ctx, "last_times", ts)
	if err != nil {
		return nil, err
	}
	times := make(map[queue.TrackerID]int64)
	for i, t := range ts {
		if ms := states[i].submitted; ms > 0 {
			times[t] = ms
		}
	}
	return times, nil
}

func (s *Store) Unread(ctx context.Context, ts []queue.TrackerID) (map[queue.TrackerID]int, error) {
	states, err := s.states(ctx, "unread", ts)
	if err != nil {
		return nil, err
	}
	counts := make(map[queue.TrackerID]int)
	for i, t := range ts {
		if n := states[i].unread; n > 0 {
			counts[t] = int(n)
		}
	}
	return counts, nil
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

// chunks reads the blocks that hold the given places.
func (s *Store) chunks(ctx context.Context, op string, places []place) (map[place]string, error) {
	known := make(map[place]*query)
	var qs []*query
	for _, at := range places {
		at.slot = 0
		if known[at] == nil {
			q := &query{slot: s.slots[at.partition], args: []any{"get", s.blockKey(at)}}
			known[at] = q
			qs = append(qs, q)
		}
	}
	if err := s.ask(ctx, op, qs); err != nil {
		return nil, err
	}
	chunks := make(map[place]string, len(known))
	for at, q := range known {
		chunks[at], _ = q.reply.(string)
	}
	return chunks, nil
}

func (s *Store) Find(ctx context.Context, ids []int64) ([]queue.Message, error) {
	places := make([]place, 0, len(ids))
	for _, id := range ids {
		if at, ok := placeOf(id); ok {
			places = append(places, at)
		}
	}
	chunks, err := s.chunks(ctx, "find", places)
	if err != nil {
		return nil, err
	}
	found := make([]queue.Message, len(ids))
	for i, id := range ids {
		at, ok := placeOf(id)
		if !ok {
			continue
		}
		chunk := chunks[place{partition: at.partition, block: at.block}]
		if chunk == "" {
			continue
		}
		err := eachRecord(chunk, at.partition, at.block, func(m *queue.Message) bool {
			if m.ID == id {
				found[i] = *m
			}
			return m.ID != id
		})
		if err != nil {
			s.metrics.Corrupt("find")
			return nil, err
		}
	}
	return found, nil
}

const (
	maxList = 1024
	maxOpen = 64
)

func (s *Store) List(ctx context.Context, q queue.ListQuery) ([]queue.Message, error) {
	limit := max(1, min(q.Limit, maxList))
	r := run{
		tracker: q.Tracker, forward: !q.Desc, from: fromTime, at: max(q.FromMs, 0),
		bytes: readBytes, blocks: limit/slotsABlock + 2,
	}
	if q.Desc {
		r.at = max(q.ToMs, 0)
	}
	var list []queue.Message
	err := s.walk(ctx, "list", r, func(*state) bool { return q.FromMs <= q.ToMs },
		func(m *queue.Message) bool {
			switch {
			case q.Beyond != 0 && (q.Desc && m.ID >= q.Beyond || !q.Desc && m.ID <= q.Beyond):
			case m.SubmitMs >= q.FromMs && m.SubmitMs <= q.ToMs:
				list = append(list, *m)
			case q.Desc && m.SubmitMs < q.FromMs, !q.Desc && m.SubmitMs > q.ToMs:
				return false
			}
			return len(list) < limit
		})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Unacknowledged: The tracker's count of them says where to stop.
func (s *Store) Unacknowledged(ctx context.Context, t queue.TrackerID, limit int) ([]queue.Message,
	error,
) {
	limit = max(1, min(limit, maxOpen))
	var list []queue.Message
	err := s.walk(ctx, "unacknowledged", run{
		tracker: t, from: fromEnd, bytes: readBytes,
		blocks: 4,
	}, func(st *state) bool {
		limit = min(limit, int(st.open))
		return limit > 0
	}, func(m *queue.Message) bool {
		if !m.Status.Incoming() && !m.Status.Acknowledged() {
			list = append(list, *m)
		}
		return len(list) < limit
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Changes: It looks at the tracker's newest 32 blocks; the state tells when something older changed
// last.
func (s *Store) Changes(ctx context.Context, t queue.TrackerID, sinceMs int64,
	limit int,
) ([]queue.Message, error) {
	var list []queue.Message
	blocks, last, until, reset := 0, int64(-1), int64(0), false
	err := s.walk(ctx, "changes", run{tracker: t, from: fromEnd, bytes: readBytes, blocks: window},
		func(st *state) bool {
			until, reset = st.clock, st.reset > 0 && sinceMs <= st.reset
			return !reset && sinceMs <= until
		}, func(m *queue.Message) bool {
			if b := m.ID / partitions / slotsABlock; b != last {
				blocks, last = blocks+1, b
			}
			// What changed after the first page was read is left for the next call: older changes
			// may have been missed meanwhile.
			if m.ChangeMs >= sinceMs && m.ChangeMs <= until && blocks <= window {
				list = append(list, *m)
			}
			return blocks <= window
		})
	if err != nil {
		return nil, err
	}
	if reset {
		return nil, fmt.Errorf("%w: tracker %d since %d", queue.ErrTooOld, t, sinceMs)
	}
	slices.SortFunc(list, func(a, b queue.Message) int {
		return cmp.Or(cmp.Compare(a.ChangeMs, b.ChangeMs), cmp.Compare(a.ID, b.ID))
	})
	for n := max(limit, 1); n < len(list); n++ {
		if list[n].ChangeMs != list[n-1].ChangeMs {
			return list[:n], nil
		}
	}
	return list, nil
}
