package api

import (
	"slices"
	"time"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// Limits of single parameters.
const (
	maxList     = 1024
	maxTrackers = 300
	maxMark     = 1024
	maxLabels   = 1024
	maxLabel    = 60 // characters of one
	maxHits     = 100
	usualHits   = 50
	maxQuery    = 100 // characters
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

func readList(r *navixy.Reader, now time.Time) (listRequest, error) {
	q := listRequest{
		tracker: queue.TrackerID(r.ID("tracker_id")),
		from:    r.Moment("from", now.Add(-listWindow).Unix(), false),
		to:      r.Moment("to", now.Unix(), true),
		limit:   r.Within("limit", maxList, 1, maxList),
		newest:  !r.Flag("ascending", true),
		detail:  r.Flag("detail", false),
		beyond:  readAfter(r),
	}
	if q.from > q.to && r.Done() == nil {
		r.Fail("from", "must not be later than to")
	}
	return q, r.Done()
}

type searchRequest struct {
	tracker queue.TrackerID
	query   string
	limit   int   // hits
	beyond  int64 // id of the message where the search before ended, 0 none
}

func readSearch(r *navixy.Reader) (searchRequest, error) {
	q := searchRequest{
		tracker: queue.TrackerID(r.ID("tracker_id")),
		query:   r.Words("query", maxQuery),
		limit:   r.Within("limit", usualHits, 1, maxHits),
		beyond:  readAfter(r),
	}
	return q, r.Done()
}

// readAfter returns the id of the last message of the page before, 0 none.
func readAfter(r *navixy.Reader) int64 {
	id, _ := r.OptionalID("after_id")
	if id < 0 {
		r.Fail("after_id", "must not be negative")
	}
	return id
}

type exportRequest struct {
	tracker  queue.TrackerID
	all      bool  // every tracker of the account instead
	from, to int64 // Unix seconds, both inclusive
	since    bool  // from was given
	csv      bool
}

func readExport(r *navixy.Reader, now time.Time) (exportRequest, error) {
	id, one := r.OptionalID("tracker_id")
	q := exportRequest{
		tracker: queue.TrackerID(id), all: !one,
		from: r.Moment("from", 0, false),
		to:   r.Moment("to", now.Unix(), true),
		csv:  r.OneOf("format", "csv", "ndjson") == "csv",
	}
	q.since = q.from != 0
	if q.from > q.to && r.Done() == nil {
		r.Fail("from", "must not be later than to")
	}
	return q, r.Done()
}

type sendRequest struct {
	tracker queue.TrackerID
	text    string
	extras  sendOptions
}

func readSend(c *call) (sendRequest, error) {
	r := c.read
	q := sendRequest{
		tracker: queue.TrackerID(r.ID("tracker_id")), text: r.Message("message"),
		extras: readExtras(c),
	}
	return q, r.Done()
}

type broadcastRequest struct {
	trackers []int64
	selection
	text   string
	extras sendOptions
}

func readBroadcast(c *call) (broadcastRequest, error) {
	r := c.read
	q := broadcastRequest{selection: readSelection(r)}
	if q.all || len(q.groups) > 0 || len(q.tags) > 0 {
		q.trackers, _ = r.IDs("trackers")
	} else {
		q.trackers = r.RequiredIDs("trackers", maxTrackers)
	}
	q.text, q.extras = r.Message("message"), readExtras(c)
	return q, r.Done()
}

// readMessage returns the id of a single message.
func readMessage(r *navixy.Reader) (int64, error) {
	id := r.ID("message_id")
	return id, r.Done()
}

// readMark returns the ids of both parameters, each once.
func readMark(r *navixy.Reader) ([]int64, error) {
	ids, several := r.IDs("message_ids")
	if several && ids != nil && (len(ids) == 0 || len(ids) > maxMark) {
		r.Fail("message_ids", navixy.SizeProblem(maxMark))
	}
	id, one := r.OptionalID("message_id")
	if one && !slices.Contains(ids, id) {
		ids = append(ids, id)
	}
	if !one && !several {
		r.Fail("message_id", navixy.ProblemNull)
		r.Fail("message_ids", navixy.ProblemNull)
	}
	return ids, r.Done()
}

// readMarkAll returns the trackers and whether any list of them was given.
func readMarkAll(r *navixy.Reader) (ids []int64, given bool, err error) {
	ids, given = r.IDs("trackers")
	return ids, given, r.Done()
}

// readUpdated returns at least one tracker; that there are not too many is checked later, because
// it has its own code.
func readUpdated(r *navixy.Reader) ([]int64, error) {
	ids := r.RequiredIDs("trackers", maxTrackers)
	return ids, r.Done()
}

type authRequest struct{ login, password string }

// readAuth takes both as they are: a password may be the word null.
func readAuth(r *navixy.Reader) (authRequest, error) {
	q := authRequest{login: r.Text("login"), password: r.Text("password")}
	return q, r.Done()
}

// readTrackers returns the labels of tracker/list, nil for all trackers.
func readTrackers(r *navixy.Reader) ([]string, error) {
	labels := r.Labels("labels", maxLabels, maxLabel)
	return labels, r.Done()
}

func readTracker(r *navixy.Reader) (queue.TrackerID, error) {
	id := queue.TrackerID(r.ID("tracker_id"))
	return id, r.Done()
}

type statesRequest struct {
	trackers         []int64
	blocked, unknown bool // name those in the answer; unknown ones are no error then
}

// readStates returns any number of trackers, none for an empty list.
func readStates(r *navixy.Reader) (statesRequest, error) {
	ids, given := r.IDs("trackers")
	if !given {
		r.Fail("trackers", navixy.ProblemNull)
	}
	q := statesRequest{
		trackers: ids,
		blocked:  r.Flag("list_blocked", false),
		unknown:  r.Flag("allow_not_exist", false),
	}
	return q, r.Done()
}
