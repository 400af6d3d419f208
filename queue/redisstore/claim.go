package redisstore

import (
	"context"

	"trackchat/queue"
)

// claimBlocks is how many blocks one answer for a Claim may hold.
const claimBlocks = 8

// claimer is one request of Claim on its way. A Cursor is the id of the last message that was
// returned.
type claimer struct {
	req    *queue.ClaimReq
	result *queue.ClaimResult
	run    run
	bytes  int
}

func (s *Store) Claim(ctx context.Context, reqs []queue.ClaimReq) ([]queue.ClaimResult, error) {
	results := make([]queue.ClaimResult, len(reqs))
	open := make([]*claimer, len(reqs))
	for i := range reqs {
		r := &reqs[i]
		results[i].Next = r.Cursor
		at, _ := placeOf(int64(r.Cursor))
		open[i] = &claimer{req: r, result: &results[i], run: run{
			tracker: r.Lease.Tracker, forward: true, from: fromPending, at: at.block,
			bytes: max(1, min(r.MaxBytes, readBytes)), blocks: claimBlocks,
		}}
	}
	for first := true; first || len(open) > 0; first = false {
		runs := make([]run, len(open))
		for i, c := range open {
			runs[i] = c.run
		}
		pages, err := s.read(ctx, "claim", runs)
		if err != nil {
			return nil, err
		}
		var left []*claimer
		for i, c := range open {
			more, err := c.take(&pages[i])
			switch {
			case err == nil:
			case len(c.result.Msgs) > 0: // it comes up again when it is next
				c.result.More = true
			default: // it concerns this tracker alone
				if pages[i].err == nil { // read has not counted it
					s.metrics.Corrupt("claim")
				}
				c.result.Err = err
			}
			if more {
				left = append(left, c)
			}
		}
		open = left
	}
	return results, nil
}

// take adds what a page holds for the request and reports whether another page is needed.
func (c *claimer) take(pg *page) (more bool, err error) {
	if pg.err != nil {
		return false, pg.err
	}
	if pg.state.epoch != c.req.Lease.Epoch {
		*c.result = queue.ClaimResult{Next: c.req.Cursor, Err: queue.ErrFenced}
		return false, nil
	}
	more, err = pg.each(partitionOf(c.run.tracker), true, func(m *queue.Message) bool {
		if m.Status != queue.StatusPending || m.ID <= int64(c.req.Cursor) {
			return true
		}
		if c.bytes += len(m.Text); len(c.result.Msgs) > 0 && c.bytes > c.req.MaxBytes {
			c.result.More = true
			return false
		}
		c.result.Msgs = append(c.result.Msgs, *m)
		c.result.Next = queue.Cursor(m.ID)
		return true
	})
	c.run.from, c.run.at = fromBlock, pg.next
	return more, err
}
