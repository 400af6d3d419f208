package teltonika_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
)

// Ours waits for the answers to positions and to the server's command, both for a while.
func TestRelayWaitsForTheServer(t *testing.T) {
	for name, c := range map[string]struct {
		up, down, end []byte
		wait          time.Duration
		state         string
	}{
		"positions":         {avl(), nil, []byte(ack1), 30 * time.Second, "not yet"},
		"positions refused": {avl(), nil, []byte(zeros + ack1), 30 * time.Second, "not yet"},
		"a command":         {nil, getver, version, 30 * time.Second, "not yet, turn"},
		"a command of codec 14": {
			nil, items(14, item(5, imeiBCD+"getver")), items(14, item(0x11, imeiBCD)),
			30 * time.Second, "not yet, turn",
		},
	} {
		for _, answered := range []bool{true, false} {
			x := bound(t, numbered, protocol.RelayOptions{})
			if c.up != nil {
				x.dev(c.up)
			} else {
				x.srv(c.down)
			}
			x.take()
			if got := x.state(); got != c.state {
				t.Errorf("%s: %s", name, got)
			}
			if err := x.text(7, "Hi"); err != nil {
				t.Fatal(err)
			}
			if err := x.text(7, "Hi"); err != nil { // tried again meanwhile
				t.Fatal(err)
			}
			x.want(name+" outstanding", "", "")
			switch {
			case answered && c.up != nil:
				x.srv(c.end)
			case answered:
				x.dev(c.end)
			default:
				x.pass(c.wait - time.Millisecond)
				x.want(name+" for long", "", "")
				x.pass(time.Millisecond)
			}
			ours := string(command(0x0E, "M7:Hi\r\n"))
			if got := x.take(); strings.Count(got.device, ours) != 1 ||
				!strings.HasSuffix(got.device, ours) {
				t.Errorf("%s, answered %v: %q", name, answered, got.device)
			}
			if got := x.state(); got != "not yet" {
				t.Errorf("%s, ours out: %s", name, got)
			}
		}
	}
}

// Positions that the server never answers do not shut ours out for good.
func TestRelayForgetsDamagedPositions(t *testing.T) {
	x := bound(t, plain, protocol.RelayOptions{})
	damaged := avl()
	damaged[20] ^= 1
	x.dev(damaged)
	for range 10 {
		x.pass(8 * time.Second)
		x.dev(avl())
		x.srv([]byte(ack1))
	}
	if got := x.state(); got != "" {
		t.Errorf("%s", got)
	}
	x.dev(avl(), avl(), avl())
	x.srv([]byte(ack1 + ack1))
	if got := x.state(); got != "not yet" {
		t.Errorf("two of three answered: %s", got)
	}
	x.srv([]byte(ack1))
	if got := x.state(); got != "" {
		t.Errorf("three of three answered: %s", got)
	}
}

// The server's command waits for the answer to ours; its answers to positions do not.
func TestRelayHoldsTheServersCommand(t *testing.T) {
	ours := string(command(0x0E, "M7:Hi\r\n"))
	for name, c := range map[string]struct {
		set  map[string]string
		ends []byte
		at   time.Duration
	}{
		"an ack":                {numbered, command(6, "A7\r\n"), 0},
		"the tracker's word":    {map[string]string{"chat": "serial", "ack_pattern": `^A(\d+)$`, "up_types": "11"}, command(6, "sent"), 0},
		"silence":               {numbered, nil, 5 * time.Second},
		"another line":          {numbered, command(6, "A8 not now\r\n"), 5 * time.Second},
		"another number":        {numbered, command(6, "A8\r\n"), 5 * time.Second},
		"a refusal of the IMEI": {numbered, items(14, item(0x11, imeiBCD)), 5 * time.Second},
	} {
		x := bound(t, c.set, protocol.RelayOptions{})
		if err := x.text(7, "Hi"); err != nil {
			t.Fatal(err)
		}
		x.want("our text", ours, "")
		x.srv(slices.Concat(getver, []byte(ack1), command(5, "getinfo")))
		x.want(name+": held", ack1, "")
		if c.ends != nil {
			x.dev(c.ends)
		}
		if c.at > 0 {
			if got := x.take(); got.device != "" {
				t.Errorf("%s: %q", name, got.device)
			}
			x.pass(c.at - time.Millisecond)
			x.want(name+": nearly", "", "")
			x.pass(time.Millisecond)
		}
		got := x.take()
		if want := string(getver) + string(command(5, "getinfo")); got.device != want {
			t.Errorf("%s: %q", name, got.device)
		}
		if got := x.state(); got != "not yet, turn" {
			t.Errorf("%s: %s", name, got)
		}
		x.dev(version)
		if got := x.state(); got != "not yet, turn" {
			t.Errorf("%s, one answered: %s", name, got)
		}
		x.dev(version)
		if got := x.state(); got != "" {
			t.Errorf("%s, all answered: %s", name, got)
		}
	}
	x := bound(t, numbered, protocol.RelayOptions{})
	if err := x.text(7, "Hi"); err != nil {
		t.Fatal(err)
	}
	x.take()
	long := command(5, strings.Repeat("x", 5000))
	all := ""
	for range 3 {
		x.srv(long)
		all += string(long)
	}
	x.want("16 KiB", "", "")
	x.srv(long)
	x.want("more", all+string(long), "")
	x.dev(command(6, "A7\r\n"))
	x.want("the ack all the same", "", "", "ack 7 1")
}

