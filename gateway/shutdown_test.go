package gateway_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

func TestCloseIsBoundedWhileTheStoreHangs(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1)}, func(o *gateway.Options) {
		o.StoreTimeout = time.Hour
	})
	r.send(1, "text")
	d := r.login("jt808", phone(1))
	e := d.text()
	entered, release := st.stop("ack")
	defer release()
	d.ack(e, protocol.AckDelivered)
	<-entered
	must(t, d.nc.Close())
	eventually(t, func() bool { return r.gw.Sessions() == 0 }, func() string { return "logged in" })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- r.gw.Close(ctx) }()
	select {
	case err := <-closed:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed with %v, want an error: an ack was not stored", err)
		}
	case <-time.After(patience):
		t.Fatal("Close outlives its context")
	}
}

func TestQuiesceStoresWhatIsInHandWhileDevicesGoOnTalking(t *testing.T) {
	const talkers = 20
	st := newGated(t)
	list := []queue.Tracker{jt(1)}
	for i := range talkers {
		list = append(list, jt(queue.TrackerID(i+2)))
	}
	r := newRigOn(t, st, list)
	ids := r.send(1, "one", "two")
	d := r.login("jt808", phone(1))
	e := d.text()
	quiet := make(chan struct{})
	var group sync.WaitGroup
	for _, tr := range list[1:] {
		talker := r.login(tr.Protocol, tr.DeviceID)
		group.Go(func() {
			for {
				select {
				case <-quiet:
					return
				default:
				}
				if _, err := talker.nc.Write(talker.side.AppendHeartbeat(nil)); err != nil {
					return
				}
				if err := talker.read(patience); err != nil {
					return
				}
			}
		})
	}
	entered, release := st.stop("ack")
	d.ack(e, protocol.AckDelivered)
	<-entered
	stopped := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { stopped <- r.gw.Quiesce(ctx) }()
	d.silent(protocol.DeviceRefused)
	release()
	must(t, <-stopped)
	if m := r.message(ids[0], 1); m.Status != queue.StatusDelivered {
		t.Errorf("not stored: %+v", m)
	}
	close(quiet)
	group.Wait()
}
