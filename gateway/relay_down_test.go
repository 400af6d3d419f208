package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/standin"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// TestRelayStaysWhenDown sees a device and its chat stay while the tracking server is away, its
// data wait, and its login be said again to the server that is back, whose answer is not the
// device's.
func TestRelayStaysWhenDown(t *testing.T) {
	for _, c := range chattings() {
		t.Run(c.proto, func(t *testing.T) { onBothStores(t, c.stays) })
	}
}

func (c chatting) stays(t *testing.T, newRig func([]queue.Tracker, ...rigOption) *rig) {
	t.Helper()
	tracker := relayTracker(c.proto)
	r := newRig([]queue.Tracker{tracker})
	s := r.stand(c.proto, gateway.Upstream{StayWhenDown: true}, standin.Options{})
	d := r.login(c.proto, tracker.DeviceID)
	r.bound(1)
	d.write(d.side.AppendPosition(nil, 52, 13, time.Now()))
	r.sees(s, "a position", func() bool { return s.Figures().Positions >= 1 })
	r.quietDown(d)
	before := s.Figures()
	s.Die(standin.RST)
	eventually(t, func() bool { return r.metric("relay_sessions") == 0 },
		func() string { return "the server's end is not noticed" })
	id := r.send(1, "while it is away")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	d.write(d.side.AppendPosition(nil, 53, 14, time.Now()))
	must(t, s.Return(t.Context()))
	eventually(t, func() bool { // each try comes later than the one before
		r.clock.advance(time.Second)
		time.Sleep(10 * time.Millisecond)
		return s.Figures().Logins == before.Logins+1
	}, func() string { return fmt.Sprintf("not logged in again: %+v", s.Figures()) })
	r.sees(s, "the position", func() bool {
		return s.Figures().Positions >= before.Positions+1
	})
	if c.proto == "watch" { // whose positions have no answer
		d.write(d.side.AppendHeartbeat(nil))
	}
	d.wait(protocol.DeviceOther) // its answer, and nothing of the login before it
	for _, e := range d.seen {
		if e.Kind == protocol.DeviceLoggedIn || e.Kind == protocol.DeviceRefused {
			t.Errorf("the device got an answer to a login that it did not make")
		}
	}
	if c.proto == "egts" {
		answersFirst(t, s.Device(tracker.DeviceID).Raw)
	}
	id = r.send(1, "all is well")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	if f := s.Figures(); f.Strays != 0 && !c.acksPass || r.gw.Sessions() != 1 {
		t.Errorf("%+v, %d sessions", f, r.gw.Sessions())
	}
}

// answersFirst sees the answer to the word about a login that was said again go before all else
// that waited: what follows the second copy of the login is a RESPONSE.
func answersFirst(t *testing.T, stream []byte) {
	t.Helper()
	egts, _ := all.Find("egts")
	var login []byte
	for again := false; len(stream) > 0; {
		n, _, err := egts.Frame(stream, 0)
		if err != nil || n == 0 {
			t.Fatalf("%x: %v", stream, err)
		}
		const packetType, response = 9, 0
		frame := stream[:n]
		switch {
		case login == nil:
			login = frame
		case again:
			if frame[packetType] != response {
				t.Errorf("%x follows the login that was said again", frame)
			}
			return
		default:
			again = bytes.Equal(frame, login)
		}
		stream = stream[n:]
	}
	t.Error("the login was not said again")
}

// quietDown delivers a text, so that nothing of a handshake is under way.
func (r *rig) quietDown(d *device) {
	r.t.Helper()
	id := r.send(1, "ready?")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	for d.read(50*time.Millisecond) == nil { // what is still on its way
		continue
	}
	d.seen = nil
}

