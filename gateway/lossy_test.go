package gateway_test

import (
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// What a charset cannot carry reaches the driver as the nearest letters or '?', and never without a
// trace.
func TestReplacedCharactersAreCountedAndTold(t *testing.T) {
	for _, tc := range []struct {
		protocol, charset string
		text, shown       string
		replaced          float64
	}{
		{"jt808", "", "Čas 好 😀 🦕", "Cas 好 :) ?", 3},
		{"jt808", "", "Płońsk → 👍", "Plońsk → OK", 2},
		{"wialon", "cp1251", "Стоп é 好", "Стоп e ?", 2},
		{"wialon", "cp1251", "Łódź → Iğdır", "Lodz -> Igdir", 6},
		{"wialon", "utf8", "Стоп é 好 😀", "Стоп é 好 😀", 0},
		{"teltonika", "gbk", "Привет 😀🦕", "Привет :)?", 2},
		{"egts", "", "Груз 好 😀🦕", "Груз 好 :)?", 2},
		{"galileosky", "cp1251", "Груз №7", "Груз №7", 0},
	} {
		t.Run(tc.protocol+" "+tc.charset, func(t *testing.T) {
			set := map[string]string{}
			if tc.charset != "" {
				set["charset"] = tc.charset
			}
			core, logs := observer.New(zap.InfoLevel)
			r := newRig(t, []queue.Tracker{{
				ID: 1, Protocol: tc.protocol, DeviceID: "1001",
				Settings: set,
			}}, func(o *gateway.Options) { o.Logger = zap.New(core) })
			p, _ := all.Find(tc.protocol)
			settings, err := p.NewSettings(set)
			must(t, err)
			shown := make(chan string, 16)
			sim := trackersim.New(trackersim.Options{
				Protocol: p, Gateway: r.addrs[tc.protocol], Now: time.Now,
				Device: protocol.DeviceConfig{ID: "1001", Settings: settings},
				OnText: func(e protocol.DeviceEvent) trackersim.Action {
					shown <- e.Body
					return trackersim.Action{}
				},
			})
			ended := make(chan error, 1)
			go func() { ended <- sim.Run(t.Context()) }()
			ids := r.send(1, tc.text)
			eventually(t, func() bool { return r.list(1)[0].Status == queue.StatusDelivered },
				func() string { return "not delivered" })
			if got := <-shown; got != tc.shown {
				t.Errorf("shown %q, want %q", got, tc.shown)
			}
			if n := r.metric("replaced_characters_total"); n != tc.replaced {
				t.Errorf("%v characters counted, want %v", n, tc.replaced)
			}
			if m := r.list(1)[0]; m.Replaced != int(tc.replaced) {
				t.Errorf("the message says %d characters", m.Replaced)
			}
			told := logs.FilterMessage("text has characters that the device cannot show").All()
			if want := min(int(tc.replaced), 1); len(told) != want ||
				want > 0 && told[0].ContextMap()["message"] != ids[0] {
				t.Errorf("told %+v", told)
			}
			sim.Disconnect()
			must(t, <-ended)
		})
	}
}
