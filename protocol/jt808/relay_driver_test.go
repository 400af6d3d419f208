package jt808_test

import (
	"bytes"
	"testing"
	"time"

	"trackchat/protocol"
)

func TestRelayedDriverTexts(t *testing.T) {
	said := frame(0x6006, 5, unicodeText("Hi"))
	own := answered(0, 5, 0x6006)
	t.Run("the server answers", func(t *testing.T) {
		b := bound(t, nil, protocol.RelayOptions{})
		b.up(said).expect(t, "text", said, nil, "text Hi >")
		b.down(general(5, 0x6006, 0)).expect(t, "answer", nil, general(5, 0x6006, 0), "")
		b.poll(0)
		if out := b.poll(time.Minute); len(out) != 0 {
			t.Errorf("answered twice: %x", out)
		}
	})
	t.Run("the server is silent", func(t *testing.T) {
		b := bound(t, nil, protocol.RelayOptions{})
		b.up(said)
		if _, next := b.Poll(nil, b.now); !next.Equal(b.now.Add(5 * time.Second)) {
			t.Errorf("asks for %v", next)
		}
		if out := b.poll(5*time.Second - 1); len(out) != 0 {
			t.Errorf("early: %x", out)
		}
		if out := b.poll(1); !bytes.Equal(out, own) {
			t.Errorf("answered %x", out)
		}
		b.down(general(5, 0x6006, 0)).expect(t, "late", nil, general(5, 0x6006, 0), "")
		b.poll(0)
		if out := b.poll(time.Minute); len(out) != 0 {
			t.Errorf("answered twice: %x", out)
		}
	})
	t.Run("the store is slow", func(t *testing.T) {
		b := bound(t, nil, protocol.RelayOptions{})
		var w protocol.Ways
		var event protocol.Event
		err := b.Up(&w, said, b.now, func(e *protocol.Event) { event = *e })
		if out := b.poll(10 * time.Second); err != nil || len(out) != 0 {
			t.Fatalf("answered %x before it was stored, %v", out, err)
		}
		b.AppendReply(nil, &event, protocol.OK) // the server gets it now
		b.poll(0)
		if out := b.poll(5*time.Second - 1); len(out) != 0 {
			t.Errorf("early: %x", out)
		}
		if out := b.poll(1); !bytes.Equal(out, own) {
			t.Errorf("answered %x", out)
		}
	})
	t.Run("it cannot be stored", func(t *testing.T) {
		b := bound(t, nil, protocol.RelayOptions{})
		b.result = protocol.Later
		b.up(said).expect(t, "text", said, nil, "text Hi >")
		b.poll(0)
		if out := b.poll(time.Minute); len(out) != 0 {
			t.Errorf("answered %x", out)
		}
	})
	t.Run("many", func(t *testing.T) {
		b := bound(t, nil, protocol.RelayOptions{})
		for n := range uint16(1000) {
			b.up(frame(0x6006, n, unicodeText("Hi")))
		}
		b.poll(0)
		if m := unframe(t, b.poll(time.Minute)); len(m) != 16 {
			t.Errorf("%d are answered", len(m))
		}
	})
	t.Run("chat alone", func(t *testing.T) {
		b := relayed(t, map[string]string{"serial_text": "0x41"}, protocol.RelayOptions{
			OnlyChat: true,
		})
		b.up(said).expect(t, "before the login", said, nil, "text Hi >")
		b.up(frame(0x0102, 1, nil))
		b.down(general(1, 0x0102, 0))
		b.up(said).expect(t, "text", nil, own, "text Hi")
		empty := frame(0x6006, 6, nil)
		if got := b.up(empty); !bytes.Equal(got.server, empty) || len(got.device) != 0 {
			t.Errorf("unreadable: %+v", got)
		}
		b.up(frame(0x0900, 7, []byte("\x41ok"))).expect(t, "display", nil,
			answered(1, 7, 0x0900), "text ok")
		other := frame(0x0900, 8, []byte("\x42ok"))
		b.up(other).expect(t, "another line", other, nil, "other >")
		b.down(frame(0x8300, 0, []byte("\x04T")))
		b.up(naming(0x1300, 0, "\x00O")).expect(t, "names none", nil, answered(2, 801, 0x1300),
			"text O")
	})
}

