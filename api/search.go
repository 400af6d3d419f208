package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"trackchat/api/navixy"
	"trackchat/queue"

	"golang.org/x/text/cases"
)

const (
	pageSize = 64 // messages read at once of many: their texts may have 80 KB each
	latestMs = 1 << 48

	// what one search looks at, messages and bytes of text; the next one goes on there.
	maxSearched      = 20_000
	maxSearchedBytes = 32 << 20

	// that run at a time in one process, and of one account: they take the processor.
	maxSearches        = 32
	maxAccountSearches = 4
)

// nextPage reads a page of listAll and moves q to the next one; a page shorter than the limit is
// the last.
func (a *API) nextPage(ctx context.Context, keys []queue.TrackerID,
	q *queue.ListQuery,
) ([]queue.Message, error) {
	page, err := a.listAll(ctx, keys, *q)
	if n := len(page); n > 0 {
		q.Beyond = page[n-1].ID
		if q.Desc {
			q.ToMs = page[n-1].SubmitMs
		} else {
			q.FromMs = page[n-1].SubmitMs
		}
	}
	return page, err
}

// search answers tracker/chat/search.
func (a *API) search(ctx context.Context, c *call) error {
	r, err := readSearch(c.read)
	if err != nil {
		return err
	}
	keys, err := c.conversations(r.tracker)
	if err != nil {
		return err
	}
	if !a.searches.begin(c.account.ID) {
		return &navixy.Refusal{Code: navixy.CodeTooMany, Retry: 1, Reason: reasonSearches}
	}
	defer a.searches.end(c.account.ID)
	q := queue.ListQuery{ToMs: latestMs, Limit: pageSize, Desc: true, Beyond: r.beyond}
	if q.Beyond != 0 { // spares the store what is newer
		last, err := a.find(ctx, q.Beyond)
		if err != nil {
			return err
		}
		if slices.Contains(keys, last.Tracker) {
			q.ToMs = last.SubmitMs
		}
	}
	s := searching{c: c, r: &r, fold: cases.Fold()}
	s.words = s.fold.String(r.query)
	c.out.buf = append(c.out.buf, `{"success":true,"list":[`...)
	for over := false; !over; {
		page, err := a.nextPage(ctx, keys, &q)
		if err != nil {
			return fmt.Errorf("searching messages: %w", err)
		}
		if !s.look(page) && len(page) < q.Limit {
			s.next = 0 // all has been seen
			break
		}
		// Half the time is left for the answer, and for a store that is slow.
		over = s.full || s.seen >= maxSearched || s.bytes >= maxSearchedBytes ||
			a.now().Sub(c.now) > a.timeout/2
	}
	c.out.buf = append(c.out.buf, `],"next":`...)
	if s.next == 0 {
		c.out.buf = append(c.out.buf, `null}`...)
		return nil
	}
	c.out.buf = append(strconv.AppendInt(c.out.buf, s.next, 10), '}')
	return nil
}

// searching is what one search has come to.
type searching struct {
	c     *call
	r     *searchRequest
	fold  cases.Caser
	words string // folded
	seen  int
	bytes int
	hits  int
	next  int64 // the last message looked at
	full  bool  // there are as many hits as were asked for
}

// look appends the hits of a page, up to the limit, which it reports.
func (s *searching) look(page []queue.Message) bool {
	out := s.c.out
	for i := range page {
		m := &page[i]
		s.next = m.ID
		s.seen++
		s.bytes += len(m.Text)
		if !strings.Contains(s.fold.String(m.Text), s.words) {
			continue
		}
		if s.hits > 0 {
			out.buf = append(out.buf, ',')
		}
		out.buf = navixy.AppendMessage(out.buf, m, s.c.read.Clock)
		out.flushLong()
		if s.hits++; s.hits == s.r.limit {
			s.full = true
			break
		}
	}
	return s.full
}
