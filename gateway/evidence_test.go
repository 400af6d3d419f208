package gateway_test

import (
	"bytes"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

func eg(id queue.TrackerID, settings map[string]string) queue.Tracker {
	return queue.Tracker{ID: id, Protocol: "egts", DeviceID: phone(id), Settings: settings}
}

// That a link has a text, or a command service took it, is noted and delivers nothing, unless the
// tracker's setting says so.
func TestEvidenceBelowTheDevicesWord(t *testing.T) {
	r := newRig(t, []queue.Tracker{eg(1, nil), eg(2, map[string]string{"delivered_on": "record"})})
	ids := []int64{r.send(1, "text")[0], r.send(2, "text")[0]}
	d := r.login("egts", phone(1))
	d.text() // Feed has answered with RESPONSE and RECORD_RESPONSE
	for _, level := range []string{"link", "accepted"} {
		eventually(t, func() bool { return r.metric("texts_evidence_total", "level="+level) == 1 },
			func() string { return level + " not noted" })
	}
	if m := r.message(ids[0], 1); m.Status != queue.StatusPending {
		t.Fatalf("delivered by less than the device's word: %+v", m)
	}
	r.login("egts", phone(2)).text()
	r.become(ids[1], 2, queue.StatusDelivered)
}

// A terminal that leaves a text unanswered gets the same packet after 5 s, three times, and is gone
// then; the text goes out again after its next login.
func TestUnansweredPacketOfEGTS(t *testing.T) {
	r := newRig(t, []queue.Tracker{eg(1, nil)})
	d := r.login("egts", phone(1))
	d.silent(protocol.DeviceText) // RESULT_CODE is answered
	id := r.send(1, "text")[0]
	first := d.raw()
	for i := range 3 {
		r.clock.advance(5 * time.Second)
		if again := d.raw(); string(again) != string(first) {
			t.Fatalf("repetition %d is %x, was %x", i+1, again, first)
		}
	}
	r.clock.advance(5 * time.Second)
	d.gone()
	eventually(t, func() bool { return r.metric("closed_total", "reason=unanswered") == 1 },
		func() string { return "not counted" })
	d = r.login("egts", phone(1))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

// EGTS lets a terminal take 6 s to log in; the others have what the gateway allows.
func TestLoginTimeoutThatTheProtocolStates(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, func(o *gateway.Options) {
		o.LoginTimeout =
			30 * time.Second
	})
	var silent []*device
	for _, name := range []string{"egts", "jt808"} {
		d := r.connect(name)
		silent = append(silent, d)
	}
	eventually(t, func() bool { return r.metric("connections_total") == 2 },
		func() string { return "not connected" })
	r.clock.advance(7 * time.Second)
	silent[0].gone()
	eventually(t, func() bool { return r.metric("closed_total", "reason=login_timeout") == 1 },
		func() string { return "not counted" })
	silent[1].write(silent[1].side.AppendLogin(nil))
	silent[1].wait(protocol.DeviceLoggedIn)
}

// A message that is withdrawn while it is on its way is taken back from the device, where the
// protocol can.
func TestWithdrawnTextIsTakenBack(t *testing.T) {
	r := newRig(t, []queue.Tracker{eg(1, nil)})
	d := r.login("egts", phone(1))
	d.silent(protocol.DeviceText) // RESULT_CODE is answered
	id := r.send(1, "text")[0]
	text := d.raw()
	cid := text[22:26] // behind the header, RL RN RFL SST RST, SRT SRL and CT
	_, err := r.store.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: id,
		Status: queue.StatusCancelled,
	}})
	must(t, err)
	const deleteCommand = 6 << 4
	if down := d.raw(); len(down) < 26 || down[21] != deleteCommand ||
		!bytes.Equal(down[22:26], cid) {
		t.Errorf("%x after %x", down, text)
	}
}
