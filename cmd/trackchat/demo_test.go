package main

import (
	"slices"
	"testing"

	"trackchat/protocol/all"
)

func TestDemoPlaysEveryProtocol(t *testing.T) {
	trackers := demoTrackers()
	for _, p := range all.Protocols() {
		if !slices.ContainsFunc(trackers,
			func(d demoTracker) bool { return d.Protocol == p.Name }) {
			t.Errorf("no tracker of the demo speaks %s", p.Name)
		}
	}
	for i, d := range trackers {
		p, ok := all.Find(d.Protocol)
		if !ok || int(d.ID) != 101+i || !slices.Contains(p.Variants, d.variant) || d.reply == "" ||
			d.says == "" {
			t.Errorf("tracker %d of the demo is %+v", i, d)
		}
	}
}
