package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trackchat/cmd/bench/process"
	"trackchat/cmd/bench/report"
)

// reach is the share of its closed loop's throughput up to which a stack is asked for a rate.
const reach = 0.95

// warm sends for a moment, so that nothing of the start is measured.
func (r *run) warm(ctx context.Context, batch int) {
	if r.o.Warm > 0 {
		r.run(ctx, r.closedLoop(batch, r.o.Warm))
		r.settle(ctx, 0, func() {})
	}
}

func (r *run) closedLoop(batch int, length time.Duration) loop {
	target := spread(r.o.Deaf, r.o.Devices)
	if batch > 1 {
		target = func(k int64) int { return int(k * int64(batch) % int64(r.o.Devices)) }
	}
	return loop{target: target, batch: batch, length: length, window: r.o.Window}
}

// closed measures a closed loop.
func (r *run) closed(ctx context.Context, batch int) (*report.Phase, error) {
	l := r.closedLoop(batch, r.o.Send)
	l.least = int64(r.o.Least / batch)
	p, err := r.phase(ctx, func(ctx context.Context) { r.run(ctx, l) })
	if err == nil && p.Accepted == 0 {
		err = r.nothing()
	}
	return p, err
}

func (r *run) nothing() error {
	if r.refusal != nil {
		return fmt.Errorf("nothing was accepted: %w", r.refusal)
	}
	return errors.New("nothing was accepted")
}

// open measures an open loop.
func (r *run) open(ctx context.Context, rate float64) (*report.Phase, error) {
	begin := r.ledger.Len()
	p, err := r.phase(ctx, func(ctx context.Context) {
		r.run(ctx, loop{
			target: spread(r.o.Deaf, r.o.Devices), batch: 1, rate: rate,
			most: max(int64(rate*r.o.Send.Seconds()), 1),
		})
	})
	if p != nil {
		p.Planned = rate
		planned := max(int64(rate*r.o.Send.Seconds()), 1)
		p.Missing = int(planned-p.Accepted) + r.ledger.Missing(begin, r.o.Deaf)
	}
	return p, err
}

func (r *run) rate(ctx context.Context, result *report.Run) (err error) {
	r.warm(ctx, 1)
	if result.Closed, err = r.closed(ctx, 1); err != nil {
		return err
	}
	if result.Half, err = r.open(ctx, result.Closed.PerSecond/2); err != nil {
		return err
	}
	if r.o.Rate > result.Closed.PerSecond*reach {
		result.Same = &report.Phase{Planned: r.o.Rate, Unreachable: true}
		return nil
	}
	result.Same, err = r.open(ctx, r.o.Rate)
	return err
}

// kill tells when half of the load is sent, for somebody to kill the stack and start it again.
func (r *run) kill(ctx context.Context, result *report.Run) (err error) {
	failed := make(chan error, 1)
	timer := time.AfterFunc(r.o.Send/2, func() {
		_, err := fmt.Fprintln(r.events, Half)
		failed <- err
	})
	defer timer.Stop()
	if result.Kill, err = r.open(ctx, r.o.Rate); err != nil {
		return err
	}
	return <-failed
}

func (r *run) idle(ctx context.Context, result *report.Run, before process.Usage) error {
	pause(ctx, max(r.o.Send, r.o.Settle))
	after, err := process.UsageOf(r.o.PIDs)
	if err != nil {
		return err
	}
	if n := r.fleet.LoggedIn(); n < r.o.Devices {
		return fmt.Errorf("%d of %d devices are still logged in", n, r.o.Devices)
	}
	result.Idle = &report.Memory{Before: before.RSS, After: after.RSS}
	return nil
}

func (r *run) deaf(ctx context.Context, result *report.Run) (err error) {
	r.warm(ctx, 1)
	d := &report.DeafResult{Devices: r.o.Deaf, Asked: int64(r.o.Deaf * r.o.Texts)}
	if d.Calm, err = r.open(ctx, r.o.Rate); err != nil {
		return err
	}
	before, err := process.UsageOf(r.o.PIDs)
	if err != nil {
		return err
	}
	accepted := r.ledger.Accepted()
	r.run(ctx, loop{
		target: func(k int64) int { return int(k % int64(r.o.Deaf)) }, batch: 1, most: d.Asked,
		length: r.o.Limit,
	})
	pause(ctx, 2*time.Second)
	after, err := process.UsageOf(r.o.PIDs)
	if err != nil {
		return err
	}
	d.Memory = report.Memory{Before: before.RSS, After: after.RSS}
	d.Texts = r.ledger.Accepted() - accepted
	if d.Healthy, err = r.open(ctx, r.o.Rate); err != nil {
		return err
	}
	result.Deaf = d
	return nil
}

// storm queues texts for devices that are away, then lets all of them connect at once.
func (r *run) storm(ctx context.Context, result *report.Run) (disconnect func(), err error) {
	disconnect = func() {}
	pause(ctx, time.Second) // the stack has to notice that they are gone
	s := &report.StormResult{Asked: int64(r.o.Devices * r.o.Texts)}
	r.run(ctx, loop{
		target: func(k int64) int { return int(k % int64(r.o.Devices)) }, batch: 1, most: s.Asked,
		length: r.o.Limit,
	})
	s.Queued = r.ledger.Accepted()
	result.Storm = s
	if s.Queued == 0 {
		return disconnect, r.nothing()
	}
	begin := r.ledger.Now()
	disconnect = r.fleet.Connect(ctx, r.o.Devices)
	loggedIn := int64(0)
	news := r.newsWatch()
	for ctx.Err() == nil && news() && (loggedIn == 0 || r.missing(0)) {
		if loggedIn == 0 && r.fleet.LoggedIn() >= r.o.Devices {
			loggedIn = r.ledger.Now()
		}
		time.Sleep(poll)
	}
	lastAck := r.fleet.LastAck()
	r.settle(ctx, 0, func() {})
	if loggedIn != 0 {
		s.LoggedS = time.Duration(loggedIn - begin).Seconds()
	}
	s.LastAck = time.Duration(lastAck - begin).Seconds()
	s.Missing = r.ledger.Missing(0, 0)
	return disconnect, nil
}
