package protocoltest

import (
	"runtime"
	"testing"
	"time"

	"trackchat/protocol"
)

// hot is a logged-in codec and the frames that trackers send all day.
type hot struct {
	codec  protocol.Codec
	frames map[string][]byte
	text   protocol.Text
	driver protocol.Event
}

func heat(tb testing.TB, p *protocol.Protocol, cfg protocol.DeviceConfig) *hot {
	tb.Helper()
	x := Sides{Config: cfg}.pair(tb, p)
	h := &hot{codec: x.Codec, text: protocol.Text{
		Ref: 4711, Parts: 1,
		Body: "Unload at gate 7, then call the office.",
	}}
	down, err := x.Codec.AppendText(nil, h.text)
	if err != nil {
		tb.Fatal(err)
	}
	seen, err := x.ToDevice(down)
	if err != nil || len(seen) != 1 {
		tb.Fatalf("the device saw %+v, %v", seen, err)
	}
	text, err := x.Device.AppendText(nil, "On my way")
	if err != nil {
		tb.Fatal(err)
	}
	h.frames = map[string][]byte{
		"heartbeat": x.Device.AppendHeartbeat(nil),
		"position": x.Device.AppendPosition(nil, 52.5, 13.4, time.Date(2026, 2, 3, 4, 5, 6, 0,
			time.UTC)),
		"ack":  x.Device.AppendAck(nil, seen[0], protocol.AckDelivered),
		"text": text,
	}
	for name, frame := range h.frames {
		events, err := Decode(x.Codec, frame)
		if err != nil || len(events) == 0 {
			tb.Fatalf("%s became %+v, %v", name, events, err)
		}
		for i := range events {
			x.Codec.AppendReply(nil, &events[i], protocol.OK)
			if events[i].Kind == protocol.KindText {
				h.driver = events[i]
			}
		}
	}
	return h
}

// NoAllocs fails the test where cutting, decoding and answering a heartbeat, a position or an ack,
// or writing a text, allocates.
func NoAllocs(t *testing.T, p *protocol.Protocol, cfg protocol.DeviceConfig) {
	t.Helper()
	h := heat(t, p, cfg)
	room := make([]byte, 0, 4096)
	decode := h.decoder(room)
	for _, name := range []string{"heartbeat", "position", "ack"} {
		frame := h.frames[name]
		if n := testing.AllocsPerRun(200, func() {
			if n, _, err := p.Frame(frame, 0); err == nil && n == len(frame) {
				decode(frame)
			}
		}); n != 0 {
			t.Errorf("a %s costs %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := h.codec.AppendText(room[:0], h.text); err != nil {
			panic(err)
		}
	}); n != 0 {
		t.Errorf("writing a text costs %v allocations", n)
	}
}

// decoder returns a function that decodes and answers a frame without allocating anything itself.
func (h *hot) decoder(room []byte) func(frame []byte) {
	emit := func(e *protocol.Event) { h.codec.AppendReply(room[:0], e, protocol.OK) }
	return func(frame []byte) {
		if err := h.codec.Decode(frame, emit); err != nil {
			panic(err)
		}
	}
}

// Benchmark measures cutting, decoding with answering, and writing.
func Benchmark(b *testing.B, p *protocol.Protocol, cfg protocol.DeviceConfig) {
	b.Helper()
	h := heat(b, p, cfg)
	room := make([]byte, 0, 4096)
	decode := h.decoder(room)
	for _, name := range []string{"heartbeat", "position", "ack", "text"} {
		frame := h.frames[name]
		b.Run("frame/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				if n, _, err := p.Frame(frame, 0); err != nil || n != len(frame) {
					b.Fatal(n, err)
				}
			}
		})
		b.Run("decode/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decode(frame)
			}
		})
	}
	b.Run("append/text", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.codec.AppendText(room[:0], h.text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append/reply", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.codec.AppendReply(room[:0], &h.driver, protocol.OK)
		}
	})
}

// IdleCodec fails the test where a codec that has seen the login alone keeps more than most bytes:
// there is one for each of a million quiet trackers.
func IdleCodec(t *testing.T, p *protocol.Protocol, login string, most int64) {
	t.Helper()
	settings := NewSettings(t, p, nil)
	idle(t, most, func() protocol.Codec {
		c := p.NewCodec(settings)
		if err := c.Decode([]byte(login), func(*protocol.Event) {}); err != nil {
			t.Fatal(err)
		}
		return c
	})
}

// IdleRelay is IdleCodec for relays, which fresh makes and binds.
func IdleRelay(t *testing.T, fresh func() protocol.Relay, most int64) {
	t.Helper()
	idle(t, most, func() protocol.Codec { return fresh() })
}

func idle(t *testing.T, most int64, fresh func() protocol.Codec) {
	t.Helper()
	const sessions = 20_000
	codecs := make([]protocol.Codec, sessions)
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what pools held is gone after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range codecs {
		codecs[i] = fresh()
	}
	each := (heap() - before) / sessions
	runtime.KeepAlive(codecs)
	t.Logf("%d bytes", each)
	if each > most {
		t.Errorf("an idle codec keeps %d bytes, more than %d", each, most)
	}
}
