package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"trackchat/api/navixy"
	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	maxReported  = 50_000 // trackers of one broadcast that is kept
	maxSelectors = 300    // groups, and tags, that one names
	// of an id, below the milliseconds: two broadcasts of an account at once have different ones.
	broadcastBits = 11

	// Broadcasts that are kept, and readings of those to many trackers, that run at a time.
	maxBroadcasting        = 32
	maxAccountBroadcasting = 4
)

// answerReported is what remembered answers to broadcasts that are kept begin with.
const answerReported = 'r'

// selection is whom a broadcast is for beside single trackers.
type selection struct {
	groups []int64
	tags   []string
	all    bool
	report bool // it is kept, and its answer has counts
}

func readSelection(r *navixy.Reader) selection {
	groups, _ := r.IDs("groups")
	s := selection{
		groups: groups, tags: r.Strings("tags"), all: r.Flag("all", false),
		report: r.Flag("report", false),
	}
	if len(s.groups) > maxSelectors {
		r.Fail("groups", navixy.SizeProblem(maxSelectors))
	}
	if len(s.tags) > maxSelectors {
		r.Fail("tags", navixy.SizeProblem(maxSelectors))
	}
	return s
}

// wide reports whether the answer has counts: the platform knows single trackers only.
func (s *selection) wide() bool {
	return s.all || s.report || len(s.groups) > 0 || len(s.tags) > 0
}

// takes reports whether a tracker is among those that are selected.
func (s *selection) takes(c *call, t *queue.Tracker) bool {
	if s.all || len(s.groups) > 0 && slices.Contains(s.groups, c.group(t)) {
		return true
	}
	return len(s.tags) > 0 &&
		slices.ContainsFunc(t.Tags(), func(tag string) bool { return slices.Contains(s.tags, tag) })
}

// selected returns the trackers of a broadcast, each once: those that it names, which all have to
// be there, then those that it selects.
func (c *call) selected(q *broadcastRequest) ([]*queue.Tracker, error) {
	for _, id := range q.groups {
		if !c.account.HasGroup(id) {
			return nil, navixy.Refuse(navixy.CodeNonexistent)
		}
	}
	list, err := c.chatTrackers(q.trackers, maxReported)
	if err != nil {
		return nil, err
	}
	named := make(map[queue.TrackerID]bool, len(list))
	for _, t := range list {
		named[t.ID] = true
	}
	for t := range c.snap.TrackersOf(c.account.ID) {
		if q.takes(c, t) && !named[t.ID] {
			list = append(list, t)
		}
	}
	if len(list) > maxReported {
		return nil, navixy.Refuse(navixy.CodeDeviceLimit)
	}
	if len(list) == 0 {
		return nil, navixy.Invalid("trackers", "no tracker is selected")
	}
	return list, nil
}

// reporting is a broadcast that is kept.
type reporting struct {
	a *API
	c *call
	q *broadcastRequest
	b queue.Broadcast
}

// report answers a broadcast with counts, and keeps what became of it at each tracker.
func (a *API) report(ctx context.Context, c *call, q *broadcastRequest) error {
	k, err := newKeyed(answerReported, q.trackers, q.text, &q.extras, &q.selection)
	if err != nil {
		return err
	}
	if done, err := a.answered(ctx, c, &k); done || err != nil {
		return err
	}
	trackers, err := c.selected(q)
	if err != nil {
		return err
	}
	able, err := a.strictBroadcast(trackers, q)
	if err != nil {
		return err
	}
	if err := a.checkReply(ctx, &q.extras, trackers...); err != nil {
		return err
	}
	if err := a.roomForTexts(); err != nil {
		return err
	}
	if err := a.claim(ctx, c, &k); err != nil {
		return err
	}
	if !a.broadcasts.begin(c.account.ID) {
		return &navixy.Refusal{Code: navixy.CodeTooMany, Retry: 1, Reason: reasonBroadcasts}
	}
	defer a.broadcasts.end(c.account.ID)
	r := &reporting{a: a, c: c, q: q, b: queue.Broadcast{
		SubmitMs: c.now.UnixMilli(), Text: q.text, Author: c.author(q.extras.author),
		Trackers: len(trackers),
	}}
	if r.b.ID, err = a.broadcastID(ctx, c, &k); err != nil {
		return err
	}
	if err := a.store.SaveBroadcast(ctx, c.account.ID, r.b, 0, nil); err != nil {
		return fmt.Errorf("keeping a broadcast: %w", err)
	}
	if err := r.run(context.WithoutCancel(ctx), trackers, able); err != nil {
		return err
	}
	c.out.buf = append(c.out.buf, `{"success":true,"broadcast_id":`...)
	c.out.buf = strconv.AppendInt(c.out.buf, r.b.ID, 10)
	c.out.buf = append(appendCounts(c.out.buf, &r.b), '}')
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
	defer cancel()
	return a.remember(ctx, c, &k)
}