// TestRelayHoldsWhenDown sees a device not be read beyond the buffer while the server is away.
func TestRelayHoldsWhenDown(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := r.stand("wialon", gateway.Upstream{StayWhenDown: true, Buffer: 16 << 10}, standin.Options{})
	d := r.login("wialon", phone(1))
	r.bound(1)
	s.Die(standin.RST)
	eventually(t, func() bool { return r.metric("relay_sessions") == 0 },
		func() string { return "the server's end is not noticed" })
	line := d.side.AppendPosition(nil, 52, 13, time.Now())
	stream := bytes.Repeat(line, 1000)
	sent := 0
	for {
		must(t, d.nc.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		n, err := d.nc.Write(stream)
		if sent += n; err != nil {
			break
		}
		if sent > 64<<20 {
			t.Fatal("the device is read on and on")
		}
	}
	if n := r.metric("reads_paused_total"); n == 0 {
		t.Error("no pause is counted")
	}
}

// positionStream is a device that sends positions one by one, keeps those that have no answer, and
// sends them again over its next connection, as devices do.
type positionStream struct {
	t      *testing.T
	addr   string
	side   protocol.Device
	lines  [][]byte // all of them
	next   int      // first one that has not been sent over this connection
	acked  int      // first one without an answer
	window int
}

// run sends all lines, over as many connections as it takes.
func (p *positionStream) run() {
	for p.acked < len(p.lines) && !p.t.Failed() {
		if err := p.once(); err != nil && isTimeout(err) {
			p.t.Errorf("%d of %d have their answer: %v", p.acked, len(p.lines), err)
			return
		}
		p.next = p.acked
	}
}

func (p *positionStream) once() error {
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := nc.Write(p.side.AppendLogin(nil)); err != nil {
		return err
	}
	var buf []byte
	chunk := make([]byte, 4<<10)
	for in := false; p.acked < len(p.lines); {
		for ; in && p.next < len(p.lines) && p.next < p.acked+p.window; p.next++ {
			if _, err := nc.Write(p.lines[p.next]); err != nil {
				return err
			}
		}
		n, err := nc.Read(chunk)
		if err != nil {
			return err
		}
		buf = append(buf, chunk[:n]...)
		for {
			line, rest, found := bytes.Cut(buf, []byte("\r\n"))
			if !found {
				break
			}
			switch string(line) {
			case "#AL#1":
				in = true
			case "#AD#1", "#ASD#1":
				p.acked++
			default:
				return errors.New("answer " + string(line))
			}
			buf = rest
		}
	}
	return nil
}

// TestRelayLosesNothing kills the connections of a tracking server again and again while a device
// sends positions through: what has its answer is with the server, and nothing has one that is not.
func TestRelayLosesNothing(t *testing.T) {
	const positions, kills = 10_000, 100
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{})
	d := r.connect("wialon", func(c *protocol.DeviceConfig) { c.ID = phone(1) })
	p := &positionStream{t: t, addr: r.addrs["wialon"], side: d.side, window: 20}
	at := time.Now().Add(-positions * time.Second)
	for i := range positions {
		p.lines = append(p.lines, d.side.AppendPosition(nil, 52, 13, at.Add(time.Duration(i)*
			time.Second)))
	}
	var killer sync.WaitGroup
	killer.Go(func() {
		for i := range kills {
			// another hundredth of the positions has come, so that the kills are spread
			r.sees(s, "more positions", func() bool {
				return s.Figures().Answered >= (i+1)*(positions-1000)/kills
			})
			s.Kill(standin.End(i % 2))
		}
	})
	p.run()
	killer.Wait()
	has := map[string]bool{}
	for _, packet := range s.Device(phone(1)).Packets {
		has[string(packet.Frame)] = true
	}
	missing := 0
	for _, line := range p.lines {
		if !has[string(line)] {
			missing++
		}
	}
	f := s.Figures()
	if missing > 0 || f.Connections < kills {
		t.Errorf("%d positions have an answer and are not with the server; %+v", missing, f)
	}
	t.Logf("%d connections, %d positions at the server", f.Connections, f.Positions)
}

// TestRelayKeepsUp plays positions back to back, as fast as they go, with texts beside them.
func TestRelayKeepsUp(t *testing.T) {
	const positions = 2000
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{})
	d := r.connect("wialon", func(c *protocol.DeviceConfig) { c.ID = phone(1) })
	p := &positionStream{t: t, addr: r.addrs["wialon"], side: d.side, window: positions}
	for i := range positions {
		p.lines = append(p.lines, d.side.AppendPosition(nil, 52, 13, time.Unix(int64(i), 0)))
	}
	p.run()
	got := s.Device(phone(1)).Packets
	for i, line := range p.lines {
		if i >= len(got) || !bytes.Equal(got[i].Frame, line) {
			t.Fatalf("position %d of %d is not what was sent", i, len(got))
		}
	}
	if n := len(got); n != positions {
		t.Errorf("the server has %d positions", n)
	}
}

