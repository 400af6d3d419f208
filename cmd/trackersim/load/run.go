package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"trackchat/gateway/engine"
)

// ErrNobody says that no device could log in.
var ErrNobody = errors.New("no device could log in")

// run is one run at work.
type run struct {
	o       *Options
	ledger  *ledger
	eng     engine.Engine
	fleet   *devices
	client  *client
	sending *sending
	meter   *meter

	began    time.Time // the run
	clock    time.Time // of the service, at began
	loggedIn time.Duration
	online   int64
	sentIn   time.Duration // what the sending took
	lastly   listed

	mu      sync.Mutex
	samples []sample
	notes   []string
}

// Run puts the service under load. An error says that the run could not be made; what went wrong in
// it is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	clock, err := probe(ctx, &o)
	if err != nil {
		return nil, err
	}
	eng, err := engine.New(engine.Options{}) //nolint:contextcheck // it is shut down after ctx
	if err != nil {
		return nil, err
	}
	r := &run{o: &o, ledger: newLedger(&o), eng: eng, began: time.Now(), clock: clock}
	r.fleet = newDevices(&o, r.ledger, r.eng)
	r.client = newClient(r.eng, o.API, o.Connections)
	r.sending = newSending(&o, r.ledger, r.fleet)
	if r.meter, err = newMeter(o.PIDs); err != nil {
		return nil, errors.Join(err, eng.Shutdown(ctx))
	}
	// an interrupted run still reads back what became of its messages.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		r.watch(inner)
	}()
	err = r.play(ctx, inner)
	r.fleet.ending.Store(true)
	r.client.end()
	cancel()
	<-watching
	bounded, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer stop()
	if late := r.eng.Shutdown(bounded); late != nil {
		r.note(late.Error()) // what was found out is true all the same
	}
	r.fleet.group.Wait()
	r.client.dial.Wait()
	if err != nil {
		return nil, err
	}
	return r.report(), nil
}

// play goes through the phases of the run. The end of ctx cuts them short; connections and what has
// to follow live until whole ends.
func (r *run) play(ctx, whole context.Context) error {
	if err := r.client.connect(whole); err != nil {
		return fmt.Errorf("connecting to the API: %w", err)
	}
	r.meter.mark(before)
	if r.o.Storm > 0 {
		r.fill(ctx)
		r.begin()
	}
	if err := r.login(ctx, whole); err != nil {
		return err
	}
	switch {
	case r.o.Storm > 0:
		r.fleet.await(ctx, r.o.Drain+time.Minute, r.sending.done)
	case r.o.Rate > 0:
		r.begin()
		r.send(ctx)
		r.fleet.await(ctx, r.o.Drain, r.sending.done)
	default:
		r.begin()
		r.fleet.await(ctx, r.o.Duration, func() bool { return false })
	}
	r.meter.mark(end)
	if len(r.ledger.records) > 0 {
		if unsent := r.sending.stop(); unsent > 0 {
			r.note(fmt.Sprintf("%d messages were due and found no free connection to the API",
				unsent))
		}
		r.fleet.await(whole, answerTime, r.sending.idle)
		r.sending.close()
		r.readBack(whole)
	}
	return nil
}

// begin starts the clock of the schedule.
func (r *run) begin() {
	r.meter.mark(loggedIn)
	r.meter.mark(start)
	r.ledger.started.Store(time.Now().UnixNano())
}

// login brings the devices on line.
func (r *run) login(ctx, whole context.Context) error {
	start := time.Now()
	r.fleet.connect(whole)
	most := r.o.LoginWithin + time.Duration(float64(r.o.trackers())/r.o.ConnectRate*float64(
		time.Second))
	all := int64(r.o.trackers())
	r.fleet.await(ctx, most, func() bool { return r.fleet.online.Load() >= all })
	r.loggedIn, r.online = time.Since(start), r.fleet.online.Load()
	if r.fleet.logins.Load() == 0 {
		if p := r.fleet.lastError.Load(); p != nil {
			return fmt.Errorf("%w: %w", ErrNobody, *p)
		}
		return fmt.Errorf("%w: %d refused", ErrNobody, r.fleet.refused.Load())
	}
	if r.online < all {
		r.note(fmt.Sprintf("%d of %d devices were logged in when the time for it was over",
			r.online, all))
	}
	return nil
}

