package gateway_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/standin"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// rawLogin logs a Wialon device in at a tracking server of which the test writes every byte.
func (r *rig) rawLogin(s *tracking) (*device, *tracked) {
	r.t.Helper()
	d := r.dial("wialon", phone(1))
	c := s.next(r)
	line := d.side.AppendLogin(nil)
	c.expect(line)
	c.write([]byte("#AL#1\r\n"))
	d.wait(protocol.DeviceLoggedIn)
	r.bound(1)
	return d, c
}

// ticks lets the gateway do what is due, and makes sure that the device gets nothing of it.
func (d *device) ticks() {
	d.t.Helper()
	if err := d.read(200 * time.Millisecond); !isTimeout(err) {
		d.t.Fatalf("the device got something: %v", err)
	}
}

// shaky is a relay with a mistake in its reading of one frame.
type shaky struct{ protocol.Relay }

func (s shaky) Up(w *protocol.Ways, frame []byte, now time.Time, emit func(*protocol.Event)) error {
	if bytes.Contains(frame, []byte("trigger")) {
		w.Mapped++
		panic("mistake in Up")
	}
	return s.Relay.Up(w, frame, now, emit)
}

// TestRelayPanicEndsOnlyItsSession sees nothing of a session whose protocol's code has panicked go
// to the server of another one.
func TestRelayPanicEndsOnlyItsSession(t *testing.T) {
	r := newRig(t, nil)
	s := newTracking(t)
	wialon, _ := all.Find("wialon")
	p := *wialon
	p.NewRelay = func(set protocol.Settings, o protocol.RelayOptions) protocol.Relay {
		return shaky{wialon.NewRelay(set, o)}
	}
	r.serve(&p, 0).SetUpstream(&gateway.Upstream{Address: s.addr()})
	type pair struct {
		nc net.Conn
		c  *tracked
	}
	var others []pair
	for range 6 { // some in each loop
		nc, c := r.open("wialon", s, []byte("#P#\r\n"))
		others = append(others, pair{nc, c})
	}
	for range 3 {
		victim, c := r.open("wialon", s, []byte("#P#\r\n"))
		_, err := victim.Write([]byte("#D#secret\r\n#M#trigger\r\n"))
		must(t, err)
		_, _ = c.ended()
	}
	for _, o := range others {
		_, err := o.nc.Write([]byte("#P#\r\n"))
		must(t, err)
		o.c.expect([]byte("#P#\r\n"))
	}
	if n := r.metric("relay_mapped_total"); n != 0 {
		t.Errorf("%v frames are counted as mapped", n)
	}
	eventually(t, func() bool { return r.metric("relay_sessions") == float64(len(others)) },
		func() string { return "a connection to the server is left" })
}

// TestRelayUnfinishedFrames sees each frame get its own time to be finished, of both sides.
func TestRelayUnfinishedFrames(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr()})
	d, c := r.rawLogin(s)
	ping := []byte("#P#\r\n")
	d.write([]byte("#P#\r\n#P"))
	c.expect(ping)
	c.write([]byte("#AP#\r\n#A"))
	d.wait(protocol.DeviceOther)
	for range 3 {
		r.clock.advance(3 * time.Second)
		d.ticks()
		d.write([]byte("#\r\n#P"))
		c.expect(ping)
		c.write([]byte("P#\r\n#A"))
		d.wait(protocol.DeviceOther)
	}
	d.write([]byte("#\r\n"))
	c.expect(ping)
	c.expect(d.say("of the driver"))
	if got := r.list(1); len(got) != 1 || got[0].Text != "of the driver" {
		t.Errorf("stored: %+v", got)
	}
	c.write([]byte("P#\r\n"))
	r.send(1, "to the driver")
	if e := d.text(); e.Body != "to the driver" {
		t.Errorf("the device got %q", e.Body)
	}
}

// TestRelayLineWithoutItsEnd sees what a server leaves unfinished pass in the end, also where its
// device goes on all the time.
func TestRelayLineWithoutItsEnd(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr()})
	d, c := r.rawLogin(s)
	c.write([]byte("no end"))
	ping := []byte("#P#\r\n")
	for range 6 {
		d.write(ping)
		c.expect(ping)
		r.lookAfter(2)
		r.clock.advance(2 * time.Second)
	}
	if got := string(d.raw()); got != "no end" {
		t.Errorf("the device got %q", got)
	}
}

