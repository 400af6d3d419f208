package jt808_test

import (
	"runtime"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

func TestIdleRelayIsSmall(t *testing.T) {
	const n, most = 10_000, 160
	p := jt808.New()
	settings := protocoltest.NewSettings(t, p, nil)
	relays := make([]protocol.Relay, n)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var w protocol.Ways
	emit := func(*protocol.Event) {}
	for i := range relays {
		r := p.NewRelay(settings, protocol.RelayOptions{})
		relays[i] = r
		for _, f := range [][]byte{frame(0x0102, 1, []byte("A")), frame(0x0002, 2, nil)} {
			if err := r.Up(&w, f, time.Time{}, emit); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Down(&w, general(1, 0x0102, 0), time.Time{}, emit); err != nil {
			t.Fatal(err)
		}
		w = protocol.Ways{Server: w.Server[:0], Device: w.Device[:0]}
	}
	per := float64(heap()-before) / n
	runtime.KeepAlive(relays)
	t.Logf("%.0f bytes", per)
	if per > most {
		t.Errorf("an idle relay takes %.0f bytes, more than %d", per, most)
	}
}

func TestRelayedPositionsDoNotAllocate(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{})
	position, answer := frame(0x0200, 4, make([]byte, 28)), general(4, 0x0200, 0)
	w := protocol.Ways{Server: make([]byte, 0, 4096), Device: make([]byte, 0, 4096)}
	emit := func(*protocol.Event) {}
	if n := testing.AllocsPerRun(200, func() {
		w.Server, w.Device = w.Server[:0], w.Device[:0]
		if b.Up(&w, position, b.now, emit) != nil || b.Down(&w, answer, b.now, emit) != nil {
			panic("not passed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
