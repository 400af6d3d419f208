package app

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

	"trackchat/cmd/trackchat/apptest"
	"trackchat/queue/queuetest"
)

// TestStartOnAFullDisk: without a byte left the service starts, serves what is there and takes
// nothing new; once there is room it does, without another start.
func TestStartOnAFullDisk(t *testing.T) {
	disk := queuetest.SmallDisk(t, 128<<20) // 64 MiB have to be free
	cfg := apptest.Config(t, 1)
	cfg.Store.Path = filepath.Join(disk, "store")
	first := startService(t, cfg)
	id := first.API.Send(1, "before")
	ctx, cancel := context.WithTimeout(context.Background(), StopWithin)
	defer cancel()
	apptest.Must(t, first.App.Stop(ctx))

	filler := filepath.Join(disk, "filler")
	queuetest.FillDisk(t, filler)
	s := startService(t, cfg)
	if ms := s.API.List(1); len(ms) != 1 || ms[0].ID != id {
		t.Errorf("%+v", ms)
	}
	if a := s.API.Call("send", "tracker_id", "1", "message", "x"); a.Status.Code != 8 {
		t.Errorf("send: %+v", a)
	}
	if got := s.Unready(); !strings.Contains(got, "MiB left") {
		t.Errorf("ready: %q", got)
	}
	apptest.Must(t, os.Remove(filler))
	apptest.Eventually(t, "ready", s.Ready)
	s.API.Send(1, "after")
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
			c := apptest.NewChild(t, apptest.ChildOptions{Trackers: 1})
			c.Run(onOneCore(t, apptest.Command("serve", "--config", c.Config())))
			c.AwaitReady()
			if n := c.Metric("go_sched_gomaxprocs_threads"); n != want {
				t.Errorf("%v processors, want %v", n, want)
			}
		})
	}
}

// onOneCore returns cmd to be run on the first core that this process may use.
func onOneCore(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	apptest.Must(t, err)
	core := regexp.MustCompile(`Cpus_allowed_list:\s*(\d+)`).FindSubmatch(status)
	if core == nil {
		t.Fatal("no list of cores")
	}
	pinned := queuetest.DieWithParent(
		exec.Command("taskset", append([]string{"-c", string(core[1])}, cmd.Args...)...))
	pinned.Env = cmd.Env
	return pinned
}
