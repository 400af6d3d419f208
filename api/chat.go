package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// list answers tracker/chat/list.
func (a *API) list(ctx context.Context, c *call) error {
	q, err := readList(c.read, c.now)
	if err != nil {
		return err
	}
	keys, err := c.conversations(q.tracker)
	if err != nil {
		return err
	}
	messages, err := a.listAll(ctx, keys, queue.ListQuery{
		FromMs: q.from * 1000,
		ToMs:   q.to*1000 + 999, // a message shown as …:24 is found by to=…:24
		Limit:  q.limit,
		Desc:   q.newest,
		Beyond: q.beyond,
	})
	if err != nil {
		return fmt.Errorf("listing messages: %w", err)
	}
	out := c.out
	out.buf = append(out.buf, `{"success":true,"list":[`...)
	for i := range messages {
		if i > 0 {
			out.buf = append(out.buf, ',')
		}
		if q.detail {
			out.buf = navixy.AppendDetail(out.buf, &messages[i], c.read.Clock, c.now.UnixMilli())
		} else {
			out.buf = navixy.AppendMessage(out.buf, &messages[i], c.read.Clock)
		}
		out.flushLong()
	}
	out.buf = append(out.buf, `]}`...)
	return nil
}

// send answers tracker/chat/send.
func (a *API) send(ctx context.Context, c *call) error {
	q, err := readSend(c)
	if err != nil {
		return err
	}
	k, err := newKeyed(answerSend, []int64{int64(q.tracker)}, q.text, &q.extras, nil)
	if err != nil {
		return err
	}
	if done, err := a.answered(ctx, c, &k); done || err != nil {
		return err
	}
	t, err := c.chatTracker(q.tracker)
	if err != nil {
		return err
	}
	if err := a.strictSend(t, &q); err != nil {
		return err
	}
	if err := a.checkReply(ctx, &q.extras, t); err != nil {
		return err
	}
	if err := a.roomForTexts(); err != nil {
		return err
	}
	if err := a.claim(ctx, c, &k); err != nil {
		return err
	}
	results, err := a.store.Send(ctx, []queue.SendReq{c.outgoing(t, q.text, &q.extras)})
	if err == nil {
		err = results[0].Err
	}
	switch {
	case errors.Is(err, queue.ErrQueueFull):
		return navixy.Refuse(navixy.CodeTooManyEntries)
	case err != nil:
		return fmt.Errorf("sending to tracker %d: %w", t.ID, err)
	}
	c.out.buf = append(c.out.buf, `{"success":true,"id":`...)
	c.out.buf = strconv.AppendInt(c.out.buf, results[0].ID, 10)
	c.out.buf = append(c.out.buf, '}')
	return a.remember(ctx, c, &k)
}

// roomForTexts refuses new texts while memory is short; what was accepted is not touched by that.
func (a *API) roomForTexts() error {
	if !a.full() {
		return nil
	}
	a.metrics.refuse(reasonMemory)
	return navixy.Refuse(navixy.CodeQueueService)
}

