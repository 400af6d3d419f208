package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"

	"trackchat/api/admin"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol/all"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const (
	keepAlive = 3 * time.Minute // finds peers that are gone without a word and never send
	// the same for peers that something was sent to: longer than a tunnel, shorter than the
	// kernel's quarter of an hour.
	userTimeout   = 5 * time.Minute
	quiesceWithin = 3 * time.Second
	clientsWithin = 2 * time.Second // a stalled client must not cost the devices their orderly end
)

// newEngine makes the engine of all device connections; it takes TLS listeners too.
func newEngine(o engine.Options, reg prometheus.Registerer) (engine.Engine, error) {
	o.Stats = new(engine.Stats)
	o.ObserveLoopLag = gateway.ObserveEngine(reg, o.Stats)
	return engine.New(o)
}

// devicePort is one listening socket for devices.
type devicePort struct {
	listener *gateway.Listener
	ln       net.Listener
}

// listenDevices opens every configured port, or none and tells all that is wrong.
func (a *App) listenDevices(ctx context.Context) ([]devicePort, error) {
	var ports []devicePort
	var errs []error
	for i := range a.cfg.Gateway.Listeners {
		c := &a.cfg.Gateway.Listeners[i]
		p, err := a.listenDevice(ctx, i, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("gateway.listeners[%d] (%s): %w", i, c.Protocol, err))
			continue
		}
		ports = append(ports, p)
	}
	if err := errors.Join(errs...); err != nil {
		for _, p := range ports {
			err = errors.Join(err, p.ln.Close())
		}
		return nil, err
	}
	for i, p := range ports {
		a.listeners = append(a.listeners, p.listener)
		name := a.cfg.Gateway.Listeners[i].Protocol
		if _, taken := a.addrs[name]; !taken {
			a.addrs[name] = address(p.ln)
		}
	}
	return ports, nil
}

func (a *App) listenDevice(ctx context.Context, i int, c *config.Listener) (devicePort, error) {
	proto, ok := all.Find(c.Protocol)
	if !ok {
		return devicePort{}, errors.New("unknown protocol")
	}
	l, err := a.gateway.Listen(proto, c.Settings, c.MaxConns)
	if err != nil {
		return devicePort{}, err
	}
	if err := a.setUpstream(i, l, c.Upstream); err != nil {
		return devicePort{}, err
	}
	lc := net.ListenConfig{KeepAlive: -1} // the engine sees to that
	// such sockets do not hand their options on to connections.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return devicePort{}, err
	}
	front := &engine.Front{
		Listener: ln, Pending: a.cfg.Gateway.Limits.Unauthenticated, NoProbes: proto.NoProbes,
	}
	front.Proxy = prefixes(c.ProxyProtocol)
	if c.TLSCert != "" {
		if front.TLS, err = a.certs.config(c.TLSCert, c.TLSKey, c.ClientCA); err != nil {
			return devicePort{}, errors.Join(err, ln.Close())
		}
	}
	return devicePort{listener: l, ln: front}, nil
}

