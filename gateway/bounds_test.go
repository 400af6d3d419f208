package gateway_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// watched has the gateway log to where the test can look.
func watched(logs **observer.ObservedLogs) rigOption {
	core, seen := observer.New(zapcore.WarnLevel)
	*logs = seen
	return func(o *gateway.Options) { o.Logger = zap.New(core) }
}

// balanced opens another port for a protocol, behind a balancer on loopback.
func (r *rig) balanced(proto string, maxConns int) string {
	r.t.Helper()
	_, addr := r.fronted(proto, maxConns, &engine.Front{
		Proxy:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Timeout: 300 * time.Millisecond,
	})
	return addr
}

// fronted opens another port for a protocol, whose connections begin as front says.
func (r *rig) fronted(proto string, maxConns int, front *engine.Front) (l *gateway.Listener,
	addr string,
) {
	r.t.Helper()
	p, _ := all.Find(proto)
	l, err := r.gw.Listen(p, nil, maxConns)
	must(r.t, err)
	front.Listener, err = net.Listen("tcp", "127.0.0.1:0")
	must(r.t, err)
	addr = front.Addr().String()
	go func() { // until the rig's engine is shut down
		if err := l.Serve(front); err != nil {
			r.t.Error(err)
		}
	}()
	return l, addr
}

// from connects as a balancer that speaks for the client.
func (r *rig) from(addr, client string) net.Conn {
	r.t.Helper()
	nc, err := net.Dial("tcp", addr)
	must(r.t, err)
	r.t.Cleanup(func() { _ = nc.Close() })
	_, err = fmt.Fprintf(nc, "PROXY TCP4 %s 198.51.100.1 1 2\r\n", client)
	must(r.t, err)
	return nc
}

// counted waits until a figure is n.
func (r *rig) counted(name string, n float64, labels ...string) {
	r.t.Helper()
	r.reaches(name, n, labels...)
	if got := r.metric(name, labels...); got != n {
		r.t.Errorf("%s%v: %v, want %v", name, labels, got, n)
	}
}