// TestRelayReload sees a changed upstream hold for connections that come after it.
func TestRelayReload(t *testing.T) {
	r := newRig(t, nil)
	first, second := newTracking(t), newTracking(t)
	l := r.behind("wialon", gateway.Upstream{Address: first.addr()})
	nc, c := r.open("wialon", first, []byte("#P#\r\n"))
	l.SetUpstream(&gateway.Upstream{Address: second.addr()})
	r.open("wialon", second, []byte("#P#\r\n"))
	_, err := nc.Write([]byte("#P#\r\n"))
	must(t, err)
	c.expect([]byte("#P#\r\n"))
	c.write([]byte("#AP#\r\n"))
	got := make([]byte, 6)
	must(t, nc.SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != "#AP#\r\n" {
		t.Errorf("%q, %v over the connection from before", got, err)
	}
}

// TestRelayLimits sees connections be refused beyond the rate of dials, and a relayed one count as
// two.
func TestRelayLimits(t *testing.T) {
	t.Run("dial_rate", func(t *testing.T) {
		r := newRig(t, nil)
		s := newTracking(t)
		r.behind("wialon", gateway.Upstream{Address: s.addr(), DialRate: 1})
		r.open("wialon", s, []byte("#P#\r\n"))
		eventually(t, func() bool {
			nc, err := net.Dial("tcp", r.addrs["wialon"])
			must(t, err)
			defer func() { _ = nc.Close() }()
			return r.metric("refused_total", "reason=dial_rate") > 0
		}, func() string { return "nobody is refused" })
	})
	t.Run("max_conns", func(t *testing.T) {
		r := newRig(t, nil)
		s := newTracking(t)
		p, _ := all.Find("wialon")
		r.serve(p, 3).SetUpstream(&gateway.Upstream{Address: s.addr()})
		r.open("wialon", s, []byte("#P#\r\n"))
		r.open("wialon", s, []byte("#P#\r\n")) // 3 of 3 as it comes
		nc, err := net.Dial("tcp", r.addrs["wialon"])
		must(t, err)
		closedWithin(t, nc, patience)
		if n := r.metric("refused_total", "reason=max_conns"); n != 1 {
			t.Errorf("%v refusals are counted", n)
		}
	})
}

// TestRelaySlowServer sees a device wait for a server that takes its time, and get what that says.
func TestRelaySlowServer(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{
		Behaviour: standin.Behaviour{Silent: true},
	})
	d := r.dial("wialon", phone(1))
	id := r.send(1, "later")[0]
	r.sees(s, "the login", func() bool { return s.Figures().Bytes > 0 })
	r.clock.advance(20 * time.Second)
	if err := d.read(200 * time.Millisecond); !isTimeout(err) {
		t.Errorf("the device got something before the server has spoken: %v", err)
	}
	r.bound(0)
	s.Behave(standin.Behaviour{})
	d.write(d.side.AppendLogin(nil)) // the silent server has dropped the first one
	d.wait(protocol.DeviceLoggedIn)
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

// TestRelayTextIsStoredFirst sees what a driver wrote go to the server when it is stored, and not
// at all when it cannot be.
func TestRelayTextIsStoredFirst(t *testing.T) {
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	failing := &failingReceive{Store: st}
	r := newRigOn(t, failing, []queue.Tracker{wl(1, nil)})
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{})
	d := r.login("wialon", phone(1))
	r.bound(1)
	failing.fails.Store(true)
	d.say("cannot be stored")
	d.gone()
	if f := s.Figures(); f.Texts != 0 {
		t.Errorf("the server has what is not stored: %+v", f)
	}
	if n := r.metric("closed_total", "reason=store"); n != 1 {
		t.Errorf("%v connections are counted as ended by the store", n)
	}
	failing.fails.Store(false)
	d = r.login("wialon", phone(1))
	d.say("cannot be stored") // the device says it again
	d.wait(protocol.DeviceTextAck)
	r.sees(s, "the text", func() bool { return s.Figures().Texts == 1 })
	if got := r.list(1); len(got) != 1 || got[0].Text != "cannot be stored" {
		t.Errorf("stored: %+v", got)
	}
}

// failingReceive is a store that takes no text of a driver while it fails.
type failingReceive struct {
	queue.Store
	fails atomic.Bool
}

func (f *failingReceive) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult,
	error,
) {
	if f.fails.Load() {
		return nil, errors.New("disk on fire")
	}
	return f.Store.Receive(ctx, in)
}
