package gateway_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/queuetest"
)

// tellingStore announces texts at the benchmark's word and takes acks for stored at once, so that
// what is left is the gateway.
type tellingStore struct {
	*queuetest.Model
	tell    func([]queue.Wake)
	acked   chan int // acks of a call
	results []queue.AckResult
}

func (s *tellingStore) Listen(_ context.Context, _ queue.NodeID, tell func([]queue.Wake)) error {
	s.tell = tell
	return nil
}

func (s *tellingStore) Ack(_ context.Context, qs []queue.AckReq) ([]queue.AckResult, error) {
	s.acked <- len(qs) // has room for a round
	for len(s.results) < len(qs) {
		s.results = append(s.results, queue.AckDelivered)
	}
	return s.results[:len(qs)], nil
}

// answeringConn is a connection whose device acknowledges every text in the same moment.
type answeringConn struct {
	memoryConn
	answer func(p []byte)
}

func (c *answeringConn) Write(p []byte) error {
	c.answer(p)
	return nil
}

// BenchmarkTextAndAck is the gateway's own share of a text: wake, session, codec, write, the
// device's ack, and the ack's way to the store; without sockets and without storing. Of its
// allocations three are the simulated device's; the text's way to the device takes an outbox, room
// for a text and one for its parts; the ack takes none but its share of a store call's context.
func BenchmarkTextAndAck(b *testing.B) {
	const devices = 64
	ok := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	trackers := make([]queue.Tracker, devices)
	for i := range trackers {
		trackers[i] = jt(queue.TrackerID(i + 1))
		trackers[i].Account = 1
	}
	known := new(queue.Directory)
	known.Replace(queue.NewSnapshot([]queue.Account{{ID: 1}}, trackers))
	store := &tellingStore{
		Model: queuetest.NewModel(time.Now, 1000),
		acked: make(chan int, devices),
	}
	eng := newMemoryEngine()
	gw, err := gateway.New(gateway.Options{
		Node: "bench", Engine: eng, Store: store,
		Directory: known, Now: time.Now, Repoll: time.Hour,
	})
	ok(err)
	ok(gw.Start(b.Context()))
	p, _ := all.Find("jt808")
	l, err := gw.Listen(p, nil, 0)
	ok(err)
	served := make(chan error, 1)
	go func() { served <- l.Serve(nil) }()
	h := <-eng.handler

	settings, err := p.NewSettings()
	ok(err)
	conns := make([]answeringConn, devices)
	for i := range conns {
		c := &conns[i]
		side := p.NewDevice(protocol.DeviceConfig{
			ID:       phone(queue.TrackerID(i + 1)),
			Password: "code", Settings: settings,
		})
		c.loop = i % len(eng.loops)
		loop := eng.loops[c.loop]
		var out []byte
		read := func() { h.OnData(c, out) }
		var text protocol.DeviceEvent
		note := func(e protocol.DeviceEvent) {
			if e.Kind == protocol.DeviceText {
				text = e
			}
		}
		c.answer = func(p []byte) {
			text = protocol.DeviceEvent{}
			if _, _, err := side.Feed(nil, p, note); err != nil ||
				text.Kind != protocol.DeviceText {
				return
			}
			out = side.AppendAck(out[:0], text, protocol.AckDelivered)
			loop.Execute(read)
		}
		h.(engine.Admitter).Admit(netip.AddrPort{})
		loop.Execute(func() {
			h.OnOpen(c)
			h.OnData(c, side.AppendLogin(nil))
		})
	}
	await(b, func() bool {
		list, err := gw.Inspect(b.Context(), gateway.SessionQuery{Limit: devices})
		return err == nil && len(list) == devices
	})
	ids := make([]int64, devices)
	batch := make([]queue.Wake, devices)
	b.ReportAllocs()
	b.ResetTimer()
	sent := int64(0)
	for sent < int64(b.N) {
		for i := range batch {
			id := ids[i] + 1
			batch[i] = queue.Wake{
				Kind: queue.WakeMessage, Tracker: queue.TrackerID(i + 1), Epoch: 1, Prev: ids[i],
				Msg: queue.Message{
					ID: id, Tracker: queue.TrackerID(i + 1),
					Text: "a text of about a hundred characters, which is what dispatchers write to drivers on an ordinary day.",
				},
			}
			ids[i] = id
		}
		store.tell(batch)
		sent += devices
		limit := time.After(patience)
		for left := devices; left > 0; {
			select {
			case n := <-store.acked:
				left -= n
			case <-limit:
				b.Fatalf("%d of %d not acknowledged", left, devices)
			}
		}
	}
	b.StopTimer()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ok(gw.Quiesce(ctx))
	ok(eng.Shutdown(ctx))
	ok(gw.Close(ctx))
	ok(<-served)
}
