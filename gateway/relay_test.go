package gateway_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/standin"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// open connects a device that the directory does not name, and returns both ends. The first bytes
// are passed on when the device has had a second to name itself.
func (r *rig) open(proto string, s *tracking, first []byte) (net.Conn, *tracked) {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addrs[proto])
	must(r.t, err)
	r.t.Cleanup(func() { _ = nc.Close() })
	_, err = nc.Write(first)
	must(r.t, err)
	c := s.next(r)
	if got, err := r.drain(c.nc, len(first)); err != nil || !bytes.Equal(got, first) {
		r.t.Fatalf("the server got %q (%v), want %q", got, err, first)
	}
	return nc, c
}

// TestRelayPassesBytes sees everything that devices and servers of a protocol can say pass as it
// is, both ways at a time, however it is cut.
func TestRelayPassesBytes(t *testing.T) {
	for _, p := range all.Protocols() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			s := newTracking(t)
			r.behind(p.Name, gateway.Upstream{Address: s.addr()})
			up, down := frames(t, p, true), frames(t, p, false)
			for name, sizes := range map[string][]int{
				"whole":  {1 << 20},
				"bytes":  {1},
				"pieces": {7, 1, 130, 3, 64, 1000, 2, 29},
			} {
				nc, c := r.open(p.Name, s, up[:1])
				if t.Run(name, func(t *testing.T) {
					r.bothWays(t, nc, c.nc, up[1:], down, sizes...)
				}); t.Failed() {
					return
				}
				_ = nc.Close()
				if rest, err := c.ended(); len(rest) > 0 || err != nil {
					t.Errorf("%q and %v behind all of it", rest, err)
				}
			}
		})
	}
}

// TestRelayPassesGarbage sees what is of no protocol pass, also where it comes amid frames.
func TestRelayPassesGarbage(t *testing.T) {
	garbage := bytes.Repeat([]byte("\xffno\x00frame\x7d at all "), 20_000) // 380 KB
	for _, p := range all.Protocols() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			s := newTracking(t)
			r.behind(p.Name, gateway.Upstream{Address: s.addr()})
			up, down := frames(t, p, true), frames(t, p, false)
			up = append(append(bytes.Clone(up), garbage...), up...)
			down = append(append(bytes.Clone(down), garbage...), down...)
			nc, c := r.open(p.Name, s, up[:1])
			r.bothWays(t, nc, c.nc, up[1:], down, 1500)
		})
	}
}

// TestRelayEnds sees both sides get the other one's end as it was.
func TestRelayEnds(t *testing.T) {
	r := newRig(t, nil)
	s := newTracking(t)
	r.behind("egts", gateway.Upstream{Address: s.addr()})
	t.Run("device closes", func(t *testing.T) {
		nc, c := r.open("egts", s, []byte("hello"))
		_, err := nc.Write([]byte("and more"))
		must(t, err)
		must(t, nc.Close())
		if rest, err := c.ended(); string(rest) != "and more" || err != nil {
			t.Errorf("the server got %q, %v", rest, err)
		}
	})
	t.Run("device resets", func(t *testing.T) {
		nc, c := r.open("egts", s, []byte("hello"))
		must(t, nc.(*net.TCPConn).SetLinger(0))
		must(t, nc.Close())
		if _, err := c.ended(); err == nil {
			t.Error("the server got an ordinary end")
		}
	})
	t.Run("server closes", func(t *testing.T) {
		nc, c := r.open("egts", s, []byte("hello"))
		c.write([]byte("bye"))
		must(t, c.nc.Close())
		must(t, nc.SetReadDeadline(time.Now().Add(patience)))
		if rest, err := io.ReadAll(nc); string(rest) != "bye" || err != nil {
			t.Errorf("the device got %q, %v", rest, err)
		}
	})
	t.Run("server resets", func(t *testing.T) {
		nc, c := r.open("egts", s, []byte("hello"))
		must(t, c.nc.SetLinger(0))
		must(t, c.nc.Close())
		closedWithin(t, nc, patience)
	})
	t.Run("nobody listens", func(t *testing.T) {
		must(t, s.ln.Close())
		nc, err := net.Dial("tcp", r.addrs["egts"])
		must(t, err)
		defer func() { _ = nc.Close() }()
		_, err = nc.Write([]byte("hello"))
		must(t, err)
		closedWithin(t, nc, patience)
		eventually(t, func() bool { return r.metric("relay_dial_errors_total") == 1 },
			func() string { return "no dial error is counted" })
		if r.metric("relay_upstream_down_seconds") < 0 {
			t.Error("down for less than nothing")
		}
		if up := r.gw.Upstreams(); len(up) != 1 || !up[0].Down || up[0].Address != s.addr() ||
			up[0].DialErrors != 1 || up[0].LastError == "" {
			t.Errorf("upstreams %+v", up)
		}
	})
	eventually(t, func() bool { return r.metric("relay_sessions") == 0 },
		func() string { return "connections to the server are still counted" })
}

