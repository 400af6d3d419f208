package apptest

import (
	"testing"
	"time"

	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/standin"
	"trackchat/protocol/all"
)

// TrackingServer starts a tracking server for the devices of a protocol, until the test ends.
func TrackingServer(t *testing.T, proto string, o standin.Options) *standin.Server {
	t.Helper()
	p, _ := all.Find(proto)
	settings, err := p.NewSettings()
	Must(t, err)
	o.Protocol, o.Settings, o.Now, o.Record = p, settings, time.Now, 1<<20
	s, err := standin.Start(t.Context(), o)
	Must(t, err)
	t.Cleanup(s.Close)
	return s
}

// PutBehind puts the tracking server at an address behind the listener of a protocol.
func PutBehind(cfg *config.Config, proto, address string) {
	u := config.DefaultUpstream()
	u.Address = address
	for i := range cfg.Gateway.Listeners {
		if cfg.Gateway.Listeners[i].Protocol == proto {
			cfg.Gateway.Listeners[i].Upstream = &u
		}
	}
}
