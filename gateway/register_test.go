package gateway_test

import (
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/queue"
)

// code808 is what a 0x8100 says, in a frame of 2013 without escapes: its result, and the code.
func code808(t *testing.T, frame []byte) (result byte, code string) {
	t.Helper()
	if len(frame) < 17 || frame[1] != 0x81 || frame[2] != 0 {
		t.Fatalf("%x is no answer to a registration", frame)
	}
	return frame[15], string(frame[16 : len(frame)-2])
}

// Whoever knows the phone number of a tracker with a password gets neither the password nor in.
func TestRegistrationHandsOutNoPassword(t *testing.T) {
	frames := trial(t, "jt808.jsonl", "jt808-register_hands_out_password")
	locked := jt(1)
	locked.DeviceID, locked.Password = "13800000121", "S3CRET"
	r := newRig(t, []queue.Tracker{locked})
	d := r.connect("jt808", func(c *protocol.DeviceConfig) { c.ID = locked.DeviceID })
	d.write(frames[0])
	if result, code := code808(t, d.raw()); result != 3 || code != "" {
		t.Errorf("result %d, code %q", result, code)
	}
	r.counted("refused_total", 1, "reason=registration")
	if n := r.gw.Sessions(); n != 0 {
		t.Errorf("%d sessions", n)
	}
	d.write(frames[1]) // on the same connection, by one who knows it
	d.wait(protocol.DeviceOther)
	r.counted("logins_total", 1, "result=ok")
	d.write(frames[0]) // there are terminals that do so when they are in
	if result, code := code808(t, d.raw()); result != 0 || code == "" || code == locked.Password {
		t.Errorf("result %d, code %q", result, code)
	}
	id := r.send(1, "still here")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

// Where a tracker's registration is open, the code logs in from then on, until the password
// changes.
func TestCodesThatRegistrationHandsOut(t *testing.T) {
	trackers := func(open, known, password string) []queue.Tracker {
		list := []queue.Tracker{jt(1), jt(2), jt(3), jt(4)}
		list[0].Settings = map[string]string{"register": open}
		list[1].Settings = map[string]string{"register": known, "terminal_id": "0000002"}
		list[2].Settings = map[string]string{"register": known, "terminal_id": "0000002"}
		for i := range list[:3] {
			list[i].Password = password
		}
		list[3].Settings = map[string]string{"register": known}
		return list
	}
	r := newRig(t, trackers("open", "known", "secret"))
	codes := map[queue.TrackerID]string{}
	for id, variant := range map[queue.TrackerID]string{1: "2013", 2: "2019", 4: "2011"} {
		d := r.connect("jt808", as(id, variant, ""))
		d.write(d.side.AppendLogin(nil))
		answer := d.raw()
		next, _, err := d.side.Feed(nil, answer, func(protocol.DeviceEvent) {})
		must(t, err)
		d.write(next)
		d.wait(protocol.DeviceLoggedIn)
		d.silent(protocol.DeviceRefused)
		if strings.Contains(string(answer), "secret") {
			t.Errorf("tracker %d: the password was handed out: %x", id, answer)
		}
		codes[id] = string(answer[len(answer)-14 : len(answer)-2])
	}
	if codes[1] == codes[2] {
		t.Errorf("two trackers got one code")
	}
	r.dial("jt808", phone(3), as(3, "2011", "")).wait(protocol.DeviceRefused) // another terminal id

	r.directory(trackers("code", "code", "secret"))
	for _, id := range []queue.TrackerID{1, 2} {
		r.dial("jt808", phone(id), as(id, "2013", "")).wait(protocol.DeviceRefused)
		r.dial("jt808", phone(id), as(id, "2013", "guess")).wait(protocol.DeviceRefused)
		r.login("jt808", phone(id), as(id, "2013", codes[id])).silent(protocol.DeviceRefused)
		r.login("jt808", phone(id), as(id, "2019", "secret")).silent(protocol.DeviceRefused)
	}
	r.directory(trackers("code", "code", "another"))
	r.dial("jt808", phone(1), as(1, "2013", codes[1])).wait(protocol.DeviceRefused)
}

// as makes a device what it is.
func as(id queue.TrackerID, variant, password string) func(*protocol.DeviceConfig) {
	return func(c *protocol.DeviceConfig) {
		c.ID, c.Variant, c.Password = phone(id), variant, password
	}
}

// Where a password is not one, a code cannot be one for it either.
func TestRegistrationCodesAreOfJT808Alone(t *testing.T) {
	locked := wl(1, nil)
	locked.Password = "secret"
	other := jt(1)
	other.Password, other.Settings = locked.Password, map[string]string{"register": "open"}
	r := newRig(t, []queue.Tracker{other})
	d := r.connect("jt808")
	d.write(d.side.AppendLogin(nil))
	_, code := code808(t, d.raw())
	if len(code) != 12 {
		t.Fatalf("code %q", code)
	}
	r.directory([]queue.Tracker{locked})
	r.dial("wialon", phone(1), as(1, "", code)).wait(protocol.DeviceRefused)
}
