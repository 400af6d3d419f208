package engine_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
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

// shed connects until the process has nothing to spare: whoever comes then is closed at once, those who are there stay, and the process can still open
// files. When some leave, others may come.
func shed(t *testing.T, k kind) {
	t.Helper()
	const spare = 30
	s := newScript(t)
	s.data = echoLines(true)
	r := start(t, k, engine.Options{Spare: spare}, s)
	limit := uint64(descriptors(t) + 100)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	var peers []net.Conn
	for len(s.refusals) == 0 {
		nc := r.dialTCP()
		select {
		case <-s.opened:
			peers = append(peers, nc)
		case refused := <-s.refusals:
			if !errors.Is(refused.err, engine.ErrDescriptors) || refused.peer.String() != nc.LocalAddr().String() {
				t.Fatalf("%s refused: %v", refused.peer, refused.err)
			}
			if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a refused connection: %v", err)
			}
			s.refusals <- refused
		case <-time.After(patience):
			t.Fatal("neither opened nor refused")
		}
	}
	<-s.refusals
	if n := descriptors(t); n > int(limit)-spare+5 || len(peers) < 20 {
		t.Errorf("%d descriptors of %d in use, %d peers", n, limit, len(peers))
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

// exhaust connects until there is no descriptor left, sees accepting pause without spinning, and recover when descriptors come back.
func exhaust(t *testing.T, k kind) {
	t.Helper()
	k.tls = false
	s := newScript(t)
	stats := new(engine.Stats)
	s.data = echoLines(true)
	r := start(t, k, engine.Options{Stats: stats, Spare: -1}, s)
	limit := descriptors(t) + 40
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(limit), Max: uint64(limit)}); err != nil {
		t.Fatal(err)
	}
	var peers []net.Conn
	for {
		nc, err := net.DialTimeout("tcp", r.addr, patience)
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

// TestSocketOptions looks at the engine's end of a connection.
func TestSocketOptions(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			r := start(t, k, engine.Options{SendBuffer: 20_000, KeepAlive: time.Minute, UserTimeout: 5 * time.Minute}, s)
			nc := r.dial()
			receive(t, s.opened, "OnOpen")
			fd := serverEnd(t, nc)
			for _, o := range []struct {
				name                string
				level, option, want int
			}{
				{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 40_000}, // the kernel doubles it, see socket(7)
				{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
				{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 60},
				{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300_000},
				{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			} {
				if got, err := unix.GetsockoptInt(fd, o.level, o.option); err != nil || got != o.want {
					t.Errorf("%s is %d (%v), want %d", o.name, got, err, o.want)
				}
			}
		})
	}
}

// TestStaleEvents keeps a closed connection's socket alive by a duplicate, as a fork may. Its events reach nobody, even when its descriptor
// number is another connection's by then.
func TestStaleEvents(t *testing.T) {
	s := newScript(t)
	got := make(chan string, 10)
	s.data = func(_ engine.Conn, b []byte) int { got <- string(b); return len(b) }
	stats := new(engine.Stats)
	r := start(t, systemKinds()[0], engine.Options{Loops: 1, Stats: stats}, s)
	old := r.dial()
	c := receive(t, s.opened, "OnOpen")
	number := serverEnd(t, old)
	duplicate(t, number)
	_ = c.Close()
	receive(t, s.ends, "OnClose")
	to := netip.MustParseAddrPort(r.addr)
	for reused := false; !reused; { // accept takes the lowest number, so the peers must not
		low, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		peer := duplicate(t, low)
		_ = unix.Close(low)
		if err := unix.Connect(peer, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
			t.Fatal(err)
		}
		receive(t, s.opened, "OnOpen")
		_, err = unix.Getpeername(number)
		reused = err == nil
	}
	send(t, old, []byte("of the old one"))
	eventually(t, "stale event", func() bool { return stats.Stale.Load() > 0 })
	if len(got) != 0 {
		t.Errorf("delivered %q", <-got)
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

// serverEnd finds the descriptor of this process whose peer is nc.
func serverEnd(t *testing.T, nc net.Conn) int {
	t.Helper()
	port := nc.LocalAddr().(*net.TCPAddr).Port
	for fd := range 1000 {
		if sa, err := unix.Getpeername(fd); err == nil {
			if v4, ok := sa.(*unix.SockaddrInet4); ok && v4.Port == port {
				return fd
			}
		}
	}
	t.Fatal("no descriptor has that peer")
	return -1
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
