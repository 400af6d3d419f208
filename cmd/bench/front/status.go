package front

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// redisStatus keeps the texts and their statuses in Redis, a hash each.
type redisStatus struct {
	rdb    *redis.Client
	writes *batcher[redis.Cmder]
}

// newRedisStatus makes one whose writes go on until the front ends.
func newRedisStatus(ctx context.Context, addr string) *redisStatus {
	s := &redisStatus{rdb: redis.NewClient(&redis.Options{Addr: addr})}
	s.writes = &batcher[redis.Cmder]{most: 256, write: func(commands []redis.Cmder) error {
		p := s.rdb.Pipeline()
		for _, c := range commands {
			_ = p.Process(ctx, c) // only queues it
		}
		_, err := p.Exec(ctx)
		return err
	}}
	return s
}

func recordKey(id string) string { return "m:" + id }

// put stores a text that waits.
func (s *redisStatus) put(ctx context.Context, id int64, device int, text string) error {
	c := redis.NewIntCmd(ctx, "HSET", recordKey(strconv.FormatInt(id, 10)), "d", device, "t", text,
		"s", waiting)
	if err := s.writes.do(ctx, c); err != nil {
		return fmt.Errorf("storing a text: %w", err)
	}
	return nil
}

// deliver makes a status delivered; wait, where there is one, gets the outcome.
func (s *redisStatus) deliver(ctx context.Context, id string, wait chan<- error) {
	c := redis.NewIntCmd(ctx, "HSET", recordKey(id), "s", delivered)
	s.writes.add(c, wait)
}

func (s *redisStatus) statuses(ctx context.Context, ids []int64) ([]int, error) {
	p := s.rdb.Pipeline()
	answers := make([]*redis.StringCmd, 0, len(ids))
	for _, id := range ids {
		answers = append(answers, p.HGet(ctx, recordKey(strconv.FormatInt(id, 10)), "s"))
	}
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading statuses: %w", err)
	}
	list := make([]int, 0, len(ids))
	for _, a := range answers {
		status, err := a.Int()
		if errors.Is(err, redis.Nil) {
			status, err = unknown, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading statuses: %w", err)
		}
		list = append(list, status)
	}
	return list, nil
}
