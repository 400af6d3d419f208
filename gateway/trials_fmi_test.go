package gateway_test

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/queue"
)

// trialFrames returns the frames of each call of a trial.
func trialFrames(t *testing.T, id string) [][][]byte {
	t.Helper()
	return protocoltest.Trials(t, "west.jsonl")[id].Calls
}

// wire is a device without a mind of its own: bytes out and in.
type wire struct {
	*device
	came []byte
}

func (r *rig) wire(proto string) *wire { r.t.Helper(); return &wire{device: r.connect(proto)} }

// until waits until what came holds part, and forgets everything up to its end.
func (w *wire) until(part []byte) {
	w.t.Helper()
	for {
		if at := bytes.Index(w.came, part); at >= 0 {
			w.came = w.came[at+len(part):]
			return
		}
		w.came = append(w.came, w.raw()...)
	}
}

// tunnelled is a Garmin frame in a packet of a Galileosky tracker.
func tunnelled(frame []byte) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{0x06}, uint16(len(frame)))
	b = append(b, frame...)
	return binary.LittleEndian.AppendUint16(b, protocol.CRC16(0xFFFF, b))
}

// fleet is a frame of Garmin's packet A1.
func fleet(packet uint16, data []byte) []byte {
	payload := append(binary.LittleEndian.AppendUint16(nil, packet), data...)
	sum := 0xA1 + byte(len(payload))
	for _, b := range payload {
		sum += b
	}
	body := append(append([]byte{byte(len(payload))}, payload...), -sum)
	body = bytes.ReplaceAll(body, []byte{0x10}, []byte{0x10, 0x10})
	return append(append([]byte{0x10, 0xA1}, body...), 0x10, 0x03)
}

func tracker(proto, device string) queue.Tracker {
	return queue.Tracker{ID: 1, Protocol: proto, DeviceID: device}
}

// imeiIn finds the device's number in its first packet.
func imeiIn(b []byte) string {
	digits := 0
	for i, c := range b {
		if digits++; c < '0' || c > '9' {
			digits = 0
		}
		if digits == 15 {
			return string(b[i-14 : i+1])
		}
	}
	return ""
}

// A driver's text with the number and the words of an older one, written at another time, is
// another text.
func TestTrialGarminTextsWithOneNumber(t *testing.T) {
	calls := trialFrames(t, "west-F1b")
	r := newRig(t, []queue.Tracker{tracker("galileosky", imeiIn(calls[0][0]))})
	var last []byte
	for i := 0; i < len(calls); i += 2 {
		w := r.wire("galileosky")
		w.write(calls[i][0])
		w.until([]byte{0x02})
		last = calls[i+1][0]
		for range 2 { // its own repetition is none
			w.write(last)
			w.until(fleet(0x0025, []byte{1, 0, 0, 0}))
		}
		must(t, w.nc.Close())
	}
	if ms := r.list(1); len(ms) != 2 {
		t.Errorf("stored %+v", ms)
	}
}

// That the tracker keeps the link's acknowledgements to itself is known on its second connection,
// however short the first one was.
func TestTrialMuteGarminTracker(t *testing.T) {
	login := trialFrames(t, "west-F5")[0][0]
	position := []byte{8: 8, 9: 1, 40: 1}
	binary.BigEndian.PutUint32(position[4:], uint32(len(position)-8))
	position = binary.BigEndian.AppendUint32(position, uint32(protocol.CRC16(0, position[8:])))
	r := newRig(t, []queue.Tracker{tracker("teltonika", imeiIn(login))})
	id := r.send(1, "Hello")[0]
	enable := fleet(0x0000, []byte{2, 0, 1, 0x80, 2, 0x80})
	var w *wire
	for n := range 2 {
		if n > 0 {
			r.clock.advance(8 * time.Second)
			must(t, w.nc.Close())
			gone := func() bool { return r.metric("closed_total") > 0 }
			eventually(t, gone, func() string { return "not closed" })
		}
		w = r.wire("teltonika")
		w.write(login)
		w.until([]byte{1})
		w.write(position)
		w.until(enable)
		if bytes.Contains(w.came, []byte("Hello")) {
			t.Fatal("the text came before anybody could answer")
		}
	}
	r.clock.advance(4 * time.Second)
	w.until([]byte("Hello"))
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Errorf("%+v", m)
	}
}

// A client that has not asked for Unicode gets ASCII, and what that lacks is counted.
func TestTrialGarminClientWithoutUnicode(t *testing.T) {
	calls := trialFrames(t, "west-F9")
	r := newRig(t, []queue.Tracker{tracker("galileosky", imeiIn(calls[0][0]))})
	id := r.send(1, "Größe")[0]
	w := r.wire("galileosky")
	w.write(calls[0][0])
	w.until(fleet(0x0000, []byte{2, 0, 1, 0x80, 2, 0x80}))
	for _, frame := range calls[1] {
		w.write(tunnelled(frame))
	}
	for end := time.Now().Add(patience); !bytes.Contains(w.came, []byte("Gr")); {
		r.clock.advance(3 * time.Second) // over the wait for 0004, once that has begun
		if time.Now().After(end) {
			t.Fatal("the text does not come")
		}
		must(t, w.nc.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		b := make([]byte, 4096)
		n, _ := w.nc.Read(b)
		w.came = append(w.came, b[:n]...)
	}
	at := bytes.Index(w.came, []byte("Gr"))
	text, _, whole := bytes.Cut(w.came[at:], []byte{0})
	foreign := func(c rune) bool { return c >= 0x80 }
	if !whole || !regexp.MustCompile("^Gro.*e$").Match(text) || bytes.ContainsFunc(text, foreign) {
		t.Errorf("the client shows %q", text)
	}
	ok := append([]byte{0xFF, 0xFF, 0xFF, 0xFF}, w.came[at-20:at]...) // time, id_size, 3 x 0, id
	w.write(tunnelled(fleet(0x0020, append(ok, 0, 0, 0, 0))))
	if m := r.become(id, 1, queue.StatusOpened); m.Replaced != 2 {
		t.Errorf("%+v", m)
	}
}

// The parts of a text depend on whether the client asks for Unicode. An ack of one of them that
// comes before that is known is not taken for the ack of the whole.
func TestAckBeforeTheClientAsksForUnicode(t *testing.T) {
	r := newRig(t, []queue.Tracker{tracker("galileosky", phone(1))})
	a604 := func(c *protocol.DeviceConfig) { c.Variant = "a604" }
	d := r.login("galileosky", phone(1), a604)
	id := r.send(1, strings.Repeat("я", 150))[0] // 300 bytes in UTF-8, 150 in ASCII
	first := d.text()
	ack := d.side.AppendAck(nil, first, protocol.AckDelivered)
	must(t, d.nc.Close())
	again := r.connect("galileosky")
	again.side = d.side
	again.write(append(d.side.AppendLogin(nil), ack...))
	second := again.text()
	if second.Ref != first.Ref+1 || first.Body+second.Body != strings.Repeat("я", 150) {
		t.Errorf("part %d %q, part %d %q", first.Ref, first.Body, second.Ref, second.Body)
	}
	must(t, r.gw.Quiesce(t.Context())) // whatever was acknowledged is stored now
	if m := r.message(id, 1); m.Status != queue.StatusPending || m.Acked != 1 {
		t.Errorf("after the first part %+v", m)
	}
	again.ack(second, protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}
