package queuetest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackchat/queue/queuetest"
)

const parentVariable = "QUEUETEST_PARENT"

// TestChildrenDieWithTheirTest kills a test process: the Redis server that it had started ends too.
func TestChildrenDieWithTheirTest(t *testing.T) {
	if os.Getenv(parentVariable) != "" {
		_, _ = fmt.Fprintln(os.Stdout, "server", queuetest.StartRedis(t).Addr)
		select {}
	}
	cmd := queuetest.DieWithParent(exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$"))
	cmd.Env = append(os.Environ(), parentVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, lines := "", bufio.NewScanner(out)
	for addr == "" && lines.Scan() {
		addr, _ = strings.CutPrefix(lines.Text(), "server ")
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	if addr == "" {
		t.Fatal("no server was started")
	}
	server := &queuetest.RedisServer{Addr: addr}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := server.Do(t.Context(), "PING"); err != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the server outlives the test that had started it")
		}
	}
}
