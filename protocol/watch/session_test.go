package watch_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/watch"
)

// A session is cut at every byte of all that a device says in it, and means the same.
func TestSessionCutAtEveryByte(t *testing.T) {
	stream := frame("LK") + "\r\n" + frame("UD,Cafe [5],1") + numbered("00ff", "LK,64") +
		"[3G*" + id + "*0099*UD,1]noise]" + frame("MESSAGE") + frame("TK,#!AMR[}]") +
		frame("AL,nonsense") + "[3G*" + id + "*0087*UD,Cafe [5]\r\n" + numbered("0100", "TKQ") +
		frame("CONFIG,TY:G36")
	whole := protocoltest.NewSession(t, watch.New(), nil).Send(stream)
	want := []protocol.Kind{
		protocol.KindLogin, protocol.KindHeartbeat, protocol.KindPosition, protocol.KindHeartbeat,
		protocol.KindPosition, protocol.KindAck, protocol.KindText, protocol.KindOther,
		protocol.KindPosition, protocol.KindOther, protocol.KindOther,
	}
	answers := frame("LK") + numbered("00ff", "LK") + frame("TK,1") + frame("AL") +
		numbered("0100", "TKQ") + frame("CONFIG,1")
	if whole.Err != nil || !slices.Equal(kinds(whole), want) || whole.Answers != answers {
		t.Fatalf("it became %v, answered with %q, %v", kinds(whole), whole.Answers, whole.Err)
	}
	for cut := range len(stream) {
		s := protocoltest.NewSession(t, watch.New(), nil)
		first := s.Send(stream[:cut])
		second := s.Send(stream[cut:])
		all := append(kinds(first), kinds(second)...)
		if err := errors.Join(first.Err, second.Err); err != nil || !slices.Equal(all, want) ||
			first.Answers+second.Answers != answers {
			t.Errorf("cut at %d it became %v, %v", cut, all, err)
		}
	}
}

// The id counts without its case and leading zeros, and comes back as the last frame had it.
func TestIDsOfOneDevice(t *testing.T) {
	s := protocoltest.NewSession(t, watch.New(), nil)
	for in, want := range map[string]string{
		"[3G*00ab1*0002*LK]": "[3G*00ab1*0002*LK]", "[3G*0AB1*0002*LK]": "[3G*0AB1*0002*LK]",
		"[3G*ab1*0002*LK]": "[3G*ab1*0002*LK]",
	} {
		if got := s.Send(in); got.Answers != want || got.Err != nil {
			t.Errorf("%q was answered with %q, %v", in, got.Answers, got.Err)
		}
	}
	got := s.Send("[3G*ab10*0002*LK]")
	if !errors.Is(got.Err, protocol.ErrFraming) || len(got.Events) != 0 {
		t.Errorf("another device became %+v", got)
	}
	nobody := protocoltest.NewSession(t, watch.New(), nil).Codec
	if _, err := nobody.AppendText(nil, protocol.Text{Parts: 1, Body: "a"}); !errors.Is(err,
		protocol.ErrNotText) {
		t.Errorf("a text for nobody: %v", err)
	}
}

// A refused login leaves nothing behind: neither its device nor what its INIT said.
func TestRefusedLoginIsForgotten(t *testing.T) {
	s := protocoltest.NewSession(t, watch.New(), nil)
	init := numbered("0001", "INIT,1,1,S1,0,0,1")
	if got := s.Result(init, protocol.UnknownDevice); got.Answers != numbered("0001", "INIT,0") {
		t.Fatalf("answers %q", got.Answers)
	}
	got := s.Send("[3G*2222*0002*LK]")
	if len(got.Events) != 2 || got.Events[0].DeviceID != "2222" || got.Answers == "" {
		t.Errorf("another device became %+v", got)
	}
	if name := s.Codec.Caps().Charset.String(); name != "utf16be" {
		t.Errorf("it gets texts in %s", name)
	}
}

