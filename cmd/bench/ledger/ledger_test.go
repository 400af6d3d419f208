package ledger

import (
	"testing"
	"time"
)

// send notes a text that is accepted.
func send(l *Ledger, device int) int64 {
	seq, _ := l.Take(1)
	l.Send(seq, device, l.Now())
	l.Accept(seq, 100+seq)
	return seq
}

// deliver lets a text arrive, be acknowledged and read back.
func deliver(l *Ledger, seq int64) {
	l.Arrive(seq)
	l.Ack(seq)
	l.Read(seq, true)
}

// TestCounts has one text of each kind of trouble, and some without.
func TestCounts(t *testing.T) {
	l := New(3, 20, 40)
	good := send(l, 0)
	deliver(l, good)

	send(l, 0) // lost

	doubled := send(l, 0)
	deliver(l, doubled)
	l.Arrive(doubled)

	earlier, later := send(l, 1), send(l, 1)
	deliver(l, later) // disordered
	deliver(l, earlier)

	undue := send(l, 0) // delivered without an ack
	l.Arrive(undue)
	l.Read(undue, true)

	overdue := send(l, 0) // acknowledged, not delivered
	l.Arrive(overdue)
	l.Ack(overdue)
	l.Read(overdue, false)

	never := send(l, 2) // lost, and delivered without an ack
	l.Read(never, true)

	refused, _ := l.Take(1)
	l.Send(refused, 0, l.Now())
	l.Refuse(refused)
	broken, _ := l.Take(1) // no answer, but it arrived
	l.Send(broken, 0, l.Now())
	l.Unanswered(broken)
	l.Arrive(broken)

	want := Counts{
		Accepted: 8, Refused: 1, Unanswered: 1, Lost: 2, Doubled: 1, Disordered: 1, Undue: 2,
		Overdue: 1,
	}
	if got := l.Count(0); got != want {
		t.Errorf("counted %+v, not %+v", got, want)
	}
	if got := want.StatusWrong(); got != 3 {
		t.Errorf("%d statuses are wrong, not 3", got)
	}
	// Without device 0: two of device 1, one of device 2.
	want = Counts{Accepted: 3, Lost: 1, Disordered: 1, Undue: 1}
	if got := l.Count(1); got != want {
		t.Errorf("from device 1 on: counted %+v, not %+v", got, want)
	}
	if got := l.Missing(0, 0); got != 2 {
		t.Errorf("%d are missing, not 2", got)
	}
}

// TestSentBesideEachOther: texts that were sent before either was accepted have no order.
func TestSentBesideEachOther(t *testing.T) {
	l := New(1, 3, 40)
	first, _ := l.Take(2)
	l.Send(first, 0, l.Now())
	l.Send(first+1, 0, l.Now())
	l.Accept(first, 1)
	l.Accept(first+1, 2)
	l.Arrive(first + 1)
	l.Arrive(first)
	if got := l.Count(0).Disordered; got != 0 {
		t.Errorf("%d are disordered", got)
	}
}

func TestFind(t *testing.T) {
	l := New(5, 10, 60)
	first, _ := l.Take(3) // a broadcast to devices 4, 0 and 1
	for i, device := range []int{4, 0, 1} {
		l.Send(first+int64(i), device, l.Now())
	}
	text := l.AppendText(nil, first)
	if len(text) != 60 || string(text[:11]) != "#000000000 " {
		t.Errorf("a text is %d bytes, %q", len(text), text)
	}
	for device, want := range map[int]int64{4: 0, 0: 1, 1: 2} {
		if seq, ok := l.Find(device, text); !ok || seq != want {
			t.Errorf("device %d: text %d (%t), not %d", device, seq, ok, want)
		}
	}
	for _, text := range []string{"", "#00", "#000000009 x", "#-00000001 x", "# 0000000x x"} {
		if seq, ok := l.Find(4, []byte(text)); ok {
			t.Errorf("%q is text %d", text, seq)
		}
	}
	if seq, ok := l.Find(2, text); ok {
		t.Errorf("device 2, to which it was not sent: text %d", seq)
	}
}

// TestRoom: a ledger that is full takes no more, and counts what it has.
func TestRoom(t *testing.T) {
	l := New(1, 2, 40)
	if _, ok := l.Take(3); ok {
		t.Error("three texts have room for two")
	}
	if first, ok := l.Take(2); !ok || first != 0 {
		t.Errorf("two texts begin at %d (%t)", first, ok)
	}
	if _, ok := l.Take(1); ok || l.Len() != 2 {
		t.Errorf("%d texts in a ledger for two", l.Len())
	}
}

// TestLatencies count from when a text was planned, not from when it was sent.
func TestLatencies(t *testing.T) {
	l := New(2, 4, 40)
	for device := range 2 {
		seq, _ := l.Take(1)
		l.Send(seq, device, l.Now()-int64(time.Minute))
		l.Arrive(seq)
	}
	n := 0
	l.Latencies(0, l.Len(), 1, func(d time.Duration) {
		n++
		if d < time.Minute || d > 2*time.Minute {
			t.Errorf("a latency is %v, not a minute", d)
		}
	})
	if n != 1 {
		t.Errorf("%d latencies of one device", n)
	}
}
