package egts_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"
)

// written is a codec with one text on its way, and the packet of that.
func written(t *testing.T, values map[string]string) (protocol.Codec, packet) {
	t.Helper()
	c := loggedIn(t, values)
	out, err := c.AppendText(nil, text(100, "one"))
	if err != nil {
		t.Fatal(err)
	}
	return c, unframe(t, out)[0]
}

// outcomeOf is what the terminal's packet says about the text of written, 0 for nothing.
func outcomeOf(t *testing.T, c protocol.Codec, in []byte) protocol.Outcome {
	t.Helper()
	events, _, err := receive(c, in)
	if err != nil || len(events) == 0 {
		t.Fatalf("%x became %+v, %v", in, events, err)
	}
	e := events[len(events)-1]
	if (e.Kind == protocol.KindAck || e.Kind == protocol.KindEvidence) != (e.Outcome != 0) {
		t.Fatalf("%x became %+v", in, e)
	}
	if e.Outcome != 0 && e.Ref != 100 {
		t.Fatalf("%x is about %+v", in, e)
	}
	return e.Outcome
}

// refusedWith is what the codes 128 and above mean for a text; those of its packet's damage are not
// here.
func refusedWith(result int) protocol.Outcome {
	switch result {
	case 148, 149, 150: // service not found, denied, unknown
		return protocol.AckUnsupported
	}
	return protocol.AckRejected
}

// Of all results of a packet and of a record, only that of a record that was taken, or was before,
// can make a text DELIVERED, and only where the setting says so.
func TestEveryResultCode(t *testing.T) {
	for _, on := range []string{"deliv", "record"} {
		for result := range 256 {
			c, p := written(t, map[string]string{"delivered_on": on})
			want := refusedWith(result)
			switch {
			case result < 128, result == 135:
				want = protocol.Linked
			case result == 137, result == 138:
				want = protocol.AckDamaged
			}
			if got := outcomeOf(t, c, frame(0, 9, le16(p.pid, byte(result)))); got != want {
				t.Errorf("%s: packet %d is %d, not %d", on, result, got, want)
			}
			c, p = written(t, map[string]string{"delivered_on": on})
			want = refusedWith(result)
			switch {
			case (result == 0 || result == 135) && on == "record":
				want = protocol.AckDelivered
			case result <= 1, result == 135:
				want = protocol.Accepted
			case result < 128:
				want = 0
			}
			about := sub{0, string(le16(p.records[0].number, byte(result)))}
			if got := outcomeOf(t, c, frame(1, 9, rec(9, 4, about))); got != want {
				t.Errorf("%s: record %d is %d, not %d", on, result, got, want)
			}
		}
	}
}

// Of all confirmations of all commands, these say something about a text.
func TestEveryConfirmation(t *testing.T) {
	said := map[int]map[int]protocol.Outcome{
		1: {0: protocol.Accepted, 5: protocol.Accepted},
		2: {0: protocol.AckOpened, 5: protocol.AckOpened},
		8: {0: protocol.AckDelivered, 5: protocol.AckDelivered},
	}
	for _, outcomes := range said {
		outcomes[1], outcomes[2] = protocol.AckRejected, protocol.AckRejected
		outcomes[6] = protocol.AckLater
	}
	for kind := range 16 {
		for confirmed := range 16 {
			if kind == 3 { // the driver's text
				continue
			}
			c, _ := written(t, nil)
			in := frame(1, 9, rec(9, 4, command(byte(kind), byte(confirmed), 100, 0, "\x00")))
			if got, want := outcomeOf(t, c, in), said[kind][confirmed]; got != want {
				t.Errorf("CT %d CCT %d is %d, not %d", kind, confirmed, got, want)
			}
		}
	}
}

