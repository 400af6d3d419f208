package trackersim_test

import (
	"context"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"

	"go.uber.org/goleak"
)

// patience bounds every wait; it is long because it only passes when something is broken.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func settings(t *testing.T, p *protocol.Protocol) protocol.Settings {
	t.Helper()
	s, err := p.NewSettings()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// complete adds the clock, and the settings where there are none.
func complete(t *testing.T, o trackersim.Options) trackersim.Options {
	t.Helper()
	o.Now = time.Now
	if o.Device.Settings.String(o.Protocol.Settings[0].Name) == "" {
		o.Device.Settings = settings(t, o.Protocol)
	}
	return o
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// run plays a tracker until the test ends or stop is called; stop returns what Run returned.
func run(t *testing.T, o trackersim.Options) (tr *trackersim.Tracker, stop func() error) {
	t.Helper()
	tr = trackersim.New(complete(t, o))
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- tr.Run(ctx) }()
	var err error
	stopped := false
	stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			err = <-result
		}
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return tr, stop
}

// await waits for the stats.
func await(t *testing.T, tr *trackersim.Tracker, what string, ok func(trackersim.Stats) bool) {
	t.Helper()
	if err := tr.Await(patient(t), ok); err != nil {
		t.Fatalf("waiting for %s: %v; stats %+v", what, err, tr.Stats())
	}
}

func loggedIn(s trackersim.Stats) bool { return s.LoggedIn }

// ended waits until Run has returned by itself and returns its error.
func ended(t *testing.T, o trackersim.Options) error {
	t.Helper()
	return trackersim.New(complete(t, o)).Run(patient(t))
}
