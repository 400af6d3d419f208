package wialon_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/wialon"
)

// Dates have years of this century, and a leap second is a time.
func TestCalendar(t *testing.T) {
	good := []string{
		"010100;000000", "290200;120000", "290224;235959", "290228;000000", "280226;235959",
		"310126;000000", "310326;000000", "300426;000000", "310526;000000", "300626;000000",
		"310726;000000",
		"310826;000000", "300926;000000", "311026;000000", "301126;000000", "311226;235960",
		"190138;031408", "290296;000000", "311299;235959", "310126;235959.999", "NA;NA", ";", "NA;",
	}
	bad := []string{
		"290226;000000", "290225;000000", "300228;000000", "290299;000000", "310426;000000",
		"310626;000000",
		"310926;000000", "311126;000000", "320126;000000", "000126;000000", "010026;000000",
		"011326;000000",
		"009926;000000", "310126;240000", "310126;236000", "310126;235961", "31012026;000000",
		"31126;000000",
		"310126;0000", "310126;0000000", "310126;00000-", "3l0126;000000", "310126;000000.1.2",
		"310126; 00000",
		"310126;NA", "NA;120000", "-10126;000000",
	}
	const place = ";5512.3456;N;03734.5678;E;89;42;150;16"
	for want, dates := range map[bool][]string{true: good, false: bad} {
		for _, date := range dates {
			s := loggedIn(t, "1.1", nil)
			code := map[bool]string{true: "1", false: "0"}[want]
			for in, answer := range map[string]string{
				"#SD#" + date + place + "\r\n":                  "#ASD#" + code,
				"#D#" + date + place + ";1;NA;NA;;NA;a:1:2\r\n": "#AD#" + code,
				"#IT#" + date + ";driver;1;7\r\n":               "#AIT#" + code,
				// whatever is in it.
				"#B#" + date + place + "\r\n":                          "#AB#1",
				"#D#" + date + place + ";1;NA;NA;;NA;text:3:fuel?\r\n": "#AD#1",
			} {
				got := s.Send(in)
				if got.Answers != answer+"\r\n" {
					t.Errorf("%q was answered by %q, %v", in, got.Answers, got.Err)
				}
				if in[1] == 'B' && (got.Err == nil) != want {
					t.Errorf("%q: %v", in, got.Err)
				}
			}
		}
	}
	d := wialon.New().NewDevice(device(t, "1.1", nil))
	for at, want := range map[string]string{
		"2028-02-29T23:59:59Z": "290228;235959", "2038-01-19T03:14:08Z": "190138;031408",
		"2027-01-01T01:30:00+03:00": "311226;223000", "2099-12-31T23:59:59Z": "311299;235959",
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(d.AppendPosition(nil, 0, 0, when)); !strings.HasPrefix(got,
			"#SD#"+want+";") {
			t.Errorf("%s is written as %q", at, got)
		}
	}
}

