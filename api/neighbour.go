package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// Operations of the platform that its clients call beside the chat.

// connectionStatus is the platform's word for a connection.
func connectionStatus(p *queue.Presence) string {
	switch {
	case p.Online:
		return "active"
	case p.SeenMs == 0 && p.SinceMs == 0:
		return "just_registered"
	default:
		return "offline"
	}
}

// appendState appends the platform's state object. Positions are nobody's business here: all about
// them is null, as is what the store cannot say.
func (c *call) appendState(dst []byte, t *queue.Tracker, p *queue.Presence) []byte {
	dst = append(dst, `{"source_id":`...)
	dst = strconv.AppendInt(dst, int64(t.ID), 10)
	dst = append(dst, `,"gps":{"updated":null,"signal_level":null,"location":null,"heading":null,"speed":null,"alt":null}`...)
	dst = append(dst, `,"connection_status":`...)
	if p == nil {
		dst = append(dst, `null,"last_update":null`...)
	} else {
		dst = navixy.AppendString(dst, connectionStatus(p))
		dst = append(dst, `,"last_update":`...)
		dst = c.read.Clock.AppendTime(dst, p.SeenMs)
	}
	return append(dst, `,"movement_status":null,"movement_status_update":null,"ignition":null,"gsm":null,"battery_level":null}`...)
}

// appendUserTime begins an answer with the time.
func (c *call) appendUserTime(dst []byte) []byte {
	return c.read.Clock.AppendTime(append(dst, `{"success":true,"user_time":`...),
		c.now.UnixMilli())
}

// trackerState answers tracker/get_state.
func (a *API) trackerState(ctx context.Context, c *call) error {
	id, err := readTracker(c.read)
	if err != nil {
		return err
	}
	t, ok := c.tracker(id)
	switch {
	case !ok:
		return navixy.Refuse(navixy.CodeNotFound)
	case t.Blocked:
		return navixy.Refuse(navixy.CodeBlocked)
	}
	c.out.buf = append(c.appendUserTime(c.out.buf), `,"state":`...)
	state := trackerListing{a: a, c: c, item: c.appendState}
	state.add(ctx, t)
	state.flush(ctx)
	c.out.buf = append(c.out.buf, '}')
	return nil
}

// trackerStates answers tracker/get_states. Clients ask for all that tracker/list has named, so a
// blocked one is left out and no error.
func (a *API) trackerStates(ctx context.Context, c *call) error {
	q, err := readStates(c.read)
	if err != nil {
		return err
	}
	var unknown, blocked []queue.TrackerID
	found := make([]*queue.Tracker, 0, len(q.trackers))
	for _, id := range q.trackers {
		switch t, ok := c.tracker(queue.TrackerID(id)); {
		case !ok:
			unknown = append(unknown, queue.TrackerID(id))
		case t.Blocked:
			blocked = append(blocked, t.ID)
		default:
			found = append(found, t)
		}
	}
	if len(unknown) > 0 && !q.unknown {
		return navixy.Refuse(navixy.CodeNonexistent)
	}
	c.out.buf = append(c.appendUserTime(c.out.buf), `,"states":{`...)
	states := trackerListing{a: a, c: c}
	states.item = func(dst []byte, t *queue.Tracker, p *queue.Presence) []byte {
		dst = append(dst, '"')
		dst = strconv.AppendInt(dst, int64(t.ID), 10)
		return c.appendState(append(dst, `":`...), t, p)
	}
	for _, t := range found {
		states.add(ctx, t)
	}
	states.flush(ctx)
	c.out.buf = append(c.out.buf, '}')
	if q.blocked {
		c.out.buf = navixy.AppendIDs(append(c.out.buf, `,"blocked":`...), blocked)
	}
	if q.unknown {
		c.out.buf = navixy.AppendIDs(append(c.out.buf, `,"not_exist":`...), unknown)
	}
	c.out.buf = append(c.out.buf, '}')
	return nil
}

// employeeList answers employee/list with those that trackers name, each once: with its first
// tracker, and what the first record says. What the directory does not know is empty, where the
// platform has no null.
func (a *API) employeeList(_ context.Context, c *call) error {
	if err := c.read.Done(); err != nil {
		return err
	}
	type employee struct {
		tracker queue.TrackerID
		record  *queue.EmployeeRecord
	}
	employees := make(map[int64]employee)
	for t := range c.snap.TrackersOf(c.account.ID) { // in the order of their ids
		if t.Employee == 0 {
			continue
		}
		e, ok := employees[t.Employee]
		if !ok {
			e.tracker = t.ID
		}
		e.record = cmp.Or(e.record, t.EmployeeRecord)
		employees[t.Employee] = e
	}
	out := c.out
	out.buf = append(out.buf, `{"success":true,"list":[`...)
	for i, id := range slices.Sorted(maps.Keys(employees)) {
		if i > 0 {
			out.buf = append(out.buf, ',')
		}
		out.buf = append(out.buf, `{"id":`...)
		out.buf = strconv.AppendInt(out.buf, id, 10)
		out.buf = append(out.buf, `,"tracker_id":`...)
		e := employees[id]
		out.buf = strconv.AppendInt(out.buf, int64(e.tracker), 10)
		record := cmp.Or(e.record, &queue.EmployeeRecord{})
		out.buf = navixy.AppendString(append(out.buf, `,"first_name":`...), record.FirstName)
		out.buf = navixy.AppendString(append(out.buf, `,"middle_name":"","last_name":`...),
			record.LastName)
		out.buf = navixy.AppendString(append(out.buf, `,"email":"","phone":`...), record.Phone)
		out.buf = append(out.buf, `,"department_id":null}`...)
		out.flushLong()
	}
	out.buf = append(out.buf, `]}`...)
	return nil
}
