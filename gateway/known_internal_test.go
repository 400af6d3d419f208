package gateway

import (
	"testing"

	"trackchat/protocol"
	"trackchat/queue"
)

func TestKnownTexts(t *testing.T) {
	var k known
	const tracker, key = 1, uint64(7)
	keyOf := func(t queue.TrackerID, key uint64, minute int64) uint64 {
		return k.key(t, &protocol.Event{Key: key, Fleeting: true}, minute)
	}
	if got := keyOf(tracker, key, 10); got != key {
		t.Errorf("%x before it has ended", got)
	}
	keys := map[uint64]bool{key: true}
	for minute := int64(10); minute < 30; minute++ {
		// looked into every minute, it is not forgotten
		k.end(tracker, key, minute)
		now := keyOf(tracker, key, minute)
		if keys[now] || keyOf(tracker, key, minute+1) != now {
			t.Fatalf("minute %d: %x again, or another one a minute later", minute, now)
		}
		keys[now] = true
	}
	if keyOf(2, key, 30) != key || keyOf(tracker, key+1, 30) != key+1 {
		t.Error("the key of another tracker, or another key, has ended")
	}
	if got := keyOf(tracker, key, 30+2*2*knownMinutes); got != key {
		t.Errorf("%x long after", got)
	}
}

// A copy under a number from before the connection means the text that the key stood for before it
// ended, as often as it comes; of a device whose numbers say nothing it does not.
func TestKnownTextsComeAgain(t *testing.T) {
	first := protocol.Event{Key: 7, Fleeting: true}
	again := protocol.Event{Key: 7, Fleeting: true, Earlier: true}
	for name, c := range map[string]struct {
		first protocol.Event
		same  bool
	}{"numbered": {first, true}, "not numbered": {again, false}} {
		var k known
		want := k.key(1, &c.first, 10)
		for range 3 {
			k.end(1, 7, 10)
			if got := k.key(1, &again, 10); (got == want) != c.same {
				t.Errorf("%s: %x, the first %x", name, got, want)
			}
		}
		k.end(1, 7, 10)
		if got := k.key(1, &first, 10); got == want {
			t.Errorf("%s: another text has %x as well", name, got)
		}
	}
}

func TestKnownTextsAreBounded(t *testing.T) {
	var k known
	e := protocol.Event{Key: 1, Fleeting: true}
	for i := range 3 * maxKnown {
		k.end(queue.TrackerID(i), 1, 10)
	}
	if n := len(k.now) + len(k.before); n > 2*maxKnown {
		t.Errorf("%d texts are remembered", n)
	}
	if k.key(3*maxKnown-1, &e, 10) == 1 {
		t.Error("the newest is forgotten")
	}
	k.key(1, &protocol.Event{Key: 1}, 100)
	if n := len(k.now) + len(k.before); n != 0 {
		t.Errorf("%d texts are remembered long after", n)
	}
}
