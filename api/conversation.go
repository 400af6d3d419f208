package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"trackchat/api/navixy"
	"trackchat/queue"

	"golang.org/x/sync/errgroup"
)

// chatConversation says whether the caller may talk in a conversation, or read it because the
// account has kept it of a tracker that is another account's now; of that tracker nothing is told.
func (c *call) chatConversation(key queue.TrackerID) error {
	t, account, present, ok := c.snap.Conversation(key)
	switch {
	case !ok || account != c.account.ID:
		return navixy.Refuse(navixy.CodeNotFound)
	case present:
		_, err := c.chatTracker(t.ID)
		return err
	default:
		return nil
	}
}

// owns reports whether a conversation is the caller's, present or kept.
func (c *call) owns(key queue.TrackerID) bool {
	_, account, _, ok := c.snap.Conversation(key)
	return ok && account == c.account.ID
}

// conversations are those that the caller can read of a tracker: what goes on, and what the
// account has kept.
func (c *call) conversations(id queue.TrackerID) ([]queue.TrackerID, error) {
	t, ok := c.snap.Tracker(id)
	if !ok {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	kept := t.FormerKeys(c.account.ID)
	if t.Account != c.account.ID && len(kept) > 0 {
		return kept, nil
	}
	if _, err := c.chatTracker(id); err != nil {
		return nil, err
	}
	return append([]queue.TrackerID{t.Key()}, kept...), nil
}

// listAll is the store's List over conversations of one tracker.
func (a *API) listAll(ctx context.Context, keys []queue.TrackerID,
	q queue.ListQuery,
) ([]queue.Message, error) {
	var last queue.Message // where the page before ended
	if q.Beyond != 0 && len(keys) > 1 {
		var err error
		if last, err = a.find(ctx, q.Beyond); err != nil {
			return nil, err
		}
		if last.ID == 0 {
			return nil, navixy.Refuse(navixy.CodeNotFound)
		}
	}
	var all []queue.Message
	for _, key := range keys {
		q := q
		q.Tracker = key
		if last.ID != 0 && key != last.Tracker { // ids rise within a conversation only
			q.Beyond = 0
			if q.Desc {
				q.ToMs = min(q.ToMs, last.SubmitMs-1)
			} else {
				q.FromMs = max(q.FromMs, last.SubmitMs+1)
			}
		}
		list, err := a.store.List(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	if len(keys) == 1 {
		return all, nil
	}
	slices.SortFunc(all, func(a, b queue.Message) int {
		order := cmp.Or(cmp.Compare(a.SubmitMs, b.SubmitMs), cmp.Compare(a.ID, b.ID))
		if q.Desc {
			return -order
		}
		return order
	})
	return all[:min(len(all), q.Limit)], nil
}

// namedTrackers are those that a request names, which can all be talked to.
func (c *call) namedTrackers() ([]*queue.Tracker, error) {
	ids, err := readUpdated(c.read)
	if err != nil {
		return nil, err
	}
	return c.chatTrackers(ids, maxTrackers)
}

// updatedList answers tracker/chat/updated/list.
func (a *API) updatedList(ctx context.Context, c *call) error {
	trackers, err := c.namedTrackers()
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
			c.out.buf = navixy.AppendKey(c.out.buf, t.ID)
			c.out.buf = c.read.Clock.AppendTime(c.out.buf, ms)
		}
	}
	c.out.buf = append(c.out.buf, `}}`...)
	return nil
}

// lastAtOnce is how many conversations lastList reads at a time: while one waits for the store
// another is read, and no request takes all that the store can do at once.
const lastAtOnce = 8

// afterAll is a time in Unix milliseconds after that of every message.
const afterAll = 1 << 50

// lastList answers tracker/chat/last/list: everything is read before anything is answered, so that
// a store that fails is an error.
func (a *API) lastList(ctx context.Context, c *call) error {
	trackers, err := c.namedTrackers()
	if err != nil {
		return err
	}
	newest := make([][]queue.Message, len(trackers)) // one or none of each
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(lastAtOnce)
	for i, t := range trackers {
		reads.Go(func() (err error) {
			newest[i], err = a.store.List(ctx, queue.ListQuery{
				Tracker: t.Key(), ToMs: afterAll, Limit: 1, Desc: true,
			})
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return fmt.Errorf("reading last messages: %w", err)
	}
	out := c.out
	out.buf = append(out.buf, `{"success":true,"value":`...)
	between := byte('{')
	for i, t := range trackers {
		for k := range newest[i] {
			out.buf = append(out.buf, between, '"')
			between = ','
			out.buf = strconv.AppendInt(out.buf, int64(t.ID), 10)
			out.buf = append(out.buf, '"', ':')
			out.buf = navixy.AppendDetail(out.buf, &newest[i][k], c.read.Clock, c.now.UnixMilli())
			out.flushLong()
		}
	}
	if between == '{' {
		out.buf = append(out.buf, between)
	}
	out.buf = append(out.buf, `}}`...)
	return nil
}

// unreadCount answers tracker/chat/unread/count.
func (a *API) unreadCount(ctx context.Context, c *call) error {
	if err := c.read.Done(); err != nil {
		return err
	}
	var asked []queue.TrackerID
	chat := false
	for t := range c.snap.TrackersOf(c.account.ID) {
		asked = append(asked, t.Key())
		chat = chat || t.HasFeature(queue.FeatureChat)
	}
	if !chat {
		return navixy.Refuse(navixy.CodeTariff)
	}
	counts, err := a.store.Unread(ctx, asked)
	if err != nil {
		return fmt.Errorf("counting unread messages: %w", err)
	}
	c.out.buf = append(c.out.buf, `{"success":true,"value":{`...)
	for _, key := range asked {
		if n := counts[key]; n > 0 {
			t, _ := queue.TrackerOf(key)
			c.out.buf = navixy.AppendKey(c.out.buf, t)
			c.out.buf = strconv.AppendInt(c.out.buf, int64(n), 10)
		}
	}
	c.out.buf = append(c.out.buf, `}}`...)
	return nil
}
