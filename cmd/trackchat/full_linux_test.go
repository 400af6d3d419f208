package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/queue/queuetest"
)

// TestStartOnAFullDisk: without a byte left the service starts, serves what is there and takes
// nothing new; once there is room it does, without another start.
func TestStartOnAFullDisk(t *testing.T) {
	disk := queuetest.SmallDisk(t, 128<<20) // 64 MiB have to be free
	cfg := testConfig(t, 1)
	cfg.Store.Path = filepath.Join(disk, "store")
	first := startService(t, cfg)
	id := first.api.send(1, "before")
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	must(t, first.app.Stop(ctx))

	filler := filepath.Join(disk, "filler")
	queuetest.FillDisk(t, filler)
	s := startService(t, cfg)
	if ms := s.api.list(1); len(ms) != 1 || ms[0].ID != id {
		t.Errorf("%+v", ms)
	}
	if a := s.api.call("send", "tracker_id", "1", "message", "x"); a.Status.Code != 8 {
		t.Errorf("send: %+v", a)
	}
	if got := s.unready(); !strings.Contains(got, "MiB left") {
		t.Errorf("ready: %q", got)
	}
	must(t, os.Remove(filler))
	eventually(t, "ready", s.ready)
	s.api.send(1, "after")
}