// TestRelayLosesNothingUnsent sees a device that may stay without its server be let go when bytes
// of it were taken that the server cannot get any more.
func TestRelayLosesNothingUnsent(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr(), StayWhenDown: true})
	d, c := r.rawLogin(s)
	flood := func(nc net.Conn, line string) {
		t.Helper()
		stream := []byte(strings.Repeat(line, 10_000))
		for sent := 0; ; sent += len(stream) {
			must(t, nc.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
			if _, err := nc.Write(stream); err != nil {
				return
			}
			if sent > 64<<20 {
				t.Fatal("taken without end")
			}
		}
	}
	flood(c.nc, "#AP#\r\n") // so that the server is not read
	flood(d.nc, "#P#\r\n")  // bytes wait for it
	must(t, c.nc.SetLinger(0))
	must(t, c.nc.Close())
	r.lookAfter(14)
	d.gone()
	s.nobody()
}

// lookAfter waits until what is due has been looked at a number of times.
func (r *rig) lookAfter(times int64) {
	r.t.Helper()
	from := r.gw.Ticks()
	eventually(r.t, func() bool { return r.gw.Ticks() >= from+times },
		func() string { return "not looked at what is due" })
}

// shows checks that a Wialon device gets a text and nothing before it, and acknowledges that.
func (d *device) shows(text string) {
	d.t.Helper()
	if got := string(d.raw()); !strings.HasPrefix(got, "#M#"+text+";") {
		d.t.Fatalf("the device got %q", got)
	}
	d.write([]byte("#AM#1\r\n"))
}

// TestRelayDropsHalfAFrame sees a device that stays get no half of a frame of a server that has
// gone, and texts while the next server says nothing.
func TestRelayDropsHalfAFrame(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr(), StayWhenDown: true})
	d, c := r.rawLogin(s)
	c.write([]byte("#AP"))
	must(t, c.nc.Close())
	eventually(t, func() bool { return r.metric("relay_sessions") == 0 },
		func() string { return "the server's end is not noticed" })
	id := r.send(1, "one")[0]
	d.shows("one")
	r.become(id, 1, queue.StatusDelivered)
	c = s.next(r)
	c.expect([]byte("#L#"))
	c.write([]byte("#A")) // of the answer to what the device has not said
	id = r.send(1, "two")[0]
	d.ticks() // chat waits for the answer
	must(t, c.nc.Close())
	d.shows("two")
	r.become(id, 1, queue.StatusDelivered)
}

// TestRelayStaysWithoutHandshake sees a device stay whose server comes back without its TLS.
func TestRelayStaysWithoutHandshake(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := newTracking(t)
	dials := new(atomic.Int32)
	r.behind("wialon", gateway.Upstream{
		Address: s.addr(), StayWhenDown: true, TLS: func(string) *tls.Config {
			if dials.Add(1) == 1 {
				return nil
			}
			return &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS13}
		},
	})
	d, c := r.rawLogin(s)
	must(t, c.nc.Close())
	c = s.next(r)
	c.write([]byte("no TLS at all"))
	must(t, c.nc.Close())
	eventually(t, func() bool { return r.metric("relay_dial_errors_total") == 1 },
		func() string { return "the failed handshake is not counted" })
	id := r.send(1, "still here")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

// TestRelayTextsPerMinute sees a driver's text that is one too many go neither to the store nor to
// the server: its device has to say it again.
func TestRelayTextsPerMinute(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)},
		func(o *gateway.Options) { o.Limits.TextsPerMinute = 1 })
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{})
	d := r.login("wialon", phone(1))
	r.bound(1)
	d.say("one")
	d.wait(protocol.DeviceTextAck)
	d.say("two")
	d.gone()
	if f := s.Figures(); f.Texts != 1 {
		t.Errorf("the server has %d texts", f.Texts)
	}
	r.clock.advance(2 * time.Minute)
	r.lookAfter(2)
	d = r.login("wialon", phone(1))
	r.bound(1)
	d.say("two")
	d.wait(protocol.DeviceTextAck)
	if got := r.list(1); len(got) != 2 {
		t.Errorf("stored: %+v", got)
	}
}

// TestRelayFramesPerSecond sees a device that floods be read slowly, and lose nothing.
func TestRelayFramesPerSecond(t *testing.T) {
	r := newRig(t, nil, func(o *gateway.Options) { o.Limits.FramesPerSecond = 10 })
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr()})
	nc, c := r.open("wialon", s, []byte("#P#\r\n"))
	stream := bytes.Repeat([]byte("#P#\r\n"), 100)
	_, err := nc.Write(stream)
	must(t, err)
	eventually(t, func() bool {
		return r.metric("refused_total", "reason=frames_per_second") > 0
	}, func() string { return "the flood is not held up" })
	if got, err := r.drain(c.nc, len(stream)); !bytes.Equal(got, stream) {
		t.Errorf("%d of %d bytes: %v", len(got), len(stream), err)
	}
}

