package gateway_test

import (
	"encoding/hex"
	"testing"
	"time"

	"trackchat/queue"
)

// nack is the refusal of codec 14: the IMEI is another device's.
func nack(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString("00000000000000100e0111000000080352093081452468010000635e")
	must(t, err)
	return b
}

func silent14() queue.Tracker {
	line := map[string]string{"chat": "serial", "down_codec": "14", "part_bytes": "32"}
	return queue.Tracker{ID: 1, Protocol: "teltonika", DeviceID: phone(1), Settings: line}
}

// A device that acknowledges nothing refuses what it got a while later: that fails the oldest text,
// and no part of it fails the next one.
func TestRefusalOfATextThatIsWritten(t *testing.T) {
	r := newRig(t, []queue.Tracker{silent14()})
	ids := r.send(1, "one, and it takes more than a single part", "two")
	d := r.enter(silent14())
	for d.text().Body != "two" {
	}
	for range 2 { // for each part of the first
		d.write(nack(t))
	}
	if m := r.become(ids[0], 1, queue.StatusFailed); m.Reason != queue.ReasonMalformed {
		t.Errorf("reason %v", m.Reason)
	}
	r.read(d)
	if m := r.message(ids[1], 1); m.Status != queue.StatusPending {
		t.Fatalf("%+v", m)
	}
	r.clock.advance(10 * time.Second)
	r.become(ids[1], 1, queue.StatusSent)
	if m := r.message(ids[0], 1); m.Status != queue.StatusFailed {
		t.Errorf("%+v", m)
	}
}

// Each text waits for its own refusal.
func TestUnrefusedTextsAreSentInTurn(t *testing.T) {
	r := newRig(t, []queue.Tracker{silent14()})
	d := r.enter(silent14())
	first := r.send(1, "one")
	d.text()
	r.clock.advance(6 * time.Second)
	second := r.send(1, "two")
	d.text()
	r.clock.advance(5 * time.Second)
	r.become(first[0], 1, queue.StatusSent)
	if m := r.message(second[0], 1); m.Status != queue.StatusPending {
		t.Errorf("%+v", m)
	}
	r.clock.advance(5 * time.Second)
	r.become(second[0], 1, queue.StatusSent)
}

// A refusal of the first part stops the text, and the other parts' do not fail the next one.
func TestRefusalOfAPart(t *testing.T) {
	r := newRig(t, []queue.Tracker{silent14()})
	ids := r.send(1, "one, and it takes more than a single part")
	d := r.enter(silent14())
	d.text()
	d.write(nack(t))
	r.become(ids[0], 1, queue.StatusFailed)
	ids = append(ids, r.send(1, "two")...)
	for d.text().Body != "two" {
	}
	r.clock.advance(10 * time.Second)
	r.become(ids[1], 1, queue.StatusSent)
}

// The end of the connection ends the wait: no refusal comes any more, and nothing is written again.
func TestUnrefusedTextIsSentWhenTheDeviceHangsUp(t *testing.T) {
	r := newRig(t, []queue.Tracker{silent14()})
	ids := r.send(1, "one", "two")
	d := r.enter(silent14())
	for d.text().Body != "two" {
	}
	r.leave(d)
	r.become(ids[0], 1, queue.StatusSent)
}