// TestRelayWaitsForSlowPeers sees neither side be read on while the other one does not read, and
// all of it arrive when it does.
func TestRelayWaitsForSlowPeers(t *testing.T) {
	const buffer, most = 64 << 10, 64 << 20
	line := []byte("a line of a device that says much\r\n")
	r := newRig(t, nil)
	s := newTracking(t)
	r.behind("egts", gateway.Upstream{Address: s.addr(), Buffer: buffer})
	for _, up := range []bool{true, false} {
		t.Run("up "+strconv.FormatBool(up), func(t *testing.T) {
			nc, c := r.open("egts", s, []byte("x"))
			from, to := net.Conn(c.nc), nc
			if up {
				from, to = nc, net.Conn(c.nc)
			}
			stream := bytes.Repeat(line, 1000)
			sent := 0
			stalled := func() bool { // nothing is taken any more
				must(t, from.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
				n, err := from.Write(stream)
				sent += n
				return err != nil
			}
			for !stalled() {
				if sent > most {
					t.Fatalf("%d bytes were taken from a peer whose other side does not read", sent)
				}
			}
			must(t, from.SetWriteDeadline(time.Time{}))
			tail := []byte("the end")
			done := make(chan error, 1)
			go func() { _, err := from.Write(tail); done <- err }()
			must(t, to.SetReadDeadline(time.Now().Add(patience)))
			got := make([]byte, sent+len(tail))
			_, err := io.ReadFull(to, got)
			must(t, err)
			must(t, <-done)
			want := append(bytes.Repeat(stream, sent/len(stream)+1)[:sent:sent], tail...)
			if !bytes.Equal(got, want) {
				t.Error("what came is not what was sent")
			}
			if r.metric("reads_paused_total") == 0 {
				t.Error("no pause is counted")
			}
		})
	}
}

// TestRelayOfASlowFrame sees a frame that comes in pieces over a slow network be understood, and
// one that stops amid it pass as it is.
func TestRelayOfASlowFrame(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{})
	d := r.login("wialon", phone(1))
	r.bound(1)
	text, err := d.side.AppendText(nil, "said slowly")
	must(t, err)
	for i := range text {
		d.write(text[i : i+1])
		seen := r.gw.Ticks()
		r.clock.advance(2 * time.Second)
		eventually(t, func() bool { return r.gw.Ticks() > seen },
			func() string { return "no look at what is due" })
	}
	d.wait(protocol.DeviceTextAck)
	if got := r.list(1); len(got) != 1 || got[0].Text != "said slowly" {
		t.Errorf("stored: %+v", got)
	}
	before := s.Figures().Bytes
	d.write([]byte("#M#begun and never"))
	eventually(t, func() bool {
		r.clock.advance(time.Second)
		return s.Figures().Bytes > before
	}, func() string { return "what is not finished does not pass" })
}
