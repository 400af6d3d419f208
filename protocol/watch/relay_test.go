package watch_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/watch"
)

// between is a relay between a device and a server; the test plays both, and the gateway, which
// finds everything as result says.
type between struct {
	protocol.Relay

	t      testing.TB
	now    time.Time
	result protocol.Result
}

// came is what one frame brought.
type came struct {
	server, device, events string
	err                    error
}

func relayed(tb testing.TB, settings map[string]string, o protocol.RelayOptions) *between {
	tb.Helper()
	p := watch.New()
	return &between{
		Relay: p.NewRelay(protocoltest.NewSettings(tb, p, settings), o), t: tb,
		now: time.Unix(1_700_000_000, 0),
	}
}

// bound is a relay whose device the server has spoken to.
func bound(tb testing.TB, settings map[string]string, o protocol.RelayOptions) *between {
	tb.Helper()
	b := relayed(tb, settings, o)
	b.up(frame("LK"))
	if got := b.down(frame("LK")); got.events != "admitted" || b.Caps().NotYet {
		tb.Fatalf("%+v", got)
	}
	return b
}

func (b *between) pass(
	way func(*protocol.Ways, []byte, time.Time, func(*protocol.Event)) error, frame string,
) (got came) {
	b.t.Helper()
	var w protocol.Ways
	var events []protocol.Event
	got.err = way(&w, []byte(frame), b.now, func(e *protocol.Event) {
		events = append(events, *e)
	})
	for i := range events {
		w.Device = b.AppendReply(w.Device, &events[i], b.result)
	}
	got.server, got.device, got.events = string(w.Server), string(w.Device), named(events)
	return got
}

func (b *between) up(frame string) came   { b.t.Helper(); return b.pass(b.Up, frame) }
func (b *between) down(frame string) came { b.t.Helper(); return b.pass(b.Down, frame) }