// The counters are those of their sender, and go from 65535 to 0, each by itself. A CT_DELIV whose
// number has gone round is not meant by a word about its new owner.
func TestCountersAtTheirWrap(t *testing.T) {
	for records, confirm := range map[uint16]func(deliv packet) []byte{
		0: func(deliv packet) []byte { return frame(0, 6, le16(deliv.pid, 0)) },
		2: func(deliv packet) []byte {
			return frame(1, 6, rec(6, 4, sub{0, string(le16(deliv.records[0].number, 0))}))
		},
	} {
		c := loggedIn(t, nil)
		_, reply, err := receive(c, frame(1, 5, rec(5, 4, command(3, 0, 7, 0, "\x00OK"))))
		if err != nil {
			t.Fatal(err)
		}
		deliv := unframe(t, reply)[1]
		pid, rn := deliv.pid+1, deliv.records[0].number+1
		for i := range 1 << 16 / max(int(records), 1) {
			var data []byte
			for n := range records {
				data = append(data, rec(uint16(i)+n, 2, sub{16, ""})...)
			}
			_, reply, err := receive(c, frame(1, uint16(i), data))
			if err != nil {
				t.Fatal(err)
			}
			p := unframe(t, reply)[0]
			if p.pid != pid || p.answered != uint16(i) {
				t.Fatalf("packet %d was answered by %+v, not packet %d", i, p, pid)
			}
			for n, r := range p.records {
				if r.number != rn || r.subs[0].data != string(le16(uint16(i+n), 0)) {
					t.Fatalf("packet %d was answered by %+v, not record %d", i, p, rn)
				}
				rn++
			}
			pid++
		}
		events, _, err := receive(c, confirm(deliv))
		if err != nil || len(events) != 1 || events[0].Kind == protocol.KindKnown {
			t.Errorf("%d records a packet: %+v, %v", records, events, err)
		}
	}
}

// Every byte of the numbers counts, the highest as well; RFL says where TM is. EVID means nothing.
func TestNumbersOfADriversText(t *testing.T) {
	four := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	say := func(flags byte, oid, evid, tm, cid, sid uint32) protocol.Event {
		t.Helper()
		record := rec(5, 4, command(3, 0, cid, sid, "\x00OK"))
		var optional []byte
		for bit, n := range []uint32{oid, evid, tm} {
			if flags>>bit&1 != 0 {
				optional = append(optional, four(n)...)
			}
		}
		record[4] |= flags
		events, reply, err := receive(loggedIn(t, nil), frame(1, 5, slices.Insert(record, 5,
			optional...)))
		if err != nil || len(events) != 1 || events[0].Text != "OK" {
			t.Fatalf("flags %d: %+v, %v", flags, events, err)
		}
		down := unframe(t, reply)
		deliv := command(8, 0, cid, sid, "\x00")
		if len(down) != 2 || down[1].records[0].subs[0] != deliv {
			t.Fatalf("CID %x, SID %x was answered by %+v", cid, sid, down)
		}
		return events[0]
	}
	const top = 1 << 31
	for flags := range byte(8) {
		base := say(flags, 9, 8, 7, 6, 5)
		dated := flags&4 != 0
		if day := base.Window == 24*time.Hour; day != dated {
			t.Errorf("flags %d: known for %v", flags, base.Window)
		}
		for name, c := range map[string]struct {
			e    protocol.Event
			same bool
		}{
			"event":           {say(flags, 9, 8|top, 7, 6, 5), true},
			"object":          {say(flags, 9|top, 8, 7, 6, 5), flags&1 == 0},
			"time after 2078": {say(flags, 9, 8, 7|top, 6, 5), !dated},
			"last time":       {say(flags, 9, 8, math.MaxUint32, 6, 5), !dated},
			"number":          {say(flags, 9, 8, 7, 6|top, 5), false},
			"sender":          {say(flags, 9, 8, 7, 6, 5|top), false},
			"low byte":        {say(flags, 9, 8, 7, 6|1<<8, 5), false},
		} {
			if (c.e.Key == base.Key) != c.same || c.e.Window != base.Window {
				t.Errorf("flags %d, another %s: %+v beside %+v", flags, name, c.e, base)
			}
		}
	}
}