func TestRelayAcksOfTerminals(t *testing.T) {
	pass := protocol.RelayOptions{PassAcks: true}
	for name, c := range map[string]struct {
		set    map[string]string
		o      protocol.RelayOptions
		in     string
		server bool
		events []string
	}{
		"taken":              {numbered, protocol.RelayOptions{}, "A7\r\n", false, []string{"ack 7 1"}},
		"passed":             {numbered, pass, "A7\r\n", true, []string{"ack 7 1 passed"}},
		"of another":         {numbered, protocol.RelayOptions{}, "A8\r\n", true, []string{"other passed"}},
		"two":                {numbered, protocol.RelayOptions{}, "A7\r\nA8\r\n", true, []string{"ack 7 1 passed", "other passed"}},
		"with a text":        {numbered, protocol.RelayOptions{}, "A7\r\nyes\r\n", true, []string{"ack 7 1 passed", "text yes passed"}},
		"with half a line":   {numbered, protocol.RelayOptions{}, "A7\r\nye", true, []string{"ack 7 1 passed"}},
		"bare":               {bare, protocol.RelayOptions{}, "OK\r\n", false, []string{"ack 0 1"}},
		"bare, twice":        {bare, protocol.RelayOptions{}, "OK\r\nOK\r\n", true, []string{"ack 0 1 passed", "other passed"}},
		"bare, passed":       {bare, pass, "OK\r\n", true, []string{"ack 0 1 passed"}},
		"text":               {numbered, protocol.RelayOptions{}, "yes\r\n", true, []string{"text yes passed"}},
		"text, chat only":    {numbered, protocol.RelayOptions{OnlyChat: true}, "yes\r\n", false, []string{"text yes"}},
		"chat only and acks": {numbered, protocol.RelayOptions{OnlyChat: true, PassAcks: true}, "yes\r\n", false, []string{"text yes"}},
	} {
		x := bound(t, c.set, c.o)
		ref := uint64(7)
		if c.set["ack_pattern"] == "^OK$" {
			ref = 0
		}
		if err := x.text(ref, "Hi"); err != nil {
			t.Fatal(err)
		}
		x.take()
		in, server := command(6, c.in), ""
		if c.server {
			server = string(in)
		}
		x.dev(in)
		x.want(name, "", server, c.events...)
		if x.gone() {
			t.Errorf("%s: gone", name)
		}
	}
	x := bound(t, numbered, protocol.RelayOptions{})
	x.dev(command(6, "A7\r\n"))
	x.want("before any text", "", string(command(6, "A7\r\n")), "other passed")
	if err := x.text(7, "Hi"); err != nil {
		t.Fatal(err)
	}
	x.take()
	x.dev(command(6, "A"))
	x.dev(command(6, "7"))
	x.want("in pieces", "", string(command(6, "A"))+string(command(6, "7")), "other passed",
		"other passed")
	x.pass(time.Second)
	x.want("without an end", "", "", "ack 7 1 passed")

	x = bound(t, numbered, protocol.RelayOptions{OnlyChat: true})
	half, rest := command(6, "half "), command(6, "a line\r\n")
	x.dev(half, rest)
	x.want("a text in pieces", "", string(half)+string(rest), "other passed",
		"text half a line passed")
	x.srv(getver)
	x.dev(command(6, "yes\r\n"))
	x.want("a text that is taken", string(getver), "", "text yes")
	if got := x.state(); got != "not yet, turn" {
		t.Errorf("which answers nothing: %s", got)
	}
}

