package main

import (
	"fmt"
	"io"
	"regexp"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue"
)

// TestInteractive is a driver at the keyboard: reads a text, holds and acknowledges one, refuses
// one, answers, reconnects, leaves.
func TestInteractive(t *testing.T) {
	_, file := directory(t, "--protocol", "jt808", "--devices", "1")
	store, addr := startGateway(t, "jt808", file)
	f := fleetFlags{
		deviceFlags: deviceFlags{protocol: "jt808", devices: 1}, gateway: addr,
		interactive: true, reconnect: true, connectRate: 500,
	}
	p, n, err := f.resolve()
	check(t, err)
	settings, err := p.NewSettings()
	check(t, err)
	typed, keyboard := io.Pipe()
	t.Cleanup(func() { check(t, keyboard.Close()) })
	var out buffer
	code := make(chan int, 1)
	go func() {
		code <- drive(t.Context(), &f, n, trackersim.Options{
			Protocol: p,
			Device:   protocol.DeviceConfig{Settings: settings},
		}, typed, &out)
	}()
	send := func(text string) int64 {
		res, err := store.Send(t.Context(), []queue.SendReq{{
			Tracker: 1, Text: text, Urgent: text == "hold this",
		}})
		check(t, err)
		check(t, res[0].Err)
		return res[0].ID
	}
	status := func(id int64, want queue.Status) {
		awaitTrue(t, func() bool {
			ms, err := store.List(t.Context(), queue.ListQuery{
				Tracker: 1, ToMs: 1 << 50,
				Limit: 100,
			})
			check(t, err)
			for _, m := range ms {
				if m.ID == id {
					return m.Status == want
				}
			}
			return false
		}, &out)
	}
	line := func(pattern string) {
		awaitTrue(t, func() bool { return regexp.MustCompile(pattern).MatchString(out.String()) },
			&out)
	}
	key := func(s string) { _, err := fmt.Fprintln(keyboard, s); check(t, err) }

	line(`logged in`)
	first := send("turn left")
	line(`<< turn left\n(.*\n)*-- acknowledged`)
	status(first, queue.StatusDelivered)
	key("on my way")
	line(`-- the gateway has it: on my way`)
	key("/ack")
	line(`-- no text waits`)
	key("/hold")
	key("/nonsense")
	line(`-- unknown command /nonsense`) // the command before it has been obeyed
	held := send("hold this")
	line(`<< hold this \(urgent\)\n`)
	status(held, queue.StatusPending)
	key("/ack")
	status(held, queue.StatusDelivered)
	refused := send("read that")
	line(`<< read that`)
	key("/refuse")
	status(refused, queue.StatusFailed)
	key("/drop")
	line(`(?s)disconnected.*logged in`)
	key("/1")
	line(`-- no text has such a choice`)
	key("/quit")
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d\n%s", c, out.String())
	}
}

// awaitTrue waits until ok is.
func awaitTrue(t *testing.T, ok func() bool, out *buffer) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for !ok() {
		select {
		case <-every.C:
		case <-deadline.C:
			t.Fatalf("waited in vain\n%s", out.String())
		}
	}
}
