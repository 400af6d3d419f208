package engine_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// TestDescriptorsExhausted runs in a process that is allowed few descriptors.
func TestDescriptorsExhausted(t *testing.T) { alone(t, exhaust) }

// TestDescriptorsSpared runs in a process that is allowed few descriptors.
func TestDescriptorsSpared(t *testing.T) { alone(t, shed) }

// alone runs the test once more for each engine, in a process of its own.
func alone(t *testing.T, f func(*testing.T, kind)) {
	t.Helper()
	if name := os.Getenv(childKind); name != "" {
		for _, k := range kinds() {
			t.Run(k.name, func(t *testing.T) {
				if k.name == name {
					f(t, k)
				}
			})
		}
		return
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			parent, _, _ := strings.Cut(t.Name(), "/")
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+parent+"$", "-test.v")
			cmd.Env = append(os.Environ(), childKind+"="+k.name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// shed connects until the process has nothing to spare: whoever comes then is closed at once, those
// who are there stay, and the process can still open files. When some leave, others may come.
func shed(t *testing.T, k kind) {
	t.Helper()
	const spare = 30
	s := newScript(t)
	s.data = echoLines(true)
	r := start(t, k, engine.Options{Spare: spare}, s)
	limit := uint64(descriptors(t) + 100)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{
		Cur: limit,
		Max: limit,
	}); err != nil {
		t.Fatal(err)
	}
	var peers []net.Conn
	for len(s.refusals) == 0 {
		nc := r.dialTCP()
		select {
		case <-s.opened:
			peers = append(peers, nc)
		case refused := <-s.refusals:
			if !errors.Is(refused.err, engine.ErrDescriptors) ||
				refused.peer.String() != nc.LocalAddr().String() {
				t.Fatalf("%s refused: %v", refused.peer, refused.err)
			}
			if _, err := nc.Read(make([]byte, 1)); err == nil ||
				errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a refused connection: %v", err)
			}
			s.refusals <- refused
		case <-time.After(patience):
			t.Fatal("neither opened nor refused")
		}
	}
	<-s.refusals
	// The runtime and sockets on their way take some of those that are spared.
	eventually(t, "descriptors spared",
		func() bool { return descriptors(t) <= int(limit)-spare/2 })
	if len(peers) < 20 {
		t.Errorf("%d peers", len(peers))
	}
	for _, nc := range peers {
		nc = r.secure(nc)
		send(t, nc, []byte("still here\n"))
		expect(t, nc, "still here\n")
	}
	for _, nc := range peers[:5] {
		_ = nc.Close()
	}
	for range 5 {
		receive(t, s.ends, "OnClose")
	}
	nc := r.dial()
	send(t, nc, []byte("hello\n"))
	expect(t, nc, "hello\n")
}