// Every field of INIT that is no mode leaves texts as they are.
func TestModesOfINIT(t *testing.T) {
	for params, want := range map[string]string{
		"a,b,c,d,e": "utf16be", "a,b,c,d,e,": "utf16be", "a,b,c,d,e,0": "utf16be",
		"a,b,c,d,e,1": "utf8", "a,b,c,d,e,2": "utf16le", "a,b,c,d,e,3": "utf16be",
		"a,b,c,d,e,11": "utf16be", "a,b,c,d,1": "utf16be", "a,b,c,d,e,1,x": "utf8",
		"a,b,c,d,e,x,1": "utf16be", "1": "utf16be", ",,,,,2": "utf16le",
	} {
		s := protocoltest.NewSession(t, watch.New(), nil)
		s.Send(frame("INIT," + params))
		if got := s.Send(frame("INIT,0") + frame("INIT,9") + frame("INIT")); got.Answers != "" {
			t.Errorf("answers of a device were answered with %q", got.Answers)
		}
		if got := s.Codec.Caps().Charset.String(); got != want {
			t.Errorf("INIT,%s: texts in %s instead of %s", params, got, want)
		}
	}
}

func TestTextsOnTheWire(t *testing.T) {
	for _, c := range []struct{ setting, body, want string }{
		{"hex", "a\r\nb\tc", "006100200020006200200063"},
		{"hex", "好123", "597d003100320033"},
		{"hex", "😀a", "d83dde000061"},
		{"hex", "\uffff\u0000", "ffff0000"},
		{"hexle", "好😀a", "7d593dd800de6100"},
		{"utf8", "a\r\nb\t[x]{y},*", "a  b (x){y),*"},
		{"utf8", "好😀", "好😀"},
	} {
		s := loggedIn(t, map[string]string{"text": c.setting})
		if got := s.Text(c.body); got != frame("MESSAGE,"+c.want) {
			t.Errorf("%s: %q is written as %q", c.setting, c.body, got)
		}
	}
	s := loggedIn(t, nil)
	out, err := s.Codec.AppendText([]byte("before"), protocol.Text{Parts: 1, Body: "Hi"})
	if string(out) != "before"+frame("MESSAGE,00480069") || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// Parts have so many units; a character of two is never cut, and the raw form has three bytes each.
func TestPartsOfTexts(t *testing.T) {
	for _, c := range []struct {
		settings map[string]string
		text     string
		parts    int
		first    int // bytes of UTF-8 in the first part
	}{
		{nil, strings.Repeat("x", 20_000), 200, 100},
		{nil, strings.Repeat("ж", 20_000), 200, 200},
		{nil, strings.Repeat("好", 20_000), 200, 300},
		{map[string]string{"part_units": "11"}, strings.Repeat("😀", 10), 2, 5 * len("😀")},
		{map[string]string{"part_units": "500"}, strings.Repeat("x", 501), 2, 500},
		{map[string]string{"text": "utf8"}, strings.Repeat("x", 301), 2, 300},
		{map[string]string{"text": "utf8", "part_units": "10"}, strings.Repeat("好", 11), 2, 30},
	} {
		parts, err := protocol.Split(c.text, loggedIn(t, c.settings).Codec.Caps())
		if err != nil || len(parts) != c.parts || len(parts[0]) != c.first {
			t.Errorf("%v: %d parts, the first of %d bytes, %v", c.settings, len(parts),
				len(parts[0]), err)
		}
	}
}

// Our numbers count texts: a repetition has the number of the first time, the next one another.
func TestNumbersOfTexts(t *testing.T) {
	s := protocoltest.NewSession(t, watch.New(), nil)
	s.Send(numbered("0001", "LK,64"))
	number := func(text protocol.Text) string {
		t.Helper()
		out, err := s.Codec.AppendText(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		return string(out[len("[ZJ**")+len(id):][:4])
	}
	first, second := protocol.Text{Parts: 2, Body: "a"}, protocol.Text{Part: 1, Parts: 2, Body: "a"}
	for i, step := range []struct {
		text protocol.Text
		echo bool
		want string
	}{
		{first, false, "0001"},
		{first, false, "0001"},
		{second, true, "0002"},
		{second, true, "0003"}, // another message, with the same words
		{protocol.Text{Part: 1, Parts: 2, Body: "a", AtMs: 1}, false, "0004"},
		{protocol.Text{Part: 1, Parts: 2, Body: "a", AtMs: 2}, false, "0005"},
		{protocol.Text{Part: 1, Parts: 2, Body: "b", AtMs: 2}, false, "0006"},
	} {
		if got := number(step.text); got != step.want {
			t.Errorf("step %d has number %s instead of %s", i, got, step.want)
		}
		if step.echo {
			s.Send(numbered("0009", "MESSAGE"))
		}
	}
	for range 0xFFFF {
		number(protocol.Text{Parts: 1, Body: "x"})
		s.Send(numbered("0009", "MESSAGE"))
	}
	if got := number(first); got != "0006" {
		t.Errorf("65536 later: %s", got)
	}
}

// The text that an echo carries is that of the part in flight, and no earlier one.
func TestEchoOfAnotherText(t *testing.T) {
	s := loggedIn(t, nil)
	for in, want := range map[string]protocol.Kind{
		"MESSAGE,0061": protocol.KindUnknown, "MESSAGE": protocol.KindAck, "CR": protocol.KindUnknown,
	} { // nothing was written yet
		if got := s.Send(frame(in)); got.Events[0].Kind != want || got.Answers != "" {
			t.Errorf("%s became %+v", in, got.Events)
		}
	}
	s.Text("a")
	s.Text("b")
	if got := s.Send(frame("MESSAGE,0061")); got.Events[0].Kind != protocol.KindUnknown {
		t.Errorf("the echo of the text before became %+v", got.Events)
	}
	if got := s.Send(frame("MESSAGE,0062")); got.Events[0].Outcome != protocol.AckDelivered {
		t.Errorf("the echo became %+v", got.Events)
	}
}

// Copies of a recording and of an alarm have the key of the first one.
func TestKeysOfVoiceAndAlarms(t *testing.T) {
	s := loggedIn(t, map[string]string{"alarms": "sos"})
	alarm := func(date, clock, status string) string {
		return frame("AL," + date + "," + clock + ",A,1,N,2,E,0,0,0,9,100,64,0,0," + status + ",1")
	}
	keys := map[uint64]string{}
	for _, c := range []struct {
		in, text string
		window   time.Duration
	}{
		{frame("TK,#!AMR1"), "[voice message]", 24 * time.Hour},
		{frame("TK,#!AMR2"), "[voice message]", 24 * time.Hour},
		{alarm("261126", "101500", "00010000"), "SOS", 24 * time.Hour},
		{alarm("261126", "101501", "00010000"), "SOS", 24 * time.Hour},
		{alarm("261126", "101501", "00010001"), "SOS", 24 * time.Hour},
		{alarm("261126", "241501", "00010001"), "SOS", 2 * time.Minute},
		{alarm("", "", "10000"), "SOS", 2 * time.Minute},
	} {
		for range 2 {
			got := s.Send(c.in)
			if len(got.Events) != 1 || got.Events[0].Text != c.text || got.Events[0].Key == 0 ||
				got.Events[0].Window != c.window || got.Events[0].Across {
				t.Fatalf("%q became %+v", c.in, got.Events)
			}
			key := got.Events[0].Key
			if other, known := keys[key]; known && other != c.in {
				t.Errorf("%q and %q have one key", c.in, other)
			}
			keys[key] = c.in
		}
	}
	if len(keys) != 7 {
		t.Errorf("%d keys", len(keys))
	}
	for _, status := range []string{"0000ffff", "ffeeffff", "0001000g", "100010000", "", "1"} {
		if got := s.Send(alarm("261126", "101500", status)); texts(got) != nil ||
			got.Answers != frame("AL") {
			t.Errorf("status %q became %+v", status, got)
		}
	}
}

// Which fields of a recording say that more of it follows.
func TestRecordingsInParts(t *testing.T) {
	for params, noted := range map[string]bool{
		"0,f,1,2,x": false, "0,f,2,2,x": true, "0,f,2,10,x": false, "0,f,10,2,x": true,
		"0,f,1,2": true, "0,f,,2,x": true, "0,f,a,2,x": true, "0,f,1,b,x": true, "0,f,1,,x": true,
		"0,f,0000001,2,x": true, "0,f,000001,000002,": false, "x,y": true, "0,f,1,2,x,y": false,
	} {
		for _, in := range []string{numbered("0001", "TK,"+params), frame("JXTK," + params)} {
			if got := loggedIn(t, nil).Send(in); (texts(got) != nil) != noted ||
				!strings.Contains(got.Answers, "TK") {
				t.Errorf("%q became %+v", in, got)
			}
		}
		if got := loggedIn(t, nil).Send(frame("TK," + params)); texts(got) == nil {
			t.Errorf("plain TK,%s became %+v", params, got)
		}
	}
}

// A word of one byte is an answer to ours, except to JXTKR, which has another name.
func TestShortRecordings(t *testing.T) {
	for content, want := range map[string]string{
		"TK,1": "", "TK2,0": "", "TK": "", "TK,": "", "JXTK,1": frame("JXTKR,1"),
		"JXTK": frame("JXTKR,1"), "JXTK,": frame("JXTKR,1"),
	} {
		if got := loggedIn(t, nil).Send(frame(content)); got.Answers != want || texts(got) != nil {
			t.Errorf("%s became %+v", content, got)
		}
	}
}

// A refusal stays one where the text itself was "0".
func TestRefusalOfAZero(t *testing.T) {
	s := loggedIn(t, map[string]string{"text": "utf8"})
	s.Text("0")
	got := s.Send(frame("MESSAGE,0"))
	if len(got.Events) != 1 || got.Events[0].Outcome != protocol.AckRejected {
		t.Errorf("%+v", got)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	p := watch.New()
	for name, values := range map[string][]string{
		"text": {"", "UTF8"}, "prefix": {"S", "SGX", "S]", "s*"}, "part_units": {"9", "501", "x"},
		"ack": {"", "next_frame"}, "voice": {"yes"}, "alarms": {"all"},
		"lk_time": {"8", "+8", "Z", "+25:00", "UTC", "true"},
	} {
		for _, value := range values {
			if _, err := p.NewSettings(map[string]string{name: value}); err == nil {
				t.Errorf("%s=%s was accepted", name, value)
			}
		}
	}
	for name, values := range map[string][]string{
		"prefix": {"", "SG", "3g"}, "lk_time": {"", "utc", "+08:00", "-03:30", "+00:00"},
	} {
		for _, value := range values {
			if _, err := p.NewSettings(map[string]string{name: value}); err != nil {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}

func TestTimeBehindLK(t *testing.T) {
	at := time.Date(2026, 2, 28, 23, 59, 58, 0, time.FixedZone("", -3600))
	for zone, want := range map[string]string{
		"utc": "2026-03-01,00:59:58", "+08:00": "2026-03-01,08:59:58",
		"-03:30": "2026-02-28,21:29:58",
	} {
		s := protocoltest.NewSession(t, watch.New(), map[string]string{"lk_time": zone})
		if got := s.Send(numbered("00a1", "LK,64")); got.Answers != "" {
			t.Errorf("answered with %q at once", got.Answers)
		}
		if got, next := s.Codec.Poll(nil, at); string(got) != numbered("00a1", "LK,"+want) ||
			!next.IsZero() {
			t.Errorf("%s: answered with %q", zone, got)
		}
	}
}
