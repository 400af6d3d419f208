package egts_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"

	"pgregory.net/rapid"
)

// terminal is a TERM_IDENTITY of number 4711 that states a packet size.
func terminal(bs uint16) []byte {
	return frame(1, 1, rec(1, 1, sub{1, "\x67\x12\x00\x00\x40" +
		string([]byte{byte(bs), byte(bs >> 8)})}))
}

// loggedIn returns a codec whose terminal has authenticated and confirmed that.
func loggedIn(tb testing.TB, values map[string]string) protocol.Codec {
	tb.Helper()
	c := egts.New().NewCodec(settingsOf(tb, values))
	events, reply, err := receive(c, terminal(1024))
	if err != nil || len(events) != 1 {
		tb.Fatalf("%+v, %v", events, err)
	}
	packets := unframe(tb, reply)
	verdict := packets[len(packets)-1].pid
	if _, reply, err = receive(c, frame(0, 2, []byte{byte(verdict), byte(verdict >> 8), 0})); err !=
		nil || len(reply) != 0 {
		tb.Fatalf("a RESPONSE was answered by %x, %v", reply, err)
	}
	return c
}

// receive decodes a frame and answers its events.
func receive(c protocol.Codec, frame []byte) (events []protocol.Event, reply []byte, err error) {
	events, err = protocoltest.Decode(c, frame)
	for i := range events {
		reply = c.AppendReply(reply, &events[i], protocol.OK)
	}
	return events, reply, err
}

func TestIdleSessionIsSmall(t *testing.T) {
	const n, most = 20_000, 160
	p := egts.New()
	settings := defaults(t)
	codecs := make([]protocol.Codec, n)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools held is gone after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	frames := [][]byte{
		terminal(1024), frame(0, 2, []byte{1, 0, 0}), // it confirms RESULT_CODE
		frame(1, 3, append(rec(2, 2, sub{16, strings.Repeat("\x00", 21)}),
			rec(3, 2, sub{20, "\x00\x00\x00\x00\x00"})...)),
		frame(1, 4, rec(4, 4, command(8, 0, 7, 0, "\x00"))),
		frame(1, 5, rec(5, 4, command(3, 0, 7, 0, "\x00hi"))),
		frame(0, 6, []byte{5, 0, 0}), // it confirms CT_DELIV
	}
	before := heap()
	for i := range codecs {
		codecs[i] = p.NewCodec(settings)
		for _, f := range frames {
			if _, _, err := receive(codecs[i], f); err != nil {
				t.Fatal(err)
			}
		}
		if _, next := codecs[i].Poll(nil, time.Unix(0, 0)); !next.IsZero() {
			t.Fatal("it still waits for something")
		}
	}
	per := float64(heap()-before) / n
	runtime.KeepAlive(codecs)
	t.Logf("%.0f bytes", per)
	if per > most {
		t.Errorf("an idle session takes %.0f bytes, more than %d", per, most)
	}
}

// Whatever the mix of letters, a part never makes a packet longer than the terminal takes, and it
// arrives as the charset can carry it.
func TestPartsKeepToThePacketSize(t *testing.T) {
	settings := map[bool]protocol.Settings{false: defaults(t), true: settingsOf(t,
		map[string]string{"part_prefix": "true"})}
	rapid.Check(t, func(t *rapid.T) {
		bs := rapid.Uint16Range(128, 300).Draw(t, "bs")
		prefix := rapid.Bool().Draw(t, "prefix")
		c := egts.New().NewCodec(settings[prefix])
		in := terminal(bs)
		if rapid.Bool().Draw(t, "routed") {
			data := in[11 : len(in)-2]
			in = sealed(header(1, 0x20, []byte{1, 0, 2, 0, 9}, len(data), 1), data)
		}
		if _, _, err := receive(c, in); err != nil {
			t.Fatal(err)
		}
		body := rapid.StringMatching(`([ a-z]|[а-я]|[ё好é😀🦕𝐀🄐\n]){1,400}`).Draw(t, "text")
		caps := c.Caps()
		parts, err := protocol.Split(body, caps)
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := protocol.Fold(caps.Charset, body); strings.Join(parts, "") != want {
			t.Fatalf("%q became %q", body, parts)
		}
		for i, part := range parts {
			out, err := c.AppendText(nil, protocol.Text{
				Ref: uint64(i), Part: i, Parts: len(parts),
				Body: part,
			})
			if err != nil || len(out) > int(bs) || !utf8.ValidString(part) {
				t.Fatalf("part %q takes %d of %d bytes, %v", part, len(out), bs, err)
			}
			p := unframe(t, out)[0]
			tail := p.records[0].subs[0].data[9:]
			shown, err := caps.Charset.Decode([]byte(tail))
			if err != nil {
				t.Fatal(err)
			}
			var marked []byte
			if prefix {
				marked = protocol.AppendPrefix(nil, protocol.Text{Part: i, Parts: len(parts)})
			}
			if want, err := caps.Charset.Decode(caps.Charset.Append(nil,
				string(marked)+part)); err != nil || shown != want {
				t.Fatalf("%q arrives as %q instead of %q, %v", part, shown, want, err)
			}
		}
	})
}

