package jt808_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

// FuzzRelay lets both sides say anything, with texts of ours in between: nothing panics, what
// passes while none of ours is out is what came, and only what was written can be acknowledged.
func FuzzRelay(f *testing.F) {
	p := jt808.New()
	login, accepted := frame(0x0102, 1, []byte("A")), general(1, 0x0102, 0)
	for _, v := range protocoltest.Vectors(f, vectorsFile) {
		f.Add(slices.Concat(login, v.Bytes()), slices.Concat(accepted, v.Bytes()), []byte{0, 1, 1})
	}
	text := frame(0x8300, 100, []byte("\x04T"))
	f.Add(slices.Concat(login, ack(100, 0x8300, 0), naming(0x1300, 100, "\x00O")),
		slices.Concat(accepted, text, text), []byte{0, 1, 2, 1, 0, 2, 0, 3})
	settings := protocoltest.NewSettings(f, p, map[string]string{
		"lenient": "true", "serial_text": "0x41", "ack": "next_frame",
	})
	f.Fuzz(func(t *testing.T, up, down, script []byte) {
		x := relayFuzz{Relay: p.NewRelay(settings, protocol.RelayOptions{Replay: true}), t: t}
		for i := range len(up) + len(down) + len(script) {
			step := byte(i % 2)
			if i < len(script) {
				step = script[i] % 5
			}
			now := time.Unix(int64(i), 0)
			switch step {
			case 0:
				up = x.pass(up, p.Frame, x.Up, now)
			case 1:
				down = x.pass(down, x.CutDown, x.Down, now)
			case 2:
				x.write(uint64(100 + i%2))
			case 3:
				out, _ := x.Poll(nil, now)
				unframe(t, out)
			case 4:
				x.Replay(&protocol.Ways{})
				x.replayed = true
			}
		}
	})
}

type relayFuzz struct {
	protocol.Relay

	t        *testing.T
	written  []uint64
	replayed bool
}

func (x *relayFuzz) write(ref uint64) {
	out, err := x.AppendText(nil, protocol.Text{Ref: ref, Parts: 1, Body: "Hi"})
	if err == nil {
		unframe(x.t, out)
		x.written = append(x.written, ref)
	}
}

// pass passes the next frame of a stream and returns the rest.
func (x *relayFuzz) pass(stream []byte, cut func([]byte, int) (int, int, error),
	way func(*protocol.Ways, []byte, time.Time, func(*protocol.Event)) error, now time.Time,
) []byte {
	n, _, err := cut(stream, 0)
	if err != nil || n == 0 {
		return nil
	}
	var w protocol.Ways
	var events []protocol.Event
	err = way(&w, stream[:n], now, func(e *protocol.Event) { events = append(events, *e) })
	passed := slices.Concat(w.Server, w.Device)
	if len(x.written) == 0 && !x.replayed && !bytes.Equal(passed, stream[:n]) {
		x.t.Fatalf("%x became %x", stream[:n], passed)
	}
	for i := range events {
		e := &events[i]
		if e.Kind == protocol.KindAck && !slices.Contains(x.written, e.Ref) {
			x.t.Fatalf("%x became %+v", stream[:n], e)
		}
		unframe(x.t, x.AppendReply(nil, e, protocol.OK))
	}
	if len(passed) == 0 && len(events) == 0 && err == nil {
		x.t.Fatalf("%x became nothing", stream[:n])
	}
	return stream[n:]
}
