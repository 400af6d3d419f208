package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// message finds a message of a conversation that the caller can talk in, or has kept.
func (a *API) message(ctx context.Context, c *call, id int64) (queue.Message, error) {
	m, err := a.find(ctx, id)
	if err == nil {
		err = c.chatConversation(m.Tracker)
	}
	return m, err
}

// find reads a message; where there is none it has ID 0.
func (a *API) find(ctx context.Context, id int64) (queue.Message, error) {
	found, err := a.store.Find(ctx, []int64{id})
	if err != nil {
		return queue.Message{}, fmt.Errorf("reading message %d: %w", id, err)
	}
	return found[0], nil
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
	c.out.buf = navixy.AppendDetail(c.out.buf, &m, c.read.Clock, c.now.UnixMilli())
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
	c.trail.Object = "message " + strconv.FormatInt(id, 10)
	m, err := a.message(ctx, c, id)
	if err != nil {
		return err
	}
	if m.Status.Incoming() {
		return navixy.Refuse(navixy.CodeNotFound)
	}
	if m.Status != queue.StatusPending {
		c.trail.Detail = "unchanged"
	} else if m, err = a.withdraw(ctx, &m, c.now); err != nil {
		return err
	}
	if m.Status.Acknowledged() || m.Status == queue.StatusSent {
		return navixy.Refuse(navixy.CodeNotPermitted)
	}
	c.out.buf = append(c.out.buf, navixy.Success...)
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
	ended, err := a.find(ctx, m.ID)
	if err == nil && ended.ID == 0 { // trimmed meanwhile
		err = navixy.Refuse(navixy.CodeNotFound)
	}
	return ended, err
}

// foundAtOnce is how many messages are read at once of which only the trackers are wanted: their
// texts may have 80 KB each.
const foundAtOnce = 64

// markRead answers tracker/chat/mark_read: all of the messages or none.
func (a *API) markRead(ctx context.Context, c *call) error {
	ids, err := readMark(c.read)
	if err != nil {
		return err
	}
	refs := make([]queue.Ref, 0, len(ids))
	for some := range slices.Chunk(ids, foundAtOnce) {
		found, err := a.store.Find(ctx, some)
		if err != nil {
			return fmt.Errorf("reading messages: %w", err)
		}
		for i, id := range some {
			if !c.owns(found[i].Tracker) {
				return navixy.Refuse(navixy.CodeNotFound)
			}
			refs = append(refs, queue.Ref{Tracker: found[i].Tracker, ID: id})
		}
	}
	results, err := a.store.MarkRead(ctx, refs)
	if err != nil {
		return fmt.Errorf("marking messages read: %w", err)
	}
	if slices.Contains(results, queue.MarkUnknown) {
		return navixy.Refuse(navixy.CodeNotFound)
	}
	c.out.buf = append(c.out.buf, navixy.Success...)
	return nil
}

// markReadAll answers tracker/chat/mark_read_all.
func (a *API) markReadAll(ctx context.Context, c *call) error {
	ids, given, err := readMarkAll(c.read)
	if err != nil {
		return err
	}
	var trackers []queue.TrackerID // keys
	if given {
		trackers = make([]queue.TrackerID, 0, len(ids))
		for _, id := range ids {
			t, ok := c.tracker(queue.TrackerID(id))
			if !ok || t.Blocked {
				return navixy.Refuse(navixy.CodeNotFound)
			}
			trackers = append(trackers, t.Key())
		}
	} else {
		trackers = c.ownTrackers()
	}
	if len(trackers) > 0 {
		if _, err := a.store.MarkReadAll(ctx, trackers); err != nil {
			return fmt.Errorf("marking trackers read: %w", err)
		}
	}
	c.out.buf = append(c.out.buf, navixy.Success...)
	return nil
}
