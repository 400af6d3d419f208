package admin

import (
	"context"
	"net/http"

	"trackchat/api/navixy"
	"trackchat/queue"
)

func (a *administration) listTrackers(ctx context.Context, r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	trackers, err := a.store.Trackers(ctx, queue.TrackerID(after), limit)
	if err != nil {
		return nil, err
	}
	list := make([]*trackerObject, len(trackers))
	for i := range trackers {
		list[i] = trackerAnswer(&trackers[i], false)
	}
	return listMembers{list}, nil
}

func (a *administration) getTracker(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	trackers, err := a.store.Trackers(ctx, queue.TrackerID(id-1), 1)
	if err != nil {
		return nil, err
	}
	if len(trackers) == 0 || trackers[0].ID != queue.TrackerID(id) {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	return valueMembers{trackerAnswer(&trackers[0], false)}, nil
}

func (a *administration) putTracker(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	o := newTrackerObject()
	if err := readObject(r, o); err != nil {
		return nil, err
	}
	if err := sameID(&o.ID, id); err != nil {
		return nil, err
	}
	var c checker
	e := c.tracker(o, a.devices)
	if err := c.done(); err != nil {
		return nil, err
	}
	return a.edit(ctx, e)
}

func (a *administration) deleteTracker(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	return a.edit(ctx, queue.Edit{
		Kind:    queue.EditDropTracker,
		Tracker: queue.Tracker{ID: queue.TrackerID(id)},
	})
}
