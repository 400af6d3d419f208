package teltonika_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/teltonika"
)

// link is a frame of FMI.
func link(id byte, payload ...byte) string {
	sum := id + byte(len(payload))
	for _, b := range payload {
		sum += b
	}
	body := append(append([]byte{byte(len(payload))}, payload...), -sum)
	return "\x10" + string([]byte{id}) + strings.ReplaceAll(string(body), "\x10", "\x10\x10") + "\x10\x03"
}

// fleet is one with a fleet packet.
func fleet(packet uint16, data string) string {
	return link(0xA1, append(binary.LittleEndian.AppendUint16(nil, packet), data...)...)
}

// named is the id of text number ref, below 10, as packets end with it.
func named(ref byte) string { return "000000000000" + string('0'+ref) + "\x00\x00\x00" }

const (
	linkAcked = "\x10\x06\x02\xa1\x00\x57\x10\x03"
	timeHead  = "\x00\xa5\xb6\x3f\x0d"
)

func receipt(ref byte) string { return fleet(0x2B, timeHead+"\x01\x00\x00"+named(ref)) }

func status(ref, code byte) string {
	return fleet(0x41, "\x0d"+string([]byte{code})+"\x00\x00"+named(ref))
}

// driver is a text of the driver.
func driver(text string) string { return fleet(0x24, timeHead[:4]+"\x07\x00\x00\x00"+text+"\x00") }

// eta is what the navigator says to a server that has sent it a stop.
var eta = fleet(0x201, strings.Repeat("\x01", 16))

// ready is a relay whose navigator has shaken hands.
func ready(tb testing.TB, values map[string]string, o protocol.RelayOptions) *relayed {
	tb.Helper()
	x := bound(tb, values, o)
	for range 3 { // 0000, 0250 twice
		x.dev(command(6, linkAcked))
	}
	x.pass(2 * time.Second) // no Unicode
	if got := x.take(); x.state() != "" || strings.Count(got.device, "\x10\xa1") != 2 {
		tb.Fatalf("%s after %q", x.state(), got.device)
	}
	return x
}

