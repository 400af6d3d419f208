package api

import (
	"context"
	"fmt"
	"slices"

	"trackchat/queue"
)

// markRead answers tracker/chat/mark_read: all of the messages or none.
func (a *API) markRead(ctx context.Context, c *call) error {
	ids, err := readMark(c.read)
	if err != nil {
		return err
	}
	trackers, err := a.store.Resolve(ctx, ids)
	if err != nil {
		return fmt.Errorf("resolving messages: %w", err)
	}
	refs := make([]queue.Ref, len(ids))
	for i, id := range ids {
		if !c.owns(trackers[i]) {
			return refuse(codeNotFound)
		}
		refs[i] = queue.Ref{Tracker: trackers[i], ID: id}
	}
	results, err := a.store.MarkRead(ctx, refs)
	if err != nil {
		return fmt.Errorf("marking messages read: %w", err)
	}
	if slices.Contains(results, queue.MarkUnknown) {
		return refuse(codeNotFound)
	}
	c.out.buf = append(c.out.buf, successAnswer...)
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
				return refuse(codeNotFound)
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
	c.out.buf = append(c.out.buf, successAnswer...)
	return nil
}
