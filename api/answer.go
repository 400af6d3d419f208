package api

import (
	"context"
	"fmt"
)

// Operations as remembered answers begin with.
const (
	answerSend      = 's'
	answerBroadcast = 'b'
)

// answered gives the answer that the caller's idempotency key got before, if it got one. What is stored without being remembered, because the process ended between the two, is
// found by the store, which keeps the key with each message.
func (a *API) answered(ctx context.Context, c *call, key string, op byte) (bool, error) {
	if key == "" {
		return false, nil
	}
	first, err := a.store.Recall(ctx, c.account.ID, key)
	if err != nil {
		return false, fmt.Errorf("looking for the answer to a key: %w", err)
	}
	if len(first) == 0 {
		return false, nil
	}
	return true, c.repeat(first, op)
}

// remember keeps what is about to be answered for the key. A request with the same key that was faster counts.
func (a *API) remember(ctx context.Context, c *call, key string, op byte) error {
	if key == "" {
		return nil
	}
	first, err := a.store.Remember(ctx, c.account.ID, key, append([]byte{op}, c.out.buf...))
	if err != nil {
		return fmt.Errorf("keeping the answer to a key: %w", err)
	}
	return c.repeat(first, op)
}

func (c *call) repeat(answer []byte, op byte) error {
	if answer[0] != op {
		return &refusal{code: codeInvalid, params: []paramError{{"idempotency_key", "was used for another operation"}}}
	}
	c.out.buf = append(c.out.buf[:0], answer[1:]...)
	return nil
}