// Each field of a position has its own mistake, and its edges.
func TestEdgesOfEveryField(t *testing.T) {
	const at = "240126;135321;"
	for code, positions := range map[string][]string{
		"1": {
			"9000.0000;N;18000.0000;E;0;0;0;0", "9000;S;18000;W;1;359;-400;99",
			"0000.0000;n;00000.0000;e;NA;NA;NA;NA",
			"NA;NA;NA;NA;;;;", "NA;N;NA;W;1;2;3;4", "NA;;NA;;1;2;3;4",
			"5512,3456;N;03734,5678;E;+1;-2;.5;5.",
			"5512.;N;03734.5678;E;1;2;3;4", "12.5;N;7.5;E;1;2;3;4",
		},
		"10": {
			"9000.0001;N;18000.0000;E;0;0;0;0", "9001;N;18000;E;0;0;0;0",
			"9000;N;18000.0001;E;0;0;0;0",
			"9000;N;18001;E;0;0;0;0", "9000;E;18000;E;0;0;0;0", "9000;N;18000;N;0;0;0;0",
			"9000;;18000;E;0;0;0;0",
			"9000;NN;18000;E;0;0;0;0", "NA;X;NA;NA;0;0;0;0", "NA;NA;NA;S;0;0;0;0",
			"-5512.3;N;03734.5;E;0;0;0;0",
			"55x2.3;N;03734.5;E;0;0;0;0", "5512.3x;N;03734.5;E;0;0;0;0", ".5;N;03734.5;E;0;0;0;0",
			"900000000012.5;N;03734.5;E;0;0;0;0", "5512.3;N;x;E;0;0;0;0",
		},
		"11": {
			"NA;NA;NA;NA;x;1;1;1", "NA;NA;NA;NA;1;x;1;1", "NA;NA;NA;NA;1;1;x;1",
			"NA;NA;NA;NA;1;1;1-;1", "NA;NA;NA;NA;.;1;1;1", "NA;NA;NA;NA;1;+;1;1",
			"NA;NA;NA;NA;1;--1;1;1",
		},
		"12": {"NA;NA;NA;NA;1;1;1;x", "NA;NA;NA;NA;1;1;1;1.x"},
		"-1": {"NA;NA;NA;NA;1;1;1", "NA;NA;NA;NA;1;1;1;1;1", "NA;NA;NA;NA;1;1;1;1;1;1;1;1;1;"},
	} {
		for _, position := range positions {
			in := "#SD#" + at + position + "\r\n"
			if got := loggedIn(t, "1.1", nil).Send(in); got.Answers != "#ASD#"+code+"\r\n" {
				t.Errorf("%q was answered by %q, not %s", in, got.Answers, code)
			}
		}
	}
}

// Numbers of blocks are decimal, of up to 32 bits, and come back as they are.
func TestNumbersOfBlocks(t *testing.T) {
	for in, want := range map[string]string{
		"#I#1;0;0;010126;000000;a.jpg\r\nx":                   "#AI#1",
		"#I#1;0;1;010126;000000;a.jpg\r\nx":                   "#AI#0;1",
		"#I#1;65535;65536;010126;000000;a.jpg\r\nx":           "#AI#65535;1",
		"#I#1;65536;65536;010126;000000;a.jpg\r\nx":           "#AI#1",
		"#I#1;65537;65536;010126;000000;a.jpg\r\nx":           "#AI#1",
		"#I#1;4294967294;4294967295;010126;000000;a.jpg\r\nx": "#AI#4294967294;1",
		"#I#1;4294967295;4294967295;010126;000000;a.jpg\r\nx": "#AI#1",
		"#I#1;-1;1;010126;000000;a.jpg\r\nx":                  "#AI#NA;0",
		"#I#1;0;x;010126;000000;a.jpg\r\nx":                   "#AI#NA;0",
		"#I#1;;1;010126;000000;a.jpg\r\nx":                    "#AI#NA;0",
		"#I#1;0;1;010126;000000;a.jpg;1;2\r\nx":               "#AI#NA;0",
		"#I#1;0;1;010126;000000\r\nx":                         "#AI#NA;0",
		"#T#1;1;65535\r\nx":                                   "#AT#65535;1",
		"#T#1;1\r\nx":                                         "#AT#NA;0",
		"#T#1;1;0;7;8\r\nx":                                   "#AT#NA;0",
	} {
		if got := loggedIn(t, "1.1", nil).Send(in); got.Answers != want+"\r\n" {
			t.Errorf("%q was answered by %q, not %q", in, got.Answers, want)
		}
	}
	s := loggedIn(t, "1.1", nil) // the last block is the one announced, once
	for _, step := range [][2]string{
		{"#IT#010126;000000;driver;1;2\r\n", "#AIT#1"},
		{"#T#1;1;1\r\nx", "#AT#1;1"},
		{"#T#1;1;2\r\nx", "#AT#1"},
		{"#T#1;1;2\r\nx", "#AT#2;1"},
		{"#IT#010126;000000;driver;1;x\r\n", "#AIT#0"},
	} {
		if got := s.Send(step[0]); got.Answers != step[1]+"\r\n" {
			t.Errorf("%q was answered by %q, not %q", step[0], got.Answers, step[1])
		}
	}
	for n, want := range map[int]string{1: "1", 255: "255", 256: "256", 10_000: "10000"} {
		in := "#B#" + strings.Repeat("NA;NA;NA;NA;NA;NA;NA;NA;NA;NA|", n) + "\r\n"
		if got := loggedIn(t, "1.1", nil).Send(in); got.Answers != "#AB#"+want+"\r\n" {
			t.Errorf("%d records were answered by %q", n, got.Answers)
		}
	}
}