// What has nothing to show is taken and answered, and is no text. CT_DELIV would say that it is.
func TestBlankTexts(t *testing.T) {
	for name, tail := range map[string]string{
		"nothing": "\x00", "NULs": "\x00\x00\x00", "spaces": "\x00  \t \r\n",
		"controls":       "\x00\x01\x02\x7f",
		"no-break space": "\x00\xa0", "UCS2 spaces": "\x01\x08\x00 \x20\x03",
		"a byte order mark":    "\x01\x08\xfe\xff",
		"nothing after a code": "\x02\x03abc\x00",
	} {
		c := loggedIn(t, nil)
		events, reply, err := receive(c, frame(1, 5, rec(6, 4, command(3, 0, 7, 0, tail))))
		if err != nil || len(events) != 1 || events[0].Kind != protocol.KindOther {
			t.Errorf("%s: %+v, %v", name, events, err)
			continue
		}
		down := unframe(t, reply)
		if len(down) != 1 || down[0].records[0].subs[0].data != "\x06\x00\x00" {
			t.Errorf("%s: answered by %+v", name, down)
		}
	}
}

// TERM_IDENTITY: whichever fields it has, each is found.
func TestIdentityWithAnyFields(t *testing.T) {
	const imei = "861234567890123"
	fields := [...]string{
		"\x01\x02", imei, "250990123456789\x00", "rus", "", "\x10\x20\x30", "\x00\x02",
		"79161234567\x00\x00\x00\x00",
	}
	for flags := range 256 {
		body := "\x78\x56\x34\x92" + string([]byte{byte(flags)})
		for bit, field := range fields {
			if flags>>bit&1 != 0 {
				body += field
			}
		}
		c := egts.New().NewCodec(defaults(t))
		events, err := protocoltest.Decode(c, frame(1, 1, rec(1, 1, sub{1, body})))
		want := protocol.Event{DeviceID: "2452903544"}
		if flags&2 != 0 {
			want = protocol.Event{DeviceID: imei, Alias: "2452903544"}
		}
		if err != nil || len(events) != 1 || events[0].DeviceID != want.DeviceID ||
			events[0].Alias != want.Alias {
			t.Errorf("flags %02x: %+v, %v", flags, events, err)
		}
		room := map[bool]int{false: 990, true: 478}[flags&0x40 != 0]
		if got := c.Caps().PartBytes; got != room {
			t.Errorf("flags %02x: room for %d bytes, not %d", flags, got, room)
		}
		if last := len(body) - 1; flags&^0x10 != 0 {
			if _, err := protocoltest.Decode(c, frame(1, 1, rec(1, 1, sub{1, body[:last]}))); err ==
				nil {
				t.Errorf("flags %02x: one byte less was taken", flags)
			}
		}
	}
}

// Times of the tracker's side are seconds since 2010, unsigned.
func TestCalendar(t *testing.T) {
	d := egts.New().NewDevice(config(t, "1", "", nil))
	for at, want := range map[string]uint32{
		"2010-01-01T00:00:00Z": 0, "2011-12-31T23:59:59Z": 63_071_999,
		"2012-02-29T00:00:00Z": 68_169_600,
		"2038-01-19T03:14:07Z": 885_179_647, "2038-01-19T03:14:08Z": 885_179_648,
		"2078-01-19T03:14:08Z": 1 << 31,
		"2100-03-01T00:00:00Z": 2_845_238_400, "2026-03-01T02:30:00+03:00": 510_017_400,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		p := unframe(t, d.AppendPosition(nil, 0, 0, when))[0]
		data := []byte(p.records[0].subs[0].data)
		if got := binary.LittleEndian.Uint32(data); got != want || data[12] != 3 {
			// valid, north, east
			t.Errorf("%s is %d, not %d, in %x", at, got, want, data)
		}
	}
}