// idPrefix is what the id of a key's broadcast is remembered under, before the key. No client's key
// can hold it, nor begin what printPrefix stands before.
const idPrefix = "\n\n"

// broadcastID gives a broadcast its id: a repetition of the same request goes on with the same one.
func (a *API) broadcastID(ctx context.Context, c *call, k *keyed) (int64, error) {
	id := c.now.UnixMilli()<<broadcastBits | rand.Int64N(1<<broadcastBits)
	if k.key == "" {
		return id, nil
	}
	text := strconv.AppendInt(nil, id, 10)
	text, err := a.store.SaveAnswer(ctx, c.account.ID, idPrefix+k.key, text)
	if err == nil {
		id, err = strconv.ParseInt(string(text), 10, 64)
	}
	if err != nil {
		return 0, fmt.Errorf("keeping the id of a broadcast: %w", err)
	}
	return id, nil
}

func appendCounts(dst []byte, b *queue.Broadcast) []byte {
	dst = strconv.AppendInt(append(dst, `,"trackers":`...), int64(b.Trackers), 10)
	dst = strconv.AppendInt(append(dst, `,"sent":`...), int64(b.Sent), 10)
	return strconv.AppendInt(append(dst, `,"not_sent":`...), int64(b.Refused), 10)
}

// run sends to some trackers at a time, each step within the time of a request. Once something is
// sent it goes on without its client. What cannot be sent any more is told as not sent, unless the
// request can be repeated: then it is an error.
func (r *reporting) run(ctx context.Context, trackers []*queue.Tracker, able []bool) error {
	// Each step takes a place of its own, and others get in between them.
	r.a.places.running.Release()
	defer r.a.places.running.Acquire(ctx)
	for first := 0; first < len(trackers); first += maxTrackers {
		n := min(first+maxTrackers, len(trackers))
		err := r.step(ctx, first, trackers[first:n], able[first:n])
		switch {
		case err == nil:
		case r.q.extras.key != "":
			return err // it goes on with the next one
		default:
			r.giveUp(ctx, err)
			if r.b.Sent == 0 {
				return err
			}
			return nil
		}
	}
	return nil
}

// giveUp tells the rest as not sent.
func (r *reporting) giveUp(ctx context.Context, why error) {
	log := r.a.log.With(zap.String("request", r.c.request), zap.Int64("broadcast", r.b.ID))
	log.Warn("a broadcast does not go on", zap.Int("sent", r.b.Sent), zap.Error(why))
	r.b.Refused, r.b.Complete = r.b.Trackers-r.b.Sent, true
	ctx, cancel := context.WithTimeout(ctx, r.a.timeout)
	defer cancel()
	if err := r.a.store.SaveBroadcast(ctx, r.c.account.ID, r.b, 0, nil); err != nil {
		log.Warn("the end of a broadcast is not kept", zap.Error(err))
	}
}

// enter does what stands before a request of its own: the caller is still known and may write, and
// there is a place among the running.
func (r *reporting) enter(ctx context.Context) (leave func(), err error) {
	a, c := r.a, r.c
	c.snap, c.now = a.directory.Current(), a.now()
	who, err := a.caller(ctx, c.snap, c.hash, c.now)
	if err != nil {
		return nil, err
	}
	if who.account.ID != c.account.ID || !who.role().May(queue.RoleDispatcher) {
		return nil, navixy.Refuse(navixy.CodeNotPermitted)
	}
	if err := enter(ctx, a.places.running); err != nil {
		return nil, err
	}
	return a.places.running.Release, nil
}

// reachable reports whether a tracker that was selected can be sent to now.
func (r *reporting) reachable(t *queue.Tracker) bool {
	now, ok := r.c.tracker(t.ID)
	return ok && now.Key() == t.Key() && !now.Blocked && now.HasFeature(queue.FeatureChat)
}

