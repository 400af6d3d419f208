package app

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"
)

// byHand are the alerts whose fault cannot be brought about from outside, or only in minutes: they
// have hand-written samples only, in TestAlertsFire.
var byHand = []string{
	"TrackchatLoopSlow", "TrackchatPanics", "TrackchatUpstreamDown", "TrackchatWakesMissed",
}

// alarms are what is done to a service that works, and what Prometheus must say of it.
func alarms() map[string]alarm {
	return map[string]alarm{
		"nothing": {course: nothing},
		"ended":   {course: ended, alerts: []string{"TrackchatDown"}},
		"Redis is dead": {course: redisDead, alerts: []string{
			"TrackchatStoreFails", "TrackchatNotReady",
		}},
		"Redis is emptied": {course: redisEmptied, alerts: []string{
			"TrackchatStoreLost", "TrackchatNotReady", "TrackchatErrorsLogged",
		}},
		"Redis is slow": {course: redisSlow, alerts: []string{"TrackchatStoreSlow"}},
		"a message is damaged": {
			course: messageDamaged, once: true, alerts: []string{"TrackchatStoreCorrupt"},
		},
		"the log is damaged": {course: logDamaged, alerts: []string{"TrackchatLogDamaged"}},
		"devices are deaf": {course: deaf, alerts: []string{
			"TrackchatNothingDelivered", "TrackchatProtocolSilent",
		}},
		"devices are slow":     {course: tardy, alerts: []string{"TrackchatDeliverySlow"}},
		"devices refuse texts": {course: unwilling, alerts: []string{"TrackchatTextsFail"}},
		"a charset is too small": {
			course: unprintable, alerts: []string{"TrackchatCharactersReplaced"},
		},
		"devices go": {course: devicesGo, alerts: []string{"TrackchatSessionsLost"}},
		"texts wait": {
			course: textsWait, after: 7 * time.Hour, alerts: []string{"TrackchatPendingGrows"},
		},
		"frames torn": {course: framesTorn, alerts: []string{"TrackchatFramesDamaged"}},
		"devices come again and again": {
			course: comeAgain, alerts: []string{"TrackchatTakeovers"},
		},
		"two devices have one id": {
			course: shared, once: true, alerts: []string{"TrackchatDeviceIdShared"},
		},
		"strangers":  {course: strangers, alerts: []string{"TrackchatLoginsRefused"}},
		"wrong port": {course: wrongPort, alerts: []string{"TrackchatWrongProtocol"}},
		"a webhook refuses": {
			course: hookRefuses, once: true, alerts: []string{"TrackchatWebhooksDropped"},
		},
		"a webhook lags":    {course: hookLags, alerts: []string{"TrackchatWebhooksLate"}},
		"a client is stuck": {course: feedStuck, alerts: []string{"TrackchatFeedDrops"}},
		"memory is short":   {course: memoryShort, alerts: []string{"TrackchatMemoryShort"}},
		"descriptors": {
			course: descriptorsShort,
			alerts: []string{"TrackchatDescriptorsShort"},
		},
		"an upstream is away": {
			course: upstreamAway, alerts: []string{"TrackchatUpstreamDialErrors"},
		},
		"an upstream uses the terminals": {
			course: terminalsUsed, once: true, alerts: []string{"TrackchatUpstreamConflicts"},
		},
		"a certificate ends": {course: certificateEnds, alerts: []string{
			"TrackchatCertificateEnds", "TrackchatCertificateEndsSoon",
		}},
	}
}

// TestFaultsRaiseAlerts brings a running service into each fault and gives promtool what /metrics
// said before, and in the fault.
func TestFaultsRaiseAlerts(t *testing.T) {
	t.Parallel()
	seen := slices.Clone(byHand)
	for name, a := range alarms() {
		for _, alert := range a.alerts {
			if !slices.Contains(seen, alert) {
				seen = append(seen, alert)
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := a.course(t)
			a.check(t, &c)
		})
	}
	slices.Sort(seen)
	if names := alertNames(t); !slices.Equal(names, seen) {
		t.Errorf("alerts %q, with a fault or by hand %q", names, seen)
	}
}

// redisPatient is one on a Redis of its own.
func redisPatient(t *testing.T) (*patient, *queuetest.RedisServer) {
	t.Helper()
	server := queuetest.StartRedis(t)
	cfg := apptest.Config(t, 3)
	cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, []string{server.Addr}
	return nurse(t, cfg), server
}