// Only #AM#1 is delivery, and what is no text is refused.
func TestAnswersAndBlankTexts(t *testing.T) {
	for in, want := range map[string]protocol.Outcome{
		"#AM#1\r\n": protocol.AckDelivered, "#AM#0\r\n": protocol.AckRejected,
		"#AM#01\r\n":     protocol.AckDamaged,
		line2("AM", "1"): protocol.AckDelivered, line2("AM", "01"): protocol.AckDamaged,
		"#AM#\r\n": 0, "#AM#2\r\n": 0, "#AM#11\r\n": 0, "#AM#001\r\n": 0, "#AM#1 \r\n": 0,
		"#AM#-1\r\n": 0, "#AM#;1\r\n": 0,
	} {
		s := loggedIn(t, "2.0", nil)
		s.Text("one")
		got := s.Send(in)
		if (got.Err == nil) != (want != 0) || len(got.Events) > 1 {
			t.Errorf("%q: %+v, %v", in, got.Events, got.Err)
		}
		for _, e := range got.Events {
			if e.Kind != protocol.KindAck || e.Outcome != want {
				t.Errorf("%q became %+v", in, e)
			}
		}
	}
	for _, blank := range []string{
		"", "\x00", "\x01\x7f\x00", "\u0085", " ", "\x01 \x02", "\xa0",
		"\u00a0",
	} {
		got := loggedIn(t, "1.1", nil).Send("#M#" + blank + "\r\n")
		if got.Answers != "#AM#0\r\n" || len(got.Events) != 1 ||
			got.Events[0].Kind != protocol.KindRefused {
			t.Errorf("%q: %+v", blank, got)
		}
		got = loggedIn(t, "1.1", nil).Send("#D#NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;1;NA;NA;;NA;text:3:" +
			blank + "\r\n")
		if got.Answers != "#AD#1\r\n" || len(got.Events) != 1 ||
			got.Events[0].Kind != protocol.KindPosition {
			t.Errorf("%q in a parameter: %+v", blank, got)
		}
	}
	for _, n := range []int{1, 127, 128, 129, 1000} { // a name is looked for within bounds
		got := loggedIn(t, "1.1", nil).Send(fmt.Sprintf(
			"#D#NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;1;NA;NA;;NA;%s:1:2,text:3:hi\r\n", strings.Repeat("n",
				n)))
		if len(got.Events) == 0 || got.Events[0].Text != "hi" {
			t.Errorf("a name of %d letters: %+v", n, got)
		}
	}
}

// What is no packet is passed over byte by byte, and an empty line is nothing.
func TestLinesBetweenPackets(t *testing.T) {
	for noise, wrong := range map[string]bool{
		"\n": false, "\r\n": false, "\n\n": false,
		"\xff\n": true, "\xff\r\n": true, "x\n": true,
	} {
		got := loggedIn(t, "1.1", nil).Send(noise + "#P#\n")
		if got.Answers != "#AP#\r\n" || (got.Err != nil) != wrong {
			t.Errorf("%q: %+v", noise, got)
		}
	}
}

// Before a login a black box has a CRC where it has a field too many that could be one.
func TestBlackBoxOfUnknownVersion(t *testing.T) {
	const record = "NA;NA;NA;NA;NA;NA;NA;NA;NA;NA"
	for msg, want := range map[string]string{
		record: "1", record + "|" + record: "2", record + "|" + crc(record+"|"): "1",
		record + "|" + "0000": "",
	} {
		if got := protocoltest.NewSession(t, wialon.New(), nil).Send("#B#" + msg + "\r\n"); got.Answers != "#AB#"+want+"\r\n" {
			t.Errorf("%q was answered by %q, %v", msg, got.Answers, got.Err)
		}
	}
}