// startGateway listens on every port before the first device is let in, so that all ports in use
// are told at once.
func (a *App) startGateway(ctx context.Context) error {
	if !a.cfg.HasRole(config.RoleGateway) {
		return nil
	}
	c := &a.cfg.Gateway
	eng, err := newEngine(engine.Options{ //nolint:contextcheck // it outlives the start
		Loops: a.loops, Unsent: orOff(c.Limits.Unsent, math.MaxInt),
		SendBuffer: orOff(c.Limits.SendBuffer, -1), Now: time.Now, Logger: a.log,
		KeepAlive: keepAlive, UserTimeout: userTimeout,
	}, a.registry)
	if err != nil {
		return fmt.Errorf("preparing the gateway: %w", err)
	}
	a.onStop(eng.Shutdown) // a second time does no harm
	gw, err := gateway.New(gateway.Options{
		Node: nodeID(a.cfg.Node), Engine: eng, Store: a.store, Directory: &a.directory,
		Protocols: all.Protocols(), Registerer: a.registry, Logger: a.log, Now: time.Now,
		LoginTimeout: c.LoginTimeout.D(), IdleTimeout: c.IdleTimeout.D(),
		AckTimeout: durations(c.AckTimeout), RetryIdle: c.RetryIdle.D(),
		MaxAttempts: c.MaxAttempts, Repoll: c.Repoll.D(), Full: a.memory.short,
		Limits: gateway.Limits{
			Unauthenticated: c.Limits.Unauthenticated, PerIP: c.Limits.PerIP,
			AcceptRate:      c.Limits.AcceptRate,
			FramesPerSecond: c.Limits.FramesPerSecond, TextsPerMinute: c.Limits.TextsPerMinute,
		},
	})
	if err != nil {
		return fmt.Errorf("preparing the gateway: %w", err)
	}
	a.gateway = gw
	recheck := gw.Recheck
	a.recheck.Store(&recheck)
	if err := a.startReporting(ctx); err != nil {
		return err
	}
	if err := gw.Start(ctx); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	a.onStop(gw.Close)
	a.serving.Store(gw)
	if err := a.startAnswering(ctx); err != nil {
		return err
	}
	ports, err := a.listenDevices(ctx)
	if err != nil {
		return err
	}
	a.onStop(eng.Shutdown)
	a.onStop(func(ctx context.Context) error {
		quiet, cancel := context.WithTimeout(ctx, quiesceWithin)
		defer cancel()
		if err := gw.Quiesce(quiet); err != nil {
			a.log.Warn("not everything in hand could be stored before the connections close",
				zap.Error(err))
		}
		a.drainToStop(ctx)
		return nil
	})
	a.startDraining(ctx)
	for _, p := range ports {
		a.background("listener", func() error { return p.listener.Serve(p.ln) })
	}
	return nil
}

// nodeID names this run of this node; a node that was started again never inherits its old
// sessions.
func nodeID(name string) queue.NodeID {
	var nonce [4]byte
	_, _ = rand.Read(nonce[:]) // never fails
	const longest = 32 - 1 - 2*len(nonce)
	return queue.NodeID(name[:min(len(name), longest)] + "-" + hex.EncodeToString(nonce[:]))
}

// orOff translates a limit of which 0 means off to the engine's way of saying that.
func orOff(limit config.Size, off int) int {
	if limit == 0 {
		return off
	}
	return int(limit)
}

func durations(ds []config.Duration) []time.Duration {
	out := make([]time.Duration, len(ds))
	for i, d := range ds {
		out[i] = d.D()
	}
	return out
}

// prefixes returns networks that were checked; what is none is left out.
func prefixes(networks []string) []netip.Prefix {
	var list []netip.Prefix
	for _, network := range networks {
		if p, err := netip.ParsePrefix(network); err == nil {
			list = append(list, p.Masked())
		}
	}
	return list
}

// deviceTrouble is what the gateway of this process knows of devices in trouble, with the names
// that the directory has for them, and of the tracking servers behind it.
func (a *App) deviceTrouble() admin.DeviceTrouble {
	gw := a.serving.Load()
	if gw == nil {
		return admin.DeviceTrouble{}
	}
	directory := a.directory.Current()
	var found admin.DeviceTrouble
	for _, d := range gw.RefusedDevices() {
		device := admin.RefusedDevice{
			Protocol: d.Protocol, Device: d.Device, Reason: d.Reason, LooksLike: d.Speaks,
			Remote: d.Remote.String(), Times: d.Times,
			First: time.UnixMilli(d.FirstMs), Last: time.UnixMilli(d.LastMs),
		}
		protocol := d.Protocol
		if d.Speaks != "" {
			protocol = d.Speaks // the directory may know it by what it really is
		}
		if t, ok := directory.Device(protocol, d.Device); ok {
			device.Tracker, device.Label = t.ID, t.Label
		}
		found.Refused = append(found.Refused, device)
	}
	for _, d := range gw.SilentDevices() {
		t, ok := directory.Tracker(d.Tracker)
		if !ok {
			continue // removed meanwhile
		}
		found.Silent = append(found.Silent, admin.SilentDevice{
			Tracker: d.Tracker, Label: t.Label, Protocol: d.Protocol, Device: t.DeviceID,
			Message: d.Message,
			Since:   time.UnixMilli(d.SinceMs), Last: time.UnixMilli(d.LastMs), Times: d.Times,
		})
	}
	found.Upstreams = upstreamsOf(gw)
	return found
}
