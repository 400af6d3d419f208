package egts_test

import (
	"flag"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const vectorsFile = "egts.jsonl"

func settingsOf(tb testing.TB, values map[string]string) protocol.Settings {
	tb.Helper()
	return protocoltest.NewSettings(tb, egts.New(), values)
}

func defaults(tb testing.TB) protocol.Settings {
	tb.Helper()
	return settingsOf(tb, nil)
}

func text(ref uint64, body string) protocol.Text {
	return protocol.Text{Ref: ref, Parts: 1, Body: body}
}

func TestVectors(t *testing.T) {
	protocoltest.Run(t, egts.New(), protocoltest.Options{
		Vectors: protocoltest.Vectors(t, vectorsFile),
		Answer: func(t *testing.T, v protocoltest.Vector, events []protocol.Event, reply []byte) {
			t.Helper()
			up := unframe(t, v.Bytes())[0]
			checkAnswer(t, up, unframe(t, reply))
			checkMeaning(t, v, up, events)
		},
	})
}

// checkAnswer holds the answer to the rule: a RESPONSE with a confirmation for each record, in the
// service of the record, and none for a RESPONSE.
func checkAnswer(t *testing.T, up packet, down []packet) {
	t.Helper()
	if up.kind == 0 {
		for _, p := range down {
			if p.kind == 0 {
				t.Errorf("a RESPONSE was answered by %+v", p)
			}
		}
		return
	}
	var confirmed []record
	for _, p := range down {
		if p.kind != 0 {
			break
		}
		if p.answered != up.pid || p.result != 0 {
			t.Fatalf("answered %+v", p)
		}
		confirmed = append(confirmed, p.records...)
	}
	if len(confirmed) != len(up.records) {
		t.Fatalf("%d records, %d confirmations", len(up.records), len(confirmed))
	}
	for i, r := range confirmed {
		of := up.records[i]
		want := string([]byte{byte(of.number), byte(of.number >> 8), 0})
		if r.service != of.service || r.flags != 0x40 || len(r.subs) != 1 ||
			r.subs[0] != (sub{0, want}) {
			t.Errorf("record %+v was confirmed by %+v", of, r)
		}
	}
	if reply := down[len(down)-1]; len(up.records) == 1 && up.records[0].service == 1 &&
		up.records[0].subs[0].kind == 1 {
		if reply.kind != 1 || len(reply.records) != 1 || reply.records[0].service != 1 ||
			reply.records[0].subs[0] != (sub{9, "\x00"}) {
			t.Errorf("the login was answered by %+v", reply)
		}
	}
}

// checkMeaning holds events to what the document says, and telemetry to its own subrecords.
func checkMeaning(t *testing.T, v protocoltest.Vector, up packet, events []protocol.Event) {
	t.Helper()
	want, known := map[string]protocol.Event{
		"egts-0640": {Kind: protocol.KindLogin, DeviceID: "133552"},
		"egts-0712": {Kind: protocol.KindOther},
		"egts-0840": {Kind: protocol.KindOther}, // there is no text for it to be about
		"egts-0842": {Kind: protocol.KindAck, Ref: 1001, Outcome: protocol.AckDelivered},
		"egts-0844": {Kind: protocol.KindAck, Ref: 1001, Outcome: protocol.AckLater},
		"egts-0846": {Kind: protocol.KindAck, Ref: 1001, Outcome: protocol.AckRejected},
		"egts-0849": {Kind: protocol.KindText, Ref: 55, Text: "Еду на базу"},
	}[v.Origin()]
	if !known && v.Kind == "generated" && v.Direction == "device->server" {
		t.Fatalf("nobody has said what %s means", v.ID)
	}
	if known {
		e := events[len(events)-1]
		if v.IsDerived() {
			e.Text, e.DeviceID = want.Text, want.DeviceID
		}
		e.Msg, e.Seq, e.Aux, e.Key, e.Window = 0, 0, 0, 0, 0
		if e != want {
			t.Errorf("%s became %+v, not %+v", v.Description, e, want)
		}
	}
	positions, counted := 0, 0
	for _, r := range up.records {
		for _, s := range r.subs {
			if r.service == 2 && s.kind == 16 {
				positions++
			}
			if r.service == 10 && s.kind == 62 {
				positions += int(s.data[0])
			}
		}
	}
	for _, e := range events {
		counted += e.Count
	}
	if counted != positions {
		t.Errorf("%d positions were counted as %d", positions, counted)
	}
}

func TestTranscripts(t *testing.T) { protocoltest.Transcripts(t, egts.New(), *update) }

func config(tb testing.TB, id, variant string, values map[string]string) protocol.DeviceConfig {
	tb.Helper()
	return protocol.DeviceConfig{ID: id, Variant: variant, Settings: settingsOf(tb, values)}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name, id, variant string
		settings          map[string]string
	}{
		{"number", "4711", "", nil},
		{"imei", "861234567890123", "", map[string]string{"sid": "7", "part_bytes": "40"}},
		{"imei asked for", "4711", "", map[string]string{
			"login_by": "imei", "ucs2": "le",
			"part_bytes": "33",
		}},
		{"oid", "4711", "oid", map[string]string{"lenient": "true", "delivered_on": "record"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			protocoltest.RoundTrip(t, egts.New(), protocoltest.Sides{
				Config: config(t, c.id, c.variant, c.settings),
				Outcomes: []protocol.Outcome{
					protocol.AckDelivered, protocol.AckOpened, protocol.AckLater,
					protocol.AckRejected, protocol.AckDamaged, protocol.AckUnsupported,
				},
				Wrong: protocol.UnknownDevice,
			})
		})
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	protocoltest.NoAllocs(t, egts.New(), config(t, "4711", "", nil))
	protocoltest.NoAllocs(t, egts.New(), config(t, "4711", "oid",
		map[string]string{"lenient": "true", "delivered_on": "record"}))
}

// The texts of most drivers are Cyrillic, and terminals send telemetry in bundles.
func TestCyrillicAndBundlesDoNotAllocate(t *testing.T) {
	c := loggedIn(t, nil)
	room := make([]byte, 0, 8192)
	var bundle []byte
	for i := range uint16(40) {
		bundle = append(bundle, rec(i, 2, sub{16, strings.Repeat("\x00", 21)},
			sub{27, "\x00\x00\x00\x00\x00\x00\x00"})...)
	}
	bundle = frame(1, 9, bundle)
	emit := func(e *protocol.Event) { c.AppendReply(room, e, protocol.OK) }
	for name, do := range map[string]func(){
		"a text in Windows-1251": func() {
			if _, err := c.AppendText(room, text(7, "Разгрузка у ворот 7, потом позвоните")); err !=
				nil {
				t.Error(err)
			}
		},
		"a text in UCS2": func() {
			if _, err := c.AppendText(room, text(7, "Разгрузка у ворот 7, 好")); err != nil {
				t.Error(err)
			}
		},
		"a bundle": func() {
			if err := c.Decode(bundle, emit); err != nil {
				t.Error(err)
			}
		},
	} {
		do()
		// A pool forgets now and then under the race detector, so that a share of an allocation is
		// no failure.
		if n := testing.AllocsPerRun(200, do); n > 20 || (n > 0 && name != "a bundle") {
			t.Errorf("%s costs %v allocations", name, n)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	protocoltest.Benchmark(b, egts.New(), config(b, "4711", "", nil))
}

func BenchmarkCyrillicText(b *testing.B) {
	c := egts.New().NewCodec(defaults(b))
	room := make([]byte, 0, 4096)
	body := strings.Repeat("Разгрузка у ворот 7. ", 40)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := c.AppendText(room, text(7, body)); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	protocoltest.FuzzFrame(f, egts.New(), protocoltest.Vectors(f, vectorsFile))
}

func FuzzDecode(f *testing.F) {
	protocoltest.FuzzDecode(f, egts.New(), protocoltest.Vectors(f, vectorsFile),
		map[string]string{"lenient": "true"})
}

func FuzzDevice(f *testing.F) {
	protocoltest.FuzzDevice(f, egts.New(), protocoltest.Vectors(f, vectorsFile),
		protocol.DeviceConfig{ID: "1"})
}

// FuzzPacket gets past the checksums, which fuzzed frames seldom do.
func FuzzPacket(f *testing.F) {
	p := egts.New()
	settings := settingsOf(f, map[string]string{"lenient": "true", "delivered_on": "record"})
	for _, v := range protocoltest.Vectors(f, vectorsFile) {
		b := v.Bytes()
		f.Add(b[9], b[11:max(len(b)-2, 11)], byte(0))
	}
	f.Add(byte(2), append([]byte{1, 0, 0xFF}, rec(1, 4, command(3, 0, 7, 0, "\x00hi"),
		command(3, 0, 8, 0, "\x01\x08\x04\x10"))...), byte(0))
	f.Add(byte(1), append(recOf(7, 1, 2, sub{16, "1"}), recOf(8, 2, 4, command(2, 6, 7, 0,
		"\x00"))...), byte(1))
	f.Fuzz(func(t *testing.T, kind byte, data []byte, r byte) {
		data = data[:min(len(data), 65_522)]
		c := p.NewCodec(settings)
		if _, err := c.AppendText(nil, text(9, "x")); err != nil {
			t.Fatal(err)
		}
		d := protocoltest.NewDeviceStream(p.NewDevice(protocol.DeviceConfig{ID: "1"}))
		d.AppendLogin(nil)
		for _, in := range [][]byte{
			frame(1, 1, rec(1, 1, sub{1, "\x07\x00\x00\x00\x40\x00\x02"})),
			frame(kind, 2, data),
		} {
			events, err := protocoltest.Decode(c, in)
			if len(events) == 0 && err == nil {
				t.Fatalf("%x became nothing", in)
			}
			var reply []byte
			for i := range events {
				e := &events[i]
				if !utf8.ValidString(e.Text) || (e.Kind == protocol.KindText) != (e.Text != "") ||
					e.Count > len(in) {
					t.Fatalf("%x became %+v", in, e)
				}
				reply = c.AppendReply(reply, e, protocol.Result(r%6))
			}
			for _, answer := range unframe(t, reply) {
				if kind == 0 && answer.kind == 0 && answer.answered == 2 {
					t.Fatalf("the RESPONSE %x was answered", in)
				}
			}
			out, _, err := d.Feed(in)
			if err != nil || d.Pending() != 0 {
				t.Fatalf("the device left %d bytes of %x, %v", d.Pending(), in, err)
			}
			unframe(t, out)
		}
		c.Poll(nil, time.Unix(0, 0))
		out, _ := c.Poll(nil, time.Unix(5, 0))
		unframe(t, out)
	})
}