// exhaust takes every descriptor there is: accepting pauses without spinning, those who are there
// are served, and nobody is lost when descriptors come back, one at first, then all.
func exhaust(t *testing.T, k kind) {
	t.Helper()
	k.tls = false
	s := newScript(t)
	stats := new(engine.Stats)
	s.data = echoLines(true)
	r := start(t, k, engine.Options{Stats: stats, Spare: -1}, s)
	before := descriptors(t)
	early := r.dial()
	receive(t, s.opened, "OnOpen")
	eventually(t, "the socket's first descriptor closed",
		func() bool { return descriptors(t) == before+2 })
	peers := make([]int, 10) // sockets that need no further descriptor to connect
	for i := range peers {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		peers[i] = fd
	}
	limit := uint64(descriptors(t) + 20)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{
		Cur: limit,
		Max: limit,
	}); err != nil {
		t.Fatal(err)
	}
	var taken []int
	for {
		fd, err := unix.FcntlInt(uintptr(peers[0]), unix.F_DUPFD_CLOEXEC, 0)
		if errors.Is(err, unix.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
	to := netip.MustParseAddrPort(r.addr)
	for _, fd := range peers {
		if err := unix.Connect(fd, &unix.SockaddrInet4{
			Port: int(to.Port()),
			Addr: to.Addr().As4(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "pause", func() bool { return stats.Pauses.Load() > 0 })
	used, began, first := cpu(t), time.Now(), stats.Pauses.Load()
	eventually(t, "more pauses", func() bool { return stats.Pauses.Load() >= first+5 })
	if spent, passed := cpu(t)-used, time.Since(began); spent > passed/2 && spent > time.Second {
		t.Errorf("%v of CPU in %v", spent, passed)
	}
	send(t, early, []byte("still here\n"))
	expect(t, early, "still here\n")
	_ = unix.Close(taken[0]) // enough to accept, too few to enroll
	first = stats.Pauses.Load()
	eventually(t, "pauses with one descriptor",
		func() bool { return stats.Pauses.Load() >= first+3 })
	if len(s.opened) != 0 {
		t.Error("opened without a descriptor to spare")
	}
	for _, fd := range taken[1:] {
		_ = unix.Close(fd)
	}
	for range peers {
		receive(t, s.opened, "OnOpen")
	}
	line := []byte("hello\n")
	for _, fd := range peers {
		if _, err := unix.Write(fd, line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(line))
		if n, err := unix.Read(fd, got); err != nil || string(got[:n]) != string(line) {
			t.Fatalf("read %q, %v", got[:max(n, 0)], err)
		}
	}
	if len(s.ends) != 0 || len(s.refusals) != 0 {
		t.Errorf("%d ended, %d refused", len(s.ends), len(s.refusals))
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

// TestSocketOptions looks at the engine's end of a connection, also after a pause for which it had
// left its loop.
func TestSocketOptions(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			stats := new(engine.Stats)
			var full atomic.Bool
			full.Store(true)
			s.data = func(c engine.Conn, b []byte) int {
				if !full.Load() {
					return len(b)
				}
				c.Pause()
				return 0
			}
			r := start(t, k, engine.Options{
				SendBuffer: 20_000, KeepAlive: time.Minute,
				UserTimeout: 5 * time.Minute, Stats: stats,
			}, s)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			options(t, serverEnd(t, nc), 1)
			before := descriptors(t)
			send(t, nc, []byte("kept"))
			eventually(t, "kept", func() bool { return stats.Partial.Load() >= 4 })
			full.Store(false)
			c.Resume()
			eventually(t, "taken", func() bool {
				return stats.Partial.Load() == 0 &&
					descriptors(t) == before
			})
			options(t, serverEnd(t, nc), 1)

			s = newScript(t)
			r = startFront(t, k, engine.Options{
				SendBuffer: 20_000, KeepAlive: time.Minute, UserTimeout: 5 * time.Minute,
			}, s, &engine.Front{NoProbes: true})
			nc = r.dial()
			receive(t, s.opened, "OnOpen")
			options(t, serverEnd(t, nc), 0)
		})
	}
}

func options(t *testing.T, fd, probes int) {
	t.Helper()
	for _, o := range []struct {
		name                string
		level, option, want int
	}{
		// the kernel doubles it, see socket(7).
		{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 40_000},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, probes},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 60},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300_000},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		if got, err := unix.GetsockoptInt(fd, o.level, o.option); err != nil || got != o.want {
			t.Errorf("%s is %d (%v), want %d", o.name, got, err, o.want)
		}
	}
}

// TestStaleEvents keeps a closed connection's socket alive by a duplicate, as a fork may. Its bytes
// reach nobody, even when its descriptor number is another connection's by then.
func TestStaleEvents(t *testing.T) {
	s := newScript(t)
	got := make(chan string, 10)
	s.data = func(_ engine.Conn, b []byte) int { got <- string(b); return len(b) }
	r := start(t, kinds()[0], engine.Options{Loops: 1}, s)
	old := r.dial()
	c := receive(t, s.opened, "OnOpen")
	number := serverEnd(t, old)
	duplicate(t, number)
	_ = c.Close()
	receive(t, s.ends, "OnClose")
	to := netip.MustParseAddrPort(r.addr)
	peer := -1
	for reused := false; !reused; { // accept takes the lowest number, so the peers must not
		low, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		peer = duplicate(t, low)
		_ = unix.Close(low)
		if err := unix.Connect(peer, &unix.SockaddrInet4{
			Port: int(to.Port()),
			Addr: to.Addr().As4(),
		}); err != nil {
			t.Fatal(err)
		}
		receive(t, s.opened, "OnOpen")
		_, err = unix.Getpeername(number)
		reused = err == nil
	}
	send(t, old, []byte("of the old one"))
	if _, err := unix.Write(peer, []byte("of the new one")); err != nil {
		t.Fatal(err)
	}
	if b := receive(t, got, "OnData"); b != "of the new one" || len(got) != 0 {
		t.Errorf("delivered %q", b)
	}
}

// duplicate makes another descriptor, with a high number.
func duplicate(t *testing.T, fd int) int {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(dup) })
	return dup
}

// serverEnd finds the descriptor of this process whose peer is nc, once it is the only one left:
// an enrolled socket has two at first.
func serverEnd(t *testing.T, nc net.Conn) int {
	t.Helper()
	port := nc.LocalAddr().(*net.TCPAddr).Port
	number := -1
	eventually(t, "the engine's end", func() bool {
		ends := 0
		for fd := range 1000 {
			if sa, err := unix.Getpeername(fd); err == nil {
				if v4, ok := sa.(*unix.SockaddrInet4); ok && v4.Port == port {
					number, ends = fd, ends+1
				}
			}
		}
		return ends == 1
	})
	return number
}

// TestWantsTCP: other listeners are refused, and closed.
func TestWantsTCP(t *testing.T) {
	e := kinds()[0].make(t, engine.Options{})
	defer func() { must(t, e.Shutdown(context.Background())) }()
	ln := listen(t, "unix", t.TempDir()+"/sock")
	if err := e.Serve(ln, newScript(t)); !errors.Is(err, engine.ErrListener) {
		t.Errorf("Serve: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept afterwards: %v", err)
	}
}
