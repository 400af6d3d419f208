package api

import (
	"context"
	"errors"

	"trackchat/queue"

	"go.uber.org/zap"
)

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
