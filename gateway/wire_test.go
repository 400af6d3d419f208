package gateway_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

// frame808 is a JT/T 808 frame of 2013 of tracker 1: message id, body, serial number and, if parts
// > 0, the number of the part and of parts. It must need no escapes.
func frame808(t *testing.T, id, serial uint16, body []byte, part, parts uint16) []byte {
	t.Helper()
	properties := uint16(len(body))
	if parts > 0 {
		properties |= 1 << 13
	}
	b := binary.BigEndian.AppendUint16(nil, id)
	b = binary.BigEndian.AppendUint16(b, properties)
	digits, err := hex.DecodeString("0" + phone(1))
	must(t, err)
	b = binary.BigEndian.AppendUint16(append(b, digits...), serial)
	if parts > 0 {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, parts), part)
	}
	b = append(b, body...)
	sum := byte(0)
	for _, c := range b {
		sum ^= c
	}
	b = append(b, sum)
	b = bytes.ReplaceAll(b, []byte{0x7D}, []byte{0x7D, 0x01})
	b = bytes.ReplaceAll(b, []byte{0x7E}, []byte{0x7D, 0x02})
	return append(append([]byte{0x7E}, b...), 0x7E)
}

// expect reads until the device has been sent want, somewhere.
func expect(t *testing.T, nc net.Conn, want []byte) {
	t.Helper()
	must(t, nc.SetReadDeadline(time.Now().Add(patience)))
	var got []byte
	chunk := make([]byte, 4096)
	for !bytes.Contains(got, want) {
		n, err := nc.Read(chunk)
		if err != nil {
			t.Fatalf("got %x, want %x: %v", got, want, err)
		}
		got = append(got, chunk[:n]...)
	}
}

func TestDriverTextInSubpackages(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	d := r.login("jt808", phone(1))
	text := strings.Repeat("Unloading at gate seven. ", 60)
	body := append([]byte{0}, text...) // encoding GBK
	pieces := slices.Collect(slices.Chunk(body, 400))
	for i, p := range pieces {
		d.write(frame808(t, 0x6006, uint16(0x200+i), p, uint16(i+1), uint16(len(pieces))))
	}
	eventually(t, func() bool { return len(r.list(1)) == 1 }, func() string { return "not stored" })
	if m := r.list(1)[0]; m.Text != strings.TrimSpace(text) || m.Status != queue.StatusUnread {
		t.Errorf("%+v", m)
	}
	// The last answer is for the last piece: serial number, message id, result 0.
	expect(t, d.nc, []byte{0x02, byte(len(pieces) - 1), 0x60, 0x06, 0x00})
}

func TestUnknownMessageIsAnsweredAndHarmless(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), wl(2, nil)})
	d := r.login("jt808", phone(1))
	d.write(frame808(t, 0x0F0F, 0x300, []byte{1}, 0, 0))
	expect(t, d.nc, []byte{0x03, 0x00, 0x0F, 0x0F, 0x03}) // not supported
	d.silent(protocol.DeviceRefused)
	w := r.login("wialon", phone(2))
	w.write([]byte("#QLV#1;2\r\n"))
	w.silent(protocol.DeviceRefused)
	id := r.send(1, "text")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

func TestTextInACharsetThatDoesNotDecode(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), wl(2, nil)})
	d := r.login("jt808", phone(1))
	d.write(frame808(t, 0x6006, 0x300, []byte{0, 0x81}, 0, 0)) // half a character
	expect(t, d.nc, []byte{0x03, 0x00, 0x60, 0x06, 0x02})      // malformed
	w := r.login("wialon", phone(2), variant11)
	w.write([]byte("#M#\xFF\xFE\r\n")) // no UTF-8, so it is windows-1251
	w.wait(protocol.DeviceTextAck)
	if ms := r.list(2); len(r.list(1)) != 0 || len(ms) != 1 || ms[0].Text != "яю" {
		t.Errorf("%+v", ms)
	}
	d.silent(protocol.DeviceRefused)
	w.silent(protocol.DeviceRefused)
}

