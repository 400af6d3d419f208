package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue/queuetest"
)

// TestDeliveryDetailAcrossKills follows messages through every state with the eyes of a client, on
// both stores, while the service is killed in between.
func TestDeliveryDetailAcrossKills(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { followDeliveries(t, apptest.ChildOptions{Trackers: 3}) })
	t.Run("redis", func(t *testing.T) {
		followDeliveries(t, apptest.ChildOptions{
			Trackers: 3,
			Redis:    []string{queuetest.StartRedis(t).Addr},
		})
	})
}

func followDeliveries(t *testing.T, o apptest.ChildOptions) {
	t.Helper()
	c := apptest.NewChild(t, o)
	c.Start()
	api := c.Client()

	// Offline.
	short := api.Call("send", "tracker_id", "1", "message", "short-lived", "ttl", "1").ID
	withdrawn := api.Send(1, "withdrawn")
	if a := api.Call("cancel", "message_id", itoa(withdrawn)); !a.Success {
		t.Fatalf("cancel: %+v", a)
	}
	once := func() (int64, []int64) {
		t.Helper()
		return api.Call("send", "tracker_id", "1", "message", "once", "idempotency_key", "k").ID,
			api.Call("broadcast", "trackers", "[1,3]", "message", "to all", "idempotency_key",
				"b").SentTo
	}
	id, all := once()
	c.Kill()
	c.Start()
	if again, allAgain := once(); again != id || !slices.Equal(all, []int64{1, 3}) ||
		!slices.Equal(all, allAgain) {
		t.Fatalf("after a kill: message %d and %d, trackers %v and %v", id, again, all, allAgain)
	}
	reaches(api, "EXPIRED", short)
	reaches(api, "CANCELLED", withdrawn)

	// In flight: the device drops the connection instead of acknowledging, and acknowledges over
	// the next one, which the test lets it make.
	d := newWaryDevice(t, c.Ports["jt808"])
	d.dial <- struct{}{}
	reaches(api, "DELIVERED", id)
	cancelled := api.Send(1, "hold: cancelled in flight")
	d.sees("hold: cancelled in flight")
	if a := api.Call("cancel", "message_id", itoa(cancelled)); !a.Success {
		t.Fatalf("cancel: %+v", a)
	}
	c.Kill()
	c.Start()
	reaches(api, "CANCELLED", cancelled)
	d.dial <- struct{}{}
	reaches(api, "DELIVERED", cancelled)
	if a := api.Call("cancel", "message_id", itoa(cancelled)); a.Status.Code != 13 {
		t.Fatalf("cancelling what is delivered: %+v", a)
	}

	// by text: on a machine that is slow now a message may expire before it is written, or just as
	// it is.
	expired := map[string]int64{}
	seen := ""
	for seen == "" {
		text := fmt.Sprintf("hold: expired in flight %d", len(expired))
		expired[text] = api.Call("send", "tracker_id", "1", "message", text, "ttl", "3").ID
		apptest.Eventually(t, "seen or expired", func() bool {
			for one := range expired {
				if d.saw(one) {
					seen = one
				}
			}
			return seen != "" || stateOf(api, expired[text]) == "EXPIRED"
		})
	}
	reaches(api, "EXPIRED", expired[seen])
	d.dial <- struct{}{}
	reaches(api, "DELIVERED", expired[seen])

	if d.saw("short-lived") || d.saw("withdrawn") {
		t.Error("a text that had ended was sent")
	}
	n := 0
	for _, m := range api.List(1) {
		if m.Text == "once" || m.Text == "to all" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d messages of two requests with keys", n)
	}
}

// waryDevice is tracker 1 on jt808. It dials when the test lets it, and holds its ack of texts that
// begin with "hold" back until the next connection.
type waryDevice struct {
	t    *testing.T
	dial chan struct{}

	mu    sync.Mutex
	shown []string
}

func newWaryDevice(t *testing.T, addr string) *waryDevice {
	t.Helper()
	d := &waryDevice{t: t, dial: make(chan struct{}, 1)}
	held := map[string]bool{}
	apptest.PlayDevice(t, addr, 1, func(o *trackersim.Options) {
		o.Pace = func(ctx context.Context) error {
			select {
			case <-d.dial:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.shown = append(d.shown, e.Body)
			if len(e.Body) > 4 && e.Body[:4] == "hold" && !held[e.Body] {
				held[e.Body] = true
				return trackersim.Action{Drop: trackersim.DropHoldingAck}
			}
			return trackersim.Action{}
		}
	})
	return d
}

func (d *waryDevice) saw(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.shown, text)
}

func (d *waryDevice) sees(text string) {
	d.t.Helper()
	apptest.Eventually(d.t, "shown: "+text, func() bool { return d.saw(text) })
}

// stateOf is what tracker/chat/read calls the state of a message.
func stateOf(c apptest.Client, id int64) string {
	c.T.Helper()
	a := c.Call("read", "message_id", itoa(id))
	b, err := json.Marshal(a.Value["delivery"])
	apptest.Must(c.T, err)
	var d struct{ State string }
	apptest.Must(c.T, json.Unmarshal(b, &d))
	return d.State
}

func reaches(c apptest.Client, state string, id int64) {
	c.T.Helper()
	apptest.Eventually(c.T, state, func() bool { return stateOf(c, id) == state })
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