// An ack that could mean a text of the server counts for nobody, and passes.
func TestRelayAmbiguousAcks(t *testing.T) {
	theirs := command(0x0E, "M7:theirs\r\n")
	a7 := command(6, "A7\r\n")
	x := bound(t, numbered, protocol.RelayOptions{})
	if err := x.text(7, "ours"); err != nil {
		t.Fatal(err)
	}
	x.pass(5 * time.Second)
	x.srv(theirs)
	x.take()
	x.dev(a7)
	x.want("both have number 7", "", string(a7), "other passed")
	x.dev(a7)
	x.want("again", "", string(a7), "other passed")

	x = bound(t, numbered, protocol.RelayOptions{})
	x.srv(theirs)
	x.pass(30 * time.Second)
	x.take()
	if err := x.text(7, "ours"); !errors.Is(err, protocol.ErrNotText) || !x.gone() {
		t.Errorf("the server's number: %v, gone %v", err, x.gone())
	}
	x.want("nothing is written", "", "")
	x = bound(t, numbered, protocol.RelayOptions{})
	x.srv(theirs)
	x.dev(a7)
	x.take()
	if err := x.text(7, "ours"); err != nil {
		t.Error(err)
	}
	x.dev(a7)
	x.want("the server's had its ack", string(command(0x0E, "M7:ours\r\n")), "", "ack 7 1")

	ok, other := command(6, "OK\r\n"), command(0x0E, "theirs\r\n")
	x = bound(t, bare, protocol.RelayOptions{})
	if err := x.text(0, "ours"); err != nil {
		t.Fatal(err)
	}
	x.srv(other)
	x.pass(5 * time.Second)
	x.take()
	x.dev(ok)
	x.want("either", "", string(ok), "other passed")
	if !x.gone() {
		t.Error("the connection goes on")
	}

	x = bound(t, bare, protocol.RelayOptions{})
	x.srv(other)
	x.dev(command(6, "a driver's line\r\n"))
	if got := x.state(); got != "not yet, turn" {
		t.Errorf("a driver's text ends the turn: %s", got)
	}
	x.dev(ok)
	x.take()
	if err := x.text(0, "ours"); err != nil {
		t.Error(err)
	}
	x.dev(ok)
	x.want("one after the other", string(command(0x0E, "ours\r\n")), "", "ack 0 1")

	x = bound(t, bare, protocol.RelayOptions{})
	x.srv(other)
	x.pass(30 * time.Second)
	x.take()
	if x.gone() || x.state() != "" {
		t.Errorf("nothing waits: gone %v, %s", x.gone(), x.state())
	}
	if err := x.text(0, "ours"); !errors.Is(err, protocol.ErrNotText) || !x.gone() {
		t.Errorf("the server's ack may still come: %v, gone %v", err, x.gone())
	}
	x.want("nothing is written", "", "")
}

// Whatever the server has sent may be acknowledged late where acks carry no number.
func TestRelayLateAcksWithoutNumbers(t *testing.T) {
	ok, other := command(6, "OK\r\n"), command(0x0E, "theirs\r\n")
	for name, c := range map[string]struct {
		before func(x *relayed)
		gone   bool
	}{
		"in time": {func(x *relayed) { x.srv(other); x.dev(ok) }, false},
		"late": {func(x *relayed) {
			x.srv(other)
			x.pass(30 * time.Second)
			x.dev(ok)
		}, false},
		"never": {func(x *relayed) { x.srv(other); x.pass(30 * time.Second) }, true},
		"the tracker's answer comes as a line": {func(x *relayed) {
			x.srv(getver)
			x.dev(command(6, "a driver's line\r\n"))
			x.pass(30 * time.Second)
		}, true},
		"over another connection": {func(x *relayed) {
			x.srv(other)
			x.relay.Replay(&protocol.Ways{})
			x.srv([]byte(accepted))
		}, true},
	} {
		x := bound(t, bare, protocol.RelayOptions{Replay: true})
		c.before(x)
		if got := x.state(); got != "" {
			t.Errorf("%s: %s", name, got)
		}
		if err := x.text(0, "ours"); (err != nil) != c.gone || x.gone() != c.gone {
			t.Errorf("%s: %v, gone %v", name, err, x.gone())
		}
	}
	x := bound(t, bare, protocol.RelayOptions{})
	if err := x.text(0, "ours"); err != nil {
		t.Fatal(err)
	}
	x.pass(5 * time.Second)
	x.srv(other)
	x.pass(30 * time.Second)
	x.take()
	x.dev(ok)
	x.want("either", "", string(ok), "other passed")
	if !x.gone() {
		t.Error("the connection goes on")
	}
}

