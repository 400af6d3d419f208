package main

import (
	"context"
	"time"

	"trackchat/api"
)

// startWebhooks delivers events to the accounts' own servers.
func (a *App) startWebhooks(context.Context) error {
	if !a.cfg.HasRole(RoleAPI) {
		return nil
	}
	c := &a.cfg.Webhooks
	hooks := api.StartWebhooks(api.WebhookOptions{ //nolint:contextcheck // it outlives the start
		API: a.handler, Store: a.store, Node: nodeID(a.cfg.Node), AllowPrivate: c.AllowPrivate,
		Timeout: c.Timeout.D(), RetryFor: c.RetryFor.D(),
		Now: time.Now, Logger: a.log, Registerer: a.registry,
	})
	a.onStop(func(context.Context) error {
		hooks.Close()
		return nil
	})
	return nil
}
