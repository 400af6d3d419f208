package egts_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"

	"pgregory.net/rapid"
)

// outstanding is a packet that the terminal has got and not yet answered.
type outstanding struct {
	packet
	server packet // as the server sent it
	ref    uint64 // of a text of ours; 0: the server's
}

// Whatever numbers the server chooses, and in whatever order the terminal answers: each word
// reaches the side that it is for, under that side's own numbers.
func TestRelayNeverMixesNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &link{Relay: egts.New().NewRelay(protocol.Settings{}, protocol.RelayOptions{})}
		var open []outstanding
		ref := uint64(100)
		// the server's numbers lie where ours do
		number := rapid.OneOf(rapid.Uint16Range(0x7FFE, 0x8008), rapid.Uint16Range(0xBFFE, 0xC008),
			rapid.Uint16Range(0xFFF8, 0xFFFF))
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			l.w = protocol.Ways{}
			switch kind := rapid.IntRange(0, 2).Draw(t, "what"); {
			case kind == 0:
				ref++
				out, err := l.AppendText(nil, text(ref, "x"))
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, outstanding{packet: unframe(t, out)[0], ref: ref})
			case kind == 1:
				pid, rn := number.Draw(t, "pid"), number.Draw(t, "rn")
				clash := slices.ContainsFunc(open, func(o outstanding) bool {
					return o.ref == 0 && (o.server.pid == pid || o.server.records[0].number == rn)
				})
				if clash { // the server tells its own apart
					continue
				}
				in := msgTo(pid, rn, 7, "theirs")
				l.down(in)
				open = append(open, outstanding{
					packet: unframe(t, l.w.Device)[0], server: unframe(t, in)[0],
				})
			case len(open) > 0:
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				checkWord(t, l, open[i], ref)
				open = slices.Delete(open, i, i+1)
			}
			if len(open) > 30 {
				checkWord(t, l, open[0], ref)
				open = open[1:]
			}
		}
	})
}

// checkWord has the terminal answer a packet. Only the newest text is known by its numbers.
func checkWord(t *rapid.T, l *link, o outstanding, newest uint64) {
	l.w = protocol.Ways{}
	got := l.up(confirms(3, o.pid, o.records[0].number, 4))
	if o.ref != 0 {
		want := "!other"
		if o.ref == newest {
			want = fmt.Sprintf("!evidence %d linked, !evidence %[1]d accepted", o.ref)
		}
		if len(l.w.Server) != 0 || got != want {
			t.Fatalf("the answer to text %d became %s and %x", o.ref, got, l.w.Server)
		}
		return
	}
	want := confirms(3, o.server.pid, o.server.records[0].number, 4)
	if got != "other" || !bytes.Equal(l.w.Server, want) {
		t.Fatalf("the answer to %+v became %s and %x", o.server, got, l.w.Server)
	}
}

