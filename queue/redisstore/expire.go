package redisstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"trackchat/queue"
)

// expireLook is how many messages of a partition one call looks at.
const expireLook = 100

// Expire: It looks before it writes: mostly no partition has anything due.
func (s *Store) Expire(ctx context.Context) (queue.ExpireStats, error) {
	now := s.scriptClock()
	if s.opts.clock == nil {
		now = strconv.FormatInt(s.now().UnixMilli(), 10)
	}
	looks := make([]*query, partitions)
	for p := range looks {
		looks[p] = &query{slot: s.slots[p], args: []any{"zcount", s.keys[p] + ":e", "-inf", now}}
	}
	if err := s.ask(ctx, "expire_due", looks); err != nil {
		return queue.ExpireStats{}, err
	}
	var items []*item
	for p, look := range looks {
		if n, _ := look.reply.(int64); n > 0 {
			items = append(items, &item{
				partition: p, args: []any{expireLook}, weight: expireLook,
				width: 4, bytes: 64,
			})
		}
	}
	var st queue.ExpireStats
	if err := s.execute(ctx, opExpire, items); err != nil {
		return st, err
	}
	// of a partition with a message that cannot be read; what is due of all others has ended.
	var failed error
	for _, it := range items {
		if it.Err != nil {
			failed = cmp.Or(failed, it.Err)
			continue
		}
		st.Ended += int(binary.BigEndian.Uint16([]byte(it.reply)))
		st.More = st.More || binary.BigEndian.Uint16([]byte(it.reply[2:])) == expireLook
	}
	if failed != nil && st.Ended > 0 {
		failed = fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, failed)
	}
	return st, failed
}
