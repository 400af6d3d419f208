package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"trackchat/api/auth"
	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	demoLogin    = "demo" // and the password
	demoAckDelay = 400 * time.Millisecond
	demoSayEvery = 40 * time.Second
	demoReplyGap = 3 * time.Second // a long text is many parts; one answer is enough
)

// demoTracker is one simulated tracker of the demo.
type demoTracker struct {
	queue.Tracker
	variant string
	reply   string
	says    string
	relayed bool // a tracking server stands behind the gateway
}

// demoTrackers returns one tracker of each protocol, a JT/T 808 one of the 2019 standard, and one
// that is relayed.
func demoTrackers() []demoTracker {
	list := []demoTracker{
		{
			Tracker: queue.Tracker{
				ID: 101, Label: "Truck 1", Protocol: "jt808",
				DeviceID: "13812345678",
			}, variant: "2013", reply: "OK, understood",
			says: "Arrived at the gate",
		},
		{
			Tracker: queue.Tracker{
				ID: 102, Label: "Bus 2", Protocol: "jt808",
				DeviceID: "13812345679",
			}, variant: "2019", reply: "好的",
			says: "Traffic jam on the ring road",
		},
		{Tracker: queue.Tracker{
			ID: 103, Label: "Excavator 3", Protocol: "wialon",
			DeviceID: "353386060000103",
		}, variant: "2.0", reply: "Принято", says: "Need fuel"},
		{
			Tracker: queue.Tracker{
				ID: 104, Label: "Van 4", Protocol: "teltonika",
				DeviceID: "352093080000104",
			}, variant: "a604", reply: "Verstanden",
			says: "Tor 7 ist geschlossen",
		},
		{
			Tracker: queue.Tracker{
				ID: 105, Label: "Tanker 5", Protocol: "egts",
				DeviceID: "860000000000105",
			}, variant: "auth", reply: "Понял, еду",
			says: "Разгрузка закончена",
		},
		{
			Tracker: queue.Tracker{
				ID: 106, Label: "Loader 6", Protocol: "galileosky",
				DeviceID: "868204000000106",
			}, variant: "a611", reply: "De acuerdo",
			says: "Necesito combustible",
		},
		{ // whose wearer can only speak
			Tracker: queue.Tracker{
				ID: 107, Label: "Watch 7", Protocol: "watch",
				DeviceID: "9900000107",
			}, variant: "3g", reply: "[voice message]",
			says: "[voice message]",
		},
		{ // whose positions go to a tracking server
			Tracker: queue.Tracker{
				ID: 109, Label: "Lorry 9", Protocol: "wialon",
				DeviceID: "353386060000109",
			}, variant: "2.0", reply: "Compris", says: "Je suis au dépôt", relayed: true,
		},
	}
	for i := range list {
		t := &list[i].Tracker
		t.Account, t.Model, t.Chat, t.Features = 1, t.Protocol, true, []string{queue.FeatureChat}
	}
	return list
}

// yourTracker is the one that nobody plays: trackersim --interactive lets a person be its driver.
// Its device id is the first that trackersim gives out.
func yourTracker() demoTracker {
	return demoTracker{Tracker: queue.Tracker{
		ID: 108, Account: 1, Label: "You", Protocol: "jt808", DeviceID: "13800000001",
		Model: "jt808", Chat: true,
		Features: []string{queue.FeatureChat},
	}, variant: "2013"}
}

// runDemo runs the service with a demo account, and plays its trackers over real connections on
// loopback.
func runDemo(ctx context.Context, cfg *config.Config, configured bool, stdout,
	stderr io.Writer,
) int {
	dir, err := os.MkdirTemp("", "trackchat-demo-")
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "trackchat: %v\n", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg.Store.Path = dir
	cfg.Log.Level = "warn"
	// as in the container's image.
	open := os.Getenv("TRACKCHAT_API_LISTEN") != "" && !onLoopback(cfg.API.Listen)
	if !open {
		loopback(ctx, cfg, !configured)
	}
	log := newLogger(cfg.Log, stderr)
	app, err := app.New(cfg, log)
	if err == nil {
		err = (&demo{app: app, key: newKey(), open: open, out: stdout}).run(ctx, log)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "trackchat: %v\n", err)
		return 1
	}
	return 0
}