func (r *reporting) step(ctx context.Context, first int, trackers []*queue.Tracker,
	able []bool,
) error {
	ctx, cancel := context.WithTimeout(ctx, r.a.timeout)
	defer cancel()
	// The server's own deadline is for requests of one step. Without one there is no connection.
	end, _ := ctx.Deadline()
	_ = http.NewResponseController(r.c.out.w).SetWriteDeadline(end.Add(r.a.timeout))
	leave, err := r.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var reqs []queue.SendReq
	targets := make([]queue.BroadcastTarget, len(trackers))
	for i, t := range trackers {
		targets[i].Tracker = t.Key()
		if able[i] = able[i] && r.reachable(t); able[i] {
			reqs = append(reqs, r.c.outgoing(t, r.q.text, &r.q.extras))
		}
	}
	results, err := r.a.sendAll(ctx, reqs, r.q.extras.key != "")
	if err != nil {
		return err
	}
	for i := range targets {
		if !able[i] {
			r.b.Refused++
			continue
		}
		res := results[0]
		results = results[1:]
		if res.Err == nil {
			targets[i].Message = res.ID
			r.b.Sent++
			continue
		}
		r.b.Refused++
		if errors.Is(res.Err, queue.ErrQueueFull) {
			r.a.metrics.refuse(reasonQueueFull)
		}
	}
	r.b.Complete = first+len(trackers) == r.b.Trackers
	if err := r.a.store.SaveBroadcast(ctx, r.c.account.ID, r.b, first, targets); err != nil {
		return fmt.Errorf("keeping what a broadcast has sent: %w", err)
	}
	return nil
}

// Limits of what is told of broadcasts at once.
const (
	maxBroadcastList = 50
	maxTargets       = 10_000
	defaultTargets   = 1000
	findAtOnce       = 1024
)

// broadcastList answers tracker/chat/broadcast/list, the newest first.
func (a *API) broadcastList(ctx context.Context, c *call) error {
	limit := c.read.Within("limit", maxBroadcastList, 1, maxBroadcastList)
	before, _ := c.read.OptionalID("before")
	if before < 0 {
		c.read.Fail("before", "must not be negative")
	}
	if err := c.read.Done(); err != nil {
		return err
	}
	list, err := a.store.Broadcasts(ctx, c.account.ID, before, limit)
	if err != nil {
		return fmt.Errorf("listing broadcasts: %w", err)
	}
	c.out.buf = append(c.out.buf, `{"success":true,"list":[`...)
	for i := range list {
		if i > 0 {
			c.out.buf = append(c.out.buf, ',')
		}
		c.out.buf = append(c.appendBroadcast(c.out.buf, &list[i]), '}')
	}
	c.out.buf = append(c.out.buf, `]}`...)
	return nil
}

// appendBroadcast appends a broadcast but for its last brace.
func (c *call) appendBroadcast(dst []byte, b *queue.Broadcast) []byte {
	dst = strconv.AppendInt(append(dst, `{"id":`...), b.ID, 10)
	dst = c.read.Clock.AppendTime(append(dst, `,"submit_time":`...), b.SubmitMs)
	dst = navixy.AppendString(append(dst, `,"text":`...), b.Text)
	if b.Author != nil {
		dst = navixy.AppendAuthor(append(dst, `,"author":`...), b.Author)
	}
	dst = appendCounts(dst, b)
	return strconv.AppendBool(append(dst, `,"complete":`...), b.Complete)
}

