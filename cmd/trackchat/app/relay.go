package app

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"trackchat/api/admin"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway"

	"go.uber.org/zap"
)

// relays is what is in use of the listeners' upstreams.
type relays struct {
	mu        sync.Mutex // makes one reader at a time
	mark      fileMark   // of the configuration file
	upstreams map[int]*config.Upstream
}

// setUpstream puts the configured tracking server behind a listener, nil none.
func (a *App) setUpstream(i int, l *gateway.Listener, c *config.Upstream) error {
	secure, err := a.certs.upstream(i, c)
	if err != nil {
		return err
	}
	if a.relays.upstreams == nil {
		a.relays.upstreams = map[int]*config.Upstream{}
	}
	a.relays.upstreams[i] = c
	if c == nil {
		l.SetUpstream(nil)
		return nil
	}
	l.SetUpstream(&gateway.Upstream{
		Address: c.Address, TLS: secure, ProxyVersion: c.ProxyProtocol,
		RefuseUnknown: c.Unknown == config.UnknownRefuse,
		StayWhenDown:  c.WhenDown == config.WhenDownChat,
		DialTimeout:   c.DialTimeout.D(), DialRate: c.DialRate, Buffer: int(c.Buffer),
		PassAcks: c.Acks == config.AcksPass, OnlyChat: c.Texts == config.TextsChat,
	})
	return nil
}

// startFollowingUpstreams has the configuration file looked at now and then.
func (a *App) startFollowingUpstreams(ctx context.Context) error {
	if a.ConfigFile == "" || len(a.listeners) == 0 {
		return nil
	}
	a.relays.mark = markOf(a.ConfigFile)
	a.meanwhile(ctx, func(ctx context.Context) {
		every(ctx, a.certs.every, func(context.Context) {
			if err := a.readUpstreams(false); err != nil {
				a.log.Error("upstreams stay as they were", zap.Error(err))
			}
		})
	})
	return nil
}

// readUpstreams reads the configuration file if it has changed, in any case if always, and takes
// over the upstreams of its listeners for connections that come from now on. All else in it needs a
// restart.
func (a *App) readUpstreams(always bool) error {
	if a.ConfigFile == "" || len(a.listeners) == 0 {
		return nil
	}
	a.relays.mu.Lock()
	defer a.relays.mu.Unlock()
	mark := markOf(a.ConfigFile)
	if mark == a.relays.mark && !always {
		return nil
	}
	a.relays.mark = mark // from before the reading: what changes meanwhile is seen the next time
	cfg, err := config.Load(a.ConfigFile, os.Environ())
	if err != nil {
		return fmt.Errorf("reading the upstreams again: %w", err)
	}
	if len(cfg.Gateway.Listeners) != len(a.listeners) {
		return fmt.Errorf("reading the upstreams again: %s has %d listeners and not %d, which needs a restart",
			a.ConfigFile, len(cfg.Gateway.Listeners), len(a.listeners))
	}
	for i, l := range a.listeners {
		c := &cfg.Gateway.Listeners[i]
		was := &a.cfg.Gateway.Listeners[i]
		if c.Protocol != was.Protocol || c.Listen != was.Listen {
			return fmt.Errorf("reading the upstreams again: gateway.listeners[%d] is %s at %s and not %s at %s, which needs a restart",
				i, c.Protocol, c.Listen, was.Protocol, was.Listen)
		}
		if reflect.DeepEqual(c.Upstream, a.relays.upstreams[i]) {
			continue
		}
		if err := a.setUpstream(i, l, c.Upstream); err != nil {
			return fmt.Errorf("reading the upstreams again: gateway.listeners[%d]: %w", i, err)
		}
		address := ""
		if c.Upstream != nil {
			address = c.Upstream.Address
		}
		a.log.Info("upstream taken over for new connections", zap.String("protocol", c.Protocol),
			zap.String("listen", c.Listen), zap.String("upstream", address))
	}
	return nil
}

// upstreamsOf are the tracking servers that a gateway has to do with, by address.
func upstreamsOf(gw *gateway.Gateway) []admin.Upstream {
	known := gw.Upstreams()
	slices.SortFunc(known, func(a, b gateway.UpstreamInfo) int {
		return cmp.Compare(a.Address, b.Address)
	})
	list := make([]admin.Upstream, len(known))
	for i, u := range known {
		list[i] = admin.Upstream{
			Address: u.Address, Sessions: u.Sessions, State: "up", DialErrors: u.DialErrors,
			LastError: u.LastError, BytesUp: u.BytesUp, BytesDown: u.BytesDown,
		}
		if u.Down {
			since := time.UnixMilli(u.DownMs).UTC()
			list[i].State, list[i].DownSince = "down", &since
		}
	}
	return list
}