// onLoopback tells whether only this machine reaches an address to listen on.
func onLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip, parseErr := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || parseErr == nil && ip.IsLoopback())
}

// loopback moves every listener to this machine's own address; a port that is taken gives way to a
// free one if the operator did not ask for it.
func loopback(ctx context.Context, cfg *config.Config, yield bool) {
	addresses := make([]*string, 0, 2+len(cfg.Gateway.Listeners))
	addresses = append(addresses, &cfg.API.Listen, &cfg.Admin.Listen)
	for i := range cfg.Gateway.Listeners {
		addresses = append(addresses, &cfg.Gateway.Listeners[i].Listen)
	}
	var lc net.ListenConfig
	for _, a := range addresses {
		_, port, err := net.SplitHostPort(*a)
		if err != nil {
			continue // Load has refused that
		}
		*a = net.JoinHostPort("127.0.0.1", port)
		if !yield {
			continue
		}
		ln, err := lc.Listen(ctx, "tcp", *a)
		if err != nil {
			*a = "127.0.0.1:0"
			continue
		}
		_ = ln.Close()
	}
}

func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

type demo struct {
	app  *app.App
	key  string
	open bool // to other machines

	mu  sync.Mutex
	out io.Writer
}

func (d *demo) printf(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = fmt.Fprintf(d.out, format, args...)
}

func (d *demo) run(ctx context.Context, log *zap.Logger) error {
	trackers := demoTrackers()
	servers, err := relayTo(ctx, trackers)
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()
	if err != nil {
		return err
	}
	d.app.Seed = func(ctx context.Context, store queue.Store) error {
		return d.seed(ctx, store, trackers)
	}
	play, stop := context.WithCancel(ctx)
	defer stop()
	var players sync.WaitGroup
	defer players.Wait()
	d.app.Started = func() {
		d.welcome(trackers)
		for _, t := range trackers {
			players.Go(func() { d.play(play, t) })
		}
		for _, s := range servers {
			players.Go(func() { d.track(play, s) })
		}
	}
	return d.app.Run(ctx, log)
}

// seed fills the empty store with the demo account and its trackers.
func (d *demo) seed(ctx context.Context, store queue.DirectoryStore,
	trackers []demoTracker,
) error {
	password, err := auth.HashPassword(demoLogin)
	if err != nil {
		return err
	}
	account := queue.Account{
		ID: 1, Login: demoLogin, Password: password, Title: "Demo fleet",
		TimeZone: "UTC", Keys: []queue.Key{{Hash: queue.HashKey(d.key)}},
	}
	list := make([]queue.Tracker, 0, len(trackers)+1)
	for _, t := range append(trackers, yourTracker()) {
		t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
		list = append(list, t.Tracker)
	}
	_, err = store.ImportDirectory(ctx, []queue.Account{account}, list, false)
	return err
}