// Two devices with one id take over each other again and again: after a while the one that is there
// and shows life stays, and an operator is told.
func TestTwoDevicesWithOneID(t *testing.T) {
	const most = 4
	var logs *observer.ObservedLogs
	r := newRig(t, []queue.Tracker{wl(1, nil), jt(bystander)}, watched(&logs),
		func(o *gateway.Options) { o.Takeovers = most })
	other := r.login("jt808", phone(bystander))
	last := r.login("wialon", phone(1))
	for range most {
		next := r.login("wialon", phone(1))
		last.gone()
		last = next
	}
	for range 3 {
		last.silent(protocol.DeviceRefused)
		r.dial("wialon", phone(1)).gone()
	}
	r.counted("refused_total", 3, "reason=takeovers")
	r.counted("takeovers_total", most)
	if seen := logs.FilterMessageSnippet("two devices").All(); len(seen) != 1 ||
		seen[0].ContextMap()["tracker"] != int64(1) {
		t.Errorf("warned: %v", seen)
	}
	id := r.send(1, "text")[0]
	last.ack(last.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	other.silent(protocol.DeviceRefused)
}

// A driver's allowance is the tracker's, not the connection's.
func TestTextsPerMinuteAcrossConnections(t *testing.T) {
	const most = 3
	var skew atomic.Int64
	begin := time.Now().Truncate(time.Minute)
	started := time.Now()
	now := func() time.Time {
		return begin.Add(time.Second + time.Since(started)/100).Add(time.Duration(skew.Load()))
	} // the minute does not end by itself
	r := newRig(t, []queue.Tracker{wl(1, nil)}, func(o *gateway.Options) {
		o.Limits.TextsPerMinute,
			o.Now = most, now
	})
	for i := range most {
		d := r.login("wialon", phone(1))
		d.say(fmt.Sprint("text ", i))
		d.wait(protocol.DeviceTextAck)
		must(t, d.nc.Close())
		r.counted("closed_total", float64(i+1))
	}
	d := r.login("wialon", phone(1))
	d.say("one too many")
	r.counted("refused_total", 1, "reason=texts_per_minute")
	d.silent(protocol.DeviceTextAck)
	skew.Store(int64(time.Minute))
	eventually(t, func() bool {
		d.say("next minute")
		return len(r.list(1)) > most
	}, func() string { return "refused" })
}

// A box is repeated as a whole until it is answered, so it is taken as a whole; what it brought in
// excess counts afterwards.
func TestBoxOfMoreTextsThanAMinuteAllows(t *testing.T) {
	const most = 3
	begin := time.Now().Truncate(time.Minute)
	var ahead atomic.Int64
	now := func() time.Time { return begin.Add(time.Duration(ahead.Load())) }
	r := newRig(t, []queue.Tracker{wl(1, nil)}, func(o *gateway.Options) {
		o.Limits.TextsPerMinute, o.Now = most, now
	})
	d := r.login("wialon", phone(1), variant11)
	box := "#B#"
	for i := range 2*most + 1 {
		box += fmt.Sprintf("%stext %d|", dated, i)
	}
	d.write([]byte(strings.TrimSuffix(box, "|") + "\r\n"))
	d.answer("#AB#7")
	if n := len(r.list(1)); n != 2*most+1 {
		t.Fatalf("stored %d texts", n)
	}
	refused := 0
	say := func(minute int, text string, taken bool) {
		t.Helper()
		ahead.Store(int64(minute) * int64(time.Minute))
		turned := func() bool { return r.gw.Seconds() >= now().Unix() }
		eventually(t, turned, func() string { return "earlier" })
		d.say(text)
		if taken {
			d.wait(protocol.DeviceTextAck)
			return
		}
		refused++
		r.counted("refused_total", float64(refused), "reason=texts_per_minute")
		d.silent(protocol.DeviceTextAck)
	}
	for minute := range 3 {
		say(minute, "another", minute == 2)
	}
	// One is left of the box, and one was said.
	d.write([]byte(strings.ReplaceAll(strings.TrimSuffix(box, "|"), ":text ", ":then ") + "\r\n"))
	d.answer("#AB#7")
	say(4, "two minutes take 6 of 9", false)
	say(5, "and the third the rest", true)
}

// Bytes that never become a frame keep a connection neither before nor after the login.
func TestSlowSenders(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil), wl(3, nil), jt(bystander)},
		func(o *gateway.Options) {
			o.LoginTimeout, o.IdleTimeout = 2*time.Second, 3*time.Second
		})
	stop := make(chan struct{})
	trickle := func(nc net.Conn, head string) {
		_, err := nc.Write([]byte(head))
		must(t, err)
		go func() {
			every := time.NewTicker(100 * time.Millisecond)
			defer every.Stop()
			for {
				select {
				case <-stop:
					return
				case <-every.C:
				}
				if _, err := nc.Write([]byte("1")); err != nil {
					return
				}
			}
		}()
	}
	defer close(stop)
	stranger, err := net.Dial("tcp", r.addrs["wialon"])
	must(t, err)
	defer func() { _ = stranger.Close() }()
	trickle(stranger, "#L#")
	d := r.login("wialon", phone(1))
	trickle(d.nc, "#M#")
	r.counted("closed_total", 1, "reason=login_timeout")
	r.counted("closed_total", 1, "reason=idle")
}

// While memory is short nobody new comes in and no new text, and who is there stays.
func TestMemoryShort(t *testing.T) {
	var short atomic.Bool
	var logs *observer.ObservedLogs
	r := newRig(t, []queue.Tracker{wl(1, nil), wl(3, nil)}, watched(&logs),
		func(o *gateway.Options) { o.Full = short.Load })
	d := r.login("wialon", phone(1))
	short.Store(true)
	for range 3 {
		nc, err := net.Dial("tcp", r.addrs["wialon"])
		must(t, err)
		defer func() { _ = nc.Close() }()
	}
	r.counted("refused_total", 3, "reason=memory")
	if n := logs.FilterMessageSnippet("connections are refused").Len(); n != 1 {
		t.Errorf("warned %d times", n)
	}
	d.say("text")
	r.counted("refused_total", 4, "reason=memory")
	d.silent(protocol.DeviceTextAck)
	id := r.send(1, "to the driver")[0] // what was accepted is delivered all the same
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	short.Store(false)
	d.say("text")
	d.wait(protocol.DeviceTextAck)
	r.login("wialon", phone(3))
	if n := len(r.list(1)); n != 2 {
		t.Errorf("%d texts stored", n)
	}
}

