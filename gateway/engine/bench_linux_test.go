package engine_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trackchat/gateway/engine"
)

// quiet is a handler that answers everything and remembers nothing.
type quiet struct {
	opened atomic.Int64
	last   atomic.Value // engine.Conn
}

func (q *quiet) OnOpen(c engine.Conn)               { q.last.Store(&c); q.opened.Add(1) }
func (q *quiet) OnData(c engine.Conn, b []byte) int { _ = c.Write(b); return len(b) }
func (q *quiet) OnClose(engine.Conn, error)         {}
func plainKinds() []kind                            { return kinds()[:1] }

func (q *quiet) conn(tb testing.TB, n int64) engine.Conn {
	tb.Helper()
	eventually(tb, "OnOpen", func() bool { return q.opened.Load() >= n })
	return *q.last.Load().(*engine.Conn)
}

// BenchmarkEcho is one request and one answer of 100 bytes at a time on each connection.
func BenchmarkEcho(b *testing.B) {
	for _, conns := range []int{1, 64} {
		for _, k := range plainKinds() {
			b.Run(k.name+"/conns="+strconv.Itoa(conns), func(b *testing.B) {
				r := start(b, k, engine.Options{Now: time.Now}, &quiet{})
				peers := make([]net.Conn, conns)
				for i := range peers {
					peers[i] = r.dial()
					_ = peers[i].SetDeadline(time.Time{})
				}
				var wg sync.WaitGroup
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				b.ResetTimer()
				used := cpu(b)
				for _, nc := range peers {
					wg.Go(func() {
						frame := make([]byte, 100)
						for left.Add(-1) >= 0 {
							_, err := nc.Write(frame)
							if _, rerr := io.ReadFull(nc, frame); err != nil || rerr != nil {
								b.Error(err, rerr)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(cpu(b)-used)/float64(b.N), "cpu-ns/op") // peers included
			})
		}
	}
}

// BenchmarkPush is a frame of 100 bytes from another goroutine to a peer that reads, with at most
// 400 of them on the way.
func BenchmarkPush(b *testing.B) {
	const size, batch = 100, 100
	for _, k := range plainKinds() {
		b.Run(k.name, func(b *testing.B) {
			q := &quiet{}
			r := start(b, k, engine.Options{}, q)
			nc := r.dial()
			_ = nc.SetDeadline(time.Time{})
			c := q.conn(b, 1)
			onTheWay := make(chan struct{}, 4)
			var reader sync.WaitGroup
			reader.Go(func() {
				for left := b.N; left > 0; left -= batch {
					if _, err := io.CopyN(io.Discard, nc, int64(min(left, batch)*size)); err !=
						nil {
						b.Error(err)
					}
					<-onTheWay
				}
			})
			frame := bytes.Repeat([]byte("x"), size)
			b.ReportAllocs()
			b.SetBytes(size)
			used := cpu(b)
			for i := range b.N {
				if i%batch == 0 {
					onTheWay <- struct{}{}
				}
				if err := c.Write(frame); err != nil {
					b.Fatal(err)
				}
			}
			reader.Wait()
			b.ReportMetric(float64(cpu(b)-used)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkConnect opens and closes connections.
func BenchmarkConnect(b *testing.B) {
	for _, k := range plainKinds() {
		b.Run(k.name, func(b *testing.B) {
			q := &quiet{}
			r := start(b, k, engine.Options{}, q)
			to := netip.MustParseAddrPort(r.addr)
			b.ReportAllocs()
			for range b.N {
				_ = unix.Close(rawDial(b, to))
			}
			eventually(b, "all opened", func() bool { return q.opened.Load() == int64(b.N) })
		})
	}
}

// BenchmarkIdle tells what a quiet connection costs this process, peers apart: they are bare
// descriptors.
func BenchmarkIdle(b *testing.B) {
	const conns = 8000
	for _, k := range plainKinds() {
		b.Run(k.name, func(b *testing.B) {
			for range b.N {
				q := &quiet{}
				r := start(b, k, engine.Options{Now: time.Now}, q)
				to := netip.MustParseAddrPort(r.addr)
				fds := make([]int, conns+1)
				fds[0] = rawDial(b, to)
				q.conn(b, 1)
				before := weigh(b)
				for i := 1; i <= conns; i++ {
					fds[i] = rawDial(b, to)
				}
				frame := make([]byte, 100)
				for _, fd := range fds { // once active, then idle
					if _, err := unix.Write(fd, frame); err != nil {
						b.Fatal(err)
					}
					for n := 0; n < len(frame); {
						m, err := unix.Read(fd, frame)
						if err != nil || m == 0 {
							b.Fatal(m, err)
						}
						n += m
					}
				}
				after := weigh(b)
				b.ReportMetric(float64(after.heap-before.heap)/conns, "heap-B/conn")
				b.ReportMetric(float64(after.stack-before.stack)/conns, "stack-B/conn")
				b.ReportMetric(float64(after.rss-before.rss)/conns, "rss-B/conn")
				for _, fd := range fds {
					_ = unix.Close(fd)
				}
				r.shutdown()
			}
		})
	}
}

func rawDial(b *testing.B, to netip.AddrPort) int {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{
		Port: int(to.Port()),
		Addr: to.Addr().As4(),
	}); err != nil {
		b.Fatal(err)
	}
	return fd
}

type weight struct{ heap, stack, rss int64 }

func weigh(b *testing.B) weight {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(string(bytes.Fields(statm)[1]), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return weight{int64(m.HeapAlloc), int64(m.StackInuse), pages * int64(os.Getpagesize())}
}
