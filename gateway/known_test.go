package gateway_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"trackchat/protocol/protocoltest"
	"trackchat/queue"
)

// terminal808 is tracker 1 on one connection, which says raw frames.
type terminal808 struct{ *device }

// connect808 logs in with serial number 1, as it does on each connection.
func (r *rig) connect808() *terminal808 {
	d := &terminal808{r.connect("jt808")}
	d.say808(0x0102, 1, "")
	return d
}

// say808 writes a frame and waits for its general reply.
func (d *terminal808) say808(id, serial uint16, body string) {
	d.t.Helper()
	d.write(say808(d.t, id, serial, body))
	d.answered(id, serial)
}

// frames writes frames as they are, each behind the general reply to the one before.
func (d *terminal808) frames(frames ...[]byte) {
	d.t.Helper()
	for _, f := range frames {
		d.write(f)
		at := 11 // flag, id, attributes, phone
		d.answered(binary.BigEndian.Uint16(f[1:]), binary.BigEndian.Uint16(f[at:]))
	}
}

func (d *terminal808) answered(id, serial uint16) {
	d.t.Helper()
	want := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, serial), id)
	want = append(want, 0)
	for !bytes.Contains(d.buf, want) {
		d.buf = append(d.buf, d.raw()...)
	}
	d.buf = nil
}

// texts returns what is stored of the driver's.
func (r *rig) texts() []string {
	var texts []string
	for _, m := range incoming(r.list(1)) {
		texts = append(texts, m.Text)
	}
	return texts
}

// A number that a terminal gives a text means the same text only while the terminal cannot know
// that we have it.
func TestTextIsKnownAgainUntilTheTerminalGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		id       uint16
		body     string
		text     string
		settings map[string]string
	}{
		"0301": {0x0301, "\x01", "Arrived", map[string]string{"events": "1=Arrived"}},
		"0302": {0x0302, "\x00\x07\x02", "answer 2", nil},
		"6006": {0x6006, "\x00OK", "OK", nil},
		"1300": {0x1300, reply1300(0, "OK"), "OK", nil},
		"0900": {0x0900, "\x41OK", "OK", map[string]string{"serial_text": "0x41"}},
	} {
		t.Run(name, func(t *testing.T) {
			tracker := jt(1)
			tracker.Settings = c.settings
			r := newRig(t, []queue.Tracker{tracker})
			want := 0
			stored := func(why string) {
				t.Helper()
				if got := r.texts(); !slices.Equal(got, slices.Repeat([]string{c.text}, want)) {
					t.Fatalf("%s: %q, want %d", why, got, want)
				}
			}
			d := r.connect808()
			d.say808(c.id, 2, c.body)
			want++
			stored("the first")
			d.say808(c.id, 2, c.body)
			stored("repeated at once")
			must(t, d.nc.Close())
			d = r.connect808()
			d.say808(c.id, 2, c.body)
			stored("repeated over another connection")
			d.say808(0x0002, 3, "")
			d.say808(c.id, 2, c.body)
			want++
			stored("after a heartbeat")
			d.say808(0x0002, 3, "")
			d.say808(0x0003, 4, "")
			must(t, d.nc.Close())
			d = r.connect808()
			d.say808(c.id, 2, c.body)
			want++
			stored("over another connection, after a heartbeat on the one before")
			must(t, d.nc.Close())
			d = r.connect808()
			d.say808(c.id, 2, c.body)
			stored("repeated over yet another one")
		})
	}
}

// A terminal that goes on numbering over its connections sends frames while our answer is on its
// way, loses the connection and repeats the text.
func TestTextUnderAnEarlierNumberIsKnownAgain(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	number := uint16(0xFFFD)
	next := func() uint16 { number++; return number }
	for _, c := range []struct {
		id   uint16
		body string
	}{
		{0x6006, "\x00OK"}, {0x0302, "\x00\x07\x02"},
	} {
		d := &terminal808{r.connect("jt808")}
		d.say808(0x0102, next(), "")
		text := next()
		d.say808(c.id, text, c.body)
		for range 2 {
			d.say808(0x0002, next(), "")
			must(t, d.nc.Close())
			d = &terminal808{r.connect("jt808")}
			d.say808(0x0102, next(), "")
			d.say808(c.id, text, c.body)
		}
		must(t, d.nc.Close())
	}
	if got := r.texts(); !slices.Equal(got, []string{"OK", "answer 2"}) {
		t.Errorf("%q", got)
	}
}

// Frames that come before the answer, and a part that comes again, say nothing.
func TestGoingOnBeforeTheAnswerIsNoKnowledge(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1)})
	d := r.connect808()
	entered, release := st.stop("receive")
	d.write(say808(t, 0x6006, 2, "\x00OK"))
	<-entered
	d.write(say808(t, 0x0200, 3, string(make([]byte, 28))))
	positioned := func() bool { return r.metric("positions_total") == 1 }
	eventually(t, positioned, func() string { return "no position" })
	d.write(say808(t, 0x6006, 2, "\x00OK")) // impatient
	release()
	d.answered(0x0200, 3)
	must(t, d.nc.Close())
	d = r.connect808()
	d.say808(0x6006, 2, "\x00OK")
	if got := r.texts(); !slices.Equal(got, []string{"OK"}) {
		t.Errorf("%q", got)
	}
	for range 2 {
		d = r.connect808()
		for i, part := range []string{"\x00one ", "two", "two"} {
			number := uint16(min(i+1, 2))
			d.write(frame808(t, 0x6006, 0x200+number, []byte(part), number, 2))
			d.answered(0x6006, 0x200+number)
		}
		must(t, d.nc.Close())
	}
	if got := r.texts(); !slices.Equal(got, []string{"OK", "one two"}) {
		t.Errorf("%q", got)
	}
}

// What terminals said in public reports, on the gateway as a whole.
func TestTrialsOf808(t *testing.T) {
	trials := protocoltest.Trials(t, "jt808.jsonl")
	t.Run("jt808-event_over_two_connections", func(t *testing.T) {
		tracker := jt(114)
		tracker.Settings = map[string]string{"events": "1=Arrived"}
		r := newRig(t, []queue.Tracker{tracker})
		frames := trials["jt808-event_over_two_connections"].Frames()
		for said := range slices.Chunk(frames, len(frames)/2) {
			d := &terminal808{r.connect("jt808")}
			d.frames(said...)
			must(t, d.nc.Close())
		}
		if m := incoming(r.list(114)); len(m) != 2 || m[0].Text != "Arrived" ||
			m[1].Text != "Arrived" {
			t.Errorf("%+v", m)
		}
	})
	for id, tracker := range map[string]queue.Tracker{
		"jt808-text_after_logout": jt(112), "jt808-text_6006_utf8": jt(106),
		"jt808-parts_gap_text": jt(101),
	} {
		t.Run(id, func(t *testing.T) {
			tracker.Password = "code"
			r := newRig(t, []queue.Tracker{tracker})
			d := &terminal808{r.connect("jt808")}
			d.frames(trials[id].Frames()...)
			if m := incoming(r.list(tracker.ID)); len(m) != 1 {
				t.Errorf("%d texts", len(m))
			}
		})
	}
	t.Run("jt808-bit14_2013", func(t *testing.T) {
		r := newRig(t, []queue.Tracker{jt(105)})
		d := &terminal808{r.connect("jt808")}
		frames := trials["jt808-bit14_2013"].Frames()
		d.write(frames[0])
		expect(t, d.nc, []byte{0x81, 0x00})
		d.frames(frames[1])
	})
}