// seenNow ends a course with what the service says now.
func (p *patient) seenNow() course {
	p.T.Helper()
	p.fault = p.scrape()
	return p.course
}

func nothing(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	well := p.worked
	p.work()
	p.worked, p.fault = well, p.worked
	return p.course
}

func ended(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	ctx, cancel := context.WithTimeout(context.Background(), StopWithin)
	defer cancel()
	apptest.Must(t, p.App.Stop(ctx))
	return p.seenNow()
}

func redisDead(t *testing.T) course {
	t.Helper()
	p, server := redisPatient(t)
	server.Kill(t)
	t.Cleanup(func() { server.Start(t) }) // the service ends in order
	const errs = 7                        // in a minute, more than one in ten seconds
	apptest.Eventually(t, "errors", func() bool {
		p.API.Call("list", "tracker_id", "1")
		p.fault = p.scrape()
		sum := 0.0
		for series, v := range p.fault.values {
			if strings.HasPrefix(series, "trackchat_store_errors_total{") {
				sum += v - p.worked.values[series]
			}
		}
		return sum >= errs && !p.Ready()
	})
	return p.seenNow()
}

func redisEmptied(t *testing.T) course {
	t.Helper()
	p, server := redisPatient(t)
	server.Must(t, "FLUSHALL")
	t.Cleanup(func() { p.adopt() })
	p.API.Call("send", "tracker_id", "1", "message", "x")
	p.App.checkStore(t.Context())
	p.until("trackchat_store_lost", 1)
	p.until(`trackchat_log_entries_total{level="error"}`, 1)
	return p.seenNow()
}

// adopt ends the loss of a store, so that the service can end in order.
func (p *patient) adopt() {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), apptest.Patience)
	defer cancel()
	o, err := RedisOptions(&p.App.cfg.Store)
	apptest.Must(p.T, err)
	if _, err := redisstore.Adopt(ctx, o); err != nil {
		p.T.Errorf("adopting: %v", err)
	}
	apptest.Eventually(p.T, "ready", func() bool {
		p.App.checkStore(ctx)
		return p.App.notReady(
			ctx) == nil
	})
}

func redisSlow(t *testing.T) course {
	t.Helper()
	p, server := redisPatient(t)
	server.Must(t, "CLIENT", "PAUSE", "2000", "ALL")
	p.API.Call("list", "tracker_id", "1")
	return p.seenNow()
}

func messageDamaged(t *testing.T) course {
	t.Helper()
	p, server := redisPatient(t)
	server.Must(t, "SET", server.Must(t, "KEYS", "*:c:1"), "x")
	p.API.Call("list", "tracker_id", "1")
	return p.seenNow()
}

// logDamaged is a service that starts again after a kill, with a byte changed in its log.
func logDamaged(t *testing.T) course {
	t.Helper()
	cfg := apptest.Config(t, 1)
	p := nurse(t, cfg)
	for range 10 {
		p.work()
	}
	again := apptest.Config(t, 1)
	apptest.Must(t, os.CopyFS(again.Store.Path, os.DirFS(cfg.Store.Path))) // as a kill leaves it
	log := filepath.Join(again.Store.Path, "chat.db-wal")
	data, err := os.ReadFile(log)
	apptest.Must(t, err)
	frame, end := 24+int(binary.BigEndian.Uint32(data[8:])), 32
	for end+frame <= len(data) && bytes.Equal(data[end+8:end+16], data[16:24]) {
		end += frame
	}
	data[end-15*frame+1000] ^= 0xff // some transactions from the end
	apptest.Must(t, os.WriteFile(log, data, 0o600))
	p.service = startService(t, again)
	return p.seenNow()
}

// hearing has device 1 do so about its next text.
func (p *patient) hearing(a trackersim.Action, text string) {
	p.T.Helper()
	p.deaf.Store(&a)
	p.API.Send(1, text)
}

func deaf(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	p.hearing(trackersim.Action{Never: true}, "do you read me?")
	p.until(`trackchat_texts_sent_total{protocol="jt808"}`, 1)
	p.App.checkStore(t.Context()) // counts what waits
	return p.seenNow()
}

func tardy(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	p.hearing(trackersim.Action{Delay: 4500 * time.Millisecond}, "take your time")
	p.until("trackchat_ack_seconds_count", 1)
	return p.seenNow()
}

