package mqtt

import (
	"bytes"
	"testing"
)

// TestBytes pins packets to what the standard's figures have.
func TestBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"connect", AppendConnect(nil, "d1"), "\x10\x0e\x00\x04MQTT\x04\x00\x00\x00\x00\x02d1"},
		{"subscribe", AppendSubscribe(nil, "t/1", 1), "\x82\x08\x00\x01\x00\x03t/1\x01"},
		{"QoS 0", AppendPublish(nil, "a", 0, false, []byte("x")), "\x30\x04\x00\x01ax"},
		{"QoS 1", AppendPublish(nil, "a", 258, false, []byte("x")), "\x32\x06\x00\x01a\x01\x02x"},
		{"again", AppendPublish(nil, "a", 258, true, nil), "\x3a\x05\x00\x01a\x01\x02"},
		{"ack", AppendPubAck(nil, 258), "\x40\x02\x01\x02"},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s: % x, not % x", c.name, c.got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 300)
	in := AppendPublish(nil, "topic", 7, false, long)
	in = AppendPubAck(in, 7)
	in = append(in, 0x20, 2, 0, 5, 0x90, 3, 0, 1, 1)
	r := NewReader(bytes.NewReader(in), 16)
	p, err := r.Next()
	if err != nil || p.Type != Publish {
		t.Fatalf("%+v, %v", p, err)
	}
	topic, number, payload, err := p.Publication()
	if string(topic) != "topic" || number != 7 || !bytes.Equal(payload, long) || err != nil {
		t.Errorf("%q, %d, %d bytes, %v", topic, number, len(payload), err)
	}
	if p, err = r.Next(); err != nil || p.Type != PubAck {
		t.Fatalf("%+v, %v", p, err)
	}
	if n, err := p.Number(); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if p, err = r.Next(); err != nil || p.Type != ConnAck || !p.Refused() {
		t.Errorf("%+v, %v: no refusal", p, err)
	}
	if p, err = r.Next(); err != nil || p.Type != SubAck || p.Refused() {
		t.Errorf("%+v, %v: a refusal", p, err)
	}
	if _, err = r.Next(); err == nil {
		t.Error("a packet after the last one")
	}
}

// TestDamage: what is cut off or too long is an error.
func TestDamage(t *testing.T) {
	for _, in := range []string{"", "\x30", "\x30\x05\x00", "\x30\xff\xff\xff\x7f"} {
		if p, err := NewReader(bytes.NewReader([]byte(in)), 16).Next(); err == nil {
			t.Errorf("%q is %+v", in, p)
		}
	}
	for _, body := range []string{"", "\x00", "\x00\x05a", "\x00\x01a\x01"} {
		p := Packet{Type: Publish, Flags: 2, Body: []byte(body)}
		if _, _, _, err := p.Publication(); err == nil {
			t.Errorf("%q is a publication", body)
		}
	}
	if _, err := (Packet{Type: PubAck}).Number(); err == nil {
		t.Error("an empty ack has a number")
	}
}
