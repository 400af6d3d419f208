package trackersim

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"trackchat/protocol"
)

// Options configure a Tracker. Protocol, Device.ID, Gateway and Now are required; every other zero
// value takes the default that is named here.
type Options struct {
	Protocol *protocol.Protocol
	Device   protocol.DeviceConfig // Settings come from Protocol.NewSettings
	Gateway  string                // host:port
	Source   netip.Addr            // local address of the connection; default: the system's choice
	TLS      *tls.Config           // default: plain TCP
	// Now is the clock: it stamps events and decides what is due, so a clock that stands still
	// holds back everything that has a delay.
	Now func() time.Time
	// Seed makes what the tracker draws (NoAck, jitter, route) repeatable; each device id draws
	// differently from the same seed.
	Seed uint64

	// OnText decides about every part of a text that arrives, also a repeated one. Without it
	// AckDelay, NoAck and Reply decide.
	OnText   func(protocol.DeviceEvent) Action
	AckDelay time.Duration
	NoAck    float64 // probability that a part is never acknowledged, 0 to 1
	Reply    string  // the driver's answer to every part

	// OnEvent is told what happens, in order. Like OnText it runs on the goroutine of Run: it must
	// not block, and not call Say (which waits for that goroutine).
	OnEvent func(Event)

	HeartbeatEvery time.Duration // 0: none
	PositionEvery  time.Duration // 0: none
	// 10 s: pause before an unacknowledged text of the driver is sent again.
	SayTimeout   time.Duration
	LoginTimeout time.Duration // 30 s: for the connection, and again for the login's answer

	// dial again after a connection ended, until the context does; default: Run returns.
	Reconnect bool
	// 1 s: pause after a connection that had logged in; doubles with every one that had not; 50 to
	// 100 % of it are used.
	ReconnectMin time.Duration
	ReconnectMax time.Duration // 1 min
	// Pace is called before every dial and may wait, so that many trackers do not dial at once.
	Pace func(context.Context) error
	// Buffers are shared by the trackers that are given the same ones; default: its own.
	Buffers *Buffers
}

func (o *Options) setDefaults() {
	o.SayTimeout = cmp.Or(o.SayTimeout, 10*time.Second)
	o.LoginTimeout = cmp.Or(o.LoginTimeout, 30*time.Second)
	o.ReconnectMin = cmp.Or(o.ReconnectMin, time.Second)
	o.ReconnectMax = max(cmp.Or(o.ReconnectMax, time.Minute), o.ReconnectMin)
	if o.Buffers == nil {
		o.Buffers = new(Buffers)
	}
}

func (o *Options) check() error {
	switch {
	case o.Protocol == nil || o.Now == nil || o.Gateway == "" || o.Device.ID == "":
		return errors.New("simulated tracker needs a protocol, a device id, a gateway and a clock")
	case o.Device.Variant != "" && !slices.Contains(o.Protocol.Variants, o.Device.Variant):
		return fmt.Errorf("%s has no variant %q (it has: %s)", o.Protocol.Name, o.Device.Variant,
			strings.Join(o.Protocol.Variants, ", "))
	case o.NoAck < 0 || o.NoAck > 1:
		return fmt.Errorf("probability %v of no ack is not within 0 and 1", o.NoAck)
	case min(o.AckDelay, o.HeartbeatEvery, o.PositionEvery, o.SayTimeout, o.LoginTimeout,
		o.ReconnectMin) < 0:
		return errors.New("simulated tracker has a negative duration")
	}
	return nil
}
