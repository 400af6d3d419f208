package gateway_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

func TestCloseIsBoundedWhileTheStoreHangs(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1)}, func(o *gateway.Options) { o.StoreTimeout = time.Hour })
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