func (d *demo) welcome(trackers []demoTracker) {
	addrs := make(map[string]string)
	for name, a := range d.app.Addrs() {
		if addrs[name] = a.String(); a.Addr().IsUnspecified() {
			addrs[name] = net.JoinHostPort("localhost", strconv.Itoa(int(a.Port())))
		}
	}
	base := "http://" + addrs["api"]
	where := "everything on this machine only"
	if d.open {
		where = "open to other machines, with a password that everybody knows"
	}
	d.printf("trackchat demo: %d trackers, data in a temporary directory, %s; Ctrl-C ends it.\n\n",
		len(trackers), where)
	d.printf("  console    %s/#key=%s\n             or sign in at %s/ as %s, password %s\n", base,
		d.key, base, demoLogin, demoLogin)
	d.printf("  operations http://%s/\n  API        %s\n  key        %s\n", addrs["admin"], base,
		d.key)
	for _, p := range all.Protocols() {
		if a, ok := addrs[p.Name]; ok {
			d.printf("  %-10s %s\n", p.Name, a)
		}
	}
	d.printf("\nSend a text, then read the conversation (PENDING becomes DELIVERED when the device has acknowledged it):\n\n")
	d.printf("  curl '%s/v2/tracker/chat/send' -d hash=%s -d tracker_id=%d -d message='Hello driver'\n", base, d.key, trackers[0].ID)
	d.printf("  curl '%s/v2/tracker/chat/list?hash=%s&tracker_id=%d'\n\n", base, d.key,
		trackers[0].ID)
	for _, t := range trackers {
		behind := ""
		if t.relayed {
			behind = ", relayed to the tracking server at " + t.Upstream
		}
		d.printf("  tracker %d  %-12s %s %s%s\n", t.ID, t.Label, t.Protocol, t.variant, behind)
	}
	yours := yourTracker()
	d.printf("\nBe the driver of tracker %d yourself: it shows what is sent to it, and says what you type.\n\n", yours.ID)
	d.printf("  trackersim --protocol %s --interactive --gateway %s\n\n", yours.Protocol,
		addrs[yours.Protocol])
}

// play is one simulated tracker: it acknowledges every part of a text, answers, and now and then
// writes by itself.
func (d *demo) play(ctx context.Context, t demoTracker) {
	p, ok := all.Find(t.Protocol)
	addr, listening := d.app.Addrs()[t.Protocol]
	if !ok || !listening {
		return
	}
	settings, err := p.NewSettings()
	if err != nil {
		d.printf("%s: %v\n", t.Label, err)
		return
	}
	lastReply := time.Time{}
	sim := trackersim.New(trackersim.Options{
		Protocol: p, Gateway: addr.String(), Now: time.Now, Reconnect: true,
		HeartbeatEvery: time.Minute, PositionEvery: 30 * time.Second,
		Device: protocol.DeviceConfig{ID: t.DeviceID, Variant: t.variant, Settings: settings},
		OnText: func(protocol.DeviceEvent) trackersim.Action {
			a := trackersim.Action{Delay: demoAckDelay}
			if now := time.Now(); now.Sub(lastReply) > demoReplyGap {
				a.Reply, lastReply = t.reply, now
			}
			return a
		},
		OnEvent: func(e trackersim.Event) { d.tell(t.Label, e) },
	})
	go func() {
		every := time.NewTicker(demoSayEvery)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
				if err := sim.Say(ctx, t.says); err != nil && ctx.Err() == nil {
					d.printf("%s: %v\n", t.Label, err)
				}
			}
		}
	}()
	if err := sim.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		d.printf("%s: %v\n", t.Label, err)
	}
}

// tell prints what happened at a tracker.
func (d *demo) tell(label string, e trackersim.Event) {
	at := e.At.Format("15:04:05.000")
	switch e.Kind {
	case trackersim.LoggedIn:
		d.printf("%s  %-12s logged in\n", at, label)
	case trackersim.Disconnected:
		d.printf("%s  %-12s disconnected\n", at, label)
	case trackersim.Refused:
		d.printf("%s  %-12s refused by the gateway\n", at, label)
	case trackersim.TextReceived:
		d.printf("%s  %-12s shows %q\n", at, label, shorten(e.Text.Body))
	case trackersim.TextAcked:
		d.printf("%s  %-12s acknowledged it: DELIVERED\n", at, label)
	case trackersim.Said:
		d.printf("%s  %-12s writes %q\n", at, label, shorten(e.Said))
	case trackersim.SaidAcked:
		d.printf("%s  %-12s was told that it is stored: INCOMING\n", at, label)
	default:
	}
}

func shorten(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