// broadcast answers tracker/chat/broadcast.
func (a *API) broadcast(ctx context.Context, c *call) error {
	q, err := readBroadcast(c)
	if err != nil {
		return err
	}
	if q.wide() {
		return a.report(ctx, c, &q)
	}
	k, err := newKeyed(answerBroadcast, q.trackers, q.text, &q.extras, nil)
	if err != nil {
		return err
	}
	if done, err := a.answered(ctx, c, &k); done || err != nil {
		return err
	}
	trackers, err := c.chatTrackers(q.trackers, maxTrackers)
	if err != nil {
		return err
	}
	able, err := a.strictBroadcast(trackers, &q)
	if err != nil {
		return err
	}
	if err := a.checkReply(ctx, &q.extras, trackers...); err != nil {
		return err
	}
	if err := a.roomForTexts(); err != nil {
		return err
	}
	reqs := make([]queue.SendReq, 0, len(trackers))
	for i, t := range trackers {
		if able[i] {
			reqs = append(reqs, c.outgoing(t, q.text, &q.extras))
		}
	}
	if err := a.claim(ctx, c, &k); err != nil {
		return err
	}
	results, err := a.sendAll(ctx, reqs, q.extras.key != "")
	if err != nil {
		return err
	}
	sent := make([]queue.TrackerID, 0, len(trackers))
	var refused []queue.TrackerID
	next := 0
	for i, t := range trackers {
		if !able[i] {
			refused = append(refused, t.ID)
			continue
		}
		if err := results[next].Err; err == nil {
			sent = append(sent, t.ID)
		} else {
			refused = append(refused, t.ID)
			if errors.Is(err, queue.ErrQueueFull) {
				a.metrics.refuse(reasonQueueFull)
			}
		}
		next++
	}
	c.out.buf = append(c.out.buf, `{"success":true,"sent_to":`...)
	c.out.buf = navixy.AppendIDs(c.out.buf, sent)
	c.out.buf = append(c.out.buf, `,"not_sent_to":`...)
	c.out.buf = navixy.AppendIDs(c.out.buf, refused)
	c.out.buf = append(c.out.buf, '}')
	return a.remember(ctx, c, &k)
}

// sendAll sends with one call of the store. It is an error only if nothing is known to be stored
// and a full queue is not the reason of all. With a key that makes a repetition harmless it is one
// as soon as anything but a full queue is a reason: the caller repeats the request and gets the
// whole answer.
func (a *API) sendAll(ctx context.Context, reqs []queue.SendReq,
	repeatable bool,
) ([]queue.SendResult, error) {
	if len(reqs) == 0 {
		return nil, nil
	}
	results, err := a.store.Send(ctx, reqs)
	if err != nil {
		return nil, fmt.Errorf("broadcasting to %d trackers: %w", len(reqs), err)
	}
	var failure error
	stored := false
	for i := range results {
		if err := results[i].Err; err == nil {
			stored = true
		} else if !errors.Is(err, queue.ErrQueueFull) {
			failure = err
		}
	}
	if failure != nil && (repeatable || !stored) {
		return nil, fmt.Errorf("broadcasting to %d trackers: %w", len(reqs), failure)
	}
	return results, nil
}

// sendOptions are what send and broadcast take beyond the platform.
type sendOptions struct {
	ttl     time.Duration // 0 for ever
	key     string        // the client's idempotency key, '' none
	choices []string
	replyTo int64  // 0 none
	strict  bool   // refuse what the device cannot show
	author  string // name of a user of the caller's own, '' none
	urgent  bool
}

func readExtras(c *call) sendOptions {
	r := c.read
	replyTo, _ := r.OptionalID("reply_to")
	author, given := r.OptionalText("author")
	if given && c.key == nil {
		r.Fail("author", "must be given with an API key only")
	} else if given {
		queue.CheckName(author, func(problem string) { r.Fail("author", problem) })
	}
	return sendOptions{
		ttl:     time.Duration(r.Within("ttl", 0, 1, queue.MaxTTL)) * time.Second,
		key:     r.IdempotencyKey("idempotency_key", c.header),
		choices: r.Choices("choices"),
		replyTo: replyTo,
		strict:  r.Flag("strict", false),
		author:  author,
		urgent:  r.Flag("urgent", false),
	}
}

// outgoing makes the request for one message.
func (c *call) outgoing(t *queue.Tracker, text string, x *sendOptions) queue.SendReq {
	r := queue.SendReq{
		Tracker: t.Key(), Employee: t.Employee, Text: text, Choices: x.choices,
		ReplyTo: x.replyTo, Author: c.author(x.author), Urgent: x.urgent,
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
	m, err := a.find(ctx, x.replyTo)
	if err != nil {
		return err
	}
	for _, t := range trackers {
		if t.Key() != m.Tracker {
			return navixy.Invalid("reply_to", "must be a message of the same tracker")
		}
	}
	return nil
}
