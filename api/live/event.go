// Package live tells what happens to the trackers of an account while it happens: to clients that
// read a stream of events, and to the accounts' own servers (webhooks).
package live

import (
	"strconv"
	"time"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// Names of events.
const (
	eventMessage   = "message"
	eventDelivered = "delivered"
	eventRead      = "read"
	eventFailed    = "failed"
	eventExpired   = "expired"
	eventCancelled = "cancelled"
	eventProgress  = "progress"
	eventTracker   = "tracker"
	eventReset     = "reset"
	eventHeartbeat = "heartbeat"
)

// event is something that has happened, as clients are told it. It is shared by all who are told
// and not changed once it is published.
type event struct {
	name     string
	tracker  queue.TrackerID // 0: of none
	id       int64           // of the message; 0: of none
	data     []byte          // a JSON object
	ms       int64           // when it happened
	position int64           // of the feed: where who has seen this one goes on
}

// eventName is the name of a change of a message; written to a device that cannot confirm is
// progress and no delivery.
func eventName(k queue.ChangeKind) string {
	switch k {
	case queue.ChangeStored:
		return eventMessage
	case queue.ChangeDelivered:
		return eventDelivered
	case queue.ChangeOpened, queue.ChangeRead:
		return eventRead
	case queue.ChangeFailed:
		return eventFailed
	case queue.ChangeExpired:
		return eventExpired
	case queue.ChangeCancelled:
		return eventCancelled
	case queue.ChangeProgress, queue.ChangeSent:
		return eventProgress
	default:
		return ""
	}
}

// eventsSince names what a message says about itself to have happened at or after since, in order.
func eventsSince(m *queue.Message, since int64) []string {
	var names []string
	if m.SubmitMs >= since {
		names = append(names, eventMessage)
	}
	if m.ChangeMs < since {
		return names
	}
	switch m.Status {
	case queue.StatusDelivered, queue.StatusOpened:
		if m.UpdateMs >= since {
			names = append(names, eventDelivered)
		}
		if m.Status == queue.StatusOpened && m.ReadMs >= since {
			names = append(names, eventRead)
		}
	case queue.StatusUnread:
	case queue.StatusPending:
		if m.Acked > 0 || m.Tries > 0 {
			names = append(names, eventProgress)
		}
	default: // every other state is a single change away from the first one, and named like it
		names = append(names, eventName(queue.ChangeKind(m.Status)))
	}
	return names
}

// eventClock writes the times of events.
func eventClock() navixy.Clock { return navixy.Clock{Zone: time.UTC, ISO: true} }

func messageEvent(name string, m *queue.Message, ms, now int64) *event {
	t, _ := queue.TrackerOf(m.Tracker)
	data := make([]byte, 0, 400+len(m.Text))
	data = append(data, `{"tracker_id":`...)
	data = strconv.AppendInt(data, int64(t), 10)
	data = append(data, `,"message":`...)
	data = navixy.AppendMessage(data, m, eventClock())
	data = navixy.AppendMore(data, m, eventClock(), now)
	return &event{name: name, tracker: t, id: m.ID, data: append(data, '}'), ms: ms}
}

func presenceEvent(key queue.TrackerID, p queue.Presence, now int64) *event {
	t, _ := queue.TrackerOf(key)
	data := append([]byte(nil), `{"tracker_id":`...)
	data = strconv.AppendInt(data, int64(t), 10)
	data = append(data, `,"online":`...)
	data = strconv.AppendBool(data, p.Online)
	data = append(data, `,"since":`...)
	data = eventClock().AppendTime(data, p.SinceMs)
	return &event{name: eventTracker, tracker: t, data: append(data, '}'), ms: now}
}

// resetEvent says that something may have been missed for good.
func resetEvent(now int64) *event { return &event{name: eventReset, data: []byte(`{}`), ms: now} }

// appendEvent appends an event as a block of a stream (WHATWG HTML, "Server-sent events"). Data has
// no line breaks, because JSON escapes them.
func appendEvent(dst []byte, e *event) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, e.name...)
	dst = append(dst, "\nid: "...)
	dst = strconv.AppendInt(dst, e.position, 10)
	dst = append(dst, "\ndata: "...)
	dst = append(dst, e.data...)
	return append(dst, "\n\n"...)
}
