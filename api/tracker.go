package api

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"trackchat/api/navixy"
	"trackchat/queue"

	"go.uber.org/zap"
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
	keys := []queue.TrackerID{}
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
		return nil, navixy.Refuse(navixy.CodeNotFound)
	case t.Blocked:
		return nil, navixy.Refuse(navixy.CodeBlocked)
	case !t.Chat:
		return nil, navixy.Refuse(navixy.CodeUnsupported)
	case !t.HasFeature(queue.FeatureChat):
		return nil, navixy.Refuse(navixy.CodeTariff)
	}
	return t, nil
}

// chatTrackers finds a list of up to most trackers, in the order of ids; whether their devices have
// a chat is not asked.
func (c *call) chatTrackers(ids []int64, most int) ([]*queue.Tracker, error) {
	if len(ids) > most {
		return nil, navixy.Refuse(navixy.CodeDeviceLimit)
	}
	trackers := make([]*queue.Tracker, len(ids))
	for i, id := range ids {
		t, ok := c.tracker(queue.TrackerID(id))
		if !ok || t.Blocked || !t.HasFeature(queue.FeatureChat) {
			return nil, navixy.Refuse(navixy.CodeNonexistent)
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
		return navixy.Refuse(navixy.CodeNotFound)
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
	dst = appendTracker(dst, t, c.group(t))
	dst = dst[:len(dst)-1] // its last brace
	if tags := t.Tags(); len(tags) > 0 {
		dst = navixy.AppendStrings(append(dst, `,"tags":`...), tags)
	}
	if p == nil {
		return append(dst, `,"online":null,"last_seen":null}`...)
	}
	dst = append(dst, `,"online":`...)
	dst = strconv.AppendBool(dst, p.Online)
	dst = append(dst, `,"last_seen":`...)
	dst = c.read.Clock.AppendTime(dst, p.SeenMs)
	return append(dst, '}')
}

// appendTracker appends the platform's tracker object; group is 0 for none. There are no tariffs
// with numbers here, and a source is its tracker: tariff_id is 1, source.id the tracker's id. What
// a device logs in with is not always a phone number, so phone is null.
func appendTracker(dst []byte, t *queue.Tracker, group int64) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, int64(t.ID), 10)
	dst = append(dst, `,"label":`...)
	dst = navixy.AppendString(dst, t.Label)
	dst = append(dst, `,"group_id":`...)
	dst = strconv.AppendInt(dst, group, 10)
	dst = append(dst, `,"source":{"id":`...)
	dst = strconv.AppendInt(dst, int64(t.ID), 10)
	dst = append(dst, `,"device_id":`...)
	dst = navixy.AppendString(dst, t.DeviceID)
	dst = append(dst, `,"model":`...)
	dst = navixy.AppendString(dst, t.Model)
	dst = append(dst, `,"blocked":`...)
	dst = strconv.AppendBool(dst, t.Blocked)
	return append(dst, `,"tariff_id":1,"phone":null},"clone":false}`...)
}

// presenceAtOnce is how many trackers the store is asked about at once.
const presenceAtOnce = 1024

// trackerListing appends something about trackers with what is known of their connections, some at
// a time.
type trackerListing struct {
	a *API
	c *call
	// item appends what is said of one tracker; p is nil where nothing is known.
	item func(dst []byte, t *queue.Tracker, p *queue.Presence) []byte

	waiting         []*queue.Tracker
	ids             []queue.TrackerID
	presenceUnknown bool // the store did not answer; it is not asked again in this request
	written         bool // a tracker was appended before
}

func (p *trackerListing) add(ctx context.Context, t *queue.Tracker) {
	p.waiting = append(p.waiting, t)
	if len(p.waiting) == presenceAtOnce {
		p.flush(ctx)
	}
}

// flush appends what waits. A list of trackers is what every client begins with, and all but their
// presence is known here: where the store cannot say it, it is null.
func (p *trackerListing) flush(ctx context.Context) {
	known := p.read(ctx)
	out := p.c.out
	for _, t := range p.waiting {
		if p.written {
			out.buf = append(out.buf, ',')
		}
		p.written = true
		if known == nil {
			out.buf = p.item(out.buf, t, nil)
		} else {
			of := known[t.Key()]
			out.buf = p.item(out.buf, t, &of)
		}
		out.flushLong()
	}
	p.waiting = p.waiting[:0]
}

// read asks the store about those that wait; nil where it cannot say.
func (p *trackerListing) read(ctx context.Context) map[queue.TrackerID]queue.Presence {
	if p.presenceUnknown || len(p.waiting) == 0 {
		return nil
	}
	p.ids = p.ids[:0]
	for _, t := range p.waiting {
		p.ids = append(p.ids, t.Key())
	}
	known, err := p.a.store.Presence(ctx, p.ids)
	if err != nil {
		p.presenceUnknown = true
		if !errors.Is(err, context.Canceled) { // then nobody waits for it
			p.a.metrics.presenceUnknown.Inc()
			p.a.log.Warn("presence of trackers is unknown", zap.String("request", p.c.request),
				zap.Error(err))
		}
		return nil
	}
	return known
}
