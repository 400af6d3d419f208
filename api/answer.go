package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"trackchat/api/navixy"
)

// Operations as remembered answers begin with.
const (
	answerSend      = 's'
	answerBroadcast = 'b'
)

// printPrefix is what the fingerprint of a key's request is remembered under, before the key. No
// client's key can hold it.
const printPrefix = "\n"

// keyed is a request with an idempotency key; without one it is the zero value.
type keyed struct {
	key   string
	op    byte
	print []byte // fingerprint of all that is asked for
}

// newKeyed takes the trackers in any order. to is who else is meant, nil nobody.
func newKeyed(op byte, trackers []int64, text string, x *sendOptions, to *selection) (keyed,
	error,
) {
	if x.key == "" {
		return keyed{}, nil
	}
	if to == nil {
		to = &selection{}
	}
	request, err := json.Marshal(struct {
		Op       byte
		Trackers []int64
		Text     string
		TTL      time.Duration
		Choices  []string
		ReplyTo  int64
		Strict   bool
		// What follows is left out where it is not given, so that fingerprints taken before there
		// was any of it stay good.
		Author string   `json:",omitempty"`
		Groups []int64  `json:",omitempty"`
		Tags   []string `json:",omitempty"`
		All    bool     `json:",omitempty"`
		Urgent bool     `json:",omitempty"`
	}{
		op, slices.Sorted(slices.Values(trackers)), text, x.ttl, x.choices, x.replyTo, x.strict,
		x.author, to.groups, to.tags, to.all, x.urgent,
	})
	if err != nil {
		return keyed{}, fmt.Errorf("taking a request's fingerprint: %w", err)
	}
	sum := sha256.Sum256(request)
	return keyed{x.key, op, sum[:]}, nil
}

// answered gives the answer that the caller's idempotency key got before, if it got one. What is
// stored without being remembered, because the process ended between the two, is found by the
// store, which keeps the key with each message.
func (a *API) answered(ctx context.Context, c *call, k *keyed) (bool, error) {
	if k.key == "" {
		return false, nil
	}
	first, err := a.store.IdempotentAnswer(ctx, c.account.ID, k.key)
	if err != nil {
		return false, fmt.Errorf("looking for the answer to a key: %w", err)
	}
	if len(first) == 0 {
		return false, nil
	}
	asked, err := a.store.IdempotentAnswer(ctx, c.account.ID, printPrefix+k.key)
	if err != nil {
		return false, fmt.Errorf("looking for the request of a key: %w", err)
	}
	if len(asked) > 0 && !bytes.Equal(asked, k.print) {
		return false, refuseKey()
	}
	return true, c.repeat(first, k.op)
}

// claim binds the key to this request, before anything of it is stored. Another request that was
// faster has it.
func (a *API) claim(ctx context.Context, c *call, k *keyed) error {
	if k.key == "" {
		return nil
	}
	asked, err := a.store.SaveAnswer(ctx, c.account.ID, printPrefix+k.key, k.print)
	if err != nil {
		return fmt.Errorf("keeping the request of a key: %w", err)
	}
	if !bytes.Equal(asked, k.print) {
		return refuseKey()
	}
	return nil
}

// remember keeps what is about to be answered for the key. A request with the same key that was
// faster counts.
func (a *API) remember(ctx context.Context, c *call, k *keyed) error {
	if k.key == "" {
		return nil
	}
	first, err := a.store.SaveAnswer(ctx, c.account.ID, k.key, append([]byte{k.op}, c.out.buf...))
	if err != nil {
		return fmt.Errorf("keeping the answer to a key: %w", err)
	}
	return c.repeat(first, k.op)
}

func (c *call) repeat(answer []byte, op byte) error {
	if answer[0] != op {
		return refuseKey()
	}
	c.out.buf = append(c.out.buf[:0], answer[1:]...)
	return nil
}

func refuseKey() error { return navixy.Invalid("idempotency_key", "was used for another request") }
