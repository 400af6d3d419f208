package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	ctx, cancel := context.WithTimeout(context.Background(), StopWithin)
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

// TestResidentOutsideGo takes memory from the system past Go, touches it and gives it back.
func TestResidentOutsideGo(t *testing.T) {
	const bytes, margin = 128 << 20, 48 << 20
	outside := func() int64 {
		n, known := outsideGo()
		if !known {
			t.Fatal("not known")
		}
		return n
	}
	before := outside()
	mem, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < bytes; i += 4096 {
		mem[i] = 1
	}
	with := outside()
	if err := syscall.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	if with < bytes-margin || with > before+bytes+margin || outside() > before+margin {
		t.Errorf("%d bytes before, %d with %d more, %d after", before, with, bytes, outside())
	}
}
