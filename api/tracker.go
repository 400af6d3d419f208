package api

import (
	"context"
	"strconv"
	"strings"

	"trackchat/queue"
)

// tracker finds a tracker of the caller's account; one of another account is as unknown as one that
// does not exist.
func (c *call) tracker(id queue.TrackerID) (*queue.Tracker, bool) {
	t, ok := c.snap.Tracker(id)
	if !ok || t.Account != c.account.ID {
		return nil, false
	}
	return t, true
}

// ownTrackers returns the keys of all trackers of the account.
func (c *call) ownTrackers() []queue.TrackerID {
	keys := make([]queue.TrackerID, 0, c.snap.CountOf(c.account.ID))
	for t := range c.snap.TrackersOf(c.account.ID) {
		keys = append(keys, t.Key())
	}
	return keys
}

// chatTracker finds a tracker that can be talked to.
func (c *call) chatTracker(id queue.TrackerID) (*queue.Tracker, error) {
	t, ok := c.tracker(id)
	switch {
	case !ok:
		return nil, refuse(codeNotFound)
	case t.Blocked:
		return nil, refuse(codeBlocked)
	case !t.Chat:
		return nil, refuse(codeUnsupported)
	case !t.HasFeature(queue.FeatureChat):
		return nil, refuse(codeTariff)
	}
	return t, nil
}

// chatTrackers finds a list of trackers, in the order of ids; whether their devices have a chat is
// not asked.
func (c *call) chatTrackers(ids []int64) ([]*queue.Tracker, error) {
	if len(ids) > maxTrackers {
		return nil, refuse(codeDeviceLimit)
	}
	trackers := make([]*queue.Tracker, len(ids))
	for i, id := range ids {
		t, ok := c.tracker(queue.TrackerID(id))
		if !ok || t.Blocked || !t.HasFeature(queue.FeatureChat) {
			return nil, refuse(codeNonexistent)
		}
		trackers[i] = t
	}
	return trackers, nil
}

// trackerList answers tracker/list: the trackers whose label contains any of the given ones, in
// upper or lower case.
func (a *API) trackerList(ctx context.Context, c *call) error {
	labels, err := readTrackers(c.read)
	if err != nil {
		return err
	}
	out := c.out
	out.buf = append(out.buf, `{"success":true,"list":[`...)
	list := trackerListing{a: a, c: c, item: c.appendTracker}
	for t := range c.snap.TrackersOf(c.account.ID) {
		if labels == nil || containsAny(strings.ToLower(t.Label), labels) {
			list.add(ctx, t)
		}
	}
	list.flush(ctx)
	out.buf = append(out.buf, `]}`...)
	return nil
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// trackerRead answers tracker/read.
func (a *API) trackerRead(ctx context.Context, c *call) error {
	id, err := readTracker(c.read)
	if err != nil {
		return err
	}
	t, ok := c.tracker(id)
	if !ok {
		return refuse(codeNotFound)
	}
	c.out.buf = append(c.out.buf, `{"success":true,"value":`...)
	value := trackerListing{a: a, c: c, item: c.appendTracker}
	value.add(ctx, t)
	value.flush(ctx)
	c.out.buf = append(c.out.buf, '}')
	return nil
}

// appendTracker appends the platform's tracker object, with what is known of its connection.
func (c *call) appendTracker(dst []byte, t *queue.Tracker, p *queue.Presence) []byte {
	dst = appendTracker(dst, t)
	dst = dst[:len(dst)-1] // its last brace
	if p == nil {
		return append(dst, `,"online":null,"last_seen":null}`...)
	}
	dst = append(dst, `,"online":`...)
	dst = strconv.AppendBool(dst, p.Online)
	dst = append(dst, `,"last_seen":`...)
	dst = c.read.clock.appendTime(dst, p.SeenMs)
	return append(dst, '}')
}

// appendTracker appends the platform's tracker object. There are neither groups nor tariffs with
// numbers here, and a source is its tracker: group_id is 0 ("no group"), tariff_id 1, source.id the
// tracker's id. What a device logs in with is not always a phone number, so phone is null.
func appendTracker(dst []byte, t *queue.Tracker) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, int64(t.ID), 10)
	dst = append(dst, `,"label":`...)
	dst = appendString(dst, t.Label)
	dst = append(dst, `,"group_id":0,"source":{"id":`...)
	dst = strconv.AppendInt(dst, int64(t.ID), 10)
	dst = append(dst, `,"device_id":`...)
	dst = appendString(dst, t.DeviceID)
	dst = append(dst, `,"model":`...)
	dst = appendString(dst, t.Model)
	dst = append(dst, `,"blocked":`...)
	dst = strconv.AppendBool(dst, t.Blocked)
	return append(dst, `,"tariff_id":1,"phone":null},"clone":false}`...)
}
