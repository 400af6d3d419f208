package gateway_test

import (
	"io"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// onlyFrame returns the message id of the one frame of JT/T 808 that a read has brought.
func onlyFrame(t *testing.T, read []byte) int {
	t.Helper()
	p, _ := all.Find("jt808")
	if n, _, err := p.Frame(read, 0); err != nil || n != len(read) {
		t.Fatalf("a read brings %x: the first frame has %d bytes, %v", read, n, err)
	}
	return int(read[1])<<8 | int(read[2])
}

func paced(id queue.TrackerID) queue.Tracker {
	tr := jt(id)
	tr.Settings = map[string]string{"frame_gap": "5000", "events": "1=Arrived;2=Loading"}
	return tr
}

// frozen has time pass for the gateway only by what is added to skew.
func frozen(skew *atomic.Int64) rigOption {
	begin := time.Now()
	return func(o *gateway.Options) {
		o.Now = func() time.Time { return begin.Add(time.Duration(skew.Load())) }
	}
}

// Terminals that take what one read brings for one frame get one at a time, in order: answers, what
// the gateway sends by itself, and texts.
func TestOneFrameInEachGap(t *testing.T) {
	logins := trial(t, "jt808.jsonl", "jt808-two_frames_in_one_write")
	var skew atomic.Int64
	r := newRig(t, []queue.Tracker{paced(117)}, frozen(&skew))
	d := r.connect("jt808", func(c *protocol.DeviceConfig) { c.ID = phone(117) })
	for round, login := range logins {
		d.write(login)
		for _, want := range []int{0x8001, 0x8301} {
			if got := onlyFrame(t, d.raw()); got != want {
				t.Fatalf("login %d: %04x, want %04x", round, got, want)
			}
			skew.Add(int64(5*time.Second + 100*time.Millisecond))
		}
	}
	d.write(append(d.side.AppendHeartbeat(nil), d.side.AppendPosition(nil, 1, 2, time.Now())...))
	if got := onlyFrame(t, d.raw()); got != 0x8001 {
		t.Fatalf("%04x", got)
	}
	id := r.send(117, "and a text")[0]
	skew.Add(int64(5*time.Second + 100*time.Millisecond))
	if got := onlyFrame(t, d.raw()); got != 0x8001 {
		t.Fatalf("%04x", got)
	}
	skew.Add(int64(5*time.Second + 100*time.Millisecond))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 117, queue.StatusDelivered)
}

// What waits for its turn when a connection is closed leaves at once.
func TestFramesThatWaitLeaveBeforeTheEnd(t *testing.T) {
	r := newRig(t, []queue.Tracker{paced(1)})
	d := r.connect("jt808", as(1, "", "code"))
	d.write(d.side.AppendLogin(nil))
	first := d.raw()
	must(t, r.gw.Drain(t.Context(), 1000))
	must(t, d.nc.SetReadDeadline(time.Now().Add(patience)))
	rest, err := io.ReadAll(d.nc)
	must(t, err)
	if got := onlyFrame(t, first); got != 0x8001 {
		t.Errorf("%04x", got)
	}
	if got := onlyFrame(t, rest); got != 0x8301 {
		t.Errorf("%04x", got)
	}
}

// A terminal that says more than it can be answered is read as slowly as that, and nothing is lost.
func TestPacedTerminalThatSaysMuch(t *testing.T) {
	const beats = 120
	var skew atomic.Int64
	r := newRig(t, []queue.Tracker{paced(1)}, frozen(&skew), func(o *gateway.Options) {
		o.IdleTimeout = 10 * time.Hour
	})
	d := r.connect("jt808", as(1, "", "code"))
	d.write(d.side.AppendLogin(nil))
	for range beats {
		d.write(d.side.AppendHeartbeat(nil))
	}
	menus := 0
	for range 2 + beats { // the login's answers, and one a beat
		if onlyFrame(t, d.raw()) == 0x8301 {
			menus++
		}
		skew.Add(int64(5*time.Second + 100*time.Millisecond))
	}
	if n := r.metric("reads_paused_total"); n == 0 {
		t.Error("it was read all the time")
	}
	if menus != 1 {
		t.Errorf("%d menus", menus)
	}
	d.silent(protocol.DeviceRefused)
}
