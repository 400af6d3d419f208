package gateway_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // of a test that waits for something that must happen

// rig is a gateway on real sockets and a real store.
type rig struct {
	t     *testing.T
	store queue.Store
	dir   *queue.Directory
	gw    *gateway.Gateway
	eng   engine.Engine
	reg   *prometheus.Registry
	addrs map[string]string
	clock *clock
	serve func(p *protocol.Protocol, maxConns int) *gateway.Listener
	local string // address that devices come from; empty: the system's choice
}

// clock is the real time and what a test adds to it.
type clock struct {
	ahead   atomic.Int64
	stepped atomic.Int64 // of the system's clock alone
}

func (c *clock) now() time.Time {
	return queuetest.Stepped(time.Now().Add(time.Duration(c.ahead.Load())),
		time.Duration(c.stepped.Load()))
}

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// set puts the system's clock forward or back; no time passes.
func (c *clock) set(by time.Duration) { c.stepped.Add(int64(by)) }

type rigOption func(*gateway.Options)

func withAcks(ds ...time.Duration) rigOption {
	return func(o *gateway.Options) {
		o.AckTimeout = ds
	}
}

func newRig(t *testing.T, trackers []queue.Tracker, opts ...rigOption) *rig {
	t.Helper()
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, st.Close()) })
	return newRigOn(t, st, trackers, opts...)
}

func newRigOn(t *testing.T, st queue.Store, trackers []queue.Tracker, opts ...rigOption) *rig {
	t.Helper()
	r := &rig{
		t: t, store: st, dir: new(queue.Directory), reg: prometheus.NewRegistry(),
		addrs: map[string]string{}, clock: new(clock),
	}
	r.directory(trackers)
	o := gateway.Options{
		Node: "test", Store: st, Directory: r.dir, Registerer: r.reg,
		Now: r.clock.now, Protocols: all.Protocols(),
	}
	for _, opt := range opts {
		opt(&o)
	}
	eng, err := engine.New(engine.Options{Now: r.clock.now, Loops: 3})
	must(t, err)
	o.Engine = eng
	gw, err := gateway.New(o)
	must(t, err)
	r.gw = gw
	must(t, gw.Start(t.Context()))
	r.eng = eng
	served, listeners := make(chan error, 64), 0
	r.serve = func(p *protocol.Protocol, maxConns int) *gateway.Listener {
		t.Helper()
		l, err := gw.Listen(p, nil, maxConns)
		must(t, err)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		r.addrs[p.Name] = ln.Addr().String()
		listeners++
		go func() { served <- l.Serve(ln) }()
		return l
	}
	for _, p := range all.Protocols() {
		r.serve(p, 0)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(t, gw.Quiesce(ctx))
		must(t, eng.Shutdown(ctx))
		must(t, gw.Close(ctx))
		for range listeners {
			must(t, <-served)
		}
	})
	return r
}

func (r *rig) directory(trackers []queue.Tracker) {
	for i := range trackers {
		trackers[i].Account, trackers[i].Chat, trackers[i].Features = 1, true,
			[]string{queue.FeatureChat}
	}
	accounts := []queue.Account{{ID: 1, Login: "a"}}
	_, err := r.store.ImportDirectory(r.t.Context(), accounts, trackers, true)
	must(r.t, err)
	r.dir.Replace(queue.NewSnapshot(accounts, trackers))
}

func (r *rig) send(t queue.TrackerID, texts ...string) []int64 {
	r.t.Helper()
	reqs := make([]queue.SendReq, len(texts))
	for i := range texts {
		reqs[i] = queue.SendReq{Tracker: t, Text: texts[i]}
	}
	return r.sendReqs(reqs...)
}

func (r *rig) sendReqs(reqs ...queue.SendReq) []int64 {
	r.t.Helper()
	res, err := r.store.Send(r.t.Context(), reqs)
	must(r.t, err)
	ids := make([]int64, len(res))
	for i := range res {
		must(r.t, res[i].Err)
		ids[i] = res[i].ID
	}
	return ids
}

func (r *rig) list(t queue.TrackerID) []queue.Message {
	r.t.Helper()
	ms, err := r.store.List(r.t.Context(), queue.ListQuery{Tracker: t, ToMs: 1 << 50, Limit: 1024})
	must(r.t, err)
	return ms
}

func (r *rig) message(id int64, t queue.TrackerID) queue.Message {
	r.t.Helper()
	ms, err := r.store.Find(r.t.Context(), []int64{id})
	must(r.t, err)
	if ms[0].Tracker != t {
		return queue.Message{}
	}
	return ms[0]
}

// become waits until a message has a status.
func (r *rig) become(id int64, t queue.TrackerID, want queue.Status) queue.Message {
	r.t.Helper()
	var m queue.Message
	eventually(r.t, func() bool { m = r.message(id, t); return m.Status == want },
		func() string { return "status " + string(m.Status) + ", want " + string(want) })
	return m
}

// bystander is the tracker whose device other is, in tests that need one.
const bystander queue.TrackerID = 2

// ready makes sure that the node owns the bystander: wakes bring its texts from now on.
func (r *rig) ready(d *device) {
	r.t.Helper()
	id := r.send(bystander, "ready")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, bystander, queue.StatusDelivered)
}

// caughtUp makes sure that what the store has told so far has reached d's session: wakes come in
// order, so one for the bystander is the last of them.
func (r *rig) caughtUp(d, other *device) {
	r.t.Helper()
	r.ready(other)
	d.silent(protocol.DeviceText)
}

