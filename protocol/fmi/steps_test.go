package fmi_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

// A refusal of a segment that is not the last one is no receipt of it.
func TestRefusedSegment(t *testing.T) {
	for sequence, answer := range map[string]string{
		"\x00": string(fleet(0x2D, id(7, "\x00\x00\x00", ""))), "\x01": string(fleet(0x2D, id(7,
			"\x00\x00\x00", ""))),
	} {
		s := inFlight(t, fmi.A611, 7, strings.Repeat("0123456789", 45))
		e, reply := said(t, s, fleet(0x56, le32(1)+id(7, "\x08\x00"+sequence, "")))
		if e.Outcome != protocol.AckLater || reply != answer {
			t.Errorf("segment %x: %+v, %x", sequence, e, reply)
		}
	}
}

// The link's acknowledgement is evidence of the text that is on its way, and of nothing else.
func TestLinkAcknowledgements(t *testing.T) {
	asked := ready(t, fmi.A604, fmi.Options{})
	question := protocol.Text{Ref: 7, Parts: 1, Body: "?", Choices: []string{"Yes"}}
	if _, err := asked.session.AppendText(nil, bare{}, question); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		s    *fmi.Session
		in   []byte
		want protocol.Kind
	}{
		"a text": {
			inFlight(t, fmi.A604, 7, "Hi"), frame(6, "\xa1\x00"),
			protocol.KindEvidence,
		},
		"another packet": {
			inFlight(t, fmi.A604, 7, "Hi"), frame(6, "\xa2\x00"),
			protocol.KindOther,
		},
		"no packet": {inFlight(t, fmi.A604, 7, "Hi"), frame(6, ""), protocol.KindOther},
		"a refusal": {
			inFlight(t, fmi.A604, 7, "Hi"), frame(0x15, "\xa1\x00"),
			protocol.KindOther,
		},
		"a canned answer": {asked.session, frame(6, "\xa1\x00"), protocol.KindOther},
		"nothing in flight": {
			ready(t, fmi.A604, fmi.Options{}).session, frame(6, "\xa1\x00"),
			protocol.KindOther,
		},
	} {
		e, _ := said(t, c.s, c.in)
		if e.Kind != c.want || c.want == protocol.KindEvidence && (e.Ref != 7 ||
			e.Outcome != protocol.Linked) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// Each step of the handshake waits for its own answer.
func TestHandshakeStepByStep(t *testing.T) {
	report := func(packet string) string { return string(fleet(0x250, packet+"\x01\x00")) }
	s := newEnds(t, fmi.A611, fmi.Options{AskA1: true}).session
	out, _ := s.Poll(nil, bare{}, now())
	if want := string(fleet(0, "\x02\x00\x01\x80\x02\x80")); string(out) != want {
		t.Errorf("begins with %x", out)
	}
	for i, step := range []struct {
		in    []byte
		reply string
	}{
		{frame(6, "\xa1\x00"), string(fleet(1, ""))},
		{frame(6, "\xa1\x00"), ""},
		{fleet(2, "\x37\x03\x22\x01"), ""},
		{fleet(3, "A\x5a\x02A\x63\x02"), report("\x41\x00")},
		{fleet(0x0811, "\x01\x00\x00\x00\x02\x00\x00\x00"), string(fleet(0x812,
			"\x01\x00\x00\x00\x01\x00\x00\x00"))},
		{fleet(0x0251, "\x41\x00\x01\x00"), report("\x24\x00")},
		{fleet(0x0260, ""), string(fleet(0x0261, ""))},
		{frame(6, "\xa1\x00"), ""},
	} {
		if _, reply := said(t, s, step.in); reply != step.reply {
			t.Errorf("step %d was answered by %x", i, reply)
		}
	}
	if caps := s.Caps(); caps.NotYet || caps.PartBytes != 1999 {
		t.Errorf("at its end: %+v", caps)
	}
}

// The client's side of what concerns several texts.
func TestClientKeepsTextsApart(t *testing.T) {
	utf8 := protocol.UTF8()
	client := fmi.NewShared().NewClient(fmi.A611, utf8)
	var seen []protocol.DeviceEvent
	feed := func(in ...[]byte) string {
		out := client.Feed(nil, bare{}, slices.Concat(in...),
			func(e protocol.DeviceEvent) { seen = append(seen, e) })
		return strings.ReplaceAll(string(out), string(frame(6, "\xa1\x00")), "")
	}
	if out, err := client.AppendText(nil, bare{}, "Hi"); err != nil || !bytes.Equal(out, fleet(0x24,
		"\xff\xff\xff\xff\x01\x00\x00\x00Hi\x00")) {
		t.Errorf("before A607: %x, %v", out, err)
	}
	if got := feed(fleet(0, "\x02\x00\x01\x80\x02\x80")); got != string(fleet(4, "")) {
		t.Errorf("enabled: %x", got)
	}
	none := "\x00\x00\x00\x80\x00\x00\x00\x80\x02\x00\x00\x00" + strings.Repeat("\x00", 20)
	if out, err := client.AppendText(nil, bare{}, "Hi"); err != nil || !bytes.Equal(out, fleet(0x26,
		"\xff\xff\xff\xff"+none+"Hi\x00")) {
		t.Errorf("with A607: %x, %v", out, err)
	}
	of := func(ref uint64) string { return id(ref, "\x00\x00\x00", "") }
	feed(fleet(0x30, le32(5)+"Yes\x00"), fleet(0x30, le32(6)+"No\x00"))
	feed(fleet(0x28, of(1)+le32(5)), fleet(0x28, of(2)+le32(6)+le32(5)))
	feed(fleet(0x2A, le32(9)+of(1)+"one\x00"), fleet(0x2A, le32(9)+of(2)+"two\x00"))
	if len(seen) != 2 || !slices.Equal(seen[0].Choices, []string{"Yes"}) ||
		!slices.Equal(seen[1].Choices, []string{"No", "Yes"}) {
		t.Errorf("%+v", seen)
	}
	for _, e := range seen {
		client.AppendAck(nil, bare{}, e, protocol.AckDelivered)
	}
	if got := feed(fleet(0x2D, of(1))); got != string(fleet(0x2E, id(1, "\x01\x00\x00", ""))) {
		t.Errorf("deleted: %x", got)
	}
	for ref, status := range map[uint64]string{1: "\x02", 2: "\x00", 3: "\x02"} {
		if got := feed(fleet(0x40, of(ref))); got != string(fleet(0x41, id(ref, status+"\x00\x00",
			""))) {
			t.Errorf("status of %d: %x", ref, got)
		}
	}
	for _, short := range []uint16{0x28, 0x2D, 0x40, 0x30, 0x2A, 0x22, 0x55, 0x25} {
		for _, n := range []int{0, 3} {
			if got := feed(fleet(short, strings.Repeat("x", n))); got != "" || len(seen) != 2 {
				t.Errorf("%04x with %d bytes: %x, %+v", short, n, got, seen)
			}
		}
	}
	for n := range byte(11) { // segments of 200 bytes; 2,000 with their NUL are the most
		result := "\x00"
		if n == 10 {
			result = "\x0b"
		}
		three := "\x00\x00" + string([]byte{n})
		got := feed(fleet(0x55, le32(9)+id(4, three, "")+strings.Repeat("a", 200)))
		if want := string(fleet(0x56, le32(9)+id(4, result+three[1:], ""))); got != want {
			t.Errorf("segment %d: %x, not %x", n, got, want)
		}
	}
}

// The link's refusal brings the last packet again, of a text three times; what an event was to
// bring is not brought where something else is on its way by then.
func TestPacketsAgain(t *testing.T) {
	nak := frame(0x15, "\xa1\x00")
	s := newEnds(t, fmi.A604, fmi.Options{AskA1: true}).session
	first, _ := s.Poll(nil, bare{}, now())
	for range 5 {
		if _, reply := said(t, s, nak); reply != string(first) {
			t.Errorf("the first step again: %x", reply)
		}
	}
	s = inFlight(t, fmi.A604, 7, "Hi")
	text, err := s.AppendText(nil, bare{}, protocol.Text{Ref: 7, Parts: 1, Body: "Hi"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		want := string(text)
		if i >= 3 {
			want = ""
		}
		if _, reply := said(t, s, nak); reply != want {
			t.Errorf("the text for time %d: %x", i, reply)
		}
	}
	if _, reply := said(t, ready(t, fmi.A604, fmi.Options{}).session, nak); reply != "" {
		t.Errorf("nothing on its way: %x", reply)
	}
	for name, change := range map[string]func(s *fmi.Session) error{
		"another": func(s *fmi.Session) error {
			_, err := s.AppendText(nil, bare{}, protocol.Text{Ref: 8, Parts: 1, Body: "other"})
			return err
		},
		"none": func(s *fmi.Session) error {
			s.AppendWithdraw(nil, bare{}, 7)
			return nil
		},
	} {
		s := inFlight(t, fmi.A611, 7, strings.Repeat("0123456789", 45))
		events, _ := decode(s, fleet(0x56, le32(1)+id(7, "\x00\x00\x00", "")))
		if err := change(s); err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		if out := s.AppendReply(nil, bare{}, &events[0], protocol.OK); len(out) > 0 {
			t.Errorf("%s: %x", name, out)
		}
	}
}

// A text with canned answers: each is set, then the list, then the text; a client that does not
// take one of these gets the text without them.
func TestTextWithCannedAnswers(t *testing.T) {
	text := string(fleet(0x2A, "\xff\xff\xff\xff"+id(7, "\x00\x00\x00", "")+"?\x00"))
	question := protocol.Text{Ref: 7, Parts: 1, Body: "?", Choices: []string{"Yes", "No"}}
	begin := func() (s *fmi.Session, first, second string) {
		s = ready(t, fmi.A604, fmi.Options{}).session
		out, err := s.AppendText(nil, bare{}, question)
		raw := strings.ReplaceAll(string(out), "\x10\x10", "\x10")
		if err != nil || !strings.HasSuffix(raw[:len(raw)-3], "Yes\x00") {
			t.Fatalf("%x, %v", out, err)
		}
		_, reply := said(t, s, fleet(0x32, raw[5:9]+"\x01\x00\x00\x00"))
		other := strings.ReplaceAll(reply, "\x10\x10", "\x10")
		if !strings.HasSuffix(other[:len(other)-3], "No\x00") {
			t.Fatalf("%x", other)
		}
		return s, raw[5:9], other[5:9]
	}
	s, first, second := begin()
	if _, reply := said(t, s, fleet(0x32, first+"\x01\x00\x00\x00")); reply != "" {
		t.Errorf("a receipt of the first answer again: %x", reply)
	}
	list := string(fleet(0x28, id(7, "\x02\x00\x00", "")+first+second))
	if _, reply := said(t, s, fleet(0x32, second+"\x01\x00\x00\x00")); reply != list {
		t.Errorf("the list: %x, not %x", reply, list)
	}
	s, _, second = begin()
	if _, reply := said(t, s, fleet(0x32, second+"\x00\x00\x00\x00")); reply != text {
		t.Errorf("an answer refused: %x", reply)
	}
	for code := range 256 {
		s, _, second := begin()
		said(t, s, fleet(0x32, second+"\x01\x00\x00\x00"))
		if _, reply := said(t, s, fleet(0x29, id(7, string([]byte{byte(code)})+"\x00\x00",
			""))); reply != text {
			t.Errorf("list with result %d: %x", code, reply)
		}
		// One that took the list gets it again under another name.
		said(t, s, fleet(0x41, id(7, "\x02\x00\x00", "")))
		out, err := s.AppendText(nil, bare{}, question)
		if taken := bytes.Contains(out, []byte("\xa1\x1e\x28\x00")); err != nil ||
			taken != (code == 0 ||
				code == 3) {
			t.Errorf("list with result %d: then %x, %v", code, out, err)
		}
	}
}

// Whoever asks for Unicode, or for a sign of life, gets it.
func TestQuestionsOfTheClient(t *testing.T) {
	s := ready(t, fmi.A604, fmi.Options{}).session
	for in, want := range map[uint16]uint16{0x04: 0x05, 0x0260: 0x0261} {
		if _, reply := said(t, s, fleet(in, "")); reply != string(fleet(want, "")) {
			t.Errorf("%04x was answered by %x", in, reply)
		}
	}
	if e, reply := said(t, s, fleet(0x0261, "")); e.Kind != protocol.KindOther || reply != "" {
		t.Errorf("%+v, %x", e, reply)
	}
	if e, reply := said(t, s, fleet(0x0777, "")); e.Kind != protocol.KindUnknown || reply != "" {
		t.Errorf("%+v, %x", e, reply)
	}
}

// What the gateway found decides what is answered: the receipt says that a text is stored.
func TestEveryResult(t *testing.T) {
	link, receipt := string(frame(6, "\xa1\x00")), string(fleet(0x25, "\x07\x00\x00\x00"))
	for result, want := range map[protocol.Result]string{
		protocol.OK: link + receipt, protocol.Invalid: link, protocol.Later: link,
		protocol.NoLogin: "", protocol.UnknownDevice: "", protocol.BadCredentials: "",
	} {
		s := ready(t, fmi.A604, fmi.Options{LinkACK: true}).session
		events, _ := decode(s, fleet(0x24, le32(9)+le32(7)+"Hi\x00"))
		if len(events) != 1 || events[0].Kind != protocol.KindText {
			t.Fatalf("%+v", events)
		}
		if out := s.AppendReply(nil, bare{}, &events[0], result); string(out) != want {
			t.Errorf("result %d: %x, not %x", result, out, want)
		}
		events[0].Msg &= 0xFFFF // of the carrier, not of this session
		if out := s.AppendReply(nil, bare{}, &events[0], result); len(out) > 0 {
			t.Errorf("an event of the carrier: %x", out)
		}
	}
}
