package engine_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"trackchat/gateway/engine"
)

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

const childKind = "ENGINE_TEST_EXHAUST"

// TestDescriptorsExhausted runs itself once more for each engine, as a process that is allowed few descriptors.
func TestDescriptorsExhausted(t *testing.T) {
	if name := os.Getenv(childKind); name != "" {
		for _, k := range kinds() {
			t.Run(k.name, func(t *testing.T) {
				if k.name == name {
					exhaust(t, k)
				}
			})
		}
		return
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDescriptorsExhausted$", "-test.v") //nolint:gosec // this very test
			cmd.Env = append(os.Environ(), childKind+"="+k.name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// exhaust connects until there is no descriptor left, sees accepting pause without spinning, and recover when descriptors come back.
func exhaust(t *testing.T, k kind) {
	t.Helper()
	k.tls = false
	s := newScript(t)
	stats := new(engine.Stats)
	s.data = echoLines(true)
	r := start(t, k, engine.Options{Stats: stats}, s)
	limit := descriptors(t) + 40
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(limit), Max: uint64(limit)}); err != nil {
		t.Fatal(err)
	}
	var peers []net.Conn
	for {
		nc, err := net.DialTimeout("tcp", r.addr, patience) //nolint:noctx // loopback
		if err != nil {
			if !errors.Is(err, syscall.EMFILE) {
				t.Fatal(err)
			}
			break
		}
		peers = append(peers, nc)
	}
	eventually(t, "pause", func() bool { return stats.Pauses.Load() > 0 })
	used, began := cpu(t), time.Now()
	eventually(t, "more pauses", func() bool { return stats.Pauses.Load() >= 5 })
	if spent, passed := cpu(t)-used, time.Since(began); spent > passed/2 || stats.Pauses.Load() > 50 {
		t.Errorf("%v of CPU in %v of %d pauses", spent, passed, stats.Pauses.Load())
	}
	for i := range peers[:len(peers)/2] { // these descriptors come back on both sides
		_ = peers[i].Close()
	}
	last := peers[len(peers)-1] // it was still waiting to be accepted
	_ = last.SetDeadline(time.Now().Add(patience))
	send(t, last, []byte("hello\n"))
	expect(t, last, "hello\n")
	for _, nc := range peers[len(peers)/2:] {
		_ = nc.Close()
	}
	for range peers {
		receive(t, s.ends, "OnClose")
	}
}

// cpu is the time that this process has computed.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestReactorWantsTCP: other listeners are refused, and closed.
func TestReactorWantsTCP(t *testing.T) {
	ln := listen(t, "unix", t.TempDir()+"/sock")
	if err := engine.NewReactor(engine.Options{}).Serve(ln, newScript(t)); !errors.Is(err, engine.ErrListener) {
		t.Errorf("Serve: %v", err)
	}
}

// TestNewServesEverything: New takes plain TCP and TLS alike.
func TestNewServesEverything(t *testing.T) {
	for _, tls := range []bool{false, true} {
		s := newScript(t)
		s.data = echoLines(true)
		r := start(t, kind{"new", engine.New, tls}, engine.Options{}, s)
		nc := r.dial()
		send(t, nc, []byte("hello\n"))
		expect(t, nc, "hello\n")
	}
}