// findBroadcast finds one of the caller's account.
func (a *API) findBroadcast(ctx context.Context, c *call, id int64) (*queue.Broadcast, error) {
	if id < 1 || id >= queue.MaxID {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	list, err := a.store.Broadcasts(ctx, c.account.ID, id+1, 1)
	if err != nil {
		return nil, fmt.Errorf("reading broadcast %d: %w", id, err)
	}
	if len(list) == 0 || list[0].ID != id {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	return &list[0], nil
}

// broadcastRead answers tracker/chat/broadcast/read: what became of a broadcast, how often each
// state, and at a page of its trackers.
func (a *API) broadcastRead(ctx context.Context, c *call) error {
	id := c.read.ID("broadcast_id")
	limit := c.read.Within("limit", defaultTargets, 1, maxTargets)
	offset := c.read.Within("offset", 0, 0, maxReported)
	detail := c.read.Flag("detail", false)
	if err := c.read.Done(); err != nil {
		return err
	}
	b, err := a.findBroadcast(ctx, c, id)
	if err != nil {
		return err
	}
	if b.Trackers > defaultTargets {
		if !a.broadcasts.begin(c.account.ID) {
			return &navixy.Refusal{Code: navixy.CodeTooMany, Retry: 1, Reason: reasonBroadcasts}
		}
		defer a.broadcasts.end(c.account.ID)
	}
	targets, err := a.store.BroadcastTargets(ctx, c.account.ID, id)
	if err != nil {
		return fmt.Errorf("reading broadcast %d: %w", id, err)
	}
	first := min(offset, len(targets))
	r := targetReading{first: first, last: min(first+limit, len(targets))}
	if err := r.read(ctx, a.store, targets, c.now); err != nil {
		return err
	}
	if b.Complete { // with those that it did not get to
		r.counts[stateNotSent] += max(0, b.Trackers-len(targets))
	}
	out := c.out
	out.buf = c.appendBroadcast(append(out.buf, `{"success":true,"value":`...), b)
	out.buf = append(out.buf, `,"counts":{`...)
	for _, state := range targetStates {
		if out.buf[len(out.buf)-1] != '{' {
			out.buf = append(out.buf, ',')
		}
		out.buf = append(navixy.AppendString(out.buf, state), ':')
		out.buf = strconv.AppendInt(out.buf, int64(r.counts[state]), 10)
	}
	out.buf = append(out.buf, `},"list":[`...)
	for i, t := range targets[r.first:r.last] {
		if i > 0 {
			out.buf = append(out.buf, ',')
		}
		out.buf = append(c.appendTarget(out.buf, &t, &r.page[i], detail), '}')
		out.flushLong()
	}
	out.buf = append(out.buf, `]}}`...)
	return nil
}

// appendTarget appends what became of a broadcast at one tracker, but for the last brace.
func (c *call) appendTarget(dst []byte, t *queue.BroadcastTarget, r *targetResult,
	detail bool,
) []byte {
	tracker, _ := queue.TrackerOf(t.Tracker)
	dst = strconv.AppendInt(append(dst, `{"tracker_id":`...), int64(tracker), 10)
	dst = append(dst, `,"message_id":`...)
	if t.Message == 0 {
		dst = append(dst, `null`...)
	} else {
		dst = strconv.AppendInt(dst, t.Message, 10)
	}
	dst = navixy.AppendString(append(dst, `,"state":`...), r.state)
	if detail && r.message.ID != 0 {
		dst = navixy.AppendMore(dst, &r.message, c.read.Clock, c.now.UnixMilli())
	}
	return dst
}

// States of a broadcast's target beside those of messages.
const (
	stateNotSent   = "NOT_SENT"  // it got no message
	stateForgotten = "FORGOTTEN" // its message is not kept any more
)

// targetStates are all states of a target, in the order in which they are counted.
var targetStates = [...]string{ //nolint:gochecknoglobals // a constant
	"QUEUED", "SENT", "DELIVERED", "READ", "FAILED", "EXPIRED", "CANCELLED", stateNotSent,
	stateForgotten,
}

// targetResult is what became of a broadcast at one tracker.
type targetResult struct {
	state   string
	message queue.Message // its delivery alone
}

// targetReading is what became of a broadcast: counts over all of its targets, and those of a page.
type targetReading struct {
	first, last int // of the page
	page        []targetResult
	counts      map[string]int
}

func (r *targetReading) read(ctx context.Context, store queue.Messages,
	targets []queue.BroadcastTarget, now time.Time,
) error {
	r.counts = make(map[string]int)
	i := 0
	for some := range slices.Chunk(targets, findAtOnce) {
		ids := make([]int64, len(some))
		for k, t := range some {
			ids[k] = t.Message
		}
		messages, err := store.Find(ctx, ids)
		if err != nil {
			return fmt.Errorf("reading the messages of a broadcast: %w", err)
		}
		for k := range messages {
			res := resultOf(some[k], &messages[k], now)
			r.counts[res.state]++
			if r.first <= i && i < r.last {
				r.page = append(r.page, res)
			}
			i++
		}
	}
	return nil
}

// resultOf takes what the store found of a target's message. Texts are not kept: a page may have
// many long ones, which all are the broadcast's own.
func resultOf(t queue.BroadcastTarget, m *queue.Message, now time.Time) targetResult {
	switch {
	case t.Message == 0:
		return targetResult{state: stateNotSent}
	case m.ID == 0 || m.Tracker != t.Tracker:
		return targetResult{state: stateForgotten}
	}
	own := *m
	own.Text, own.Choices, own.Author, own.ReplyTo, own.Urgent = "", nil, nil, 0, false
	return targetResult{navixy.StateOf(m, now.UnixMilli()), own}
}
