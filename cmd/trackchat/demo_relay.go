package main

import (
	"context"
	"fmt"
	"time"

	"trackchat/gateway/standin"
	"trackchat/protocol/all"
)

// relayTo starts a tracking server for each tracker that is to be relayed, on this machine only,
// and gives the tracker its address. What was started is returned with an error as well.
func relayTo(ctx context.Context, trackers []demoTracker) (servers []*standin.Server, err error) {
	for i := range trackers {
		t := &trackers[i]
		p, ok := all.Find(t.Protocol)
		if !t.relayed || !ok {
			continue
		}
		settings, err := p.NewSettings()
		if err != nil {
			return servers, err
		}
		s, err := standin.Start(ctx, standin.Options{
			Protocol: p, Settings: settings, Now: time.Now, MaxConns: 16, MaxDevices: 16,
		})
		if err != nil {
			return servers, fmt.Errorf("tracking server of %s: %w", t.Label, err)
		}
		t.Upstream = s.Addr()
		servers = append(servers, s)
	}
	return servers, nil
}

// track tells what a tracking server gets.
func (d *demo) track(ctx context.Context, s *standin.Server) {
	told := s.Figures()
	for {
		now := told
		news := func() bool {
			now = s.Figures()
			return now.Logins > told.Logins || now.Positions > told.Positions
		}
		if s.Await(ctx, news) != nil {
			return
		}
		d.printf("%s  tracking server %s has taken %d logins and %d positions\n",
			time.Now().Format("15:04:05.000"), s.Addr(), now.Logins, now.Positions)
		told = now
	}
}