// Behind a balancer limits count the devices' addresses, and the balancer's header is what lets
// them in.
func TestLimitsBehindABalancer(t *testing.T) {
	var logs *observer.ObservedLogs
	r := newRig(t, []queue.Tracker{wl(1, nil)}, watched(&logs),
		func(o *gateway.Options) { o.Limits.PerIP = 2 })
	addr := r.balanced("wialon", 4)
	for range 3 {
		r.from(addr, "192.0.2.1")
	}
	r.counted("refused_total", 1, "reason=per_ip")
	if seen := logs.FilterField(zap.String("reason", "per_ip")).All(); len(seen) != 1 ||
		seen[0].ContextMap()["remote"] != "192.0.2.1:1" {
		t.Errorf("warned: %v", seen)
	}
	r.from(addr, "192.0.2.2")
	r.counted("connections_total", 3)
	fourth := r.from(addr, "192.0.2.3")
	r.counted("connections_total", 4)
	r.from(addr, "192.0.2.4")
	r.counted("refused_total", 1, "reason=max_conns")
	must(t, fourth.Close())
	r.counted("closed_total", 1)
	_ = r.from(addr, "192.0.2.5")
	r.counted("connections_total", 5)
	for _, begin := range []string{"#L#1;NA\r\n", ""} {
		nc, err := net.Dial("tcp", addr)
		must(t, err)
		defer func() { _ = nc.Close() }()
		_, err = nc.Write([]byte(begin))
		must(t, err)
	}
	r.counted("refused_total", 1, "reason=proxy_header")
	r.counted("refused_total", 1, "reason=proxy_timeout")
}

// One device that sends as fast as it can is read at its allowance; others are served as ever.
func TestFloods(t *testing.T) {
	const allowed = 50
	flood := map[string][]byte{
		"heartbeats": []byte("#P#\r\n"),
		"positions":  []byte("#SD#010120;120000;5355.09260;N;02732.40990;E;0;0;300;7\r\n"),
		"texts":      []byte("#M#flood\r\n"),
		"acks":       []byte("#AM#1\r\n"),
		"garbage":    []byte("#?#\r\n"),
	}
	trackers := []queue.Tracker{jt(bystander)}
	for i := range len(flood) {
		trackers = append(trackers, wl(queue.TrackerID(10+i), nil))
	}
	r := newRig(t, trackers, func(o *gateway.Options) {
		o.Limits.FramesPerSecond,
			o.Limits.TextsPerMinute = allowed, 60
	})
	other := r.login("jt808", phone(bystander))
	begin := time.Now()
	i := 0
	for _, frame := range flood {
		d := r.login("wialon", phone(queue.TrackerID(10+i)))
		i++
		burst := make([]byte, 0, 4<<10)
		for len(burst)+len(frame) <= 4<<10 {
			burst = append(burst, frame...)
		}
		go func() {
			for {
				if _, err := d.nc.Write(burst); err != nil {
					// until the end of the test; a full pipe is what it waits for
					return
				}
			}
		}()
		go func() { // and reads the answers
			chunk := make([]byte, 4<<10)
			for {
				if _, err := d.nc.Read(chunk); err != nil {
					return
				}
			}
		}()
	}
	r.reaches("refused_total", float64(2*len(flood)), "reason=frames_per_second")
	for range 5 {
		r.ready(other)
	}
	frames, seconds := r.metric("frames_total", "protocol=wialon"), time.Since(begin).Seconds()+2
	if most := float64(len(flood)) * allowed * seconds; frames > most {
		t.Errorf("%v frames in %.1f s, at most %.0f are allowed", frames, seconds, most)
	}
	if n := r.metric("sessions"); n != float64(len(flood)+1) {
		t.Errorf("%v sessions", n)
	}
}

// reaches waits until a figure is at least n.
func (r *rig) reaches(name string, n float64, labels ...string) {
	r.t.Helper()
	eventually(r.t, func() bool { return r.metric(name, labels...) >= n },
		func() string { return fmt.Sprintf("%s%v: %v", name, labels, r.metric(name, labels...)) })
}
