package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
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

// TestWaitersLeaveProcessors runs the service on one core: with the embedded store Go has
// processors for its event loop and for those who sync, unless the operator said how many there
// are.
func TestWaitersLeaveProcessors(t *testing.T) {
	for variable, want := range map[string]float64{
		"": 1 + 1 + syncing, "1": 1,
		strconv.Itoa(manyProcs): manyProcs,
	} {
		t.Run("GOMAXPROCS="+variable, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", variable)
			c := newChild(t, childOptions{trackers: 1})
			c.run(onOneCore(t, command("serve", "--config", c.config())))
			c.awaitReady()
			if n := c.metric("go_sched_gomaxprocs_threads"); n != want {
				t.Errorf("%v processors, want %v", n, want)
			}
		})
	}
}

// onOneCore returns cmd to be run on the first core that this process may use.
func onOneCore(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	core := regexp.MustCompile(`Cpus_allowed_list:\s*(\d+)`).FindSubmatch(status)
	if core == nil {
		t.Fatal("no list of cores")
	}
	pinned := queuetest.DieWithParent(
		exec.Command("taskset", append([]string{"-c", string(core[1])}, cmd.Args...)...))
	pinned.Env = cmd.Env
	return pinned
}
