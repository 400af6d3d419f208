package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"trackchat/api"
	"trackchat/api/admin"
	"trackchat/api/live"
	"trackchat/cmd/trackchat/config"

	"go.uber.org/zap"
)

// Connections of HTTP clients; an idle one takes about 20 KiB. All together get a share of the
// memory.
const (
	apiConns   = 20_000
	adminConns = 1000
	connMemory = 20 << 10
	connShare  = 4 // one part in so many of the limit of memory
)

// mostConns is how many connections the API may have with so much memory; 0: not known.
func mostConns(memory int64) int {
	if memory == 0 {
		return apiConns
	}
	return int(min(max(memory/connShare/connMemory, adminConns), apiConns))
}

func (a *App) startAPI(ctx context.Context) error {
	if !a.cfg.HasRole(config.RoleAPI) {
		return nil
	}
	c := &a.cfg.API
	a.handler = api.New(api.Options{
		Store: a.store, Directory: &a.directory, Now: time.Now, Logger: a.log,
		Audit: a.audit, Registerer: a.registry,
		RateLimit: c.RateLimit, MaxBody: int64(c.MaxBody), Timeout: c.Timeout.D(),
		CORSOrigins: c.CORSOrigins,
		Full:        a.memory.short, Sessions: a.store, SessionLife: c.SessionLife.D(),
		Accounts: a.store, Feed: a.store,
		FeedBuffer:     c.FeedBuffer,
		Capabilities:   newCapabilities(a.cfg.Gateway.Listeners).of,
		TrustedProxies: prefixes(c.TrustedProxies),
		MemoryLimit:    a.memory.total(), Processors: a.procs,
	})
	a.onStop(func(context.Context) error {
		a.handler.Close()
		return nil
	})
	a.api = api.NewServer(a.handler, a.log)
	// streams end at once, so that the stop does not wait for their clients.
	a.api.RegisterOnShutdown(a.handler.Close)
	if c.TLSCert != "" {
		conf, err := a.certs.config(c.TLSCert, c.TLSKey, "")
		if err != nil {
			return fmt.Errorf("api: %w", err)
		}
		a.api.TLSConfig = conf
	}
	return a.serveHTTP(ctx, "api", a.api, c.Listen, mostConns(a.memory.total()))
}

func (a *App) startAdmin(ctx context.Context) error {
	h := admin.New(a.adminOptions())
	a.admin = api.NewServer(h, a.log)
	return a.serveHTTP(ctx, "admin", a.admin, a.cfg.Admin.Listen, adminConns)
}

// adminOptions are those of the admin listener.
func (a *App) adminOptions() admin.Options {
	a.directory.OnChange(a.directoryChanged)
	return admin.Options{
		Gatherer: a.registry, Ready: a.notReady, Token: a.cfg.Admin.Token,
		Now: time.Now, Logger: a.log, Devices: deviceProblems, Fleet: fleetAdmin{a},
		Recent: a.recent.recent, Trouble: a.deviceTrouble, Store: a.store,
		Sync: a.syncDirectory, Webhooks: a.store, AllowPrivate: a.cfg.Webhooks.AllowPrivate,
		Audit: a.audit,
	}
}

// startWebhooks delivers events to the accounts' own servers.
func (a *App) startWebhooks(context.Context) error {
	if !a.cfg.HasRole(config.RoleAPI) {
		return nil
	}
	c := &a.cfg.Webhooks
	hooks := live.StartWebhooks(live.WebhookOptions{ //nolint:contextcheck // it outlives the start
		Feed: a.handler.Feed(), Store: a.store, Node: nodeID(a.cfg.Node),
		AllowPrivate: c.AllowPrivate, Timeout: c.Timeout.D(), RetryFor: c.RetryFor.D(),
		Now: time.Now, Logger: a.log, Registerer: a.registry,
	})
	a.onStop(func(context.Context) error {
		hooks.Close()
		return nil
	})
	return nil
}

func (a *App) serveHTTP(ctx context.Context, name string, srv *http.Server, listen string,
	most int,
) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("%s.listen: %w", name, err)
	}
	a.addrs[name] = address(ln)
	ln = a.clients.Listen(ln, name, most, srv.TLSConfig != nil)
	a.onStop(func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, clientsWithin)
		defer cancel()
		if err := srv.Shutdown(bounded); err != nil {
			a.log.Info("clients that did not finish are cut off", zap.String("listener", name))
			return srv.Close()
		}
		return nil
	})
	a.background(name, func() error {
		if srv.TLSConfig != nil {
			return srv.ServeTLS(ln, "", "")
		}
		return srv.Serve(ln)
	})
	return nil
}

// notReady says why the service cannot be used now.
func (a *App) notReady(context.Context) error {
	if why := a.ready.Load(); why != nil {
		return *why
	}
	return nil
}

func address(ln net.Listener) netip.AddrPort {
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