func TestPackedContainer(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	d := r.login("wialon", phone(1), func(c *protocol.DeviceConfig) { c.Variant = "1.1" })
	for i, line := range []string{"#M#packed\r\n", "#P#\r\n"} {
		var packed bytes.Buffer
		z := zlib.NewWriter(&packed)
		_, err := z.Write([]byte(line))
		must(t, err)
		must(t, z.Close())
		container := append([]byte{0xFF, byte(packed.Len()), byte(packed.Len() >> 8)},
			packed.Bytes()...)
		d.write(container[:5])
		d.write(container[5:])
		d.wait([]protocol.DeviceEventKind{protocol.DeviceTextAck, protocol.DeviceOther}[i])
	}
	if ms := r.list(1); len(ms) != 1 || ms[0].Text != "packed" {
		t.Errorf("%+v", ms)
	}
}

func TestOverlongFrames(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), wl(2, nil), wl(3, nil)})
	bystander := r.login("wialon", phone(3))
	stranger, err := net.Dial("tcp", r.addrs["wialon"])
	must(t, err)
	defer func() { _ = stranger.Close() }()
	_, err = stranger.Write([]byte("#L#" + strings.Repeat("1", 8<<10)))
	must(t, err)
	eventually(t, func() bool { return r.metric("closed_total", "reason=too_much") == 1 },
		func() string { return "a stranger's long frame is kept" })
	d := r.login("wialon", phone(2))
	d.write([]byte("#M#" + strings.Repeat("x", 2<<20) + "\r\n")) // the next line is whole again
	d.silent(protocol.DeviceTextAck)
	d.write([]byte("#I#9999999;0;1;010101;000000;image\r\n"))
	d.gone()
	eventually(t, func() bool { return r.metric("closed_total", "reason=frame_too_long") == 1 },
		func() string { return "not counted" })
	// A flag always shows where a JT/T 808 frame begins: that session survives.
	j := r.login("jt808", phone(1))
	j.write(append([]byte{0x7E}, bytes.Repeat([]byte{1}, 10_000)...))
	j.write([]byte{0x7E})
	j.silent(protocol.DeviceRefused)
	bystander.silent(protocol.DeviceRefused)
}

func TestHalfAFrameThenTheEnd(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	id := r.send(1, "text")[0]
	d := r.login("wialon", phone(1))
	d.text()
	d.write([]byte("#AM#1")) // the line's end never comes
	must(t, d.nc.Close())
	eventually(t, func() bool { return r.metric("closed_total") == 1 },
		func() string { return "open" })
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Fatalf("half an ack counted: %+v", m)
	}
	d = r.login("wialon", phone(1))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
	if n := r.metric("sessions"); n != 1 {
		t.Errorf("%v sessions", n)
	}
}

func TestFramesByteByByte(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), wl(2, nil)})
	for _, tr := range []queue.Tracker{jt(1), wl(2, nil)} {
		id := r.send(tr.ID, "text")[0]
		d := r.login(tr.Protocol, tr.DeviceID)
		for _, b := range d.side.AppendAck(nil, d.text(), protocol.AckDelivered) {
			d.write([]byte{b})
		}
		r.become(id, tr.ID, queue.StatusDelivered)
	}
}

// What a terminal says in answer to a text is stored with the message it answers, and in the order
// in which it was said.
func TestReplyNamesItsMessage(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	d := r.login("jt808", phone(1))
	ids := r.send(1, "first", "second")
	var refs []uint64
	for range ids {
		e := d.text()
		refs = append(refs, e.Ref)
		d.ack(e, protocol.AckDelivered)
	}
	r.become(ids[1], 1, queue.StatusDelivered)
	reply := func(serial uint16, ref uint64, text string) []byte {
		body := binary.BigEndian.AppendUint16(nil, uint16(ref))
		for _, c := range text {
			body = append(body, 0, byte(c))
		}
		return frame808(t, 0x1300, serial, body, 0, 0)
	}
	driver := frame808(t, 0x6006, 302, []byte("\x00third"), 0, 0)
	d.write(slices.Concat(reply(300, refs[0], "first"), reply(301, refs[1]+77, "second"), driver))
	var said []queue.Message
	eventually(t, func() bool {
		said = slices.DeleteFunc(r.list(1), func(m queue.Message) bool {
			return !m.Status.Incoming()
		})
		return len(said) == 3
	}, func() string { return "not stored" })
	for i, want := range []struct {
		text string
		to   int64
	}{{"first", ids[0]}, {"second", 0}, {"third", 0}} {
		if m := said[i]; m.Text != want.text || m.ReplyTo != want.to {
			t.Errorf("%d: %q answers %d, want %q and %d", i, m.Text, m.ReplyTo, want.text, want.to)
		}
	}
}
