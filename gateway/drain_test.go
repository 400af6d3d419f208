package gateway_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

// TestDrainHandsDevicesOver: sessions end at the rate that was asked for, quiet ones before busy
// ones, nobody new comes in, and what was not acknowledged reaches its device through another
// gateway under the same reference.
func TestDrainHandsDevicesOver(t *testing.T) {
	const devices, perSecond = 50, 100
	var trackers []queue.Tracker
	for id := queue.TrackerID(1); id <= devices; id++ {
		trackers = append(trackers, jt(id))
	}
	r := newRig(t, trackers)
	next := newRigOn(t, r.store, trackers)
	late := r.send(1, "acknowledged while the others go")[0]
	lost := r.send(2, "never acknowledged here")[0]
	list := make([]*device, devices)
	for i := range list {
		list[i] = r.login("jt808", phone(queue.TrackerID(i+1)))
	}
	stranger, err := net.Dial("tcp", r.addrs["wialon"])
	must(t, err)
	defer func() { _ = stranger.Close() }()
	eventually(t, func() bool { return r.metric("connections_total", "protocol=wialon") == 1 },
		func() string { return "nobody there who does not log in" })
	first, second := list[0].text(), list[1].text()
	if r.gw.Draining() {
		t.Fatal("drains already")
	}

	start := time.Now()
	drained := make(chan error, 1)
	go func() { drained <- r.gw.Drain(t.Context(), perSecond) }()
	for _, d := range list[2:] {
		d.gone()
	}
	if took := time.Since(start); took < (devices-2-10)*time.Second/perSecond {
		// a round's worth may come at once
		t.Errorf("%d sessions ended in %s, at most %d a second were asked for", devices-2, took,
			perSecond)
	}
	list[0].ack(first, protocol.AckDelivered)
	r.become(late, 1, queue.StatusDelivered)
	list[0].gone()
	list[1].gone()
	must(t, <-drained)
	if n := r.gw.Sessions(); n != 0 || !r.gw.Draining() {
		t.Errorf("%d sessions after the drain, draining %t", n, r.gw.Draining())
	}
	if n := r.metric("closed_total", "reason=shutdown"); n != devices+1 {
		t.Errorf("%v connections closed for the drain, want %d and a stranger", n, devices)
	}
	newcomer, err := net.Dial("tcp", r.addrs["jt808"])
	must(t, err)
	defer func() { _ = newcomer.Close() }()
	must(t, newcomer.SetReadDeadline(time.Now().Add(patience)))
	var timeout net.Error
	if _, err := newcomer.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) &&
		timeout.Timeout() {
		t.Errorf("a newcomer is let in: %v", err)
	}

	d := next.login("jt808", phone(2))
	if e := d.text(); e.Ref != second.Ref || e.Body != second.Body {
		t.Errorf("the other gateway sends %+v, the first one had sent %+v", e, second)
	} else {
		d.ack(e, protocol.AckDelivered)
	}
	next.become(lost, 2, queue.StatusDelivered)
	must(t, r.gw.Drain(t.Context(), perSecond)) // again is no harm
}

// TestDrainEndsWithItsContext: what is left then stays as it is.
func TestDrainEndsWithItsContext(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), jt(2)})
	one, two := r.login("jt808", phone(1)), r.login("jt808", phone(2))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.gw.Drain(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained at one a second: %v", err)
	}
	one.silent(protocol.DeviceText)
	two.silent(protocol.DeviceText)
	id := r.send(1, "still served")[0]
	one.ack(one.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}
