package gateway_test

import (
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/queue"
)

// texts waits until the store has so many messages of tracker 1 that a driver sent, and returns
// them.
func (r *rig) waitTexts(n int) (texts []string) {
	r.t.Helper()
	said := func() bool { texts = r.texts(); return len(texts) == n }
	eventually(r.t, said, func() string { return "another number of texts" })
	return texts
}

// read makes sure that the gateway has dealt with what the device has written.
func (r *rig) read(d *device) {
	r.t.Helper()
	if _, ok := d.side.(protocol.Unanswered); ok { // such a tracker says at once where it is
		placed := func() bool { return r.metric("positions_total") > 0 }
		eventually(r.t, placed, func() string { return "silent" })
	}
	was := r.metric("positions_total")
	d.write(d.side.AppendPosition(nil, 1, 1, r.clock.now()))
	read := func() bool { return r.metric("positions_total") > was }
	eventually(r.t, read, func() string { return "unread" })
}

// A tracker answers somebody's command, without an end of its line; what the terminal says
// afterwards is its own. The bytes are those of a trial.
func TestTrackersOwnAnswerDoesNotJoinTheTerminalsLine(t *testing.T) {
	frames := protocoltest.Trials(t, "west.jsonl")["west-F2b"].Frames()
	login, answer, ack := frames[0], frames[1], frames[2]
	tr := queue.Tracker{
		ID: 1, Protocol: "teltonika", DeviceID: string(login[2:]),
		Settings: map[string]string{"chat": "serial", "ack_pattern": "^OK$"},
	}
	r := newRig(t, []queue.Tracker{tr})
	d := r.enter(tr)
	id := r.send(1, "Gate 4")[0]
	d.raw()
	d.write(answer)
	r.read(d)
	r.clock.advance(3 * time.Second)
	r.passed()
	d.write(ack)
	r.become(id, 1, queue.StatusDelivered)
	if got := r.waitTexts(1); got[0] != "Param ID:2004 Value:gw.example.com" {
		t.Errorf("stored %q", got)
	}
}

// A line without an end is one a second after its last packet, and at the end of the session at
// once.
func TestLineWithoutItsEnd(t *testing.T) {
	tr := queue.Tracker{ID: 1, Protocol: "teltonika", DeviceID: phone(1)}
	tr.Settings = map[string]string{"chat": "serial"}
	for name, end := range map[string]func(r *rig, d *device){
		"a second later":         func(r *rig, _ *device) { r.clock.advance(time.Second) },
		"the device hangs up":    func(r *rig, d *device) { must(r.t, d.nc.Close()) },
		"the gateway hangs up":   func(r *rig, _ *device) { r.clock.advance(time.Hour) },
		"another one takes over": func(r *rig, _ *device) { r.login("teltonika", phone(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{tr})
			quiet := tr
			quiet.Settings = map[string]string{"chat": "serial", "eol": ""}
			d := r.enter(quiet) // the device ends no line
			d.say("On my way")
			r.read(d)
			end(r, d)
			if got := r.waitTexts(1); got[0] != "On my way" {
				t.Errorf("stored %q", got)
			}
		})
	}
}
