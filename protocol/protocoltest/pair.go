package protocoltest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"time"

	"trackchat/protocol"
)

// Pair is a codec and a device that talk to each other without a network; the test plays the
// gateway between them.
type Pair struct {
	P      *protocol.Protocol
	Codec  protocol.Codec
	Device *DeviceStream
	// Result decides about an event of the codec; nil finds everything OK.
	Result func(e *protocol.Event) protocol.Result
	// Rand cuts the bytes in both directions at random places; nil passes them whole.
	Rand *rand.Rand

	cfg protocol.DeviceConfig
	up  *Stream
}

// NewPair makes both ends; the tracker's settings are those of cfg.
func NewPair(p *protocol.Protocol, cfg protocol.DeviceConfig) *Pair {
	return &Pair{
		P: p, Codec: p.NewCodec(cfg.Settings), Device: NewDeviceStream(p.NewDevice(cfg)),
		cfg: cfg, up: NewStream(p),
	}
}

// maxExchanges bounds how often the two ends may answer one another.
const maxExchanges = 32

// Login lets the device log in and returns what both ends saw.
func (x *Pair) Login() (events []protocol.Event, seen []protocol.DeviceEvent, err error) {
	events, seen, err = x.FromDevice(x.Device.AppendLogin(nil))
	if err != nil {
		return events, seen, err
	}
	out, _ := x.Codec.Poll(nil, time.Unix(0, 0))
	more, err := x.ToDevice(out)
	return events, append(seen, more...), err
}

// FromDevice passes bytes of the device to the codec, its answers back, and so on until both are
// quiet. It returns what both saw.
func (x *Pair) FromDevice(b []byte) (events []protocol.Event, seen []protocol.DeviceEvent,
	err error,
) {
	for range maxExchanges {
		if len(b) == 0 {
			return events, seen, nil
		}
		var down []byte
		for _, piece := range x.pieces(b) {
			var refused error
			err := x.up.Feed(piece, func(frame []byte) {
				out, got, err := x.gateway(down, frame)
				down, events, refused = out, append(events, got...), cmp.Or(refused, err)
			})
			if err := cmp.Or(err, refused); err != nil {
				return events, seen, err
			}
		}
		b = nil
		for _, piece := range x.pieces(down) {
			out, got, err := x.Device.Feed(piece)
			if err != nil {
				return events, seen, fmt.Errorf("device: %w", err)
			}
			b, seen = append(b, out...), append(seen, got...)
		}
	}
	return events, seen, fmt.Errorf("%w: the two ends do not come to rest", ErrContract)
}

// ToDevice passes bytes of the codec to the device, its own answers back, and so on. It returns
// what the device saw.
func (x *Pair) ToDevice(b []byte) (seen []protocol.DeviceEvent, err error) {
	var up []byte
	for _, piece := range x.pieces(b) {
		out, got, err := x.Device.Feed(piece)
		if err != nil {
			return seen, fmt.Errorf("device: %w", err)
		}
		up, seen = append(up, out...), append(seen, got...)
	}
	_, more, err := x.FromDevice(up)
	return append(seen, more...), err
}

// gateway does with one frame what the gateway does.
func (x *Pair) gateway(down, frame []byte) ([]byte, []protocol.Event, error) {
	events, err := Decode(x.Codec, frame)
	worst := protocol.OK
	for i := range events {
		e := &events[i]
		if x.Result != nil {
			worst = max(worst, x.Result(e))
		}
		if e.Kind == protocol.KindLogin && worst == protocol.OK {
			x.Codec.Bind(x.cfg.Settings)
		}
		if e.Kind == protocol.KindRegister && worst == protocol.OK {
			e.Secret = cmp.Or(x.cfg.Password, Secret)
		}
		down = x.Codec.AppendReply(down, e, worst)
	}
	return down, events, err
}

func (x *Pair) pieces(b []byte) [][]byte {
	switch {
	case len(b) == 0:
		return nil
	case x.Rand == nil:
		return [][]byte{b}
	}
	return Randomly(b, x.Rand)
}