func TestPartsOfLongTexts(t *testing.T) {
	caps := loggedIn(t, nil).Caps()
	if caps.PartBytes != 990 || caps.RefBits != 32 {
		t.Fatalf("%+v", caps)
	}
	for letter, want := range map[string]int{"a": 21, "я": 21, "好": 41} {
		if parts, err := protocol.Split(strings.Repeat(letter, 20_000), caps); err != nil ||
			len(parts) != want {
			t.Errorf("20,000 times %s: %d parts instead of %d, %v", letter, len(parts), want, err)
		}
	}
	// One letter that needs UCS2 widens the part it is in, not the whole text.
	parts, err := protocol.Split(strings.Repeat("я", 5000)+"好"+strings.Repeat("я", 5000), caps)
	if err != nil || len(parts) > 12 {
		t.Errorf("%d parts, %v", len(parts), err)
	}
	// Letters that neither charset has do not widen a part.
	if parts, err := protocol.Split(strings.Repeat("🦕", 990), caps); err != nil || len(parts) != 1 {
		t.Errorf("%d parts, %v", len(parts), err)
	}
	// Parts end at spaces where there are some.
	if parts, err := protocol.Split(strings.Repeat("слово ", 400), caps); err != nil ||
		!strings.HasSuffix(parts[0], " ") {
		t.Errorf("%q, %v", parts[0], err)
	}
}

func TestRoomForText(t *testing.T) {
	for name, c := range map[string]struct {
		bs     uint16
		values map[string]string
		want   int
	}{
		"not said":         {0, nil, 990},
		"unbelievable":     {127, nil, 990},
		"the least":        {128, nil, 94},
		"large":            {65_535, nil, 65_501},
		"a setting":        {4096, map[string]string{"part_bytes": "500"}, 500},
		"a setting beyond": {512, map[string]string{"part_bytes": "1000"}, 478},
		"prefix":           {512, map[string]string{"part_prefix": "true"}, 466},
	} {
		codec := egts.New().NewCodec(settingsOf(t, c.values))
		if _, _, err := receive(codec, terminal(c.bs)); err != nil {
			t.Fatal(err)
		}
		if got := codec.Caps().PartBytes; got != c.want {
			t.Errorf("%s: %d instead of %d", name, got, c.want)
		}
	}
	out, err := loggedIn(t, nil).AppendText([]byte("kept"), text(1, strings.Repeat("я", 991)))
	if !errors.Is(err, protocol.ErrNotText) || string(out) != "kept" {
		t.Errorf("too long a part: %d bytes, %v", len(out), err)
	}
	if out, err = loggedIn(t, nil).AppendText(nil, text(1, strings.Repeat("я", 990))); err != nil ||
		len(out) > 1024 {
		t.Errorf("the longest part: %d bytes, %v", len(out), err)
	}
}

