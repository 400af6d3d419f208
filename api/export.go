package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// Bounds of exports. Each holds a page of messages and what is written of it.
const (
	maxExports        = 16 // that run at a time in one process
	maxAccountExports = 3  // of them of one account

	exportStall = 30 * time.Second // of one write: a client that takes nothing for so long is gone
)

// Media types of exports.
const (
	exportCSV    = "text/csv"
	exportNDJSON = "application/x-ndjson"
)

// export answers tracker/chat/export: the messages of a tracker, or of all that can be listed, as a
// file. What fails once it has begun breaks it off.
func (a *API) export(ctx context.Context, c *call) error {
	q, err := readExport(c.read, a.now())
	if err != nil {
		return err
	}
	if !c.framed { // there is nothing at its end that could be missing
		return navixy.Refuse(navixy.CodeWrongFormat)
	}
	if !a.exports.begin(c.account.ID) {
		return &navixy.Refusal{Code: navixy.CodeTooMany, Retry: 10, Reason: reasonExports}
	}
	defer a.exports.end(c.account.ID)
	x := exporting{
		a: a, c: c, q: &q, control: http.NewResponseController(c.out.w),
		row: navixy.Row{Clock: c.read.Clock},
	}
	if q.csv {
		c.out.buf = navixy.AppendCSVHeader(c.out.buf)
	}
	if q.all {
		err = x.account(ctx)
	} else {
		err = x.tracker(ctx, q.tracker)
	}
	if err == nil {
		err = x.write()
	}
	if ctx.Err() != nil || c.out.err != nil {
		c.out.cut = true
		return nil // the client has left
	}
	return err
}

// exporting is an export that runs.
type exporting struct {
	a       *API
	c       *call
	q       *exportRequest
	control *http.ResponseController
	row     navixy.Row
}

// step does a part of the export as a request of its own would: for a caller who is still known, in
// the store's time, and with a place among the running.
func (x *exporting) step(ctx context.Context, do func(context.Context) error) error {
	a, c := x.a, x.c
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	c.snap, c.now = a.directory.Current(), a.now()
	who, err := a.caller(ctx, c.snap, c.hash, c.now)
	if err != nil {
		return err
	}
	if who.account.ID != c.account.ID {
		return navixy.Refuse(navixy.CodeUnknownHash)
	}
	if err := enter(ctx, a.places.running); err != nil {
		return err
	}
	defer a.places.running.Release()
	return do(ctx)
}

// account writes the messages of all trackers whose messages the caller can list, one after the
// other.
func (x *exporting) account(ctx context.Context) error {
	c := x.c
	var ids []queue.TrackerID
	for t := range c.snap.TrackersOf(c.account.ID) {
		ids = append(ids, t.ID)
	}
	for t := range c.snap.FormerOf(c.account.ID) {
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id queue.TrackerID) bool {
		_, err := c.conversations(id)
		return err != nil
	})
	if len(ids) == 0 {
		return navixy.Refuse(navixy.CodeTariff)
	}
	for some := range slices.Chunk(ids, presenceAtOnce) {
		var busy map[queue.TrackerID]bool
		err := x.step(ctx, func(ctx context.Context) (err error) {
			busy, err = x.busy(ctx, some)
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range some {
			if !busy[id] {
				continue
			}
			if err := x.tracker(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// busy finds those trackers that have messages since the beginning of the period.
func (x *exporting) busy(ctx context.Context,
	ids []queue.TrackerID,
) (map[queue.TrackerID]bool, error) {
	var keys []queue.TrackerID
	for _, id := range ids {
		own, err := x.c.conversations(id)
		if err == nil { // else it cannot be listed any more
			keys = append(keys, own...)
		}
	}
	times, err := x.a.store.LastTimes(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("reading last times: %w", err)
	}
	busy := make(map[queue.TrackerID]bool, len(times))
	for key, ms := range times {
		if ms >= x.q.from*1000 {
			id, _ := queue.TrackerOf(key)
			busy[id] = true
		}
	}
	return busy, nil
}

// tracker writes the messages of one tracker. In an export of all trackers one that cannot be
// listed any more is left out, as long as nothing of it is written.
func (x *exporting) tracker(ctx context.Context, id queue.TrackerID) error {
	x.row.Tracker, x.row.Label = id, ""
	if t, ok := x.c.tracker(id); ok {
		x.row.Label = t.Label
	}
	q := queue.ListQuery{FromMs: x.q.from * 1000, ToMs: x.q.to*1000 + 999, Limit: pageSize}
	for {
		var page []queue.Message
		gone := false
		err := x.step(ctx, func(ctx context.Context) error {
			keys, err := x.c.conversations(id)
			if err != nil {
				gone = x.q.all && q.Beyond == 0
				return err
			}
			page, err = x.a.nextPage(ctx, keys, &q)
			return err
		})
		if gone {
			return nil
		}
		if err != nil {
			return fmt.Errorf("exporting messages: %w", err)
		}
		if err := x.append(page); err != nil {
			return err
		}
		if len(page) < q.Limit {
			return nil
		}
	}
}

// append appends messages and writes out what has grown long.
func (x *exporting) append(page []queue.Message) error {
	out := x.c.out
	x.row.Now = x.c.now.UnixMilli()
	for i := range page {
		x.row.Message = &page[i]
		if x.q.csv {
			out.buf = navixy.AppendCSV(out.buf, &x.row)
		} else {
			out.buf = navixy.AppendNDJSON(out.buf, &x.row)
		}
		if len(out.buf) >= flushAt {
			if err := x.write(); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes what there is. A client that does not take it in time is cut off.
func (x *exporting) write() error {
	out := x.c.out
	// The server's own deadlines are for requests that end. A socket knows no other clock.
	deadline := time.Now().Add(exportStall) //nolint:forbidigo // said above
	if err := errors.Join(x.control.SetReadDeadline(time.Time{}),
		x.control.SetWriteDeadline(deadline)); err != nil {
		return fmt.Errorf("setting deadlines: %w", err)
	}
	if !out.started {
		h := out.w.Header()
		h["Content-Type"] = []string{x.contentType()}
		h["Content-Disposition"] = []string{`attachment; filename="` + x.fileName() + `"`}
		out.start(http.StatusOK)
	}
	out.write()
	return out.err
}

func (x *exporting) contentType() string {
	if x.q.csv {
		return exportCSV + "; charset=utf-8"
	}
	return exportNDJSON
}

// fileName names the tracker and the period, in the days of the account.
func (x *exporting) fileName() string {
	name := "trackchat"
	if !x.q.all {
		name += "-" + strconv.FormatInt(int64(x.q.tracker), 10)
	}
	day := func(unix int64) string {
		return time.Unix(unix, 0).In(x.c.read.Clock.Zone).Format("-" + time.DateOnly)
	}
	if x.q.since {
		name += day(x.q.from)
	}
	name += day(x.q.to)
	if x.q.csv {
		return name + ".csv"
	}
	return name + ".ndjson"
}
