package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"trackchat/queue"
)

const (
	readBytes  = 256 << 10 // of one answer, about
	readBlocks = 64
	window     = 32 // newest blocks of a tracker that Changes looks at
)

// Where a run begins; see blocks.lua.
const (
	fromPending = "pf"
	fromEnd     = "end"
	fromBlock   = "after"
	fromTime    = "ms"
)

// run is a walk along a tracker's blocks.
type run struct {
	tracker queue.TrackerID
	forward bool
	from    string
	at      int64
	bytes   int
	blocks  int
}

// page is one answer of blocks.lua.
type page struct {
	state   state
	numbers []int64
	chunks  []string
	next    int64 // 0: there is none
	err     error // an ErrCorrupt: the rest is not filled in
}

// read reads what a run begins with.
func (s *Store) read(ctx context.Context, op string, rs []run) ([]page, error) {
	sc := s.scripts[scriptBlocks]
	qs := make([]*query, len(rs))
	for i, r := range rs {
		p := partitionOf(r.tracker)
		direction := "-"
		if r.forward {
			direction = "+"
		}
		qs[i] = &query{slot: s.slots[p], sc: sc, args: []any{
			"evalsha", sc.sha, 1, s.keys[p],
			trackerArg(r.tracker), direction, r.from, r.at, r.bytes, r.blocks,
		}}
	}
	if err := s.ask(ctx, op, qs); err != nil && (!errors.Is(err, queue.ErrCorrupt) ||
		!eachAnswered(qs)) {
		return nil, err
	}
	pages := make([]page, len(rs))
	for i, q := range qs {
		pg, err := decodePage(q.reply)
		if q.err != nil { // counted with the call
			err = q.err
		} else if err != nil {
			s.metrics.Corrupt(op)
		}
		if err != nil {
			pg = page{err: fmt.Errorf("tracker %d: %w", rs[i].tracker, err)}
		}
		pages[i] = pg
	}
	return pages, nil
}

// eachAnswered reports whether every query was answered, if only that its data is corrupt.
func eachAnswered(qs []*query) bool {
	return !slices.ContainsFunc(qs, func(q *query) bool {
		return q.err != nil &&
			!errors.Is(q.err, queue.ErrCorrupt)
	})
}

func decodePage(reply any) (page, error) {
	values, _ := reply.([]any)
	if len(values) < 2 || len(values)%2 != 0 {
		return page{}, fmt.Errorf("%w: reading blocks answered %T", queue.ErrCorrupt, reply)
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i], _ = v.(string)
	}
	var pg page
	var err error
	if pg.state, err = decodeState(texts[0]); err != nil {
		return page{}, err
	}
	if texts[1] != "" {
		if pg.next, err = blockNumber(texts[1]); err != nil {
			return page{}, err
		}
	}
	for i := 2; i < len(texts); i += 2 {
		n, err := blockNumber(texts[i])
		if err != nil {
			return page{}, err
		}
		pg.numbers, pg.chunks = append(pg.numbers, n), append(pg.chunks, texts[i+1])
	}
	return pg, nil
}

func blockNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: block %q", queue.ErrCorrupt, text)
	}
	return n, nil
}

// each decodes the messages of a page of partition p in the order of the run, until yield returns
// false. The result says whether to go on with the next page.
func (pg *page) each(p int, forward bool, yield func(m *queue.Message) bool) (more bool,
	err error,
) {
	for i, chunk := range pg.chunks {
		var held []queue.Message
		stopped := false
		err := eachRecord(chunk, p, pg.numbers[i], func(m *queue.Message) bool {
			if !forward {
				held = append(held, *m)
				return true
			}
			stopped = !yield(m)
			return !stopped
		})
		if err != nil {
			return false, err
		}
		for k := len(held) - 1; k >= 0 && !stopped; k-- {
			stopped = !yield(&held[k])
		}
		if stopped {
			return false, nil
		}
	}
	return pg.next != 0, nil
}

// walk follows one tracker's blocks until yield returns false or there are no more. begin sees the
// state in the moment of the first page, and may end the walk.
func (s *Store) walk(ctx context.Context, op string, r run, begin func(st *state) bool,
	yield func(m *queue.Message) bool,
) error {
	p := partitionOf(r.tracker)
	for first := true; ; first = false {
		pages, err := s.read(ctx, op, []run{r})
		if err != nil {
			return err
		}
		pg := &pages[0]
		if pg.err != nil {
			return pg.err
		}
		if first && !begin(&pg.state) {
			return nil
		}
		more, err := pg.each(p, r.forward, yield)
		if err != nil {
			s.metrics.Corrupt(op)
			return err
		}
		if !more {
			return nil
		}
		r.from, r.at = fromBlock, pg.next
	}
}