func unwilling(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	p.hearing(trackersim.Action{Outcome: protocol.AckRejected}, "not shown")
	p.until(`trackchat_texts_ended_total{status="failed"}`, 1)
	return p.seenNow()
}

func unprintable(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	p.API.Delivered(1, p.API.Send(1, strings.Repeat("\U0001F69A", 20)))
	return p.seenNow()
}

func devicesGo(t *testing.T) course {
	t.Helper()
	const devices = 120
	p := nurse(t, apptest.Config(t, 2*devices))
	var conns []net.Conn
	for id := 2; id <= 2*devices; id += 2 {
		conns = append(conns, p.wialon("wialon", wialonLogin(id), "#AL#1"))
	}
	p.until(`trackchat_sessions{protocol="wialon"}`, devices)
	p.work()
	for _, nc := range conns[devices/2:] {
		apptest.Must(t, nc.Close())
	}
	apptest.Eventually(t, "gone", func() bool { return p.App.gateway.Sessions() == 1+devices/2 })
	return p.seenNow()
}

func textsWait(t *testing.T) course {
	t.Helper()
	const trackers, each = 301, 34
	p := nurse(t, apptest.Config(t, trackers))
	list := "[2"
	for id := 3; id <= trackers; id++ {
		list += fmt.Sprint(",", id)
	}
	for n := range each {
		a := p.API.Call("broadcast", "trackers", list+"]", "message", fmt.Sprint("text ", n))
		if !a.Success {
			t.Fatalf("%+v", a)
		}
	}
	p.App.checkStore(t.Context())
	p.until("trackchat_pending", 10_001)
	return p.seenNow()
}

func framesTorn(t *testing.T) course {
	t.Helper()
	const good, bad = 150, 10
	p := nurse(t, apptest.Config(t, 3))
	jt, _ := all.Find("jt808")
	settings, err := jt.NewSettings()
	apptest.Must(t, err)
	side := jt.NewDevice(protocol.DeviceConfig{ID: apptest.DeviceOf(3), Settings: settings})
	nc, err := net.Dial("tcp", p.Addrs["jt808"])
	apptest.Must(t, err)
	defer func() { _ = nc.Close() }()
	says := side.AppendLogin(nil)
	for range good {
		says = side.AppendHeartbeat(says)
	}
	for range bad {
		torn := side.AppendHeartbeat(nil)
		torn[len(torn)-2] ^= 1 // its checksum
		says = append(says, torn...)
	}
	_, err = nc.Write(says)
	apptest.Must(t, err)
	p.until(`trackchat_decode_errors_total{protocol="jt808"}`, bad)
	return p.seenNow()
}

func comeAgain(t *testing.T) course {
	t.Helper()
	const times = 6
	p := nurse(t, apptest.Config(t, 2))
	for range times {
		p.wialon("wialon", wialonLogin(2), "#AL#1")
	}
	p.until("trackchat_takeovers_total", times-1)
	return p.seenNow()
}

// shared has two devices log in by turns until one has to wait.
func shared(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 2))
	const refused = `trackchat_refused_total{reason="takeovers"}`
	for before := p.metric(refused); p.metric(refused) == before; {
		nc := p.wialon("wialon", wialonLogin(2)+"\r\n#P#", "") // and a sign of life
		_, _ = io.Copy(io.Discard, io.LimitReader(nc, int64(len("#AL#1\r\n#AP#\r\n"))))
	}
	return p.seenNow()
}

// metric is a counter as it stands.
func (p *patient) metric(series string) float64 {
	p.T.Helper()
	name, label, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	return apptest.Metric(p.T, p.Addrs["admin"], name, label)
}

func strangers(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	for id := 2; id <= 4; id++ {
		p.wialon("wialon", wialonLogin(id), "#AL#0")
	}
	p.until(`trackchat_logins_total{result="unknown_device"}`, 3)
	return p.seenNow()
}

func wrongPort(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 2))
	p.wialon("teltonika", wialonLogin(2), "")
	p.until(`trackchat_refused_total{reason="wrong_protocol"}`, 1)
	return p.seenNow()
}