// A text keeps its numbers when it is repeated, whatever is sent in between; the next one has
// others.
func TestRepeatedTextKeepsItsNumbers(t *testing.T) {
	c := loggedIn(t, nil)
	first, err := c.AppendText(nil, text(100, "one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := receive(c, frame(1, 9, rec(9, 2, sub{16, strings.Repeat("\x00", 21)}))); err !=
		nil {
		t.Fatal(err)
	}
	again, err := c.AppendText([]byte("kept"), text(100, "one"))
	if err != nil || !bytes.Equal(again, append([]byte("kept"), first...)) {
		t.Errorf("%x, then %x, %v", first, again, err)
	}
	next, err := c.AppendText(nil, text(101, "one"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := unframe(t, first)[0], unframe(t, next)[0]
	if a.pid == b.pid || a.records[0].number == b.records[0].number {
		t.Errorf("%+v and %+v", a, b)
	}
}

// When the counters come round, a word about a number means its new owner and no longer the text
// that had it before.
func TestNumbersThatComeRound(t *testing.T) {
	c := loggedIn(t, map[string]string{"delivered_on": "record"})
	out, err := c.AppendText(nil, text(100, "one"))
	if err != nil {
		t.Fatal(err)
	}
	p := unframe(t, out)[0]
	about := frame(0, 9, append([]byte{byte(p.pid), byte(p.pid >> 8), 0},
		rec(9, 4, sub{0, string([]byte{
			byte(p.records[0].number), byte(p.records[0].number >> 8),
			0,
		})})...))
	if events, _, err := receive(c, about); err != nil || len(events) != 2 ||
		events[1].Kind != protocol.KindAck || events[1].Ref != 100 ||
		events[1].Outcome != protocol.AckDelivered {
		t.Fatalf("%+v, %v", events, err)
	}
	position := frame(1, 9, rec(9, 2, sub{16, strings.Repeat("\x00", 21)}))
	for range 1 << 16 {
		if _, _, err := receive(c, position); err != nil {
			t.Fatal(err)
		}
	}
	if events, _, err := receive(c, about); err != nil || events[0].Kind != protocol.KindOther {
		t.Errorf("%+v, %v", events, err)
	}
}

// The confirmations of a large bundle take several packets where one would be longer than the
// terminal takes.
func TestConfirmationsKeepToThePacketSize(t *testing.T) {
	for _, n := range []int{1, 77, 78, 500} {
		var data []byte
		for i := range n {
			data = append(data, rec(uint16(i), 2, sub{16, "x"})...)
		}
		_, reply, err := receive(loggedIn(t, nil), frame(1, 300, data))
		if err != nil {
			t.Fatal(err)
		}
		confirmed, packets := 0, unframe(t, reply)
		for _, p := range packets {
			if p.answered != 300 || p.result != 0 || 16+13*len(p.records) > 1024 {
				t.Errorf("%d records: RESPONSE to %d with %d records", n, p.answered,
					len(p.records))
			}
			confirmed += len(p.records)
		}
		if confirmed != n || len(packets) != (n+76)/77 {
			t.Errorf("%d records were confirmed by %d in %d packets", n, confirmed, len(packets))
		}
	}
}

// A terminal that states no size gets one RESPONSE: some take the first for the whole answer.
func TestConfirmationsOfATerminalWithoutBS(t *testing.T) {
	c := egts.New().NewCodec(defaults(t))
	if _, _, err := receive(c, frame(1, 1, rec(1, 1, sub{1, "\x67\x12\x00\x00\x00"}))); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]int{100: 1, 5039: 1, 5040: 2} {
		var data []byte
		for i := range n {
			data = append(data, rec(uint16(i), 2, sub{16, ""})...)
		}
		_, reply, err := receive(c, frame(1, 300, data))
		packets := unframe(t, reply)
		if err != nil || len(packets) != want || len(packets[0].records) != min(n, 5039) {
			t.Errorf("%d records: %d packets, %v", n, len(packets), err)
		}
	}
}

// A terminal that confirms CT_DELIV, in whatever way, knows that we have its text.
func TestTerminalLearnsOfItsText(t *testing.T) {
	said := frame(1, 5, rec(5, 4, command(3, 0, 7, 0, "\x00OK")))
	for name, c := range map[string]struct {
		confirm func(deliv packet) []byte
		known   bool
	}{
		"RESPONSE": {func(d packet) []byte { return frame(0, 6, le16(d.pid, 0)) }, true},
		"RECORD_RESPONSE": {func(d packet) []byte {
			return frame(1, 6, rec(6, 4, sub{0, string(le16(d.records[0].number, 0))}))
		}, true},
		"refused":      {func(d packet) []byte { return frame(0, 6, le16(d.pid, 133)) }, true},
		"damaged":      {func(d packet) []byte { return frame(0, 6, le16(d.pid, 138)) }, false},
		"another one":  {func(d packet) []byte { return frame(0, 6, le16(d.pid+1, 0)) }, false},
		"its RESPONSE": {func(d packet) []byte { return frame(0, 6, le16(d.pid-1, 0)) }, false},
	} {
		c1 := loggedIn(t, nil)
		events, reply, err := receive(c1, said)
		if err != nil || len(events) != 1 {
			t.Fatal(err)
		}
		down := unframe(t, reply)
		for i := range 2 {
			got, _, err := receive(c1, c.confirm(down[1]))
			known := len(got) == 1 && got[0].Kind == protocol.KindKnown
			known = known && got[0].Key == events[0].Key
			if err != nil || known != (c.known && i == 0) {
				t.Errorf("%s, time %d: %+v, %v", name, i+1, got, err)
			}
		}
	}
}

// Of two CT_DELIV for one text only the newer one tells, and a terminal that confirms none fills no
// memory.
func TestUnconfirmedDeliveriesAreBounded(t *testing.T) {
	c := loggedIn(t, nil)
	deliv := func(cid uint32) packet {
		_, reply, err := receive(c, frame(1, 5, rec(5, 4, command(3, 0, cid, 0, "\x00OK"))))
		if err != nil {
			t.Fatal(err)
		}
		return unframe(t, reply)[1]
	}
	known := func(d packet) bool {
		got, _, err := receive(c, frame(0, 6, le16(d.pid, 0)))
		return err == nil && len(got) == 1 && got[0].Kind == protocol.KindKnown
	}
	first := deliv(1)
	if again := deliv(1); known(first) || !known(again) {
		t.Error("the copy does not stand for both")
	}
	var all []packet
	for cid := range uint32(100) {
		all = append(all, deliv(cid+1))
	}
	c.Poll(nil, time.Unix(0, 0))
	c.Poll(nil, time.Unix(5, 0))
	c.Poll(nil, time.Unix(10, 0))
	c.Poll(nil, time.Unix(15, 0))
	c.Poll(nil, time.Unix(20, 0)) // given up
	for i, d := range all {
		if known(d) != (i >= 36) {
			t.Errorf("text %d of 100", i+1)
		}
	}
}

func le16(n uint16, code byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, n), code)
}

func TestManyTextsInOnePacketAreBounded(t *testing.T) {
	var subs []sub
	for i := range uint32(1000) {
		subs = append(subs, command(3, 0, i+1, 0, "\x00a"))
	}
	events, reply, err := receive(loggedIn(t, nil), frame(1, 300, rec(1, 4, subs...)))
	if err != nil || len(events) != 1000 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	if down := unframe(t, reply); len(down) != 1+64 || len(down[0].records) != 1 {
		t.Errorf("%d packets", len(down))
	}
}

// What has to come again because it could not be stored leaves its whole packet unanswered, and the
// next one is answered as ever.
func TestLaterLeavesThePacketUnanswered(t *testing.T) {
	c := loggedIn(t, nil)
	in := frame(1, 7, append(rec(1, 4, command(3, 0, 1, 0, "\x00one")),
		rec(2, 4, command(3, 0, 2, 0, "\x00two"))...))
	events, err := protocoltest.Decode(c, in)
	if err != nil || len(events) != 2 {
		t.Fatalf("%+v, %v", events, err)
	}
	out := c.AppendReply(nil, &events[0], protocol.OK)
	if out = c.AppendReply(out, &events[1], protocol.Later); len(out) != 0 {
		t.Errorf("answered %x", out)
	}
	if out, next := c.Poll(nil, time.Unix(0, 0)); len(out) != 0 || !next.IsZero() {
		t.Errorf("%x is to be repeated", out)
	}
	again, reply, err := receive(c, in)
	if err != nil || again[0].Key != events[0].Key || again[1].Key != events[1].Key {
		t.Errorf("%+v, then %+v, %v", events, again, err)
	}
	if down := unframe(t, reply); len(down) != 3 || len(down[0].records) != 2 ||
		down[1].records[0].subs[0] != command(8, 0, 1, 0, "\x00") ||
		down[2].records[0].subs[0] != command(8, 0, 2, 0, "\x00") {
		t.Errorf("answered %+v", down)
	}
}

// Answers wait for the store while other packets are decoded, and each keeps its own.
func TestAnswersOfPacketsDoNotMix(t *testing.T) {
	c := loggedIn(t, nil)
	var events []protocol.Event
	for i := range uint16(3) {
		got, err := protocoltest.Decode(c, frame(1, 10+i,
			append(rec(20+i, 4, command(3, 0, uint32(i)+1, 0, "\x00a")),
				rec(30+i, 2, sub{16, "x"})...)))
		if err != nil || len(got) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		events = append(events, got...)
	}
	var reply []byte
	for i := range events {
		reply = c.AppendReply(reply, &events[i], protocol.OK)
	}
	down := unframe(t, reply)
	if len(down) != 6 {
		t.Fatalf("%+v", down)
	}
	for i := range 3 {
		r := down[2*i]
		if int(r.answered) != 10+i || len(r.records) != 2 ||
			r.records[0].subs[0].data != string([]byte{byte(20 + i), 0, 0}) ||
			r.records[1].subs[0].data != string([]byte{byte(30 + i), 0, 0}) {
			t.Errorf("packet %d was answered by %+v", i, r)
		}
	}
}

// timed adds TM to a record without optional fields.
func timed(record []byte, tm uint32) []byte {
	record[4] |= 4
	return slices.Insert(record, 5, binary.LittleEndian.AppendUint32(nil, tm)...)
}

// A text is the same one if its number, its sender, its words and the time and object of its record
// are; without a number only the same packet is.
func TestKeysOfTexts(t *testing.T) {
	c := loggedIn(t, nil)
	of := func(pid uint16, record []byte) protocol.Event {
		t.Helper()
		events, _, err := receive(c, frame(1, pid, record))
		if err != nil || len(events) != 1 || events[0].Key == 0 {
			t.Fatalf("%+v, %v", events, err)
		}
		return events[0]
	}
	key := func(pid, rn uint16, s sub) protocol.Event { return of(pid, rec(rn, 4, s)) }
	ok := command(3, 0, 5, 0, "\x00OK")
	base := key(1, 1, ok)
	if base.Window != 2*time.Minute || base.Across {
		t.Errorf("%+v", base)
	}
	at7 := of(1, timed(rec(1, 4, ok), 7))
	again := of(2, timed(rec(2, 4, ok), 7))
	if at7.Window != 24*time.Hour || again.Key != at7.Key || at7.Key == base.Key {
		t.Errorf("%+v, %+v", at7, again)
	}
	if at8 := of(1, timed(rec(1, 4, ok), 8)); at8.Key == at7.Key {
		t.Errorf("at another time: %+v", at8)
	}
	if never := of(1, timed(rec(1, 4, ok), 0)); never.Window != 2*time.Minute {
		t.Errorf("from a terminal without a clock: %+v", never)
	}
	if other := of(1, recOf(9, 1, 4, ok)); other.Key == base.Key {
		t.Errorf("of another object: %+v", other)
	}
	for name, c := range map[string]struct {
		e    protocol.Event
		same bool
	}{
		"repeated":        {key(1, 1, command(3, 0, 5, 0, "\x00OK")), true},
		"in a new packet": {key(2, 7, command(3, 0, 5, 0, "\x00OK")), true},
		"another number":  {key(1, 1, command(3, 0, 6, 0, "\x00OK")), false},
		"another sender":  {key(1, 1, command(3, 0, 5, 1, "\x00OK")), false},
		"other words":     {key(1, 1, command(3, 0, 5, 0, "\x00No")), false},
	} {
		if (c.e.Key == base.Key) != c.same {
			t.Errorf("%s: %x and %x", name, c.e.Key, base.Key)
		}
	}
	uncounted := key(1, 1, command(3, 0, 0, 0, "\x00OK"))
	if same, other := key(1, 1, command(3, 0, 0, 0, "\x00OK")), key(2, 2, command(3, 0, 0, 0,
		"\x00OK")); same.Key != uncounted.Key || other.Key == uncounted.Key ||
		uncounted.Window != time.Minute {
		t.Errorf("%+v, %+v, %+v", uncounted, same, other)
	}
}

// For those who do not know Fit, a charset never promises less room than a character can take; and
// only what neither encoding has is lost.
func TestCharsetOfTexts(t *testing.T) {
	cs := loggedIn(t, nil).Caps().Charset
	for r, want := range map[rune]struct {
		atLeast int
		lossy   bool
	}{'a': {2, false}, 'я': {2, false}, '好': {2, false}, 'ï': {2, false}, '😀': {2, true}} {
		if n := cs.RuneLen(r); n < want.atLeast || cs.Lossy(r) != want.lossy {
			t.Errorf("%c: %d bytes, lossy %t", r, n, cs.Lossy(r))
		}
	}
	for in, want := range map[string]string{
		"Да 😀 🦕": "Да :) ?", "好 😀 🦕": "好 :) ?", "𝐀": "A",
		"naïve": "naïve",
	} {
		if out, err := cs.Decode(cs.Append(nil, in)); err != nil || out != want {
			t.Errorf("%q became %q, %v", in, out, err)
		}
	}
}
