package gateway_test

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf16"

	"trackchat/protocol"
	"trackchat/queue"
)

// say808 is a JT/T 808 frame of 2013 of tracker 1, with its escapes.
func say808(t *testing.T, id, serial uint16, body string) []byte {
	t.Helper()
	phone, err := hex.DecodeString("0" + phone(1))
	must(t, err)
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, id), uint16(len(body)))
	b = append(binary.BigEndian.AppendUint16(append(b, phone...), serial), body...)
	sum := byte(0)
	for _, c := range b {
		sum ^= c
	}
	escapes := strings.NewReplacer("\x7D", "\x7D\x01", "\x7E", "\x7D\x02")
	return []byte("\x7E" + escapes.Replace(string(append(b, sum))) + "\x7E")
}

// reply1300 is the body of a 0x1300: the number of what it answers, and UTF-16.
func reply1300(ref uint64, text string) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(ref))
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return string(b)
}

func incoming(ms []queue.Message) (texts []queue.Message) {
	for _, m := range ms {
		if m.Status.Incoming() {
			texts = append(texts, m)
		}
	}
	return texts
}

// Some terminals answer a text in words that name it, and send no general reply.
func TestTextReplyIsAnAckAndStoredOnce(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	ids := r.send(1, "where#", "and when#")
	d := r.login("jt808", phone(1))
	e := d.text()
	for serial := range uint16(3) { // as it does when it was asked three times
		d.write(say808(t, 0x1300, 0x300+serial, reply1300(e.Ref, "Set OK!")))
	}
	r.become(ids[0], 1, queue.StatusDelivered)
	if e = d.text(); e.Body != "and when#" {
		t.Errorf("got %q", e.Body)
	}
	must(t, r.gw.Quiesce(t.Context()))
	if m := incoming(r.list(1)); len(m) != 1 || m[0].Text != "Set OK!" || m[0].ReplyTo != ids[0] {
		t.Errorf("%+v", m)
	}
	if m := r.message(ids[1], 1); m.Status != queue.StatusPending {
		t.Errorf("%+v", m)
	}
}

func TestAcksOf808ThatNameNothing(t *testing.T) {
	for ack, word := range map[string]struct {
		id   uint16
		body string
	}{
		"1300":       {0x1300, reply1300(0, "OK")},
		"6006":       {0x6006, "\x00OK"},
		"next_frame": {0x0002, ""},
	} {
		t.Run(ack, func(t *testing.T) {
			tracker := jt(1)
			tracker.Settings = map[string]string{"ack": ack}
			r := newRig(t, []queue.Tracker{tracker})
			ids := r.send(1, "one", "two")
			d := r.login("jt808", phone(1))
			d.text()
			say := say808(t, word.id, 0x300, word.body)
			d.write(append(say, say...)) // the second one came before the second text was written
			if e := d.text(); e.Body != "two" {
				t.Fatalf("got %q", e.Body)
			}
			r.become(ids[0], 1, queue.StatusDelivered)
			must(t, r.gw.Quiesce(t.Context()))
			if m := r.message(ids[1], 1); m.Status != queue.StatusPending {
				t.Fatalf("acknowledged before it was written: %+v", m)
			}
			d.write(say808(t, word.id, 0x301, word.body))
			r.become(ids[1], 1, queue.StatusDelivered)
		})
	}
}

// A terminal that acknowledges nothing is not read the same text again.
func TestTextsOf808WithoutAcksAreWrittenOnce(t *testing.T) {
	tracker := jt(1)
	tracker.Settings = map[string]string{"ack": "none"}
	r := newRig(t, []queue.Tracker{tracker})
	id := r.send(1, "one")[0]
	d := r.login("jt808", phone(1))
	d.text()
	r.become(id, 1, queue.StatusSent)
	must(t, d.nc.Close())
	r.login("jt808", phone(1)).silent(protocol.DeviceText)
}

// A registration and an authentication may come in parts, each of which is answered before the
// login.
func TestLoginOf808InParts(t *testing.T) {
	tracker := jt(1)
	tracker.Password = "AUTH42"
	r := newRig(t, []queue.Tracker{tracker})
	d := &terminal808{r.connect("jt808")}
	body := make([]byte, 44)
	d.write(frame808(t, 0x0100, 0x201, body[:30], 1, 2))
	d.answered(0x0100, 0x201)
	d.write(frame808(t, 0x0100, 0x202, body[30:], 2, 2))
	expect(t, d.nc, []byte{0x02, 0x02, 0x03}) // it has its code
	d.write(frame808(t, 0x0102, 0x203, []byte("AUTH"), 1, 2))
	d.answered(0x0102, 0x203)
	d.write(frame808(t, 0x0102, 0x204, []byte("42"), 2, 2))
	d.answered(0x0102, 0x204)
	d.say808(0x0002, 0x205, "")
}

// What is urgent says so to the terminal, whether it was waiting when that came or is sent while it
// is there, and what is not does not.
func TestUrgentTextsSaySo(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	texts := []queue.SendReq{
		{Tracker: 1, Text: "stop", Urgent: true},
		{Tracker: 1, Text: "hello"},
		{Tracker: 1, Text: strings.Repeat("long ", 1000), Urgent: true},
	}
	var d *device
	for range 2 { // claimed, then by wakes
		ids := r.sendReqs(texts...)
		if d == nil {
			d = r.login("jt808", phone(1))
		}
		for i, text := range texts {
			for left := len(text.Text); left > 0; {
				e := d.text()
				if e.Urgent != text.Urgent {
					t.Errorf("%.20q: urgent is %v", e.Body, e.Urgent)
				}
				left -= len(e.Body)
				d.ack(e, protocol.AckDelivered)
			}
			r.become(ids[i], 1, queue.StatusDelivered)
		}
	}
}
