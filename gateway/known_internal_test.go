package gateway

import (
	"testing"

	"trackchat/queue"
)

func TestKnownTexts(t *testing.T) {
	var k known
	const tracker, key = 1, uint64(7)
	if got := k.key(tracker, key, 10); got != key {
		t.Errorf("%x before it has ended", got)
	}
	keys := map[uint64]bool{key: true}
	for minute := int64(10); minute < 30; minute++ {
		// looked into every minute, it is not forgotten
		k.end(tracker, key, minute)
		now := k.key(tracker, key, minute)
		if keys[now] || k.key(tracker, key, minute+1) != now {
			t.Fatalf("minute %d: %x again, or another one a minute later", minute, now)
		}
		keys[now] = true
	}
	if k.key(2, key, 30) != key || k.key(tracker, key+1, 30) != key+1 {
		t.Error("the key of another tracker, or another key, has ended")
	}
	if got := k.key(tracker, key, 30+2*2*knownMinutes); got != key {
		t.Errorf("%x long after", got)
	}
}

func TestKnownTextsAreBounded(t *testing.T) {
	var k known
	for i := range 3 * maxKnown {
		k.end(queue.TrackerID(i), 1, 10)
	}
	if n := len(k.now) + len(k.before); n > 2*maxKnown {
		t.Errorf("%d texts are remembered", n)
	}
	if k.key(3*maxKnown-1, 1, 10) == 1 {
		t.Error("the newest is forgotten")
	}
	k.key(1, 1, 100)
	if n := len(k.now) + len(k.before); n != 0 {
		t.Errorf("%d texts are remembered long after", n)
	}
}
