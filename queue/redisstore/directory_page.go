package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"trackchat/queue"
)

// maxPage bounds what one call of Accounts or Trackers returns.
const maxPage = 10_000

// rowKind is how rows of accounts or of trackers are read.
type rowKind[V any] struct {
	key    string // dirAccounts or dirTrackers
	decode func(value string) (V, int64, error)
	id     func(*V) int64
}

func (s *Store) Accounts(ctx context.Context, after queue.AccountID, limit int) ([]queue.Account,
	error,
) {
	return listRows(ctx, s, rowKind[queue.Account]{
		dirAccounts, decodeAccount,
		func(a *queue.Account) int64 { return int64(a.ID) },
	}, int64(after), limit)
}

func (s *Store) Trackers(ctx context.Context, after queue.TrackerID, limit int) ([]queue.Tracker,
	error,
) {
	return listRows(ctx, s, rowKind[queue.Tracker]{
		dirTrackers, decodeTracker,
		func(t *queue.Tracker) int64 { return int64(t.ID) },
	}, int64(after), limit)
}

// pageBuckets is how many HASHes of rows are read at once for a page.
const pageBuckets = 16

// listRows reads rows in the order of their ids, some buckets at a time.
func listRows[V any](ctx context.Context, s *Store, k rowKind[V], after int64, limit int) ([]V,
	error,
) {
	if _, err := s.settledHead(ctx); err != nil {
		return nil, err
	}
	limit = min(limit, maxPage)
	var list []V
	for bucket := bucketOf(after); len(list) < limit; {
		q := dirQuery("zrangebyscore", k.key, bucket, "+inf", "limit", 0, pageBuckets)
		if err := s.ask(ctx, "directory", []*query{q}); err != nil {
			return nil, err
		}
		members, _ := q.reply.([]any)
		if len(members) == 0 {
			break
		}
		buckets := make([]int64, len(members))
		for i, m := range members {
			var err error
			if buckets[i], err = strconv.ParseInt(fmt.Sprint(m), 10, 64); err != nil {
				return nil, fmt.Errorf("%w: bucket %q of the directory", queue.ErrCorrupt, m)
			}
		}
		rows, err := s.bucketRows(ctx, k.key, buckets)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			v, _, err := k.decode(row)
			if err != nil {
				return nil, err
			}
			if k.id(&v) > after {
				list = append(list, v)
			}
		}
		bucket = buckets[len(buckets)-1] + 1
	}
	slices.SortFunc(list, func(a, b V) int { return cmp.Compare(k.id(&a), k.id(&b)) })
	return list[:max(0, min(limit, len(list)))], nil
}

// bucketRows reads all rows of some buckets.
func (s *Store) bucketRows(ctx context.Context, kind string, buckets []int64) ([]string, error) {
	qs := make([]*query, len(buckets))
	for i, b := range buckets {
		qs[i] = dirQuery("hvals", bucketKey(kind, b))
	}
	if err := s.ask(ctx, "directory", qs); err != nil {
		return nil, err
	}
	var rows []string
	for _, q := range qs {
		values, _ := q.reply.([]any)
		for _, v := range values {
			row, _ := v.(string)
			rows = append(rows, row)
		}
	}
	return rows, nil
}
