package protocoltest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"trackchat/protocol"
)

// FuzzFrame fuzzes Protocol.Frame: it keeps its contract, makes progress, and cuts the same frames
// however the bytes arrive.
func FuzzFrame(f *testing.F, p *protocol.Protocol, vectors []Vector) {
	f.Helper()
	for i, v := range vectors {
		f.Add(slices.Concat(v.Bytes(), vectors[(i+1)%len(vectors)].Bytes()), uint64(i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole, rest, err := Cut(p, stream)
		if errors.Is(err, ErrContract) {
			t.Fatal(err)
		}
		for _, pieces := range [][][]byte{Bytewise(stream), Randomly(stream,
			rand.New(rand.NewPCG(seed, 0)))} {
			got, left, other := Cut(p, pieces...)
			if !slices.EqualFunc(got, whole, bytes.Equal) || (err == nil) != (other == nil) {
				t.Fatalf("cut into %x and %x, %v and %v", whole, got, err, other)
			}
			if err == nil && left != rest {
				t.Fatalf("%d and %d bytes left over", rest, left)
			}
		}
		total := rest
		for _, frame := range whole {
			total += len(frame)
		}
		if total != len(stream) && err == nil {
			t.Fatalf("%d of %d bytes came out", total, len(stream))
		}
	})
}

// FuzzDecode fuzzes a codec before and after a login: nothing panics, texts are UTF-8, and neither
// events nor answers grow beyond what arrived.
func FuzzDecode(f *testing.F, p *protocol.Protocol, vectors []Vector, settings map[string]string) {
	f.Helper()
	for _, v := range vectors {
		f.Add(v.Bytes(), byte(0))
		f.Add(v.Bytes(), byte(1))
	}
	s := NewSettings(f, p, settings)
	f.Fuzz(func(t *testing.T, stream []byte, result byte) {
		c := p.NewCodec(s)
		if result&0x80 != 0 {
			c.Bind(s)
		}
		// Decode must bear what Frame would never cut.
		checkFrame(t, p, c, stream, protocol.Result(result%6))
		frames, _, _ := Cut(p, stream)
		for _, frame := range frames {
			checkFrame(t, p, c, frame, protocol.Result(result%6))
		}
		c.Poll(nil, time.Unix(1_700_000_000, 0))
		if caps := c.Caps(); caps.PartBytes < 8 || caps.Charset == nil || caps.RefBits < 0 ||
			caps.RefBits > 64 {
			t.Fatalf("caps %+v", caps)
		}
	})
}

func checkFrame(t *testing.T, p *protocol.Protocol, c protocol.Codec, frame []byte,
	r protocol.Result,
) {
	t.Helper()
	events, _ := Decode(c, frame)
	texts, positions := 0, 0
	for i := range events {
		e := &events[i]
		if !utf8.ValidString(e.Text) || e.Kind == 0 || e.Kind > protocol.KindRefused ||
			e.Count < 0 || e.Choice < 0 {
			t.Fatalf("%x became %+v", frame, e)
		}
		if e.Kind == protocol.KindText && e.Text == "" {
			t.Fatalf("%x became an empty text", frame)
		}
		texts, positions = texts+len(e.Text), positions+e.Count
		if reply := c.AppendReply(nil, e, r); len(reply) > 2*p.MaxFrame {
			t.Fatalf("%x was answered with %d bytes", frame, len(reply))
		}
	}
	if most := max(len(frame), p.MaxFrame); len(events) > most+1 || positions > most {
		t.Fatalf("%x became %d events with %d bytes of text and %d positions", frame, len(events),
			texts, positions)
	}
}

// FuzzDevice fuzzes the tracker's side: nothing panics and it consumes no more than it was given.
func FuzzDevice(f *testing.F, p *protocol.Protocol, vectors []Vector, cfg protocol.DeviceConfig) {
	f.Helper()
	for _, v := range vectors {
		f.Add(v.Bytes())
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		d := NewDeviceStream(p.NewDevice(cfg))
		d.AppendLogin(nil)
		for _, piece := range [][]byte{stream, stream} {
			_, seen, err := d.Feed(piece)
			if errors.Is(err, ErrContract) {
				t.Fatal(err)
			}
			for _, e := range seen {
				if !utf8.ValidString(e.Body) {
					t.Fatalf("%x became %+v", piece, e)
				}
				d.AppendAck(nil, e, protocol.AckDelivered)
				d.AppendChoice(nil, e, 1)
			}
			if err != nil {
				return
			}
		}
	})
}
