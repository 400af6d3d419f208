package engine_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"trackchat/gateway/engine"
)

// saboteur is a listener that puts a file in the place of the next accepted socket: the poller does
// not take it, and gnet says that it has.
type saboteur struct {
	net.Listener
	t    *testing.T
	next atomic.Bool
}

func (l *saboteur) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil || !l.next.Swap(false) {
		return nc, err
	}
	f, err := os.Create(filepath.Join(l.t.TempDir(), "file"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.Dup2(int(f.Fd()), int(fd)) })
	return nc, errors.Join(err, cerr)
}

// TestPollerRefuses: a socket that the poller does not take ends its connection, after OnOpen as
// Admit has promised, and no other.
func TestPollerRefuses(t *testing.T) {
	s := newScript(t)
	s.data = echoLines(true)
	e := kinds()[0].make(t, engine.Options{Loops: 1})
	ln := &saboteur{Listener: listen(t, "tcp", "127.0.0.1:0"), t: t}
	served := make(chan error, 1)
	go func() { served <- e.Serve(ln, s) }()
	r := &rig{tb: t, eng: e, addr: ln.Addr().String()}
	t.Cleanup(func() {
		r.shutdown()
		must(t, <-served)
	})
	before := r.dial()
	receive(t, s.opened, "OnOpen")
	ln.next.Store(true)
	r.dial()
	c := receive(t, s.opened, "OnOpen")
	if got := receive(t, s.ends, "OnClose"); got.c != c || got.err == nil {
		t.Errorf("OnClose(%v)", got.err)
	}
	for _, nc := range []net.Conn{before, r.dial()} {
		send(t, nc, []byte("hello\n"))
		expect(t, nc, "hello\n")
	}
}

// TestOrders: what a loop is given runs in it, in order; one that panics does no harm.
func TestOrders(t *testing.T) {
	stats := new(engine.Stats)
	e := kinds()[0].make(t, engine.Options{Loops: 2, Stats: stats})
	for _, l := range e.Loops() {
		got := make(chan int, 1000)
		for i := range cap(got) {
			if !l.Execute(func() {
				got <- i
				if i == 7 {
					panic("seven")
				}
			}) {
				t.Fatal("not taken")
			}
		}
		for i := range cap(got) {
			if n := receive(t, got, "an order"); n != i {
				t.Fatalf("%d before %d", n, i)
			}
		}
	}
	if stats.Panics.Load() != 2 {
		t.Errorf("%d panics", stats.Panics.Load())
	}
	must(t, e.Shutdown(t.Context()))
	if e.Loops()[0].Execute(func() { t.Error("ran after Shutdown") }) {
		t.Error("taken after Shutdown")
	}
}

// TestLoopOfAConnection: a connection stays in one loop, also over pauses for which it leaves it.
func TestLoopOfAConnection(t *testing.T) {
	s := newScript(t)
	r := start(t, kinds()[0], engine.Options{Loops: 3}, s)
	loops := r.eng.Loops()
	var inside [3]atomic.Bool // the loop is at work on an order
	seen := make(chan string, 10)
	s.data = func(c engine.Conn, b []byte) int {
		if inside[c.Loop()].Load() {
			t.Error("beside an order of its loop")
		}
		seen <- string(b)
		return len(b)
	}
	for range 6 {
		nc := r.dial()
		c := receive(t, s.opened, "OnOpen")
		for range 20 {
			c.Pause()
			send(t, nc, []byte("x"))
			loops[c.Loop()].Execute(func() {
				inside[c.Loop()].Store(true)
				defer inside[c.Loop()].Store(false)
			})
			c.Resume()
			if got := receive(t, seen, "OnData"); got != "x" {
				t.Fatalf("got %q", got)
			}
		}
	}
}

// TestPauseTellsThePeerNothing: a paused connection that has left its loop is still there for its
// peer, which can be written to, and ends with Close.
func TestPauseTellsThePeerNothing(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			stats := new(engine.Stats)
			s.data = func(c engine.Conn, _ []byte) int { c.Pause(); return 0 }
			r := start(t, k, engine.Options{Stats: stats}, s)
			before := descriptors(t)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			send(t, nc, []byte("kept"))
			eventually(t, "kept", func() bool { return stats.Partial.Load() >= 4 })
			must(t, c.Write([]byte("while paused")))
			expect(t, nc, "while paused")
			if got := c.RemoteAddr().String(); got != nc.LocalAddr().String() {
				t.Errorf("RemoteAddr %s", got)
			}
			eventually(t, "one descriptor a side",
				func() bool { return descriptors(t) == before+2 })
			_ = c.Close()
			if e := receive(t, s.ends, "OnClose"); e.err != nil {
				t.Errorf("OnClose(%v)", e.err)
			}
			eventually(t, "descriptor closed", func() bool { return descriptors(t) == before+1 })
		})
	}
}

// TestGnetEnvironment: gnet reads its own environment variables when it is imported. A log file of
// its own stays empty all the same, since it logs through Options.Logger once an engine is there.
func TestGnetEnvironment(t *testing.T) {
	const child = "ENGINE_TEST_ENVIRONMENT"
	if os.Getenv(child) != "" {
		seen, logs := observer.New(zap.WarnLevel)
		s := newScript(t)
		r := start(t, kinds()[0], engine.Options{Logger: zap.New(seen)}, s)
		r.dial()
		receive(t, s.opened, "OnOpen")
		if logs.Len() != 0 {
			t.Errorf("logged: %v", logs.All())
		}
		return
	}
	file := filepath.Join(t.TempDir(), "gnet.log")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGnetEnvironment$",
		"-test.v")
	cmd.Env = append(os.Environ(), child+"=1", "GNET_LOGGING_FILE="+file, "GNET_LOGGING_LEVEL=-1")
	cmd.WaitDelay = patience
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "[gnet]") {
		t.Errorf("%v\n%s", err, out)
	}
	if info, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) && info.Size() > 0 {
		t.Errorf("gnet logs to a file of its own: %d bytes", info.Size())
	}
}

// TestUnreadBytesAtTheEnd: a peer that writes much and goes, while nobody reads, is over as soon as
// it is read: every byte arrives, then OnClose, once.
func TestUnreadBytesAtTheEnd(t *testing.T) {
	const size = 300_000
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newScript(t)
			var got atomic.Int64
			s.data = func(_ engine.Conn, b []byte) int { got.Add(int64(len(b))); return len(b) }
			r := start(t, k, engine.Options{}, s)
			nc := r.dial()
			c := receive(t, s.opened, "OnOpen")
			c.Pause()
			must(t, tcp(nc).SetWriteBuffer(2*size))
			wrote := make(chan error, 1)
			go func() {
				_, err := nc.Write(make([]byte, size))
				wrote <- errors.Join(err, nc.Close())
			}()
			select {
			case err := <-wrote: // the kernel may take all of it
				must(t, err)
				wrote <- nil
			case <-time.After(10 * time.Millisecond):
			}
			c.Resume()
			if e := receive(t, s.ends, "OnClose"); got.Load() != size {
				t.Errorf("OnClose(%v) after %d bytes", e.err, got.Load())
			}
			must(t, receive(t, wrote, "the peer's write"))
		})
	}
}