func TestRelayedTextsInParts(t *testing.T) {
	text := unicodeText("one two")
	one := frameFrom(phone2013, 0x6006, 5, text[:6], 2, 1)
	two := frameFrom(phone2013, 0x6006, 6, text[6:], 2, 2)
	b := bound(t, nil, protocol.RelayOptions{})
	b.up(two).expect(t, "part 2", two, nil, "other >")
	if out := b.poll(20 * time.Second); len(out) != 0 {
		t.Errorf("asked for a part that the server gets: %x", out)
	}
	b.up(one).expect(t, "part 1", one, nil, "text one two >")
	b.up(one).expect(t, "part 1 again", one, nil, "other >")
	b.poll(0)
	if out := b.poll(5 * time.Second); !bytes.Equal(out, answered(0, 5, 0x6006)) {
		t.Errorf("answered %x", out)
	}
	b = bound(t, nil, protocol.RelayOptions{OnlyChat: true})
	b.up(two).expect(t, "part 2", nil, answered(0, 6, 0x6006), "other")
	b.poll(0)
	if m := unframe(t, b.poll(20*time.Second)); len(m) != 1 || m[0].id != 0x8003 {
		t.Errorf("asked with %+v", m)
	}
	long := frameFrom(phone2013, 0x6006, 7, text, 129, 1)
	if got := b.up(long); !bytes.Equal(got.server, long) || got.err == nil {
		t.Errorf("more parts than any text has: %+v", got)
	}
	// Nobody but us gets an answer to our text; the parts pass all the same.
	b = bound(t, nil, protocol.RelayOptions{})
	b.down(frame(0x8300, 9, []byte("\x04T")))
	b.text(100)
	reply := func(n byte, events string) {
		t.Helper()
		one := frameFrom(phone2013, 0x1300, 5, []byte{0, n, 0, 'a'}, 2, 1)
		two := frameFrom(phone2013, 0x1300, 6, []byte{0, 'b', 0, n}, 2, 2)
		b.up(one).expect(t, "part 1", one, nil, "other >")
		b.up(two).expect(t, "part 2", two, nil, events)
	}
	reply(100, "ack 100 >, text abd to 100 >")
	reply(9, "other >")
	reply(77, "text abM >")
}

func TestRelayedLoginInParts(t *testing.T) {
	b := relayed(t, nil, protocol.RelayOptions{Replay: true})
	one := frameFrom(phone2013, 0x0102, 5, []byte("AB"), 2, 1)
	two := frameFrom(phone2013, 0x0102, 6, []byte("CD"), 2, 2)
	b.up(one).expect(t, "part 1", one, nil, "unknown >")
	b.up(two).expect(t, "part 2", two, nil, "login 013812345678 ABCD >")
	b.down(general(5, 0x0102, 0)).expect(t, "part 1", nil, general(5, 0x0102, 0), "")
	b.down(general(6, 0x0102, 0)).expect(t, "part 2", nil, general(6, 0x0102, 0), "admitted")
	if b.Replay(&protocol.Ways{}) {
		t.Error("half a login was replayed")
	}
}

func TestRelayOfEncryptedTerminals(t *testing.T) {
	b := bound(t, map[string]string{"ack": "next_frame"}, protocol.RelayOptions{OnlyChat: true})
	b.text(100)
	sealed := frame(0x6006, 5, []byte("secret"))
	sealed[3] |= 4
	sealed[len(sealed)-2] ^= 4
	b.up(sealed).expect(t, "encrypted", sealed, nil, "unknown >")
	plain := frame(0x6006, 6, unicodeText("Hi"))
	b.up(plain).expect(t, "plain", plain, nil, "text Hi >")
	if !b.Caps().NotYet {
		t.Error("texts for a terminal that encrypts")
	}
}
