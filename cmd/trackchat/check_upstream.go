package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue"
)

// maxTrackerUpstreams is how many upstreams that trackers name are dialled.
const maxTrackerUpstreams = 64

// upstreamDial is an upstream that is to be dialled, and how.
type upstreamDial struct {
	upstream *config.Upstream
	address  string
	what     string // that names it first
	err      error
}

// upstreamDials are the distinct ones, in the order in which they were met.
type upstreamDials struct {
	list []*upstreamDial
	seen map[config.Upstream]bool
	more int // distinct ones of trackers that are not dialled
}

// add takes an upstream at an address, unless it is there already or, of more than most, there is
// no room for it.
func (d *upstreamDials) add(u *config.Upstream, address, what string, most int) {
	key := config.Upstream{Address: address, TLS: u.TLS, ServerName: u.ServerName, CA: u.CA}
	switch {
	case d.seen[key]:
		return
	case len(d.list) >= most:
		d.more++
	default:
		d.list = append(d.list, &upstreamDial{upstream: u, address: address, what: what})
	}
	d.seen[key] = true
}

// checkUpstreams dials the upstreams of the listeners, and those that trackers of the directory
// file name, all at once; and it warns of listeners that have none.
func (r *findings) checkUpstreams(ctx context.Context, cfg *config.Config,
	trackers []queue.Tracker,
) {
	if !cfg.HasRole(config.RoleGateway) {
		return
	}
	listeners := cfg.Gateway.Listeners
	dials := upstreamDials{seen: make(map[config.Upstream]bool)}
	ofProtocol := make(map[string]*config.Upstream)
	for i := range listeners {
		if u := listeners[i].Upstream; u != nil {
			dials.add(u, u.Address, fmt.Sprintf("gateway.listeners[%d].upstream", i), len(listeners))
			if ofProtocol[listeners[i].Protocol] == nil {
				ofProtocol[listeners[i].Protocol] = u
			}
		}
	}
	most, plain := len(dials.list)+maxTrackerUpstreams, config.DefaultUpstream()
	for i := range trackers {
		t := &trackers[i]
		if t.Upstream == "" || t.Upstream == queue.UpstreamNone {
			continue
		}
		u := ofProtocol[t.Protocol]
		if u == nil {
			u = &plain
		}
		dials.add(u, t.Upstream, fmt.Sprintf("directory: upstream of tracker %d", t.ID), most)
	}
	var all sync.WaitGroup
	for _, d := range dials.list {
		all.Go(func() { d.err = dialUpstream(ctx, d.upstream, d.address) })
	}
	all.Wait()
	for _, d := range dials.list {
		if d.err != nil {
			r.wrong("%s: %s: %s", d.what, d.address, strings.TrimPrefix(d.err.Error(), "dial "))
			continue
		}
		r.ok("%s: %s takes connections", d.what, d.address)
	}
	if dials.more > 0 {
		r.warn("directory: %d more upstreams of trackers are not dialled", dials.more)
	}
	r.checkDiscarding(listeners)
}

// dialUpstream connects to an upstream, within its dial_timeout, and ends the connection.
func dialUpstream(ctx context.Context, u *config.Upstream, address string) error {
	ctx, cancel := context.WithTimeout(ctx, u.DialTimeout.D())
	defer cancel()
	conf, err := app.UpstreamTLS(u, address)
	if err != nil {
		return err
	}
	dial := new(net.Dialer).DialContext
	if conf != nil {
		dial = (&tls.Dialer{Config: conf}).DialContext
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// checkDiscarding warns of listeners whose devices' positions are lost; every protocol brings some.
func (r *findings) checkDiscarding(listeners []config.Listener) {
	var names []string
	for i := range listeners {
		if l := &listeners[i]; l.Upstream == nil && !l.DiscardPositions {
			names = append(names, fmt.Sprintf("gateway.listeners[%d] (%s)", i, l.Protocol))
		}
	}
	who := strings.Join(names, ", ")
	switch len(names) {
	case 0:
		return
	case len(listeners):
		who = "gateway.listeners"
	}
	r.warn("%s: no upstream: positions are acknowledged and discarded; name the tracking server (docs/relay.md), or set discard_positions: true", who)
}