// A route's addresses come back swapped, every byte of them.
func TestRouteOfAnAnswer(t *testing.T) {
	c := loggedIn(t, nil)
	data := rec(7, 2, sub{16, strings.Repeat("\x00", 21)})
	in := sealed(header(1, 0x20, []byte{0x12, 0x34, 0x56, 0x78, 9}, len(data), 3), data)
	_, reply, err := receive(c, in)
	if p := unframe(t, reply); err != nil || len(p) != 1 || !bytes.HasPrefix([]byte(p[0].route),
		[]byte{0x56, 0x78, 0x12, 0x34}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// The terminal's side counts its packets and records as well.
func TestCountersOfTheDevice(t *testing.T) {
	d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "4711", "", nil)))
	out := d.AppendLogin(nil)
	for range 2 {
		up, err := d.AppendText(nil, "Hi")
		down, _, fed := d.Feed(fromPlatform(16, 4, command(4, 0, 9, 7, "\x00Hi")))
		if err != nil || fed != nil {
			t.Fatal(err, fed)
		}
		out = slices.Concat(out, up, down, d.AppendHeartbeat(nil), d.AppendPosition(nil, 1, 1,
			time.Unix(2e9, 0)))
	}
	records := uint16(0)
	for i, p := range unframe(t, out) {
		if p.pid != uint16(i) {
			t.Errorf("packet %d has number %d", i, p.pid)
		}
		for _, r := range p.records {
			if r.number != records {
				t.Errorf("record %d has number %d", records, r.number)
			}
			records++
		}
	}
}

// What the gateway writes again by itself is not written again at once, and nothing else waits for
// that.
func TestOwnRepetitionPostponesTheNext(t *testing.T) {
	now := time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC)
	c := loggedIn(t, nil)
	_, reply, err := receive(c, frame(1, 5, rec(5, 4, command(3, 0, 7, 0, "\x00OK"))))
	if err != nil {
		t.Fatal(err)
	}
	deliv := unframe(t, reply)[1]
	for range 2 {
		if _, err := c.AppendText(nil, text(100, "one")); err != nil {
			t.Fatal(err)
		}
		if out, _ := c.Poll(nil, now); len(out) > 0 {
			t.Errorf("%x", out)
		}
		now = now.Add(4 * time.Second)
	}
	out, _ := c.Poll(nil, now) // 8 s after CT_DELIV, 4 s after the text
	if p := unframe(t, out); len(p) != 1 || p[0].pid != deliv.pid {
		t.Errorf("%+v", p)
	}
}

// A lenient listener offers one login: not to who has authenticated, and not a second time.
func TestLenientOffersOneLogin(t *testing.T) {
	telemetry := func(pid uint16) []byte {
		return frame(1, pid, recOf(7, pid, 2, sub{16, strings.Repeat("\x00", 21)}))
	}
	logins := func(c protocol.Codec, r protocol.Result, frames ...[]byte) (n int) {
		for _, f := range frames {
			events, err := protocoltest.Decode(c, f)
			if err != nil {
				t.Fatal(err)
			}
			for i := range events {
				if events[i].Kind == protocol.KindLogin {
					n++
				}
				c.AppendReply(nil, &events[i], r)
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		lenient string
		r       protocol.Result
		frames  [][]byte
		want    int
	}{
		"authenticated": {
			"true", protocol.OK,
			[][]byte{terminal(1024), telemetry(2), telemetry(3)},
			1,
		},
		"not authenticated": {"true", protocol.OK, [][]byte{telemetry(2), telemetry(3)}, 1},
		"refused": {
			"true", protocol.UnknownDevice,
			[][]byte{telemetry(2), telemetry(3)},
			1,
		},
		"strict": {"false", protocol.NoLogin, [][]byte{telemetry(2), telemetry(3)}, 0},
	} {
		codec := egts.New().NewCodec(settingsOf(t, map[string]string{"lenient": c.lenient}))
		if n := logins(codec, c.r, c.frames...); n != c.want {
			t.Errorf("%s: %d logins", name, n)
		}
	}
}
