package api

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"trackchat/queue"
)

// stateOf names the state of an outgoing message as of now, in Unix milliseconds. A message whose
// time has run out is expired from that moment, whether the store has noted it yet or not.
func stateOf(m *queue.Message, now int64) string {
	switch m.Status {
	case queue.StatusDelivered:
		return "DELIVERED"
	case queue.StatusOpened:
		return "READ"
	case queue.StatusFailed:
		return "FAILED"
	case queue.StatusExpired:
		return "EXPIRED"
	case queue.StatusCancelled:
		return "CANCELLED"
	case queue.StatusSent:
		return "SENT"
	default:
		if m.Overdue(now) {
			return "EXPIRED"
		}
		return "QUEUED"
	}
}

// appendDelivery appends the delivery object of a message as of now, null for one from the device:
// the same seven keys in the same order, then how often the device was handed a pending one without
// an answer, or how many characters it could not show, if there are any. A text is one part until a
// longer one has been cut for its device.
func appendDelivery(dst []byte, m *queue.Message, c clock, now int64) []byte {
	if m.Status.Incoming() {
		return append(dst, `null`...)
	}
	parts, acked := max(m.Parts, 1), m.Acked
	var deliveredMs int64
	if m.Status.Acknowledged() {
		acked, deliveredMs = parts, m.UpdateMs
	}
	dst = append(dst, `{"state":"`...)
	dst = append(dst, stateOf(m, now)...)
	dst = append(dst, `","parts":`...)
	dst = strconv.AppendInt(dst, int64(parts), 10)
	dst = append(dst, `,"parts_acked":`...)
	dst = strconv.AppendInt(dst, int64(acked), 10)
	dst = append(dst, `,"delivered_at":`...)
	dst = c.appendTime(dst, deliveredMs)
	dst = append(dst, `,"read_at":`...)
	dst = c.appendTime(dst, m.ReadMs)
	dst = append(dst, `,"expires_at":`...)
	dst = c.appendTime(dst, m.ExpiresMs)
	dst = append(dst, `,"reason":`...)
	if m.Reason == queue.ReasonNone {
		dst = append(dst, `null`...)
	} else {
		dst = appendString(dst, m.Reason.String())
	}
	if m.Tries > 0 && !m.Overdue(now) {
		dst = append(dst, `,"tries":`...)
		dst = strconv.AppendInt(dst, int64(m.Tries), 10)
		dst = append(dst, `,"unanswered_since":`...)
		dst = c.appendTime(dst, m.TriedMs)
	}
	if m.Replaced > 0 {
		dst = append(dst, `,"replaced":`...)
		dst = strconv.AppendInt(dst, int64(m.Replaced), 10)
	}
	return append(dst, '}')
}

// appendDetail appends the message object with its delivery, and with its choices and what it
// answers where it has any.
func appendDetail(dst []byte, m *queue.Message, c clock, now int64) []byte {
	dst = appendMessage(dst, m, c)
	return append(appendMore(dst[:len(dst)-1], m, c, now), '}')
}

// appendMore appends the members that say more about a message than its object: its delivery,
// and its choices and what it answers where it has any.
func appendMore(dst []byte, m *queue.Message, c clock, now int64) []byte {
	dst = append(dst, `,"delivery":`...)
	dst = appendDelivery(dst, m, c, now)
	if len(m.Choices) > 0 {
		dst = append(dst, `,"choices":[`...)
		for i, s := range m.Choices {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, s)
		}
		dst = append(dst, ']')
	}
	if m.ReplyTo != 0 {
		dst = append(dst, `,"reply_to":`...)
		dst = strconv.AppendInt(dst, m.ReplyTo, 10)
	}
	return dst
}

// message finds a message of a conversation that the caller can talk in, or has kept.
func (a *API) message(ctx context.Context, c *call, id int64) (queue.Message, error) {
	trackers, err := a.store.Resolve(ctx, []int64{id})
	if err != nil {
		return queue.Message{}, fmt.Errorf("resolving message %d: %w", id, err)
	}
	if err := c.chatConversation(trackers[0]); err != nil {
		return queue.Message{}, err
	}
	return a.get(ctx, queue.Ref{Tracker: trackers[0], ID: id})
}

func (a *API) get(ctx context.Context, r queue.Ref) (queue.Message, error) {
	messages, err := a.store.Get(ctx, []queue.Ref{r})
	if err != nil {
		return queue.Message{}, fmt.Errorf("reading message %d: %w", r.ID, err)
	}
	if messages[0].ID == 0 {
		return queue.Message{}, refuse(codeNotFound)
	}
	return messages[0], nil
}

// readOne answers tracker/chat/read.
func (a *API) readOne(ctx context.Context, c *call) error {
	id, err := readMessage(c.read)
	if err != nil {
		return err
	}
	m, err := a.message(ctx, c, id)
	if err != nil {
		return err
	}
	c.out.buf = append(c.out.buf, `{"success":true,"value":`...)
	c.out.buf = appendDetail(c.out.buf, &m, c.read.clock, c.now.UnixMilli())
	c.out.buf = append(c.out.buf, '}')
	return nil
}

// cancel answers tracker/chat/cancel: success means that the message is not sent any more. One that
// had ended without an ack before keeps its state; one that the device has, or may have for all
// that anybody will ever know, cannot be taken back.
func (a *API) cancel(ctx context.Context, c *call) error {
	id, err := readMessage(c.read)
	if err != nil {
		return err
	}
	m, err := a.message(ctx, c, id)
	if err != nil {
		return err
	}
	if m.Status.Incoming() {
		return refuse(codeNotFound)
	}
	if m.Status == queue.StatusPending {
		if m, err = a.withdraw(ctx, &m, c.now); err != nil {
			return err
		}
	}
	if m.Status.Acknowledged() || m.Status == queue.StatusSent {
		return refuse(codeNotPermitted)
	}
	c.out.buf = append(c.out.buf, successAnswer...)
	return nil
}

// withdraw ends a pending message and returns it as it is then, which an ack may have decided
// meanwhile.
func (a *API) withdraw(ctx context.Context, m *queue.Message, now time.Time) (queue.Message,
	error,
) {
	end := queue.EndReq{Tracker: m.Tracker, ID: m.ID, Status: queue.StatusCancelled}
	if m.Overdue(now.UnixMilli()) {
		end.Status = queue.StatusExpired // as it has been shown since
	}
	results, err := a.store.End(ctx, []queue.EndReq{end})
	if err != nil {
		return queue.Message{}, fmt.Errorf("cancelling message %d: %w", m.ID, err)
	}
	if results[0] == queue.EndNow {
		ended := *m
		ended.Status = end.Status
		return ended, nil
	}
	return a.get(ctx, queue.Ref{Tracker: m.Tracker, ID: m.ID})
}