func TestRelayFMI(t *testing.T) {
	pass := protocol.RelayOptions{PassAcks: true}
	noted := protocol.RelayOptions{OnlyChat: true}
	got25 := string(command(5, fleet(0x25, "\x07\x00\x00\x00")))
	for name, c := range map[string]struct {
		o              protocol.RelayOptions
		in             []byte
		device, server bool // what the driver's text is answered with; the packet
		events         []string
	}{
		"a receipt": {noted, command(6, receipt(1)), false, false, []string{"ack 1 1"}},
		"with the link's ack": {
			noted, command(6, linkAcked+receipt(1)), false, false,
			[]string{"evidence 9", "ack 1 1"},
		},
		"acks pass": {pass, command(6, receipt(1)), false, true, []string{"ack 1 1 passed"}},
		"of another text": {
			noted, command(6, receipt(2)), false, true,
			[]string{"unknown passed"},
		},
		"of another server": {
			noted, command(6, fleet(0x2B,
				"\x00\xa5\xb6\x3f\x0a\x01\x00\x00msg-000001\x00\x00\x00\x00\x00\x00")), false, true,
			[]string{"unknown passed"},
		},
		"read": {noted, command(6, status(1, 1)), false, false, []string{"ack 1 2"}},
		"a text": {
			noted, command(6, driver("Need fuel")), true, false,
			[]string{"text Need fuel"},
		},
		"two items": {
			noted, items(12, item(6, receipt(1)), item(6, driver("yes"))), true, false,
			[]string{"ack 1 1", "text yes"},
		},
		"codec 13": {
			noted, items(13, item(6, "\x00\x00\x00\x07"+receipt(1))), false, false,
			[]string{"ack 1 1"},
		},
		"an ETA": {noted, command(6, eta), false, true, []string{"unknown passed"}},
		"both": {
			noted, command(6, eta+receipt(1)+driver("yes")), true, true,
			[]string{"unknown passed", "ack 1 1 passed", "text yes passed"},
		},
		"another driver": {
			noted, command(6, fleet(0x811, strings.Repeat("\x02", 60))), false,
			true,
			[]string{"unknown passed"},
		},
		"plain text": {noted, version, false, false, []string{"other"}},
	} {
		x := ready(t, nil, c.o)
		if err := x.text(1, "Hello"); err != nil {
			t.Fatal(err)
		}
		if out := x.take().device; !bytes.Contains([]byte(out), []byte("Hello")) {
			t.Fatalf("%s: %q", name, out)
		}
		x.srv(getver)
		x.want(name+": held", "", "")
		x.dev(c.in)
		device, server := string(getver), ""
		if c.server {
			server = string(c.in)
		}
		got := x.take()
		if got.server != server || !slices.Equal(got.events, c.events) || len(got.errs) > 0 ||
			got.device != device {
			t.Errorf("%s: %+v", name, got)
		}
		x.dev(version) // the server's turn ends, and ours begins
		got = x.take()
		if want := map[bool]string{true: got25}[c.device]; got.device != want ||
			got.server != string(version) {
			t.Errorf("%s: then %+v", name, got)
		}
		if got := x.state(); got != "" { // receipts need no answer
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A frame in pieces passes, and is read.
func TestRelayFMIInPieces(t *testing.T) {
	x := ready(t, nil, protocol.RelayOptions{})
	if err := x.text(1, "Hello"); err != nil {
		t.Fatal(err)
	}
	x.take()
	all := receipt(1) + driver("yes")
	first, second := command(6, all[:20]), command(6, all[20:])
	x.dev(first)
	x.dev(second)
	x.want("pieces", string(command(5, fleet(0x25, "\x07\x00\x00\x00"))),
		string(first)+string(second), "other passed", "ack 1 1 passed", "text yes passed")
	damaged := []byte(receipt(1))
	damaged[20]++
	in := command(6, string(damaged))
	x.dev(in)
	if got := x.take(); got.server != string(in) || len(got.errs) != 1 || got.device != "" {
		t.Errorf("damaged: %+v", got)
	}
}

// Nothing of the navigator is ours before we have spoken, but what its driver writes.
func TestRelayFMIBeforeItsTurn(t *testing.T) {
	x := newRelayed(t, nil, protocol.RelayOptions{})
	x.dev([]byte(login))
	x.srv([]byte(accepted))
	x.dev(avl())
	x.take()
	for _, frame := range []string{linkAcked, fleet(4, ""), status(1, 1), eta} {
		in := command(6, frame)
		x.dev(in)
		x.want("before", "", string(in), "unknown passed")
	}
	x.dev(command(6, driver("yes")))
	x.want("a text", "", "", "text yes")
	x.srv([]byte(ack1))
	got := x.take()
	if want := ack1 + string(command(5, fleet(0x25, "\x07\x00\x00\x00"))); !strings.HasPrefix(
		got.device, want) {
		t.Errorf("its receipt: %q", got.device)
	}
}

// A navigator that speaks may be spoken to.
func TestRelayFMIWithoutPositions(t *testing.T) {
	x := newRelayed(t, nil, protocol.RelayOptions{})
	x.dev([]byte(login))
	x.srv([]byte(accepted))
	x.want("the login", accepted, login, "login "+imei+" passed", "admitted")
	x.dev(command(6, eta))
	if got := x.take(); !strings.Contains(got.device, "\x10\xa1\x08\x00\x00") {
		t.Errorf("FMI is not enabled: %q", got.device)
	}
}

// A server that speaks FMI itself has the navigator for itself.
func TestRelayFMIConflict(t *testing.T) {
	x := ready(t, nil, protocol.RelayOptions{})
	if err := x.text(1, "Hello"); err != nil {
		t.Fatal(err)
	}
	x.take()
	stop := command(5, fleet(0x101, strings.Repeat("\x03", 40)))
	x.srv(getver)
	x.want("an ordinary command", "", "")
	x.srv(stop)
	if got := x.take(); got.device != string(getver)+string(stop) || got.w.Conflicts != 1 {
		t.Errorf("%+v", got)
	}
	if got := x.state(); got != "in use" {
		t.Error(got)
	}
	x.srv(stop)
	if got := x.take(); got.device != string(stop) || got.w.Conflicts != 0 {
		t.Errorf("once more: %+v", got)
	}
	for _, frame := range []string{linkAcked, receipt(1), driver("yes")} {
		in := command(6, frame)
		x.dev(in)
		x.want("from then on", "", string(in), "other passed")
	}
	if err := x.text(2, "no"); err == nil {
		t.Error("a text is written")
	}
	x.pass(time.Hour)
	x.want("silence", "", "")
	for _, answer := range []string{"\x00", accepted} {
		x.dev([]byte(login))
		x.srv([]byte(answer))
	}
	x.take()
	x.dev(command(6, driver("yes")))
	x.want("after another login", "", string(command(6, driver("yes"))), "other passed")
	for name, c := range map[string]struct {
		set map[string]string
		in  []byte
	}{
		"a terminal":   {numbered, stop},
		"a plain text": {nil, command(5, "\x10 is no frame")},
		"codec 8":      {nil, avl()},
	} {
		x := bound(t, c.set, protocol.RelayOptions{})
		x.pass(10 * time.Second)
		x.take()
		x.pass(5 * time.Second)
		x.srv(c.in)
		if got := x.take(); got.w.Conflicts != 0 || strings.Contains(x.state(), "in use") {
			t.Errorf("%s: %+v, %s", name, got, x.state())
		}
	}
	early := newRelayed(t, nil, protocol.RelayOptions{})
	early.dev([]byte(login))
	early.srv(slices.Concat([]byte(accepted), stop))
	early.pass(time.Minute)
	if got := early.take(); got.device != accepted+string(stop) || got.w.Conflicts != 1 ||
		early.state() != "in use" {
		t.Errorf("at once: %+v, %s", got, early.state())
	}
}

// A tracker that keeps the link's acknowledgements to itself is known to be mute.
func TestRelayLearns(t *testing.T) {
	x := newRelayed(t, nil, protocol.RelayOptions{})
	learner, ok := x.relay.(protocol.Learner)
	if !ok {
		t.Fatal("it learns nothing")
	}
	x.dev([]byte(login))
	x.srv([]byte(accepted))
	x.dev(avl())
	x.pass(20 * time.Second) // 0000 has not left
	if learnt, news := learner.Learnt(x.now); learnt != 0 || news {
		t.Errorf("before: %d, %v", learnt, news)
	}
	x.srv([]byte(ack1))
	x.pass(2999 * time.Millisecond)
	if learnt, news := learner.Learnt(x.now); learnt != 0 || news {
		t.Errorf("too early: %d, %v", learnt, news)
	}
	x.pass(time.Millisecond)
	if learnt, news := learner.Learnt(x.now); learnt != fmi.Mute || !news {
		t.Errorf("then: %d, %v", learnt, news)
	}
}

// cab is a simulated tracker with its navigator, and a server, on both ends of a relay.
type cab struct {
	*relayed
	device *protocoltest.DeviceStream
	server *protocoltest.Stream
	shown  []string
	codecs []byte // of what reached the server
	events []string
}

// settle passes bytes on until nobody has any left.
func (c *cab) settle() {
	c.tb.Helper()
	for range 100 {
		got := c.take()
		c.events = append(c.events, got.events...)
		if got.device == "" && got.server == "" {
			return
		}
		if err := c.server.Feed([]byte(got.server), c.serve); err != nil {
			c.tb.Fatal(err)
		}
		up, seen, err := c.device.Feed([]byte(got.device))
		if err != nil {
			c.tb.Fatal(err)
		}
		for _, e := range seen {
			if e.Kind == protocol.DeviceText {
				c.shown = append(c.shown, e.Body)
				up = c.device.AppendAck(up, e, protocol.AckDelivered)
			}
		}
		c.say(up)
	}
	c.tb.Fatal("no end")
}

func (c *cab) say(up []byte) {
	c.tb.Helper()
	frames, rest, err := protocoltest.Cut(teltonika.New(), up)
	if err != nil || rest > 0 {
		c.tb.Fatal(rest, err)
	}
	c.dev(frames...)
}

func (c *cab) serve(frame []byte) {
	if frame[1] != 0 {
		c.srv([]byte(accepted))
		return
	}
	c.codecs = append(c.codecs, frame[8])
	if frame[8] != 12 {
		c.srv([]byte(ack1))
	}
}

// A navigator takes texts of all lengths, and writes, beside a server that sees positions alone.
func TestRelayRoundTrip(t *testing.T) {
	for variant, set := range map[string]map[string]string{
		"a604": {"link_ack": "server"}, "a611": {"fmi_version": "a611", "down_codec": "14"},
		"a602": {"fmi_version": "a602"},
	} {
		device := teltonika.New().NewDevice(config(t, variant, set))
		c := &cab{
			relayed: newRelayed(t, set, protocol.RelayOptions{}),
			device:  protocoltest.NewDeviceStream(device),
			server:  protocoltest.NewStream(teltonika.New()),
		}
		c.say(c.device.AppendLogin(nil))
		c.settle()
		for range 3 { // for Unicode
			c.pass(2 * time.Second)
			c.settle()
		}
		body := strings.Repeat("a longer text ", 150)[:c.relay.Caps().PartBytes*2/3]
		for ref := range uint64(3) {
			c.events, c.shown = nil, nil
			if err := c.text(ref+1, body); err != nil {
				t.Fatal(variant, err)
			}
			c.say(c.device.AppendPosition(nil, 1, 2, c.now))
			c.settle()
			outcome := map[bool]string{true: "2", false: "1"}[variant == "a602"]
			want := "ack " + string('1'+byte(ref)) + " " + outcome
			if !slices.Equal(c.shown, []string{body}) || !slices.Contains(c.events, want) {
				t.Errorf("%s: text %d: shown %d, %q", variant, ref, len(c.shown), c.events)
			}
		}
		c.events = nil
		up, err := c.device.AppendText(nil, "On my way")
		if err != nil {
			t.Fatal(err)
		}
		c.say(up)
		c.settle()
		if !slices.Contains(c.events, "text On my way") {
			t.Errorf("%s: %q", variant, c.events)
		}
		if !bytes.Equal(c.codecs, []byte{0x8E, 0x8E, 0x8E, 0x8E}) {
			t.Errorf("%s: the server saw %x", variant, c.codecs)
		}
		if got := c.state(); got != "" {
			t.Errorf("%s: %s", variant, got)
		}
	}
}