// named are events in words; > stands for those that passed.
func named(events []protocol.Event) string {
	names := map[protocol.Kind]string{
		protocol.KindLogin: "login", protocol.KindAck: "ack", protocol.KindText: "text",
		protocol.KindOther: "other", protocol.KindUnknown: "unknown",
		protocol.KindHeartbeat: "beat", protocol.KindPosition: "position",
		protocol.KindAdmitted: "admitted", protocol.KindDenied: "denied",
	}
	var all []string
	for i := range events {
		s := names[events[i].Kind]
		if events[i].Text != "" {
			s += " " + events[i].Text
		}
		if events[i].Passed {
			s += " >"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// poll returns what the relay says after a time.
func (b *between) poll(after time.Duration) string {
	b.now = b.now.Add(after)
	out, _ := b.Poll(nil, b.now)
	return string(out)
}

func (b *between) isGone() bool {
	q, ok := b.Relay.(protocol.Quitter)
	return ok && q.Gone()
}

// relayStep is one thing that happens in a conversation, and what it brings.
type relayStep struct {
	up, down string        // a frame
	text     string        // a text of ours; refused where it is not to be written
	wait     time.Duration // and a Poll
	polls    bool          // a Poll without a wait
	server   string        // what the server gets; "=": the frame
	device   string        // what the device gets; "=": the frame
	events   string
	turn     bool // the texts of ours wait for the server's afterwards
	gone     bool // the connection has to be closed afterwards
}

func converse(t *testing.T, b *between, steps []relayStep) {
	t.Helper()
	for i, s := range steps {
		var got came
		switch {
		case s.up != "":
			got = b.up(s.up)
		case s.down != "":
			got = b.down(s.down)
		case s.text != "":
			out, err := b.AppendText(nil, protocol.Text{Parts: 1, Body: s.text})
			if err != nil && !errors.Is(err, protocol.ErrNotText) {
				t.Fatal(err)
			}
			got.device = string(out) + b.poll(0)
		case s.wait != 0 || s.polls:
			got.device = b.poll(s.wait)
		}
		server := strings.Replace(s.server, "=", s.up, 1)
		device := strings.Replace(s.device, "=", s.down, 1)
		if got.server != server || got.device != device || got.events != s.events ||
			got.err != nil || b.isGone() != s.gone {
			t.Errorf("step %d, %+v: gone %v, %+v", i, s, b.isGone(), got)
		}
		if caps := b.Caps(); caps.Turn != s.turn || s.turn && !caps.NotYet {
			t.Errorf("step %d, %+v: %+v", i, s, caps)
		}
	}
}

func TestRelayedSession(t *testing.T) {
	ours, theirs := frame("MESSAGE,00480069"), frame("MESSAGE,0041")
	alarm := frame("AL,261126,101500,A,1,N,2,E,0,0,0,9,100,64,0,0,00010000,1")
	converse(t, relayed(t, map[string]string{"alarms": "sos"}, protocol.RelayOptions{}), []relayStep{
		{text: "too early"},
		{up: frame("LK,0,0,64"), server: "=", events: "login >, beat >"},
		{text: "too early"},
		{down: "[3G*1234567890*0002*LK]", device: "="}, // to another device
		{down: frame("LK"), device: "=", events: "admitted"},
		{up: frame("UD,261126,1"), server: "=", events: "position >"},
		{up: frame("TK,#!AMR"), server: "=", events: "text [voice message] >"},
		{up: alarm, server: "=", events: "text SOS >"},
		{down: frame("AL"), device: "="},
		{up: frame("CR"), server: "=", events: "unknown >"},
		{up: frame("MESSAGE"), server: "=", events: "other >"}, // nothing is out
		{text: "Hi", device: ours},
		{up: frame("MESSAGE,0077"), server: "=", events: "unknown >"},
		{up: frame("MESSAGE"), events: "ack"},
		{up: frame("MESSAGE"), server: "=", events: "other >"},
		{down: theirs, device: "=", turn: true},
		{text: "Hi", turn: true},
		{up: frame("LK"), server: "=", events: "beat >", turn: true},
		{up: frame("MESSAGE,0077"), server: "=", events: "unknown >", turn: true},
		{up: frame("MESSAGE,5"), server: "=", events: "unknown >", turn: true},
		{up: frame("MESSAGE,0041"), server: "=", events: "unknown >"},
		{text: "Hi", device: ours},
		{up: frame("MESSAGE,00480069"), events: "ack"},
		{text: "Hi", device: ours},
		{up: frame("MESSAGE,0"), events: "ack"},
	})
	passing := bound(t, nil, protocol.RelayOptions{PassAcks: true, OnlyChat: true})
	converse(t, passing, []relayStep{
		{text: "Hi", device: ours},
		{up: frame("message"), server: "=", events: "ack >"},
		{up: frame("TK,#!AMR"), server: "=", events: "text [voice message] >"},
	})
	silent := bound(t, map[string]string{"ack": "none"}, protocol.RelayOptions{})
	converse(t, silent, []relayStep{
		{text: "Hi", device: ours},
		{up: frame("MESSAGE"), server: "=", events: "other >"},
		{down: theirs, device: "=", turn: true},
		{wait: protocol.RelayWait},
		{text: "Hi", device: ours},
	})
}

// Texts of both sides take turns, and an echo that could be either's is nobody's.
func TestRelayTurns(t *testing.T) {
	ours, one, two := frame("MESSAGE,0061"), frame("MESSAGE,0041"), frame("MESSAGE,0042")
	echo := frame("MESSAGE")
	for name, steps := range map[string][]relayStep{
		"the server waits for ours": {
			{text: "a", device: ours},
			{down: one, turn: true},
			{down: frame("CR"), device: "=", turn: true},
			{down: two, turn: true},
			{polls: true, turn: true},
			{up: echo, events: "ack", turn: true},
			{polls: true, device: one + two, turn: true},
			{up: echo, server: "=", events: "other >", turn: true},
			{up: echo, server: "=", events: "other >"},
			{text: "a", device: ours},
			{up: echo, events: "ack"},
		},
		"but not for ever": {
			{text: "a", device: ours},
			{down: one, turn: true},
			{wait: protocol.RelayWait - 1, turn: true},
			{wait: 1, device: one, turn: true},
			{down: two, device: "=", turn: true},
			{up: echo, server: "=", events: "other >", turn: true, gone: true},
			{up: echo, server: "=", events: "other >", turn: true, gone: true},
		},
		"an echo with its text is no other's": {
			{text: "a", device: ours},
			{down: one, turn: true},
			{wait: protocol.RelayWait, device: one, turn: true},
			{up: frame("MESSAGE,0061"), events: "ack", turn: true},
			{up: frame("MESSAGE,0041"), server: "=", events: "unknown >"},
		},
		"unless both say the same": {
			{text: "a", device: ours},
			{down: ours, turn: true},
			{wait: protocol.RelayWait, device: ours, turn: true},
			{up: frame("MESSAGE,0061"), server: "=", events: "other >", turn: true, gone: true},
		},
		"or one of several": {
			{text: "a", device: ours},
			{down: ours, turn: true},
			{down: two, turn: true},
			{wait: protocol.RelayWait, device: ours + two, turn: true},
			{up: frame("MESSAGE,0061"), server: "=", events: "other >", turn: true, gone: true},
		},
		"a text after ours had its time is not held": {
			{text: "a", device: ours},
			{wait: protocol.RelayWait},
			{down: one, device: "=", turn: true},
			{up: echo, server: "=", events: "other >", turn: true, gone: true},
			{up: frame("MESSAGE,0061"), server: "=", events: "other >", turn: true, gone: true},
		},
		"each text of ours has its own time": {
			{text: "a", device: ours},
			{wait: 20 * time.Second},
			{up: echo, events: "ack"},
			{text: "a", device: ours},
			{wait: 20 * time.Second},
			{down: one, turn: true},
			{wait: 10 * time.Second, device: one, turn: true},
		},
		"more than can be held": {
			{text: "a", device: ours},
			{down: frame("MESSAGE," + strings.Repeat("0041", 4000)), turn: true},
			{
				down:   frame("MESSAGE," + strings.Repeat("0042", 4000)),
				device: frame("MESSAGE,"+strings.Repeat("0041", 4000)) + "=", turn: true,
			},
			{down: one, device: "=", turn: true},
			{up: echo, server: "=", events: "other >", turn: true, gone: true},
		},
		"ours waits for the server's": {
			{down: one, device: "=", turn: true},
			{wait: protocol.RelayWait - 1, turn: true},
			{wait: 1, turn: true, gone: true},
		},
		"an earlier text of ours is not the server's": {
			{text: "a", device: ours},
			{up: echo, events: "ack"},
			{down: one, device: "=", turn: true},
			{up: frame("MESSAGE,0061"), server: "=", events: "other >", turn: true},
			{up: echo, server: "=", events: "other >"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			converse(t, bound(t, nil, protocol.RelayOptions{}), steps)
		})
	}
}

// A device without chat is nobody's but the server's.
func TestRelayWithoutChatStays(t *testing.T) {
	b := relayed(t, nil, protocol.RelayOptions{})
	b.result = protocol.UnknownDevice
	converse(t, b, []relayStep{
		{up: frame("LK"), server: "=", events: "login >, beat >"},
		{down: frame("LK"), device: "=", events: "admitted"},
		{down: frame("MESSAGE,0041"), device: "=", turn: true},
		{wait: time.Hour, turn: true},
		{up: frame("MESSAGE"), server: "=", events: "other >"},
		{text: "Hi"},
	})
	// The store could not say: the next frame of the server asks again.
	b = relayed(t, nil, protocol.RelayOptions{})
	b.result = protocol.Later
	b.up(frame("LK"))
	b.down(frame("LK"))
	b.result = protocol.OK
	if got := b.down(frame("CR")); got.events != "admitted" || b.Caps().NotYet {
		t.Errorf("%+v", got)
	}
}

func TestRelayedRefusal(t *testing.T) {
	b := relayed(t, nil, protocol.RelayOptions{})
	init := numbered("0001", "INIT,1,1,S1,0,0,1")
	no, yes := numbered("0001", "INIT,0"), numbered("0001", "INIT,1")
	converse(t, b, []relayStep{
		{up: init, server: "=", events: "login >, other >"},
		{down: no, device: "=", events: "denied"},
		{text: "Hi"},
		{up: init, server: "=", events: "login >, other >"},
		{down: yes, device: "=", events: "admitted"},
		{text: "Hi", device: numbered("0001", "MESSAGE,Hi")},
		{down: no, device: "=", events: "denied"},
		{text: "Hi"},
		{up: init, server: "=", events: "login >, other >"},
		{text: "Hi"},
	})
}

func TestRelayReplaysTheGreeting(t *testing.T) {
	var w protocol.Ways
	b := relayed(t, nil, protocol.RelayOptions{Replay: true})
	b.up(frame("UD,261126,1"))
	if b.Replay(&w) {
		t.Error("a position was replayed")
	}
	b.up(frame("LK,1"))
	if !b.Replay(&w) || string(w.Server) != frame("LK,1") || len(w.Device) != 0 {
		t.Errorf("%+v", w)
	}
	converse(t, b, []relayStep{ // nobody has answered the device yet
		{down: frame("LK"), device: "=", events: "admitted"},
		{text: "a", device: frame("MESSAGE,0061")},
		{down: frame("MESSAGE,0041"), turn: true},
	})
	b.Replay(&w)
	converse(t, b, []relayStep{
		{down: frame("CR"), device: "="},
		{down: frame("LK"), events: "admitted"},
		{down: frame("LK"), device: "="},
		{up: frame("MESSAGE"), events: "ack"},
		{down: frame("MESSAGE,0042"), device: "=", turn: true},
	})
	b.up(frame("LK,2"))
	b.Replay(&w)
	converse(t, b, []relayStep{
		{down: frame("LK"), device: "=", events: "admitted", turn: true},
	})
	b.Replay(&w)
	converse(t, b, []relayStep{
		{down: frame("LK"), events: "admitted", turn: true}, // the echo may still come
		{up: frame("MESSAGE"), server: "=", events: "other >"},
	})
	// INIT is the better greeting, wherever it comes.
	w = protocol.Ways{}
	b = relayed(t, nil, protocol.RelayOptions{Replay: true})
	init := numbered("0002", "INIT,1,1,S1,0,0,1")
	for _, f := range []string{
		numbered("0001", "LK,1"), numbered("0001", "INIT,1,1"), init, numbered("0003", "LK,1"),
		numbered("0004", "INIT,1"), // an answer of the device's
	} {
		b.up(f)
	}
	b.down(numbered("0001", "INIT,1"))
	if !b.Replay(&w) || string(w.Server) != init {
		t.Errorf("%+v", w)
	}
	if got := b.down(numbered("0001", "INIT,0")); got.device != "" || got.events != "denied" {
		t.Errorf("%+v", got)
	}
	b = relayed(t, nil, protocol.RelayOptions{})
	b.up(frame("LK"))
	if b.Replay(&w) {
		t.Error("kept although nobody may ask")
	}
	b = relayed(t, nil, protocol.RelayOptions{Replay: true})
	b.up(frame("LK," + strings.Repeat("1", 1100)))
	if b.Replay(&w) {
		t.Error("a longer one than may be kept")
	}
}

func TestRelayPassesWhatItCannotRead(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{})
	for _, f := range []string{
		"garbage\n", "[3G*", "\xffAQSH", "\r\n", "[3G*1234567890*0002*LK]",
		"[3G*1234567890*0007*MESSAGE]",
	} {
		got := b.up(f)
		if got.server != f || got.device != "" || got.events != "" ||
			(got.err == nil) != (f == "\r\n") || errors.Is(got.err, protocol.ErrFraming) {
			t.Errorf("up %q: %+v", f, got)
		}
		if got = b.down(f); got.device != f || got.server != "" || got.events != "" {
			t.Errorf("down %q: %+v", f, got)
		}
	}
}

func TestRelayPassesEveryVector(t *testing.T) {
	p := watch.New()
	for _, v := range vectors(t) {
		for name, o := range map[string]protocol.RelayOptions{
			"plain": {}, "all": {PassAcks: true, OnlyChat: true, Replay: true},
		} {
			b := relayed(t, map[string]string{"alarms": "sos"}, o)
			frames, _, err := protocoltest.Cut(p, v.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				if got := b.up(string(f)); v.FromDevice() && (got.server != string(f) ||
					got.device != "") {
					t.Errorf("%s, %s: up %+v", v.ID, name, got)
				}
				if got := b.down(string(f)); v.ToDevice() && (got.device != string(f) ||
					got.server != "") {
					t.Errorf("%s, %s: down %+v", v.ID, name, got)
				}
			}
		}
	}
}

func TestIdleRelayIsSmall(t *testing.T) {
	const n, most = 10_000, 240
	p := watch.New()
	settings, relays := protocoltest.NewSettings(t, p, nil), make([]protocol.Relay, n)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, greeting := heap(), []byte(frame("LK"))
	w, emit := protocol.Ways{}, func(*protocol.Event) {}
	for i := range relays {
		relays[i] = p.NewRelay(settings, protocol.RelayOptions{})
		if relays[i].Up(&w, greeting, time.Time{}, emit) != nil ||
			relays[i].Down(&w, greeting, time.Time{}, emit) != nil {
			t.Fatal("not passed")
		}
		w = protocol.Ways{Server: w.Server[:0], Device: w.Device[:0]}
	}
	each := (heap() - before) / n
	runtime.KeepAlive(relays)
	t.Logf("%d bytes", each)
	if each > most {
		t.Errorf("an idle relay keeps %d bytes, more than %d", each, most)
	}
}

func TestRelayedFramesDoNotAllocate(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{})
	position, answer := []byte(frame("UD,261126,1")), []byte(frame("LK"))
	w := protocol.Ways{Server: make([]byte, 0, 4096), Device: make([]byte, 0, 4096)}
	emit := func(*protocol.Event) {}
	if n := testing.AllocsPerRun(200, func() {
		w.Server, w.Device = w.Server[:0], w.Device[:0]
		if b.Up(&w, position, b.now, emit) != nil || b.Down(&w, answer, b.now, emit) != nil {
			panic("not passed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
