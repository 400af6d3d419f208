package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"trackchat/cmd/bench/device"
	"trackchat/cmd/bench/ledger"
	"trackchat/cmd/bench/process"
	"trackchat/cmd/bench/report"
)

// Half is the line that a run of the scenario kill writes when half of the load is sent: now the
// stack is to be killed and started again.
const Half = "half"

const (
	loginsAtOnce = 200 // where devices do not come all at once
	poll         = 10 * time.Millisecond
	readers      = 8  // statuses are read over so many connections
	tail         = 32 // texts whose statuses are read first, being the last to change
)

var (
	// errCannot says that a stack works, but not with so many devices.
	errCannot   = errors.New("cannot")
	errNoAnswer = errors.New("no answer to the login")
)

// run is one run of the generator.
type run struct {
	o       Options
	ledger  *ledger.Ledger
	fleet   *device.Fleet
	api     api
	clients []client
	readers []client
	events  io.Writer // for Half

	once    sync.Once
	refusal error // the first one
}

// Run runs a scenario. What fails is in the report, with what was measured before.
func Run(ctx context.Context, o Options, events io.Writer) report.Run {
	result := report.Run{
		Stack: o.Stack, Scenario: o.Scenario, Round: o.Round, Devices: o.Devices,
	}
	if err := o.check(); err != nil {
		result.Failed = err.Error()
		return result
	}
	if o.Scenario != report.Deaf {
		o.Deaf = 0
	}
	r := &run{
		o: o, ledger: ledger.New(o.Devices, o.room(), o.Size),
		clients: make([]client, o.Connections), readers: make([]client, readers), events: events,
	}
	for i := range r.clients {
		r.clients[i].addr = o.HTTP
	}
	for i := range r.readers {
		r.readers[i].addr = o.HTTP
	}
	if o.API == Trackchat {
		r.api = trackchatAPI{ledger: r.ledger, key: o.Key, devices: o.Devices}
	} else {
		r.api = frontAPI{ledger: r.ledger}
	}
	switch err := r.scenario(ctx, &result); {
	case errors.Is(err, errCannot):
		result.Cannot = err.Error()
	case err != nil:
		result.Failed = err.Error()
	}
	result.Counts = r.ledger.Count(o.Deaf)
	for i := range r.clients {
		r.clients[i].close()
	}
	for i := range r.readers {
		r.readers[i].close()
	}
	return result
}

func (r *run) scenario(ctx context.Context, result *report.Run) (err error) {
	r.fleet, err = device.New(device.Options{
		Speak: r.o.Speak, Gateway: r.o.Gateway, Count: r.o.Devices, Deaf: r.o.Deaf,
		AckQoS: byte(r.o.AckQoS),
	}, r.ledger)
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	if r.o.Scenario == report.Idle {
		pause(ctx, r.o.Settle)
	}
	before, err := process.UsageOf(r.o.PIDs)
	if err != nil {
		return err
	}
	begin := time.Now()
	disconnect := r.fleet.Connect(ctx, loginsAtOnce)
	defer func() { disconnect() }()
	if err := r.loggedIn(ctx); err != nil {
		return err
	}
	result.LoginSeconds = time.Since(begin).Seconds()
	switch r.o.Scenario {
	case report.Rate:
		err = r.rate(ctx, result)
	case report.Broadcast:
		r.warm(ctx, r.o.Batch)
		result.Closed, err = r.closed(ctx, r.o.Batch)
	case report.Kill:
		err = r.kill(ctx, result)
	case report.Idle:
		err = r.idle(ctx, result, before)
	case report.Deaf:
		err = r.deaf(ctx, result)
	case report.Storm:
		disconnect()
		disconnect, err = r.storm(ctx, result)
	}
	result.Reconnects = r.fleet.Lost()
	return err
}

// loggedIn waits until every device is.
func (r *run) loggedIn(ctx context.Context) error {
	all := func() bool { return r.fleet.LoggedIn() >= r.o.Devices }
	if until(ctx, r.o.Limit, all) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %d of %d devices logged in within %v, the others: %w", errCannot,
		r.fleet.LoggedIn(), r.o.Devices, r.o.Limit, cmp.Or(r.fleet.Trouble(), errNoAnswer))
}

// refused keeps the API's first refusal for the report.
func (r *run) refused(status int, answer []byte) {
	r.once.Do(func() { r.refusal = fmt.Errorf("refused with HTTP %d: %.200q", status, answer) })
}

// settle waits until every text from a number on is at its device, and then was read back as
// delivered, or nothing has changed for as long as the options say. arrived is called in between.
// end is when the last of it happened; that most statuses are read later does not count.
func (r *run) settle(ctx context.Context, begin int64, arrived func()) (end int64, left int) {
	news := r.newsWatch()
	for r.missing(begin) && news() && ctx.Err() == nil {
		time.Sleep(poll)
	}
	arrived()
	end = r.ledger.Changed()
	if r.missing(begin) { // the others have had all that time to change
		r.readBack(ctx, begin)
		return end, r.waiting(begin)
	}
	r.readUntil(ctx, max(begin, r.ledger.Len()-tail))
	return max(end, r.ledger.Changed()), r.readUntil(ctx, begin)
}

// readUntil reads the statuses from a number on until all are delivered or nothing changes.
func (r *run) readUntil(ctx context.Context, begin int64) (left int) {
	for news := r.newsWatch(); ; time.Sleep(poll) {
		r.readBack(ctx, begin)
		left = r.waiting(begin)
		if left == 0 || !news() || ctx.Err() != nil {
			return left
		}
	}
}

// newsWatch makes a function that is false when nothing has happened to any text for too long.
func (r *run) newsWatch() func() bool {
	last, at := r.ledger.Changes(), time.Now()
	return func() bool {
		if now := r.ledger.Changes(); now != last {
			last, at = now, time.Now()
		}
		return time.Since(at) < r.o.Patience
	}
}

func (r *run) missing(begin int64) bool {
	return r.ledger.Missing(begin, r.o.Deaf) > 0
}

func (r *run) waiting(begin int64) (n int) {
	r.ledger.Waiting(begin, r.o.Deaf, func(int64, int, int64) bool { n++; return true })
	return n
}

// readBack reads the statuses that wait for it once. What cannot be read is left waiting.
func (r *run) readBack(ctx context.Context, begin int64) {
	queries := make(chan query)
	var all sync.WaitGroup
	for i := range r.readers {
		all.Go(func() {
			for q := range queries {
				if err := q(ctx, &r.readers[i]); err != nil {
					pause(ctx, afterFailure)
				}
			}
		})
	}
	for _, q := range r.api.readBack(begin, r.o.Deaf) {
		queries <- q
	}
	close(queries)
	all.Wait()
}

// until waits for a condition; false: it did not come.
func until(ctx context.Context, most time.Duration, condition func() bool) bool {
	for end := time.Now().Add(most); !condition(); {
		if ctx.Err() != nil || time.Now().After(end) {
			return false
		}
		time.Sleep(poll)
	}
	return true
}

// pause waits.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
