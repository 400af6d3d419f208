package load

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"trackchat/cmd/bench/process"
	"trackchat/cmd/bench/report"
)

// longest is what a latency is counted as at most.
const longest = 10 * time.Minute

// phase sends and measures one stretch. Requests that are late for their planned time, because the
// API or a connection was busy, have that in their latency.
func (r *run) phase(ctx context.Context, send func(context.Context)) (*report.Phase, error) {
	begin, accepted, started := r.ledger.Len(), r.ledger.Accepted(), r.ledger.Now()
	before, err := process.UsageOf(r.o.PIDs)
	if err != nil {
		return nil, err
	}
	own := process.Own()
	send(ctx)
	sending := time.Duration(r.ledger.Now() - started).Seconds()
	// In the scenario kill these processes are gone: there is no usage to tell then.
	sent, gone := process.UsageOf(r.o.PIDs)
	own = process.Own() - own
	last := r.ledger.Len()
	arrived := sent
	end, left := r.settle(ctx, begin, func() {
		if u, err := process.UsageOf(r.o.PIDs); err == nil {
			arrived = u
		}
	})
	if end <= started { // nothing has arrived
		end = r.ledger.Now()
	}
	p := &report.Phase{
		Accepted: r.ledger.Accepted() - accepted,
		Seconds:  time.Duration(end - started).Seconds(),
		OwnCores: own.Seconds() / sending, Left: left,
	}
	p.PerSecond = float64(p.Accepted) / p.Seconds
	if gone == nil && p.Accepted > 0 {
		p.CPUMicros = (arrived.CPU - before.CPU).Seconds() * 1e6 / float64(p.Accepted)
		p.StackCores = (sent.CPU - before.CPU).Seconds() / sending
		p.RSS = arrived.RSS
	}
	r.quantiles(p, begin, last)
	return p, nil
}

// quantiles fills in the latencies of the texts with numbers from begin to before end.
func (r *run) quantiles(p *report.Phase, begin, end int64) {
	h := distribution(func(add func(time.Duration)) {
		r.ledger.Latencies(begin, end, r.o.Deaf, add)
	})
	at := func(percent float64) float64 { return float64(h.ValueAtQuantile(percent)) / 1000 }
	p.P50, p.P90, p.P99, p.P999 = at(50), at(90), at(99), at(99.9)
	p.Max = float64(h.Max()) / 1000
	late := distribution(func(add func(time.Duration)) { r.ledger.Lateness(begin, end, add) })
	p.LateP50 = float64(late.ValueAtQuantile(50)) / 1000
	p.LateP99 = float64(late.ValueAtQuantile(99)) / 1000
}

// distribution collects durations as microseconds.
func distribution(each func(add func(time.Duration))) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, longest.Microseconds(), 3)
	each(func(d time.Duration) {
		// within its range by the bounds
		_ = h.RecordValue(min(max(d, time.Microsecond), longest).Microseconds())
	})
	return h
}
