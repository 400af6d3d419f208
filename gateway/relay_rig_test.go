package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/protocol/protocoltest"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// tracking is a tracking server whose connections do what the test says.
type tracking struct {
	t     *testing.T
	ln    net.Listener
	conns chan *tracked
}

func newTracking(t *testing.T) *tracking {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &tracking{t: t, ln: ln, conns: make(chan *tracked, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns <- &tracked{t: t, nc: nc.(*net.TCPConn)}
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
		for {
			select {
			case c := <-s.conns:
				_ = c.nc.Close()
			default:
				return
			}
		}
	})
	return s
}

func (s *tracking) addr() string { return s.ln.Addr().String() }

// next is the next connection that comes. A device that does not name itself is given its time.
func (s *tracking) next(r *rig) *tracked {
	s.t.Helper()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case c := <-s.conns:
			s.t.Cleanup(func() { _ = c.nc.Close() })
			return c
		case <-every.C:
			r.clock.advance(200 * time.Millisecond)
		}
	}
	s.t.Fatal("no connection to the tracking server")
	return nil
}

// nobody checks that no connection has come.
func (s *tracking) nobody() {
	s.t.Helper()
	select {
	case <-s.conns:
		s.t.Error("a connection to the tracking server")
	default:
	}
}

// tracked is one connection at a tracking server.
type tracked struct {
	t  *testing.T
	nc *net.TCPConn
}

func (c *tracked) write(b []byte) {
	c.t.Helper()
	_, err := c.nc.Write(b)
	must(c.t, err)
}

// expect reads exactly what is wanted.
func (c *tracked) expect(want []byte) {
	c.t.Helper()
	must(c.t, c.nc.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.nc, got)
	if err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("the server got %q (%v), want %q", got[:n], err, want)
	}
}

// ended waits for the end of the connection, and returns what came before it and how it ended.
func (c *tracked) ended() ([]byte, error) {
	c.t.Helper()
	must(c.t, c.nc.SetReadDeadline(time.Now().Add(patience)))
	return io.ReadAll(c.nc)
}

// onBothStores runs a test with the embedded store and with Redis.
func onBothStores(t *testing.T, test func(*testing.T, func([]queue.Tracker, ...rigOption) *rig)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, func(trackers []queue.Tracker, o ...rigOption) *rig {
			return newRig(t, trackers, o...)
		})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		st, err := redisstore.Open(t.Context(), redisstore.Options{
			Addrs: []string{queuetest.StartRedis(t).Addr}, Now: time.Now,
		})
		must(t, err)
		t.Cleanup(func() { must(t, st.Close()) })
		test(t, func(trackers []queue.Tracker, o ...rigOption) *rig {
			return newRigOn(t, st, trackers, o...)
		})
	})
}

// behind serves a protocol with a tracking server behind it.
func (r *rig) behind(proto string, u gateway.Upstream) *gateway.Listener {
	r.t.Helper()
	p, ok := all.Find(proto)
	if !ok {
		r.t.Fatalf("no protocol %s", proto)
	}
	l := r.serve(p, 0)
	l.SetUpstream(&u)
	return l
}

// frames are all collected frames of a protocol for one direction, in one stream.
func frames(t *testing.T, p *protocol.Protocol, up bool) []byte {
	t.Helper()
	var stream []byte
	for _, v := range protocoltest.Frames(t, p.Name) {
		if !v.BodyOnly() && (up && v.FromDevice() || !up && v.ToDevice()) {
			stream = append(stream, v.Bytes()...)
		}
	}
	return stream
}

// pour writes a stream in pieces of the given sizes, again and again.
func pour(w io.Writer, stream []byte, sizes ...int) error {
	for i := 0; len(stream) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(stream))
		if _, err := w.Write(stream[:n]); err != nil {
			return err
		}
		stream = stream[n:]
	}
	return nil
}

// drain reads so many bytes. Where nothing comes, what is held back because more of it may come is
// given its time.
func (r *rig) drain(from net.Conn, n int) ([]byte, error) {
	got := make([]byte, 0, n)
	for end := time.Now().Add(patience); len(got) < n; {
		_ = from.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		m, err := from.Read(got[len(got):n])
		got = got[:len(got)+m]
		switch {
		case err == nil:
		case !isTimeout(err), time.Now().After(end):
			return got, err
		default:
			r.clock.advance(6 * time.Second)
		}
	}
	return got, nil
}

// bothWays pours one stream each way and compares what comes out.
func (r *rig) bothWays(t *testing.T, device, server net.Conn, up, down []byte, sizes ...int) {
	t.Helper()
	var all sync.WaitGroup
	way := func(from, to net.Conn, stream []byte, what string) {
		all.Go(func() {
			if err := pour(from, stream, sizes...); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
		all.Go(func() {
			got, err := r.drain(to, len(stream))
			if err != nil {
				t.Errorf("%s: %d of %d bytes: %v", what, len(got), len(stream), err)
			} else if !bytes.Equal(got, stream) {
				at := 0
				for got[at] == stream[at] {
					at++
				}
				t.Errorf("%s: byte %d of %d differs", what, at, len(stream))
			}
		})
	}
	way(device, server, up, "up")
	way(server, device, down, "down")
	all.Wait()
}

// closedWithin waits until the peer of a connection has ended it.
func closedWithin(t *testing.T, nc net.Conn, d time.Duration) {
	t.Helper()
	must(t, nc.SetReadDeadline(time.Now().Add(d)))
	if _, err := io.Copy(io.Discard, nc); err != nil && isTimeout(err) {
		t.Errorf("still open after %s", d)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
