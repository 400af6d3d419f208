package gateway_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// brittle is Wialon IPS with a mistake in one of its methods, which shows once a device has written
// its trigger or, where a login or a text comes to it, at once.
type brittle struct {
	protocol.Codec
	in    string // the method
	armed bool
}

func (b *brittle) breaks(method string) {
	if b.in == method && (b.armed || method == "Bind" || method == "AppendText" ||
		method == "Caps") {
		panic("mistake in " + method)
	}
}

func (b *brittle) Decode(frame []byte, emit func(*protocol.Event)) error {
	b.armed = b.armed || bytes.Contains(frame, []byte("trigger"))
	b.breaks("Decode")
	return b.Codec.Decode(frame, emit)
}

func (b *brittle) AppendReply(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	if e.Kind == protocol.KindText {
		b.breaks("AppendReply")
	}
	return b.Codec.AppendReply(dst, e, r)
}

func (b *brittle) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	b.breaks("AppendText")
	return b.Codec.AppendText(append(dst, "half a te"...)[:len(dst)], t)
}

func (b *brittle) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	b.breaks("Poll")
	return b.Codec.Poll(dst, now)
}

func (b *brittle) Caps() protocol.TextCaps {
	b.breaks("Caps")
	return b.Codec.Caps()
}

func (b *brittle) Bind(s protocol.Settings) {
	b.breaks("Bind")
	b.Codec.Bind(s)
}

func brittleProtocol(in string) *protocol.Protocol {
	p, _ := all.Find("wialon")
	q := *p
	q.Name = "brittle"
	q.NewCodec = func(s protocol.Settings) protocol.Codec {
		if in == "NewCodec" {
			panic("mistake in NewCodec")
		}
		return &brittle{Codec: p.NewCodec(s), in: in}
	}
	q.Frame = func(buf []byte, scanned int) (n, next int, err error) {
		if in == "Frame" && bytes.Contains(buf, []byte("trigger")) {
			panic("mistake in Frame")
		}
		return p.Frame(buf, scanned)
	}
	return &q
}

// A mistake in a protocol's code costs the session that met it, and nobody else.
func TestPanicInProtocolCodeEndsOnlyItsSession(t *testing.T) {
	for _, in := range []string{
		"Frame", "NewCodec", "Bind", "Decode", "AppendReply", "AppendText",
		"Poll", "Caps",
	} {
		t.Run(in, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			victim := queue.Tracker{ID: 1, Protocol: "brittle", DeviceID: phone(1)}
			r := newRig(t, []queue.Tracker{victim, jt(bystander)},
				func(o *gateway.Options) { o.Logger = zap.New(core) })
			r.serve(brittleProtocol(in), 0)
			other := r.login("jt808", phone(bystander))
			for range 2 { // the second one finds everything as it was before the first
				d := r.dial("brittle", phone(1))
				switch in {
				case "NewCodec", "Bind":
				case "AppendText", "Caps":
					d.wait(protocol.DeviceLoggedIn)
					r.send(1, "text")
				default:
					d.wait(protocol.DeviceLoggedIn)
					d.say("trigger")
				}
				d.gone()
				r.ready(other)
				eventually(t, func() bool {
					return r.gw.Sessions() == 1 &&
						r.metric("sessions") == 1
				}, func() string { return "not cleared away" })
			}
			if n, c := r.metric("panics_total", "protocol=brittle"), r.metric("closed_total",
				"reason=panic"); n != 2 || c != 2 {
				t.Errorf("%v panics and %v sessions counted", n, c)
			}
			lines := logs.FilterMessageSnippet("panicked").All()
			if len(lines) != 1 ||
				!strings.Contains(lines[0].ContextMap()["stack"].(string), "brittle") {
				t.Errorf("logged %+v", lines)
			}
			if ms := r.list(1); in == "AppendReply" && len(ms) == 0 {
				t.Error("the driver's text was not stored")
			}
		})
	}
}

// A tracker whose session ends by a mistake before the store has answered its login is given back.
func TestPanicBeforeTheLease(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{{ID: 1, Protocol: "brittle", DeviceID: phone(1)}})
	must(t, st.Heartbeat(t.Context(), queue.Node{ID: r.gw.Node()}))
	r.serve(brittleProtocol("Decode"), 0)
	entered, release := st.stop("acquire")
	d := r.dial("brittle", phone(1))
	<-entered // the store has made this node the owner, and the session does not know yet
	d.write([]byte("#M#trigger\r\n"))
	d.gone()
	eventually(t, func() bool { return r.gw.Sessions() == 0 },
		func() string { return "not cleared away" })
	release()
	eventually(t, func() bool {
		// of a node that is silent nothing counts as online.
		must(t, st.Heartbeat(t.Context(), queue.Node{ID: r.gw.Node()}))
		return !r.presence(1).Online
	}, func() string { return "still owned" })
}

// Strangers do not fill the log: a burst of refusals is told in part, and the next line says how
// many were left out.
func TestRefusalsInTheLogAreLimited(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	r := newRig(t, []queue.Tracker{jt(bystander)},
		func(o *gateway.Options) { o.Logger = zap.New(core) })
	const devices = 200
	var all []*device
	for i := range devices {
		all = append(all, r.dial("wialon", "stranger"+strconv.Itoa(i)))
	}
	for _, d := range all {
		d.gone()
	}
	said := logs.FilterMessage("device refused").Len()
	if n := r.metric("refused_total", "reason=unknown_device"); n != devices || said == 0 ||
		said > devices/2 {
		t.Fatalf("%v refused, %d lines", n, said)
	}
	r.clock.advance(10 * time.Second)
	r.dial("wialon", "stranger").gone()
	lines := logs.FilterMessage("device refused").All()
	if last := lines[len(lines)-1].ContextMap(); last["more_like_this"] != int64(
		devices-len(lines)+1) {
		t.Errorf("%d lines, the last one says %v", len(lines), last)
	}
}

// A device that speaks something else is seen in the log, once a connection.
func TestForeignProtocolIsToldOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	r := newRig(t, []queue.Tracker{jt(bystander)},
		func(o *gateway.Options) { o.Logger = zap.New(core) })
	foreign := map[string]string{
		"jt808": "(0136BP05)(0136BR00)", "wialon": "hello\r\nhello\r\n",
		"teltonika": "$$", "egts": "~~", "galileosky": "xx", "watch": "hello\n",
	}
	for name, greeting := range foreign {
		d := r.connect(name)
		d.write([]byte(greeting))
		lines := func() int {
			return len(logs.FilterMessage("frame refused").FilterField(zap.String("protocol",
				name)).All())
		}
		eventually(t, func() bool {
			return lines() == 1 &&
				r.metric("decode_errors_total", "protocol="+name) > 0
		}, func() string {
			return name +
				": nothing told"
		})
		if lines() != 1 {
			t.Errorf("%s: %d lines", name, lines())
		}
	}
}
