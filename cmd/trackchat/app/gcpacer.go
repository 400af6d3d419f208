package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector's percentage. Many quiet sessions make hardly any garbage: there the heap can be
// kept close to what they need for next to nothing. Under load on a small heap a small percentage
// would collect dozens of times a second, which costs a tenth of the processor and more. So it
// rises while collections are many, and falls again when they are few; below gcPercent it goes by
// what they cost, since one of a million sessions is worth a hundred of a thousand.
const (
	gcPercent      = 50 // at the start, and the most that cost alone makes of it
	gcPercentLeast = 10
	gcPercentMost  = 400
	gcOften        = 4    // collections a second that are too many
	gcSeldom       = 1    // and so few that a step down may be tried
	gcDear         = 0.04 // of one processor: too much for a percentage below gcPercent
	// the same within one second of several collections: all devices come or go.
	gcBurst  = 0.1
	gcCheap  = 0.015 // and so little that half the percentage may be tried
	gcMemory = 20.0  // seconds, about, over which the cost is averaged
	// bytes of a heap like ours that a processor looks through in a second.
	gcSpeed = 1e9
	// unused memory, as a part of the heap, that is worth giving back.
	gcKept   = 0.15
	gcGiving = 0.005 // of one processor: what may be spent on giving memory back
	// without a collection: nobody knows how much of the heap is used.
	gcRest = 30 * time.Second
	// a second: the first moments of a load are not to be spent on collections.
	gcLooks = 5
)

// pace decides on the percentage.
type pace struct {
	percent int
	cost    float64 // share of one processor, averaged
	looks   int     // in this second
	cycles  uint64  // collections in this second
}

// look takes note of the collections since the last look, and of what each cost in CPU seconds.
func (p *pace) look(cycles uint64, each float64) {
	const fade = 1 / (gcMemory * gcLooks)
	p.cost += float64(cycles)*each/gcMemory - p.cost*fade
	p.looks++
	p.cycles += cycles
	switch {
	case p.percent < gcPercent && (p.cycles > gcOften ||
		p.cycles > 1 && float64(p.cycles)*each > gcBurst):
		// no need to see the second out
		p.percent = gcPercent
	case p.looks < gcLooks:
		return
	case p.cycles > gcOften:
		p.percent = min(2*p.percent, gcPercentMost)
	case p.percent > gcPercent:
		if p.cycles < gcSeldom {
			p.percent = max(p.percent/2, gcPercent)
		}
	case p.cycles > 0 && p.cost > gcDear:
		p.percent = min(2*p.percent, gcPercent)
	case p.cost < gcCheap:
		p.percent = max(p.percent/2, gcPercentLeast)
	}
	p.looks, p.cycles = 0, 0
}

// collections is what the runtime tells of them.
type collections struct {
	samples []metrics.Sample
	cycles  uint64
}

func newCollections() *collections {
	c := &collections{samples: []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
	}}
	c.since()
	return c
}

// since returns how many there were since the last call, and about what each cost in CPU seconds.
// What the runtime itself says of that is no use where other programs want the processors as well:
// it counts the waiting.
func (c *collections) since() (cycles uint64, each float64) {
	metrics.Read(c.samples[:2])
	cycles = c.samples[0].Value.Uint64() - c.cycles
	c.cycles += cycles
	return cycles, float64(c.samples[1].Value.Uint64()) / gcSpeed
}

// kept is the memory that the heap does not use and has not given back to the system, as a part of
// what it uses.
func (c *collections) kept() float64 {
	metrics.Read(c.samples[2:])
	return float64(c.samples[2].Value.Uint64()) / float64(c.samples[3].Value.Uint64()+1)
}

// paceCollections sets the collector's percentage until ctx ends. In quiet times it gives memory
// back to the system that nothing uses any more: what a load needed that is over, and what sessions
// left that have gone. That takes a collection, so it is done as often as gcGiving allows.
func paceCollections(ctx context.Context) {
	p := pace{percent: gcPercent}
	debug.SetGCPercent(p.percent)
	every := time.NewTicker(time.Second / gcLooks)
	defer every.Stop()
	c := newCollections()
	last, next := time.Now(), time.Time{} // collection; when memory may be given back
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-every.C:
		}
		cycles, each := c.since()
		if cycles > 0 {
			last = now
		}
		before := p.percent
		p.look(cycles, each)
		if p.percent != before {
			debug.SetGCPercent(p.percent) // stops everything for a moment
		}
		if p.percent > gcPercentLeast || now.Before(next) || now.Sub(last) < gcRest &&
			c.kept() < gcKept {
			continue
		}
		debug.FreeOSMemory()
		_, each = c.since()
		last, next = now, now.Add(max(gcRest, time.Duration(each/gcGiving*float64(time.Second))))
	}
}
