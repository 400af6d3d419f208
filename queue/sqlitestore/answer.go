package sqlitestore

import (
	"context"
	"database/sql/driver"

	"trackchat/queue"
)

const recallQuery = "SELECT answer FROM answer WHERE account = ? AND key = ? AND until_ms > ?"

func (s *Store) IdempotentAnswer(ctx context.Context, a queue.AccountID, key string) ([]byte,
	error,
) {
	var answer []byte
	err := s.read(ctx, "recall", func(c *conn) error {
		return c.recall(&answer, a, key, s.now().UnixMilli())
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// recall leaves dst alone where there is no answer.
func (c *conn) recall(dst *[]byte, a queue.AccountID, key string, now int64) error {
	return c.query(recallQuery, func(row []driver.Value) error {
		*dst = append([]byte(nil), blob(row[0])...)
		return nil
	}, int64(a), key, now)
}

func (s *Store) SaveAnswer(ctx context.Context, a queue.AccountID, key string,
	answer []byte) ([]byte,
	error,
) {
	var counts []byte
	err := s.write(ctx, &operation{
		name: "remember", items: 1, bytes: 64 + len(answer),
		run: func(w *writer) error {
			counts = nil
			if err := w.c.recall(&counts, a, key, w.now); err != nil || counts != nil {
				return err
			}
			counts = answer
			_, err := w.c.exec("INSERT OR REPLACE INTO answer (account, key, answer, until_ms) VALUES (?, ?, ?, ?)", int64(a), key, answer, w.now+keyLifeMs)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
