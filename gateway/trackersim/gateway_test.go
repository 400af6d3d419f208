package trackersim_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// startGateway runs the real gateway for one protocol on the embedded store; trackers 1..n have the
// device ids 1001..1000+n.
func startGateway(t *testing.T, v variant, n int) (store queue.Store, addr string) {
	t.Helper()
	store, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
		Path: t.TempDir(),
		Now:  time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, store.Close()) })
	accounts, trackers := []queue.Account{{ID: 1, Login: "demo"}}, make([]queue.Tracker, n)
	for i := range trackers {
		trackers[i] = queue.Tracker{
			ID: queue.TrackerID(i + 1), Account: 1, Label: "t", Protocol: v.p.Name,
			DeviceID: deviceID(i + 1),
			Chat:     true, Features: []string{queue.FeatureChat}, Settings: v.set,
		}
	}
	_, err = store.ImportDirectory(t.Context(), accounts, trackers, true)
	check(t, err)
	directory := new(queue.Directory)
	directory.Replace(queue.NewSnapshot(accounts, trackers))
	e, err := engine.New(engine.Options{Now: time.Now})
	check(t, err)
	g, err := gateway.New(gateway.Options{
		Node: "test", Engine: e, Store: store,
		Directory: directory, Now: time.Now,
	})
	check(t, err)
	check(t, g.Start(t.Context()))
	l, err := g.Listen(v.p, v.listener, 0)
	check(t, err)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	served := make(chan error, 1)
	go func() { served <- l.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, g.Quiesce(ctx))
		check(t, e.Shutdown(ctx))
		check(t, g.Close(ctx))
		check(t, <-served)
	})
	return store, ln.Addr().String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deviceID(n int) string { return fmt.Sprint(1000 + n) }

// messages waits until the messages of a tracker are as wanted.
func messages(t *testing.T, store queue.Store, tracker queue.TrackerID,
	ok func([]queue.Message) bool,
) {
	t.Helper()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	ctx := patient(t)
	for {
		got, err := store.List(ctx, queue.ListQuery{Tracker: tracker, ToMs: 1 << 50, Limit: 1024})
		if err == nil && ok(got) {
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("messages %+v (%v)", got, err)
		}
	}
}

func TestConversationWithTheGateway(t *testing.T) {
	for _, v := range those(variant.answered) {
		t.Run(v.name, func(t *testing.T) {
			store, addr := startGateway(t, v, 1)
			tr, stop := run(t, trackersim.Options{Protocol: v.p, Gateway: addr, Device: v.device(t,
				deviceID(1)), Reply: "understood"})
			await(t, tr, "login", loggedIn)
			res, err := store.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "go to dock 4"}})
			if err = errors.Join(err, res[0].Err); err != nil {
				t.Fatal(err)
			}
			await(t, tr, "ack and reply", func(s trackersim.Stats) bool {
				return s.Acked == 1 &&
					s.SaidAcked == 1
			})
			check(t, tr.Say(patient(t), "arrived"))
			heard := v.heard("understood", "arrived")
			messages(t, store, 1, func(ms []queue.Message) bool {
				return len(ms) == 3 && ms[0].Status == v.came() && ms[1].Text == heard[0] &&
					ms[2].Text == heard[1] && ms[2].Status == queue.StatusUnread
			})
			check(t, stop())
		})
	}
}

func TestGatewayRefusesAStranger(t *testing.T) {
	for _, v := range those(func(v variant) bool { return !v.wordless }) {
		t.Run(v.name, func(t *testing.T) {
			_, addr := startGateway(t, v, 1)
			err := ended(t, trackersim.Options{Protocol: v.p, Gateway: addr, Device: v.device(t,
				"2000")})
			if !errors.Is(err, trackersim.ErrRefused) {
				t.Errorf("Run ended with %v", err)
			}
		})
	}
}

func TestAckOverTheNextConnectionDelivers(t *testing.T) {
	v := variants()[0]
	store, addr := startGateway(t, v, 1)
	texts := make(chan struct{}, 16)
	tr, _ := run(t, trackersim.Options{
		Protocol: v.p, Gateway: addr, Device: protocol.DeviceConfig{ID: deviceID(1)},
		Reconnect: true, ReconnectMin: time.Millisecond,
		OnText: func(protocol.DeviceEvent) trackersim.Action {
			texts <- struct{}{}
			if len(texts) == 1 {
				return trackersim.Action{Drop: trackersim.DropHoldingAck}
			}
			return trackersim.Action{Never: true} // every copy
		},
	})
	await(t, tr, "login", loggedIn)
	res, err := store.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "go to dock 4"}})
	if err = errors.Join(err, res[0].Err); err != nil {
		t.Fatal(err)
	}
	messages(t, store, 1, func(ms []queue.Message) bool {
		return len(ms) == 1 &&
			ms[0].Status == queue.StatusDelivered
	})
	if s := tr.Stats(); s.Logins != 2 || s.Acked != 1 {
		t.Errorf("stats %+v", s)
	}
}
