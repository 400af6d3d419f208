package protocoltest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"

	"trackchat/protocol"
)

// Secret is what registrations are given where nothing else is configured.
const Secret = "F4E3D2C1"

// Options say what is particular to a protocol when Run replays its frames. Only Vectors is needed.
type Options struct {
	Vectors  []Vector
	Settings map[string]string
	// Prepare brings a fresh codec into the state in which v can arrive, such as a login of the
	// right version.
	Prepare func(t *testing.T, c protocol.Codec, v Vector)
	// Device configures the tracker's side for a frame that travels towards it.
	Device func(v Vector) protocol.DeviceConfig
	// Wrap puts the body-only vectors into frames; without it they are left out.
	Wrap func(v Vector) []byte
	// Answer checks what a good frame from a device meant and what was answered to it when the
	// gateway found everything OK and handed out Secret.
	Answer func(t *testing.T, v Vector, events []protocol.Event, reply []byte)
	// LosesFraming reports whether a bad frame may end the session, because its wrong length hides
	// where the next one begins.
	LosesFraming func(v Vector) bool
}

// Run replays every vector: good frames are cut exactly however the stream is cut, decoded without
// an error and answered; bad ones are refused and the session goes on.
func Run(t *testing.T, p *protocol.Protocol, o Options) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("random cuts with seed %d", seed)
	r := &runner{p: p, o: o, seed: seed}
	good := 0
	for _, v := range o.Vectors {
		frame := v.Bytes()
		if v.BodyOnly() {
			if o.Wrap == nil {
				continue
			}
			frame = o.Wrap(v)
		}
		if v.Good() {
			good++
		}
		t.Run(v.ID, func(t *testing.T) { r.vector(t, v, frame) })
	}
	if good == 0 {
		t.Fatal("no good frame among the vectors")
	}
}

type runner struct {
	p    *protocol.Protocol
	o    Options
	seed uint64
}

func (r *runner) vector(t *testing.T, v Vector, frame []byte) {
	t.Helper()
	switch {
	case !v.Good() && v.FromDevice():
		r.refused(t, v, frame)
	case !v.Good():
		r.harmless(t, v, frame)
	case v.Direction == "server->device":
		r.device(t, v, frame)
	case v.Direction == "device->server":
		r.cuts(t, frame)
		r.codec(t, v, frame)
	default: // both, either: whichever side takes it
		if c := r.newCodec(t, v); c.Decode(frame, func(*protocol.Event) {}) == nil {
			r.cuts(t, frame)
			r.codec(t, v, frame)
			return
		}
		r.device(t, v, frame)
	}
}

// pieces are the ways in which a stream arrives.
func (r *runner) pieces(stream []byte) map[string][][]byte {
	rnd := rand.New(rand.NewPCG(r.seed, uint64(len(stream))))
	return map[string][][]byte{
		"whole": {stream}, "bytewise": Bytewise(stream), "random": Randomly(stream, rnd),
		"random again": Randomly(stream, rnd),
	}
}

// other is a good frame to follow another one.
func (r *runner) other() []byte {
	i := slices.IndexFunc(r.o.Vectors, func(v Vector) bool {
		return v.Good() && !v.BodyOnly() && v.Direction == "device->server"
	})
	return r.o.Vectors[i].Bytes()
}

func (r *runner) cuts(t *testing.T, frame []byte) {
	t.Helper()
	for _, want := range [][][]byte{
		{frame},
		{frame, frame},
		{frame, r.other()},
		{r.other(), frame},
	} {
		stream := slices.Concat(want...)
		for name, pieces := range r.pieces(stream) {
			got, rest, err := Cut(r.p, pieces...)
			if err != nil || rest != 0 || !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%s: %x cut into %x, %d bytes left, %v", name, stream, got, rest, err)
			}
		}
	}
}

func (r *runner) newCodec(t *testing.T, v Vector) protocol.Codec {
	t.Helper()
	c := r.p.NewCodec(NewSettings(t, r.p, r.o.Settings))
	if r.o.Prepare != nil {
		r.o.Prepare(t, c, v)
	}
	return c
}

func (r *runner) codec(t *testing.T, v Vector, frame []byte) {
	t.Helper()
	c := r.newCodec(t, v)
	events, err := Decode(c, frame)
	if err != nil {
		t.Fatalf("%s: %v", v.Description, err)
	}
	if len(events) == 0 {
		t.Fatalf("%s: no event", v.Description)
	}
	var reply []byte
	for i := range events {
		if events[i].Kind == protocol.KindRegister {
			events[i].Secret = Secret
		}
		if !utf8.ValidString(events[i].Text) {
			t.Errorf("text %q is not UTF-8", events[i].Text)
		}
		if events[i].Kind == protocol.KindRefused {
			t.Errorf("a good frame was refused: %+v", events[i])
		}
		reply = c.AppendReply(reply, &events[i], protocol.OK)
	}
	if r.o.Answer != nil {
		r.o.Answer(t, v, events, reply)
	}
}

