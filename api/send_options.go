package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"trackchat/queue"
)

// maxTTL is the longest time in seconds that a text may wait.
const maxTTL = int(365 * 24 * time.Hour / time.Second)

// sendOptions are what send and broadcast take beyond the platform.
type sendOptions struct {
	ttl     time.Duration // 0 for ever
	key     string        // the client's idempotency key, '' none
	choices []string
	replyTo int64 // 0 none
	strict  bool  // refuse what the device cannot show
}

func readExtras(r *reader, h http.Header) sendOptions {
	replyTo, _ := r.optionalID("reply_to")
	return sendOptions{
		ttl:     time.Duration(r.within("ttl", 0, 1, maxTTL)) * time.Second,
		key:     r.idempotencyKey("idempotency_key", h),
		choices: r.choices("choices"),
		replyTo: replyTo,
		strict:  r.flag("strict", false),
	}
}

// outgoing makes the request for one message. It has no nonce: nobody repeats it from here, and a
// drawn one might match an older message.
func (c *call) outgoing(t *queue.Tracker, text string, x *sendOptions) queue.SendReq {
	r := queue.SendReq{
		Tracker: t.Key(), Employee: t.Employee, Text: text, Choices: x.choices,
		ReplyTo: x.replyTo,
	}
	if x.ttl > 0 {
		r.ExpiresMs = c.now.Add(x.ttl).UnixMilli()
	}
	if x.key != "" {
		r.Key = strconv.FormatInt(int64(c.account.ID), 10) + "/" + x.key
	}
	return r
}

// checkReply refuses an answer to anything but a message of every tracker that it goes to.
func (a *API) checkReply(ctx context.Context, x *sendOptions, trackers ...*queue.Tracker) error {
	if x.replyTo == 0 {
		return nil
	}
	found, err := a.store.Resolve(ctx, []int64{x.replyTo})
	if err != nil {
		return fmt.Errorf("resolving message %d: %w", x.replyTo, err)
	}
	for _, t := range trackers {
		if t.Key() != found[0] {
			return invalid("reply_to", "must be a message of the same tracker")
		}
	}
	return nil
}