// fill queues the storm's texts as fast as the API takes them.
func (r *run) fill(ctx context.Context) {
	s := r.sending
	s.due.Store(int64(r.ledger.requests()))
	began := time.Now()
	r.client.work(s.operation(), s)
	r.fleet.await(ctx, 10*time.Minute, func() bool { return s.answered.Load() >= s.due.Load() })
	r.sentIn = time.Since(began)
}

// send lets requests become due at their times, whatever became of those before.
func (r *run) send(ctx context.Context) {
	// between two looks at the clock: what is due meanwhile goes out together.
	const shortest = 200 * time.Microsecond
	s := r.sending
	r.client.work(s.operation(), s)
	for total := r.ledger.requests(); ctx.Err() == nil; {
		now := r.ledger.since(time.Now())
		due := min(int(now/r.ledger.interval)+1, total)
		s.due.Store(int64(due))
		r.client.kick()
		if due == total {
			break
		}
		pause(max(r.ledger.due(due)-r.ledger.since(time.Now()), shortest))
	}
	r.sentIn = r.ledger.since(time.Now())
}

// readBack asks the API for every message of the run, and again for the trackers of which it has
// not yet listed as delivered what their devices have acknowledged.
func (r *run) readBack(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, readBackTime)
	defer cancel()
	devices := r.devicesWith(func(rec *record) bool {
		return rec.state.Load()&(accepted|unanswered) != 0
	})
	from := r.clock.Add(-5 * time.Second)
	var patience time.Time // of reading again; it begins with the end of the first reading
	first := true
	for number := uint32(1); len(devices) > 0 && limit.Err() == nil; number++ {
		job := newVerification(r.o, r.ledger, number, devices, from)
		r.client.work("list", job)
		if !r.fleet.await(limit, readBackTime, func() bool {
			r.client.kick()
			return job.done()
		}) {
			r.note("the time to read the lists was over before all were read")
			r.lastly.unreadable += int64(len(devices))
			return
		}
		if first {
			r.lastly = job.result
			first, patience = false, time.Now().Add(settleTime)
		} else {
			r.lastly.unreadable += job.result.unreadable
		}
		if job.failure != "" {
			r.note("list: " + job.failure)
		}
		if time.Now().After(patience) {
			return
		}
		devices = r.unsettled()
		if len(devices) > 0 {
			wait(limit, 200*time.Millisecond)
		}
	}
}

// unsettled returns the devices with a message that was acknowledged and is not listed as
// delivered, or was accepted and is not listed.
func (r *run) unsettled() []int {
	return r.devicesWith(func(rec *record) bool {
		st := rec.state.Load()
		return st&acked != 0 && st&delivered == 0 || st&accepted != 0 && rec.listed.Load() == 0
	})
}

// devicesWith returns the devices that have such a message.
func (r *run) devicesWith(such func(*record) bool) []int {
	seen := make([]bool, r.o.trackers())
	var out []int
	for i := range r.ledger.records {
		if d := i % r.o.trackers(); !seen[d] && such(&r.ledger.records[i]) {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (r *run) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
}

// watch takes a sample a second and shows it.
func (r *run) watch(ctx context.Context) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	var was sample
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			r.meter.peak()
			s := sample{
				at: now.Sub(r.began).Seconds(), accepted: r.ledger.taken.Load(),
				arrived: r.ledger.arrived.Load(), acked: r.ledger.acked.Load(),
			}
			r.mu.Lock()
			r.samples = append(r.samples, s)
			r.mu.Unlock()
			if r.o.Progress != nil {
				span := max(s.at-was.at, 1e-3)
				_, _ = fmt.Fprintf(r.o.Progress,
					"%4.0fs  online %d/%d  sent %d  accepted %d (%.0f/s)  at the device %d (%.0f/s)  acked %d  p50 %.2f ms  p99 %.2f ms\n",
					s.at, r.fleet.online.Load(), r.o.trackers(), r.ledger.sent.Load(), s.accepted,
					float64(s.accepted-was.accepted)/span,
					s.arrived, float64(s.arrived-was.arrived)/span, s.acked,
					r.fleet.toDevice.at(50), r.fleet.toDevice.at(99))
			}
			was = s
		}
	}
}