// metric sums the samples of a counter or gauge whose labels contain all of want ("name=value").
func (r *rig) metric(name string, want ...string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	must(r.t, err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "trackchat_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			have := []string{}
			for _, l := range m.GetLabel() {
				have = append(have, l.GetName()+"="+l.GetValue())
			}
			if !slices.ContainsFunc(want, func(w string) bool {
				return !slices.Contains(have,
					w)
			}) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() +
					float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// device is the tracker's side on a real socket, driven step by step.
type device struct {
	t    *testing.T
	nc   net.Conn
	side protocol.Device
	buf  []byte
	seen []protocol.DeviceEvent
}

func (r *rig) dial(proto, id string, opts ...func(*protocol.DeviceConfig)) *device {
	r.t.Helper()
	d := r.connect(proto, append(opts, func(c *protocol.DeviceConfig) { c.ID = id })...)
	d.write(d.side.AppendLogin(nil))
	return d
}

// connect dials and says nothing.
func (r *rig) connect(proto string, opts ...func(*protocol.DeviceConfig)) *device {
	r.t.Helper()
	p, ok := all.Find(proto)
	if !ok {
		p, _ = all.Find("wialon") // what tests make of it
	}
	nc, err := r.dialer().Dial("tcp", r.addrs[proto])
	must(r.t, err)
	s, err := p.NewSettings()
	must(r.t, err)
	cfg := protocol.DeviceConfig{ID: phone(1), Settings: s}
	for _, o := range opts {
		o(&cfg)
	}
	d := &device{t: r.t, nc: nc, side: p.NewDevice(cfg)}
	r.t.Cleanup(func() { _ = nc.Close() })
	return d
}

func (r *rig) dialer() *net.Dialer {
	if r.local == "" {
		return &net.Dialer{}
	}
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(r.local)}}
}

// login dials and waits until the gateway has taken the device in.
func (r *rig) login(proto, id string, opts ...func(*protocol.DeviceConfig)) *device {
	r.t.Helper()
	d := r.dial(proto, id, opts...)
	d.wait(protocol.DeviceLoggedIn)
	return d
}

func (d *device) write(b []byte) {
	d.t.Helper()
	_, err := d.nc.Write(b)
	must(d.t, err)
}

// read takes one read's worth of bytes; the error is the socket's.
func (d *device) read(within time.Duration) error {
	d.t.Helper()
	must(d.t, d.nc.SetReadDeadline(time.Now().Add(within)))
	chunk := make([]byte, 64<<10)
	n, err := d.nc.Read(chunk)
	if err != nil {
		return err
	}
	d.buf = append(d.buf, chunk[:n]...)
	for {
		out, used, err := d.side.Feed(nil, d.buf, func(e protocol.DeviceEvent) {
			d.seen = append(d.seen, e)
		})
		must(d.t, err)
		d.buf = d.buf[used:]
		if len(out) > 0 {
			d.write(out)
		}
		if used == 0 {
			return nil
		}
	}
}

// raw returns what one read brings, unseen by the device.
func (d *device) raw() []byte {
	d.t.Helper()
	must(d.t, d.nc.SetReadDeadline(time.Now().Add(patience)))
	chunk := make([]byte, 64<<10)
	n, err := d.nc.Read(chunk)
	must(d.t, err)
	return chunk[:n]
}

// wait returns the next event of a kind; events of other kinds before it are dropped.
func (d *device) wait(kind protocol.DeviceEventKind) protocol.DeviceEvent {
	d.t.Helper()
	for end := time.Now().Add(patience); ; {
		for len(d.seen) > 0 {
			e := d.seen[0]
			d.seen = d.seen[1:]
			if e.Kind == kind {
				return e
			}
		}
		if err := d.read(time.Until(end)); err != nil {
			d.t.Fatalf("waiting for event %d: %v", kind, err)
		}
	}
}

func (d *device) text() protocol.DeviceEvent { d.t.Helper(); return d.wait(protocol.DeviceText) }

// silent makes sure that nothing of a kind arrives before the gateway has answered a sign of life.
func (d *device) silent(kind protocol.DeviceEventKind) {
	d.t.Helper()
	d.write(d.side.AppendHeartbeat(nil))
	for {
		for len(d.seen) > 0 {
			e := d.seen[0]
			d.seen = d.seen[1:]
			if e.Kind == kind {
				d.t.Fatalf("unexpected event %+v", e)
			}
			if e.Kind == protocol.DeviceOther {
				return
			}
		}
		must(d.t, d.read(patience))
	}
}

// gone waits until the gateway has closed the connection.
func (d *device) gone() {
	d.t.Helper()
	for {
		err := d.read(patience)
		if err == nil {
			continue
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			d.t.Fatal("the gateway did not close the connection")
		}
		return
	}
}

func (d *device) ack(e protocol.DeviceEvent, o protocol.Outcome) {
	d.write(d.side.AppendAck(nil, e, o))
}

func (d *device) say(text string) []byte {
	d.t.Helper()
	b, err := d.side.AppendText(nil, text)
	must(d.t, err)
	d.write(b)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, ok func() bool, state func() string) {
	t.Helper()
	every := time.NewTicker(2 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(patience); !ok(); <-every.C {
		if time.Now().After(end) {
			t.Fatalf("still %s after %s", state(), patience)
		}
	}
}

func jt(id queue.TrackerID) queue.Tracker {
	return queue.Tracker{ID: id, Protocol: "jt808", DeviceID: phone(id)}
}

func wl(id queue.TrackerID, settings map[string]string) queue.Tracker {
	return queue.Tracker{ID: id, Protocol: "wialon", DeviceID: phone(id), Settings: settings}
}

// phone is a device id that fits every protocol.
func phone(id queue.TrackerID) string {
	n := 13_800_000_000 + int64(id)
	return string(appendInt(nil, n))
}

func appendInt(b []byte, n int64) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}
