package api

import (
	"net/http"
	"slices"
	"time"

	"trackchat/queue"
)

// Limits of single parameters.
const (
	maxList     = 1024
	maxTrackers = 300
	maxMark     = 1024
	maxLabels   = 1024
	maxLabel    = 60 // characters of one
	listWindow  = 7 * 24 * time.Hour
)

type listRequest struct {
	tracker  queue.TrackerID
	from, to int64 // Unix seconds, both inclusive
	limit    int
	newest   bool  // from the newest message backwards
	detail   bool  // with the delivery of each
	beyond   int64 // id of the last message of the page before, 0 none
}

func readList(r *reader, now time.Time) (listRequest, error) {
	q := listRequest{
		tracker: queue.TrackerID(r.id("tracker_id")),
		from:    r.moment("from", now.Add(-listWindow).Unix(), false),
		to:      r.moment("to", now.Unix(), true),
		limit:   r.within("limit", maxList, 1, maxList),
		newest:  !r.flag("ascending", true),
		detail:  r.flag("detail", false),
	}
	if q.beyond, _ = r.optionalID("after_id"); q.beyond < 0 {
		r.fail("after_id", "must not be negative")
	}
	if q.from > q.to && r.done() == nil {
		r.fail("from", "must not be later than to")
	}
	return q, r.done()
}

type sendRequest struct {
	tracker queue.TrackerID
	text    string
	extras  sendOptions
}

func readSend(r *reader, h http.Header) (sendRequest, error) {
	q := sendRequest{
		tracker: queue.TrackerID(r.id("tracker_id")), text: r.message("message"),
		extras: readExtras(r, h),
	}
	return q, r.done()
}

type broadcastRequest struct {
	trackers []int64
	text     string
	extras   sendOptions
}

func readBroadcast(r *reader, h http.Header) (broadcastRequest, error) {
	q := broadcastRequest{
		trackers: r.requiredIDs("trackers", maxTrackers),
		text:     r.message("message"), extras: readExtras(r, h),
	}
	return q, r.done()
}

// readMessage returns the id of a single message.
func readMessage(r *reader) (int64, error) {
	id := r.id("message_id")
	return id, r.done()
}

// readMark returns the ids of both parameters, each once.
func readMark(r *reader) ([]int64, error) {
	ids, several := r.ids("message_ids")
	if several && ids != nil && (len(ids) == 0 || len(ids) > maxMark) {
		r.fail("message_ids", sizeProblem(maxMark))
	}
	id, one := r.optionalID("message_id")
	if one && !slices.Contains(ids, id) {
		ids = append(ids, id)
	}
	if !one && !several {
		r.fail("message_id", problemNull)
		r.fail("message_ids", problemNull)
	}
	return ids, r.done()
}

// readMarkAll returns the trackers and whether any list of them was given.
func readMarkAll(r *reader) (ids []int64, given bool, err error) {
	ids, given = r.ids("trackers")
	return ids, given, r.done()
}

// readUpdated returns at least one tracker; that there are not too many is checked later, because
// it has its own code.
func readUpdated(r *reader) ([]int64, error) {
	ids := r.requiredIDs("trackers", maxTrackers)
	return ids, r.done()
}

type authRequest struct{ login, password string }

// readAuth takes both as they are: a password may be the word null.
func readAuth(r *reader) (authRequest, error) {
	q := authRequest{login: r.text("login"), password: r.text("password")}
	return q, r.done()
}

// readTrackers returns the labels of tracker/list, nil for all trackers.
func readTrackers(r *reader) ([]string, error) {
	labels := r.labels("labels", maxLabels, maxLabel)
	return labels, r.done()
}

func readTracker(r *reader) (queue.TrackerID, error) {
	id := queue.TrackerID(r.id("tracker_id"))
	return id, r.done()
}

type statesRequest struct {
	trackers         []int64
	blocked, unknown bool // name those in the answer; unknown ones are no error then
}

// readStates returns any number of trackers, none for an empty list.
func readStates(r *reader) (statesRequest, error) {
	ids, given := r.ids("trackers")
	if !given {
		r.fail("trackers", problemNull)
	}
	q := statesRequest{
		trackers: ids,
		blocked:  r.flag("list_blocked", false),
		unknown:  r.flag("allow_not_exist", false),
	}
	return q, r.done()
}