// hook sets a webhook whose server refuses everything.
func (p *patient) hook() {
	p.T.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	p.T.Cleanup(server.Close)
	body := fmt.Sprintf(`{"url":%q,"secret":%q}`, server.URL, "0123456789abcdef")
	req, err := http.NewRequestWithContext(p.T.Context(), http.MethodPut,
		"http://"+p.Addrs["admin"]+"/admin/accounts/1/webhook", strings.NewReader(body))
	apptest.Must(p.T, err)
	if code, text := p.Answered(req); code != http.StatusOK {
		p.T.Fatal(code, text)
	}
}

func hookRefuses(t *testing.T) course {
	t.Helper()
	cfg := apptest.Config(t, 1)
	cfg.Webhooks.AllowPrivate, cfg.Webhooks.RetryFor = true, config.Duration(20*time.Millisecond)
	p := nurse(t, cfg)
	p.hook()
	p.API.Send(1, "told to nobody")
	p.until("trackchat_webhook_dropped_total", 1)
	return p.seenNow()
}

// hookLags has events of an hour ago delivered again to a server that refuses them.
func hookLags(t *testing.T) course {
	t.Helper()
	ago := func() time.Time { return time.Now().Add(-time.Hour) }
	cfg := apptest.Config(t, 2)
	cfg.Webhooks.AllowPrivate = true
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: cfg.Store.Path, Now: ago})
	apptest.Must(t, err)
	_, err = st.Send(t.Context(), []queue.SendReq{{Tracker: 2, Text: "an hour ago"}})
	apptest.Must(t, err)
	apptest.Must(t, st.Close())
	p := nurse(t, cfg)
	p.hook()
	code, text := p.Ask(http.MethodPost, "/admin/accounts/1/webhook/replay")
	if code != http.StatusOK {
		t.Fatal(code, text)
	}
	p.until("trackchat_webhook_lag_seconds", 600)
	return p.seenNow()
}

// feedStuck is a client of the live feed that does not read.
func feedStuck(t *testing.T) course {
	t.Helper()
	cfg := apptest.Config(t, 2)
	cfg.API.FeedBuffer = 16
	p := nurse(t, cfg)
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil { // so that little fills it
				err = conn.(*net.TCPConn).SetReadBuffer(4096)
			}
			return conn, err
		},
	}}
	res, err := client.Get(p.API.Base + "events?hash=" + apptest.Key)
	apptest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	text := strings.Repeat("\U0001F69A", 20_000)
	apptest.Eventually(t, "dropped", func() bool {
		p.API.Send(2, text)
		return p.Figure("trackchat_feed_dropped_total") != "0"
	})
	return p.seenNow()
}

// memoryShort is a service that starts again with less memory than it needs.
func memoryShort(t *testing.T) course {
	t.Helper()
	p := nurse(t, apptest.Config(t, 1))
	p.service = startService(t, apptest.Config(t, 1), func(a *App) { a.memory.limit = 1 << 20 })
	p.until("trackchat_memory_short", 1)
	return p.seenNow()
}

// descriptorsShort takes a service's descriptors away, but for a few.
func descriptorsShort(t *testing.T) course {
	t.Helper()
	c := apptest.NewChild(t, apptest.ChildOptions{Trackers: 1})
	c.Start()
	admin := c.Ports["admin"]
	seen := course{start: scraped(t, admin)}
	apptest.PlayDevice(t, c.Ports["jt808"], 1, nil)
	c.Client().Delivered(1, c.Client().Send(1, "well"))
	seen.worked = scraped(t, admin)
	few := c.Metric("process_open_fds") + 2
	pid, limit := fmt.Sprint(c.Cmd.Process.Pid), fmt.Sprintf("--nofile=%.0f", few)
	apptest.Must(t, exec.Command("prlimit", "--pid", pid, limit).Run())
	seen.fault = scraped(t, admin)
	return seen
}

func certificateEnds(t *testing.T) course {
	t.Helper()
	cfg := apptest.Config(t, 1)
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	apptest.Issue(t, cert, key, 1, 1000*time.Hour)
	l := slices.IndexFunc(cfg.Gateway.Listeners,
		func(l config.Listener) bool { return l.Protocol == "egts" })
	cfg.Gateway.Listeners[l].TLSCert, cfg.Gateway.Listeners[l].TLSKey = cert, key
	p := nurse(t, cfg)
	apptest.Issue(t, cert, key, 2, 24*time.Hour)
	apptest.Must(t, p.App.Reload(t.Context()))
	return p.seenNow()
}
