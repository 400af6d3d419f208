package api

import (
	"context"
	"fmt"
	"strconv"

	"trackchat/queue"
)

// updatedList answers tracker/chat/updated/list.
func (a *API) updatedList(ctx context.Context, c *call) error {
	ids, err := readUpdated(c.read)
	if err != nil {
		return err
	}
	trackers, err := c.chatTrackers(ids)
	if err != nil {
		return err
	}
	asked := make([]queue.TrackerID, len(trackers))
	for i, t := range trackers {
		asked[i] = t.Key()
	}
	times, err := a.store.LastTimes(ctx, asked)
	if err != nil {
		return fmt.Errorf("reading last times: %w", err)
	}
	c.out.buf = append(c.out.buf, `{"success":true,"value":{`...)
	for _, t := range trackers {
		if ms, ok := times[t.Key()]; ok {
			c.out.buf = appendKey(c.out.buf, t.ID)
			c.out.buf = c.read.clock.appendTime(c.out.buf, ms)
		}
	}
	c.out.buf = append(c.out.buf, `}}`...)
	return nil
}

// unreadCount answers tracker/chat/unread/count.
func (a *API) unreadCount(ctx context.Context, c *call) error {
	if err := c.read.done(); err != nil {
		return err
	}
	asked := make([]queue.TrackerID, 0, c.snap.CountOf(c.account.ID))
	chat := false
	for t := range c.snap.TrackersOf(c.account.ID) {
		asked = append(asked, t.Key())
		chat = chat || t.HasFeature(queue.FeatureChat)
	}
	if !chat {
		return refuse(codeTariff)
	}
	counts, err := a.store.Unread(ctx, asked)
	if err != nil {
		return fmt.Errorf("counting unread messages: %w", err)
	}
	c.out.buf = append(c.out.buf, `{"success":true,"value":{`...)
	for _, key := range asked {
		if n := counts[key]; n > 0 {
			t, _ := queue.TrackerOf(key)
			c.out.buf = appendKey(c.out.buf, t)
			c.out.buf = strconv.AppendInt(c.out.buf, int64(n), 10)
		}
	}
	c.out.buf = append(c.out.buf, `}}`...)
	return nil
}
