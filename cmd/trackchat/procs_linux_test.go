package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"trackchat/queue/queuetest"
)

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
