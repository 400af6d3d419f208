package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"trackchat/api/live"
	"trackchat/api/navixy"
)

// events answers tracker/chat/events: a stream of what happens to the account's trackers, until the
// client leaves.
func (a *API) events(ctx context.Context, c *call) error {
	since, resumes := lastEventID(c)
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.feed.Serve(ctx, &live.Client{
		Account: c.account.ID, Key: c.hash, Session: c.key == nil, Since: since, Resumes: resumes,
		W: c.out.w, Start: func() { c.out.start(http.StatusOK) },
	})
	switch {
	case errors.Is(err, live.ErrFull):
		return &navixy.Refusal{Code: navixy.CodeTooMany, Retry: 10, Reason: reasonFeed}
	case err != nil:
		return fmt.Errorf("starting a feed: %w", err)
	}
	return nil
}

// lastEventID returns the position that the client has seen everything before. What is no position
// is one too old to know.
func lastEventID(c *call) (since int64, given bool) {
	text := c.header.Get("Last-Event-ID")
	if id, given, ok := c.read.Params.Scalar("last_event_id"); !ok {
		c.read.Fail("last_event_id", "must be the id of an event")
	} else if given {
		text = id
	}
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, true
	}
	return n, true
}