func (r *runner) refused(t *testing.T, v Vector, frame []byte) {
	t.Helper()
	mayEnd, followers := false, 1
	if r.o.LosesFraming != nil && r.o.LosesFraming(v) {
		mayEnd, followers = true, 16 // so that what the wrong length promises comes
	}
	for name, pieces := range r.pieces(slices.Concat(frame, bytes.Repeat(r.other(), followers))) {
		c := r.newCodec(t, v)
		var refusals, accepted int
		s := NewStream(r.p)
		for _, piece := range pieces {
			err := s.Feed(piece, func(f []byte) {
				events, err := Decode(c, f)
				for i := range events {
					c.AppendReply(nil, &events[i], protocol.OK)
				}
				switch {
				case errors.Is(err, protocol.ErrFraming) && !mayEnd:
					t.Errorf("%s: %s: an honest session ends: %v", name, v.Description, err)
				case err != nil:
					refusals++
				case bytes.Equal(f, r.other()):
					accepted++
				case bytes.Equal(f, frame):
					t.Errorf("%s: %s: accepted", name, v.Description)
				}
			})
			if err == nil {
				continue
			}
			if !mayEnd || errors.Is(err, ErrContract) {
				t.Errorf("%s: %s: %v", name, v.Description, err)
			}
			refusals++
			break
		}
		if refusals == 0 || (accepted == 0 && !mayEnd) {
			t.Errorf("%s: %s: %d refusals, the next frame was seen %d times", name, v.Description,
				refusals, accepted)
		}
	}
}

func (r *runner) newDevice(t *testing.T, v Vector) protocol.Device {
	t.Helper()
	cfg := protocol.DeviceConfig{ID: "13812345678", Settings: NewSettings(t, r.p, r.o.Settings)}
	if r.o.Device != nil {
		cfg = r.o.Device(v)
	}
	return r.p.NewDevice(cfg)
}

func (r *runner) device(t *testing.T, v Vector, frame []byte) {
	t.Helper()
	for name, pieces := range r.pieces(slices.Concat(frame, frame)) {
		d := NewDeviceStream(r.newDevice(t, v))
		for _, piece := range pieces {
			if _, _, err := d.Feed(piece); err != nil {
				t.Fatalf("%s: %s: %v", name, v.Description, err)
			}
		}
		if d.Pending() != 0 {
			t.Errorf("%s: %s: the device left %d bytes", name, v.Description, d.Pending())
		}
	}
}

// harmless feeds a bad frame to the device's side, which may refuse it in its own way.
func (r *runner) harmless(t *testing.T, v Vector, frame []byte) {
	t.Helper()
	d := NewDeviceStream(r.newDevice(t, v))
	if _, events, err := d.Feed(frame); err == nil &&
		slices.ContainsFunc(events,
			func(e protocol.DeviceEvent) bool { return e.Kind != protocol.DeviceOther }) {
		t.Errorf("%s: the device took %+v from a bad frame", v.Description, events)
	}
}

// NewSettings lays values over the protocol's defaults and fails the test where they are wrong.
func NewSettings(tb testing.TB, p *protocol.Protocol, values map[string]string) protocol.Settings {
	tb.Helper()
	s, err := p.NewSettings(values)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Decode collects copies of the events of one frame.
func Decode(c protocol.Codec, frame []byte) (events []protocol.Event, err error) {
	err = c.Decode(frame, func(e *protocol.Event) { events = append(events, *e) })
	return events, err
}

// DeviceStream feeds a device and keeps what it has not consumed yet.
type DeviceStream struct {
	protocol.Device
	buf []byte
}

// NewDeviceStream wraps d.
func NewDeviceStream(d protocol.Device) *DeviceStream { return &DeviceStream{Device: d} }

// Pending returns how many bytes the device has not consumed.
func (d *DeviceStream) Pending() int { return len(d.buf) }

// Feed returns what the device answered by itself and what it saw.
func (d *DeviceStream) Feed(in []byte) (out []byte, events []protocol.DeviceEvent, err error) {
	d.buf = append(d.buf, in...)
	out, n, err := d.Device.Feed(nil, d.buf, func(e protocol.DeviceEvent) {
		events = append(events,
			e)
	})
	if n < 0 || n > len(d.buf) {
		return out, events, ErrContract
	}
	d.buf = d.buf[n:]
	return out, events, err
}
