package gateway_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

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
