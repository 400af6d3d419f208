package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol/all"

	"github.com/prometheus/client_golang/prometheus"
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
		p, err := a.listenDevice(ctx, c)
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
		name := a.cfg.Gateway.Listeners[i].Protocol
		if _, taken := a.addrs[name]; !taken {
			a.addrs[name] = address(p.ln)
		}
	}
	return ports, nil
}

func (a *App) listenDevice(ctx context.Context, c *Listener) (devicePort, error) {
	proto, ok := all.Find(c.Protocol)
	if !ok {
		return devicePort{}, errors.New("unknown protocol")
	}
	l, err := a.gateway.Listen(proto, c.Settings, c.MaxConns)
	if err != nil {
		return devicePort{}, err
	}
	lc := net.ListenConfig{KeepAlive: -1} // the engine sees to that
	// such sockets do not hand their options on to connections.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return devicePort{}, err
	}
	front := &engine.Front{Listener: ln, Pending: a.cfg.Gateway.Limits.Unauthenticated}
	front.Proxy = prefixes(c.ProxyProtocol)
	if c.TLSCert != "" {
		if front.TLS, err = a.certs.config(c.TLSCert, c.TLSKey, c.ClientCA); err != nil {
			return devicePort{}, errors.Join(err, ln.Close())
		}
	}
	return devicePort{listener: l, ln: front}, nil
}
