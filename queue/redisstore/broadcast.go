package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"trackchat/queue"
)

// A broadcast lies with the directory, so that a change can end those of an account in the same
// step: {chat:dir}:b:<account> is a ZSET of their ids, {chat:dir}:b:<account>:<id> a HASH with
// what is known of it as "row" (JSON), and of its targets some at a time by the number of the
// first.

func broadcastsKey(a queue.AccountID) string {
	return dirTag + ":b:" + strconv.FormatInt(int64(a), 10)
}

func broadcastKey(a queue.AccountID, id int64) string {
	return broadcastsKey(a) + ":" + strconv.FormatInt(id, 10)
}

func (s *dirStore) SaveBroadcast(ctx context.Context, a queue.AccountID, b queue.Broadcast,
	first int, ts []queue.BroadcastTarget,
) error {
	if err := s.roomIn(dirQuery().slot); err != nil {
		return err
	}
	row, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("writing a broadcast: %w", err)
	}
	args := []any{
		broadcastsKey(a), b.ID, queue.MaxBroadcasts, rowKey(dirAccounts, int64(a)), int64(a),
		"row", row,
	}
	if len(ts) > 0 {
		args = append(args, first, queue.AppendTargets(nil, ts))
	}
	found, err := s.dirRun(ctx, "save_broadcast", scriptBroadcast, args...)
	if err == nil && !found {
		err = queue.ErrNotFound
	}
	return err
}

func (s *dirStore) Broadcasts(ctx context.Context, a queue.AccountID, before int64,
	limit int,
) ([]queue.Broadcast, error) {
	below := "+inf"
	if before != 0 {
		below = "(" + strconv.FormatInt(before, 10)
	}
	q := dirQuery("zrevrangebyscore", broadcastsKey(a), below, "-inf", "limit", 0,
		min(limit, queue.MaxBroadcasts))
	if err := s.ask(ctx, "broadcasts", []*query{q}); err != nil {
		return nil, err
	}
	ids, _ := q.reply.([]any)
	qs := make([]*query, len(ids))
	for i, id := range ids {
		qs[i] = dirQuery("hget", broadcastsKey(a)+":"+fmt.Sprint(id), "row")
	}
	if err := s.ask(ctx, "broadcasts", qs); err != nil {
		return nil, err
	}
	list := make([]queue.Broadcast, 0, len(qs))
	for _, q := range qs {
		row, ok := q.reply.(string)
		if !ok {
			continue // it has gone meanwhile
		}
		var b queue.Broadcast
		if err := json.Unmarshal([]byte(row), &b); err != nil {
			return nil, fmt.Errorf("%w: broadcast of account %d: %w", queue.ErrCorrupt, a, err)
		}
		list = append(list, b)
	}
	return list, nil
}

func (s *dirStore) BroadcastTargets(ctx context.Context, a queue.AccountID,
	id int64,
) ([]queue.BroadcastTarget, error) {
	q := dirQuery("hgetall", broadcastKey(a, id))
	if err := s.ask(ctx, "broadcast_targets", []*query{q}); err != nil {
		return nil, err
	}
	values, _ := q.reply.([]any)
	parts := make(map[int]string)
	for i := 0; i+1 < len(values); i += 2 {
		field, _ := values[i].(string)
		value, _ := values[i+1].(string)
		if field == "row" {
			continue
		}
		first, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%w: broadcast %d of account %d: %w", queue.ErrCorrupt, id, a,
				err)
		}
		parts[first] = value
	}
	var ts []queue.BroadcastTarget
	for _, first := range slices.Sorted(maps.Keys(parts)) {
		var err error
		if ts, err = queue.DecodeTargets(ts, []byte(parts[first])); err != nil {
			return nil, err
		}
	}
	return ts, nil
}
