package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"trackchat/queue"
)

func (s *Store) IdempotentAnswer(ctx context.Context, a queue.AccountID, key string) ([]byte,
	error,
) {
	return s.answerTo(ctx, "recall", a, key, nil)
}

func (s *Store) SaveAnswer(ctx context.Context, a queue.AccountID, key string,
	answer []byte) ([]byte,
	error,
) {
	return s.answerTo(ctx, "remember", a, key, answer)
}

// answerTo keeps an answer, if one is given, and returns the one that counts.
func (s *Store) answerTo(ctx context.Context, op string, a queue.AccountID, key string,
	answer []byte,
) ([]byte, error) {
	sum := sha256.Sum256([]byte(strconv.FormatInt(int64(a), 10) + "/" + key))
	p, sc := int(sum[len(sum)-1])%partitions, s.scripts[scriptRemember]
	q := &query{slot: s.slots[p], sc: sc, writes: len(answer) > 0, args: []any{
		"evalsha", sc.sha, 1,
		s.keys[p], hex.EncodeToString(sum[:16]), s.scriptClock(), answer,
	}}
	if err := s.ask(ctx, op, []*query{q}); err != nil {
		return nil, err
	}
	text, ok := q.reply.(string)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: remembering answered %T", queue.ErrCorrupt, q.reply)
	case text == "":
		return nil, nil
	default:
		return []byte(text), nil
	}
}