// However much is sent, little is remembered.
func TestRelayIsBounded(t *testing.T) {
	l := admitted(t, nil, protocol.RelayOptions{})
	send := func(n int) {
		for i := range n {
			l.write(uint64(i)+1, "x")
			l.down(msgTo(0x8000+uint16(i), 0x8000+uint16(i), uint32(i)*7919, "theirs"))
			l.up(frame(1, 8, rec(6, 4, command(3, 0, uint32(i), 0, "\x00hi"))))
			l.w = protocol.Ways{}
		}
	}
	send(1000)
	before := heap()
	send(5000)
	// anything kept for each text would be ten times that
	if grown := heap() - before; grown > 16<<10 {
		t.Errorf("it grew by %d bytes", grown)
	}
	runtime.KeepAlive(l)
	// of many texts in one packet only some are answered by CT_DELIV
	var subs []sub
	for i := range uint32(100) {
		subs = append(subs, command(3, 0, i+1, 0, "\x00a"))
	}
	for range 2 {
		l.w = protocol.Ways{}
		l.up(frame(1, 300, rec(1, 4, subs...)))
		if n := len(unframe(t, l.w.Device)); n != 64 {
			t.Errorf("%d packets", n)
		}
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestIdleRelayIsSmall(t *testing.T) {
	const n, most = 10_000, 300
	relays := make([]protocol.Relay, n)
	settings := defaults(t)
	p := egts.New()
	before := heap()
	for i := range relays {
		r := p.NewRelay(settings, protocol.RelayOptions{})
		l := link{Relay: r, tb: t}
		l.up(terminal(1024))
		l.down(accepts(1, 1, 1, 1), resultCode(2, 2, 0))
		l.up(confirms(2, 2, 2, 1), position(3, 3))
		l.down(accepts(3, 3, 3, 2))
		relays[i] = r
	}
	per := (heap() - before) / n
	runtime.KeepAlive(relays)
	t.Logf("%d bytes", per)
	if per > most {
		t.Errorf("an idle relay takes %d bytes, more than %d", per, most)
	}
}

func TestRelayDoesNotAllocate(t *testing.T) {
	l := admitted(t, nil, protocol.RelayOptions{Replay: true})
	room := protocol.Ways{Device: make([]byte, 0, 4096), Server: make([]byte, 0, 4096)}
	up, down := position(3, 3), accepts(3, 3, 3, 2)
	emit := func(e *protocol.Event) { l.AppendReply(room.Device, e, protocol.OK) }
	once := func() {
		w := room
		if err := l.Up(&w, up, time.Time{}, emit); err != nil {
			t.Error(err)
		}
		if err := l.Down(&w, down, time.Time{}, emit); err != nil {
			t.Error(err)
		}
	}
	for range 2 { // without and with something of ours
		if n := testing.AllocsPerRun(200, once); n > 1 {
			t.Errorf("a packet and its answer cost %v allocations", n)
		}
		l.write(100, "one")
	}
}

// FuzzRelay: nothing panics, and while nothing of ours is out all passes as it came.
func FuzzRelay(f *testing.F) {
	vectors := protocoltest.Vectors(f, vectorsFile)
	for i, v := range vectors {
		f.Add(v.Bytes(), vectors[(i+1)%len(vectors)].Bytes(), byte(i))
	}
	f.Add(terminal(1024), resultCode(0x8000, 0x8000, 0), byte(3))
	f.Add(deliv(3, 3, 100), msgTo(0x8000, 0x8000, 100, "x"), byte(7))
	f.Add(confirms(4, 0xC000, 0xC000, 4), msgTo(0x8000, 0x8000, 7, "x"), byte(7))
	f.Add(confirms(4, 0x8000, 0x8000, 4), signed(0x8000, platform(0x8000, 4)), byte(15))
	p := egts.New()
	settings := settingsOf(f, map[string]string{"lenient": "true", "delivered_on": "record"})
	f.Fuzz(func(t *testing.T, up, down []byte, how byte) {
		l := &link{
			tb: t, result: protocol.UnknownDevice,
			Relay: p.NewRelay(settings, protocol.RelayOptions{Replay: how&2 != 0}),
		}
		frames, _, _ := protocoltest.Cut(p, up)
		answers, _, _ := protocoltest.Cut(p, down)
		frames, answers = append(frames, up), append(answers, down, resealed(down))
		both := func() {
			for i := range max(len(frames), len(answers)) {
				if i < len(answers) {
					l.down(answers[i])
				}
				if i < len(frames) {
					l.up(frames[i])
				}
			}
		}
		both()
		l.got("nothing of ours", join(answers...), join(frames...))
		if how&1 == 0 {
			return
		}
		l.result = protocol.OK
		if _, err := l.AppendText(nil, text(100, "x")); err != nil && !l.Caps().NotYet {
			t.Fatal(err)
		}
		both()
		l.Poll(nil, time.Unix(0, 0))
		if how&2 != 0 {
			l.Replay(&l.w)
		}
		both()
		l.Poll(nil, time.Unix(5, 0))
	})
}

// resealed is b with the checksums of a packet of its length, where it can be one.
func resealed(b []byte) []byte {
	if len(b) < 13 {
		return b
	}
	data := b[11 : len(b)-2]
	pid := uint16(b[7]) | uint16(b[8])<<8
	return sealed(header(b[9]%3, 0, nil, len(data), pid), bytes.Clone(data))
}
