package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// heartbeat waits for a heartbeat with that state.
func (s *stream) heartbeat(state string) {
	s.tb.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.tb.Fatal("the feed has ended")
			}
			if e.name == "heartbeat" && e.data == `{"store":"`+state+`"}` {
				return
			}
		case <-deadline:
			s.tb.Fatalf("never %s", state)
		}
	}
}

// TestFeedTellsTheStoresState: a Redis that hangs or is gone is told to every reader within
// seconds, to those who come meanwhile at once, and its return as well.
func TestFeedTellsTheStoresState(t *testing.T) {
	redis := queuetest.StartRedis(t)
	proxy := queuetest.StartProxy(t, redis.Addr)
	store, err := redisstore.Open(context.Background(),
		redisstore.Options{Addrs: []string{proxy.Addr}, Now: time.Now, MaxPending: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, func(o *api.Options) {
		o.Store, o.Feed, o.Now, o.Timeout = store, store, time.Now, time.Second
	})
	w.api.HurryFeed(time.Hour, 10) // nothing is told because it is time for it
	s, stranger := w.stream(events(berlinKey)).hello(), w.stream(events(uralKey)).hello()
	s.heartbeat("ok")
	stranger.heartbeat("ok")
	for _, fault := range []struct {
		name           string
		breaks, repair func()
	}{
		{"hangs", proxy.Stall, proxy.Resume},
		{"is gone", func() { redis.Kill(t) }, func() { redis.Start(t) }},
	} {
		fault.breaks()
		s.heartbeat("down")
		stranger.heartbeat("down")
		late := w.stream(events(berlinKey)).hello()
		late.heartbeat("down")
		w.form("tracker/chat/send", "tracker_id", "101", "message", fault.name).refused(t, 8)
		fault.repair()
		s.heartbeat("ok")
		late.heartbeat("ok")
		stranger.heartbeat("ok")
		id := w.form("tracker/chat/send", "tracker_id", "101", "message",
			"after it "+fault.name).id(t)
		for !strings.Contains(s.next().data, `"id":`+itoa(id)+",") {
			// the refused one may be stored
		}
		late.close()
	}
}
