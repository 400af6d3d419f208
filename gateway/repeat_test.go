package gateway_test

import (
	"context"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

const (
	dated      = "240126;135321;5512.3456;N;03734.5678;E;89;42;150;16;0.9;NA;NA;;NA;text:3:"
	datedFrame = "#D#" + dated + "OK\r\n"
)

// unsure is a store that keeps what a driver says and does not say so, for the texts in mute.
type unsure struct {
	*gated
	mute map[string]bool
}

func (u *unsure) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult, error) {
	res, err := u.Store.Receive(ctx, in)
	u.wait(ctx, "receive")
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range res {
		if u.mute[in[i].Text] {
			res[i] = queue.ReceiveResult{Err: queue.ErrUnavailable}
		}
	}
	return res, err
}

// answer checks the gateway's next answer to what is no text.
func (d *device) answer(want string) {
	d.t.Helper()
	if e := d.wait(protocol.DeviceOther); e.Body != want {
		d.t.Fatalf("answered %q instead of %q", e.Body, want)
	}
}

// A clock that stands still makes all records alike: what a device says after our answer is another
// text, and what it says again over the next connection is one whose answer got lost.
func TestSameRecordAfterItsAnswerIsAnotherText(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	d := r.login("wialon", phone(1), variant11)
	for range 3 {
		d.write([]byte(datedFrame))
		d.answer("#AD#1")
	}
	must(t, d.nc.Close())
	d = r.login("wialon", phone(1), variant11)
	d.write([]byte(datedFrame))
	d.answer("#AD#1")
	if n := len(r.list(1)); n != 3 {
		t.Errorf("stored %d texts", n)
	}
}

// variant11 makes a device of Wialon IPS 1.1, whose packets have no CRC.
func variant11(c *protocol.DeviceConfig) { c.Variant = "1.1" }

// A device repeats a black box as a whole, over the same connection too, until all of it is
// answered.
func TestBoxThatWasNotAnsweredIsRepeated(t *testing.T) {
	st := &unsure{gated: newGated(t), mute: map[string]bool{"second": true}}
	r := newRigOn(t, st, []queue.Tracker{wl(1, nil)})
	d := r.login("wialon", phone(1), variant11)
	box := []byte("#B#" + dated + "first|" + dated + "second\r\n")
	d.write(box)
	eventually(t, func() bool { return len(r.list(1)) == 2 }, func() string { return "not stored" })
	d.write([]byte("#P#\r\n"))
	d.answer("#AP#")
	st.set(func() { st.mute = nil })
	d.write(box)
	d.answer("#AB#2")
	if n := len(r.list(1)); n != 2 {
		t.Fatalf("stored %d texts", n)
	}
	d.write(box) // with that answer, the driver says both anew
	d.answer("#AB#2")
	if n := len(r.list(1)); n != 4 {
		t.Errorf("then %d texts", n)
	}
}

// A black box with a record that cannot be read, with a text beside it or without, does not come
// again and again: the answer counts all of its records.
func TestBoxWithAWrongRecordIsTaken(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	d := r.login("wialon", phone(1), variant11)
	wrongDate := "000000" + dated[6:]
	for _, box := range []string{dated + "OK|1;2;3", "1;2;3|" + wrongDate + "OK", wrongDate +
		"|x"} {
		d.write([]byte("#B#" + box + "\r\n"))
		d.answer("#AB#2")
	}
	if n := len(r.list(1)); n != 2 {
		t.Errorf("stored %d texts", n)
	}
	stranger := r.connect("wialon", variant11)
	stranger.write([]byte("#B#1;2;3|x\r\n"))
	stranger.answer("#AB#0")
}

// A device whose clock stands still knows that we have a record when it goes on after our answer:
// the same one over its next connection is another text.
func TestRecordOfAClockThatStandsStill(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	box := []byte("#B#" + dated + "OK|" + dated + "Yes\r\n")
	for round, want := range []int{2, 4, 4, 6} {
		d := r.login("wialon", phone(1), variant11)
		d.write(box)
		d.answer("#AB#2")
		if n := len(r.list(1)); n != want {
			t.Fatalf("round %d: stored %d texts", round, n)
		}
		if round != 1 { // there nothing says that it has the answer
			d.write([]byte("#P#\r\n"))
			d.answer("#AP#")
		}
		must(t, d.nc.Close())
	}
}

// A copy that an impatient device sends while the store is at work has no answer of its own: it
// would say that a text is stored which is not.
func TestImpatientCopyOfARecordIsNotAnswered(t *testing.T) {
	st := &unsure{gated: newGated(t), mute: map[string]bool{"OK": true}}
	r := newRigOn(t, st, []queue.Tracker{wl(1, nil)})
	d := r.login("wialon", phone(1), variant11)
	entered, release := st.stop("receive")
	d.write([]byte(datedFrame))
	<-entered
	r.clock.advance(time.Second)
	d.write([]byte(datedFrame))
	both := func() bool { return r.metric("positions_total") == 2 }
	eventually(t, both, func() string { return "not read" })
	release()
	d.write([]byte("#P#\r\n"))
	d.answer("#AP#")
	st.set(func() { st.mute = nil })
	d.write([]byte(datedFrame))
	d.answer("#AD#1")
	if n := len(r.list(1)); n != 1 {
		t.Errorf("stored %d texts", n)
	}
}
