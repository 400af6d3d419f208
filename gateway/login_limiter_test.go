package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap/zaptest/observer"
)

func password(p string) func(*protocol.DeviceConfig) {
	return func(c *protocol.DeviceConfig) { c.Password = p }
}

func locked(t queue.Tracker, password string) queue.Tracker {
	t.Password = password
	return t
}

// presents says whether a device that comes from an address with a password gets in.
func (r *rig) presents(from string, t queue.Tracker, secret string) bool {
	r.t.Helper()
	r.local = from
	defer func() { r.local = "" }()
	in, out := r.metric("logins_total", "result=ok"), r.metric("logins_total")
	d := r.dial(t.Protocol, t.DeviceID, password(secret))
	eventually(r.t, func() bool { return r.metric("logins_total") > out },
		func() string { return "not answered" })
	if r.metric("logins_total", "result=ok") == in {
		must(r.t, d.nc.Close())
		return false
	}
	return true
}

// Five wrong passwords are compared, then one after a minute, then one after two; the right one is
// refused as well meanwhile, and an operator is told.
func TestGuessedPasswords(t *testing.T) {
	for _, tr := range []queue.Tracker{locked(wl(1, nil), "4711"), locked(jt(1), "4711")} {
		t.Run(tr.Protocol, func(t *testing.T) {
			var logs *observer.ObservedLogs
			r := newRig(t, []queue.Tracker{tr}, watched(&logs))
			guess := func(compared bool) {
				t.Helper()
				wrong, refused := r.metric("refused_total", "reason=bad_credentials"),
					r.metric("refused_total", "reason=login_attempts")
				if r.presents("127.0.0.2", tr, "0815") {
					t.Error("a wrong password is right")
				}
				if compared {
					wrong++
				} else {
					refused++
				}
				r.counted("refused_total", wrong, "reason=bad_credentials")
				r.counted("refused_total", refused, "reason=login_attempts")
			}
			for range 5 {
				guess(true)
			}
			if r.presents("127.0.0.2", tr, "4711") {
				t.Error("compared after five wrong ones")
			}
			guess(false)
			seen := logs.FilterMessageSnippet("somebody guessing").All()
			if len(seen) != 1 || seen[0].ContextMap()["device"] != tr.DeviceID ||
				seen[0].ContextMap()["tracker"] != int64(1) {
				t.Errorf("warned: %+v", seen)
			}
			r.clock.advance(time.Minute)
			guess(true)
			r.clock.advance(time.Minute)
			guess(false)
			r.clock.advance(time.Minute)
			if !r.presents("127.0.0.2", tr, "4711") {
				t.Error("not compared after two minutes")
			}
		})
	}
}

// Many places that guess at one tracker have no more than one does, and it gets in from where it
// was before, and from where nobody guesses at anything.
func TestPasswordsGuessedFromElsewhere(t *testing.T) {
	tr, moving := locked(wl(1, nil), "4711"), locked(wl(2, nil), "4712")
	r := newRig(t, []queue.Tracker{tr, moving})
	if !r.presents("127.0.0.2", tr, "4711") {
		t.Fatal("refused")
	}
	for i := range 20 {
		r.presents("127.0.0.3", tr, "0815")
		r.presents("127.0.0.3", moving, fmt.Sprint(i))
	}
	r.counted("refused_total", 10, "reason=bad_credentials")
	if !r.presents("127.0.0.2", tr, "4711") {
		t.Error("refused where it was before")
	}
	if !r.presents("127.0.0.4", moving, "4712") {
		t.Error("refused where nobody guesses")
	}
	for i := range 30 {
		r.presents(fmt.Sprintf("127.0.1.%d", i+1), tr, "0815")
	}
	// the fifth place that guesses at it is the last one.
	r.counted("refused_total", 14, "reason=bad_credentials")
	if !r.presents("127.0.0.2", tr, "4711") {
		t.Error("refused where it was before")
	}
}

// Somebody who guesses at many trackers from one place gets no further than five, and those that
// were there before are let in.
func TestPasswordsOfManyGuessedFromOnePlace(t *testing.T) {
	var trackers []queue.Tracker
	for id := range queue.TrackerID(12) {
		trackers = append(trackers, locked(wl(id+1, nil), "4711"))
	}
	r := newRig(t, trackers)
	if !r.presents("127.0.0.2", trackers[0], "4711") {
		t.Fatal("refused")
	}
	for _, tr := range trackers[1:] {
		r.presents("127.0.0.2", tr, "0815")
	}
	r.counted("refused_total", 5, "reason=bad_credentials")
	r.counted("refused_total", 6, "reason=login_attempts")
	if !r.presents("127.0.0.2", trackers[0], "4711") {
		t.Error("refused where it was before")
	}
	if !r.presents("127.0.0.3", trackers[11], "4711") {
		t.Error("refused elsewhere")
	}
	r.clock.advance(time.Minute)
	for _, tr := range trackers[8:11] { // each that belongs there makes up for one that does not
		if !r.presents("127.0.0.2", tr, "4711") {
			t.Errorf("tracker %d refused", tr.ID)
		}
	}
}

// A device that presents no password guesses nothing: it is let in as soon as it has one.
func TestNoPasswordIsNoGuess(t *testing.T) {
	tr := locked(wl(1, nil), "4711")
	r := newRig(t, []queue.Tracker{tr})
	for range 7 {
		r.presents("", tr, "")
	}
	r.counted("refused_total", 7, "reason=bad_credentials")
	if !r.presents("", tr, "4711") {
		t.Error("refused")
	}
}

// A password that changes ends the session that the old one opened, and what was guessed before
// does not count for the new one.
func TestPasswordChanges(t *testing.T) {
	for _, tr := range []queue.Tracker{wl(1, nil), jt(1)} {
		t.Run(tr.Protocol, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{locked(tr, "4711"), wl(bystander, nil)})
			d, other := r.login(tr.Protocol, tr.DeviceID, password("4711")), r.login("wialon",
				phone(bystander))
			for range 7 {
				r.presents("127.0.0.3", tr, "0815")
			}
			r.directory([]queue.Tracker{locked(tr, "new"), wl(bystander, nil)})
			r.gw.Recheck()
			d.gone()
			r.counted("closed_total", 1, "reason=directory")
			other.silent(protocol.DeviceRefused)
			if r.presents("127.0.0.3", tr, "4711") {
				t.Error("the old password is still good")
			}
			if !r.presents("127.0.0.3", tr, "new") {
				t.Error("the new password is refused")
			}
		})
	}
}

// Where a registration is granted for a terminal id, that is a credential as well.
func TestGuessedRegistrations(t *testing.T) {
	tr := locked(jt(1), "4711")
	tr.Settings = map[string]string{"register": "known", "terminal_id": "NOTTHIS"}
	r := newRig(t, []queue.Tracker{tr})
	for range 7 {
		d := r.dial("jt808", tr.DeviceID) // without a code it registers
		eventually(t, func() bool {
			return r.metric("closed_total")+1 >= r.metric(
				"connections_total")
		}, func() string { return "several are open" })
		must(t, d.nc.Close())
	}
	r.counted("refused_total", 5, "reason=registration")
	r.counted("refused_total", 2, "reason=login_attempts")
}