// TestRelayLoginTimeoutIsCountedOnce sees a connection that says nothing be one refusal.
func TestRelayLoginTimeoutIsCountedOnce(t *testing.T) {
	r := newRig(t, nil)
	s := newTracking(t)
	l := r.behind("wialon", gateway.Upstream{Address: s.addr()})
	d := r.connect("wialon")
	eventually(t, func() bool {
		r.clock.advance(time.Second)
		return r.metric("refused_total", "reason=login_timeout") > 0
	}, func() string { return "not refused" })
	d.gone()
	s.nobody()
	if n := r.metric("refused_total"); n != 1 {
		t.Errorf("%v refusals are counted", n)
	}
	l.SetUpstream(&gateway.Upstream{Address: s.addr(), RefuseUnknown: true})
	d = r.connect("wialon")
	d.write([]byte("#P#\r\n")) // it never says who it is
	eventually(t, func() bool {
		r.clock.advance(200 * time.Millisecond)
		return r.metric("refused_total", "reason=unknown_device") == 1
	}, func() string { return "not refused" })
	d.gone()
	if n := r.metric("refused_total"); n != 2 {
		t.Errorf("%v refusals are counted", n)
	}
}

// TestRelayNoneHasItsTime sees a device that the gateway itself is the server of have all its time
// to log in, also when it was not known at first who it is.
func TestRelayNoneHasItsTime(t *testing.T) {
	none := jt(1)
	none.Upstream = queue.UpstreamNone
	r := newRig(t, []queue.Tracker{none})
	s := newTracking(t)
	r.behind("jt808", gateway.Upstream{Address: s.addr()})
	d := r.connect("jt808", func(c *protocol.DeviceConfig) { c.ID = phone(1) })
	first := d.side.AppendLogin(nil)
	d.write(first[:5])
	d.ticks()
	d.write(first[5:])
	answer := d.raw() // to its registration
	r.clock.advance(2 * time.Second)
	d.ticks()
	out, _, err := d.side.Feed(nil, answer, func(protocol.DeviceEvent) {})
	must(t, err)
	d.write(out)
	d.wait(protocol.DeviceLoggedIn)
	s.nobody()
}

// TestRelayLastText sees what a driver wrote go to the server also when the device has hung up
// before it was stored.
func TestRelayLastText(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{wl(1, nil)})
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr()})
	d, c := r.rawLogin(s)
	entered, release := st.stop("receive")
	said := d.say("last words")
	<-entered
	must(t, d.nc.Close())
	r.lookAfter(2)
	release()
	if got, err := c.ended(); !bytes.Equal(got, said) || err != nil {
		t.Errorf("the server got %q, %v", got, err)
	}
}

// TestRelayHastyDevice sees what a device says go to the server also when the device has hung up
// before there was a connection to it.
func TestRelayHastyDevice(t *testing.T) {
	r := newRig(t, nil)
	s := newTracking(t)
	r.behind("wialon", gateway.Upstream{Address: s.addr()})
	for range 50 {
		nc, err := net.Dial("tcp", r.addrs["wialon"])
		must(t, err)
		said := "#L#123456789012345;NA\r\n#D#position\r\n"
		_, err = io.WriteString(nc, said)
		must(t, err)
		must(t, nc.Close())
		if got, err := s.next(r).ended(); string(got) != said || err != nil {
			t.Fatalf("the server got %q, %v", got, err)
		}
	}
	eventually(t, func() bool { return r.metric("relay_sessions") == 0 },
		func() string { return "connections to the server are still counted" })
}

// TestRelaySlowTerminal sees a server wait for a terminal that takes one frame at a time.
func TestRelaySlowTerminal(t *testing.T) {
	slow := jt(1)
	slow.Settings = map[string]string{"frame_gap": "200"}
	r := newRig(t, []queue.Tracker{slow})
	s := r.stand("jt808", gateway.Upstream{}, standin.Options{})
	d := r.login("jt808", phone(1))
	r.bound(1)
	frame := d.side.AppendPosition(nil, 52, 13, time.Now())
	flood := bytes.Repeat(frame, 200<<10/len(frame))
	sent := make(chan error, 1)
	go func() { sent <- s.Send(phone(1), flood) }()
	eventually(t, func() bool { return r.metric("reads_paused_total") >= 2 },
		func() string { return "the server is read on and on" })
	r.lookAfter(14)
	if n := r.metric("closed_total"); n != 0 {
		t.Errorf("%v connections have ended", n)
	}
	must(t, d.nc.Close())
	if err := <-sent; err != nil {
		t.Log(err) // it came as far as it came
	}
}