// A word of the tracker itself names nothing.
func TestRelayWordsOfTheTracker(t *testing.T) {
	set := map[string]string{"chat": "serial", "up_types": "11", "down_codec": "14"}
	nack := items(14, item(0x11, imeiBCD))
	for name, c := range map[string]struct {
		in     []byte
		before func(x *relayed)
		server bool
		events []string
	}{
		"an answer":            {version, nil, false, []string{"evidence 10"}},
		"too late":             {version, func(x *relayed) { x.pass(5 * time.Second) }, true, []string{"other passed"}},
		"a refusal":            {nack, nil, false, []string{"ack 7 5"}},
		"a slow one":           {nack, func(x *relayed) { x.pass(9 * time.Second) }, false, []string{"ack 7 5"}},
		"one that is too slow": {nack, func(x *relayed) { x.pass(10 * time.Second) }, true, []string{"other passed"}},
		"after the server's": {nack, func(x *relayed) {
			x.srv(getver)
			x.pass(6 * time.Second)
		}, true, []string{"other passed"}},
		"after the server's and its answer": {nack, func(x *relayed) {
			x.pass(5 * time.Second)
			x.srv(getver)
			x.dev(version)
		}, true, []string{"other passed"}},
	} {
		x := bound(t, set, protocol.RelayOptions{})
		if err := x.text(7, "Hi"); err != nil {
			t.Fatal(err)
		}
		if c.before != nil {
			c.before(x)
		}
		x.take()
		server := ""
		if c.server {
			server = string(c.in)
		}
		x.dev(c.in)
		x.want(name, "", server, c.events...)
	}
	x := bound(t, set, protocol.RelayOptions{})
	x.srv(getver)
	x.pass(30 * time.Second) // its answer may still come
	if err := x.text(7, "Hi"); err != nil {
		t.Fatal(err)
	}
	x.take()
	x.dev(version)
	x.want("the answer that is late", "", string(version), "other passed")
	x.dev(version)
	x.want("and ours", "", "", "evidence 10")

	x = bound(t, set, protocol.RelayOptions{Replay: true})
	x.srv(getver)
	x.relay.Replay(&protocol.Ways{})
	x.srv([]byte(accepted))
	if err := x.text(7, "Hi"); err != nil {
		t.Fatal(err)
	}
	x.take()
	x.dev(version)
	x.want("the answer to the old connection's", "", string(version), "other passed")
}

func TestRelayReplay(t *testing.T) {
	o := protocol.RelayOptions{Replay: true}
	x := bound(t, numbered, o)
	if err := x.text(7, "Hi"); err != nil {
		t.Fatal(err)
	}
	x.dev(avl())
	x.srv(slices.Concat(getver, []byte("\x00\x00")))
	x.take()
	replay := func() bool {
		x.waiting = nil // of the old connection
		ok := x.relay.Replay(&x.seen.w)
		x.flush()
		return ok
	}
	if !replay() {
		t.Fatal("the login is not known")
	}
	x.want("the login", "", login)
	x.srv([]byte(accepted))
	x.want("its answer", "", "", "admitted")
	x.dev(command(6, "A7\r\n"))
	x.want("the ack of ours", "", "", "ack 7 1")
	if got := x.state(); got != "" {
		t.Errorf("%s", got)
	}
	x.srv([]byte(ack1))
	x.want("an answer to positions", ack1, "")
	if !replay() {
		t.Fatal("the login is not known")
	}
	x.srv([]byte("\x00" + ack1))
	x.want("refused this time", ack1, login, "denied")
	if got := x.state(); got != "not yet" {
		t.Errorf("%s", got)
	}

	x = newRelayed(t, numbered, o)
	if replay() {
		t.Error("nobody has logged in")
	}
	x.dev([]byte(login))
	replay()
	x.srv([]byte(accepted))
	x.want("the device has had no answer yet", accepted, login+login, "login "+imei+" passed",
		"admitted")
	x = bound(t, numbered, protocol.RelayOptions{})
	if replay() {
		t.Error("it was not to be kept")
	}
}

func TestRelayWithoutChat(t *testing.T) {
	x := bound(t, map[string]string{"chat": "none"}, protocol.RelayOptions{OnlyChat: true})
	x.srv(getver)
	x.dev(version, command(6, "a line\r\n"))
	x.want("both", string(getver), string(version)+string(command(6, "a line\r\n")),
		"other passed", "other passed")
	if got := x.state(); got != "none" {
		t.Error(got)
	}
}
