package gateway_test

import (
	"encoding/hex"
	"testing"

	"trackchat/protocol"
	"trackchat/queue"
)

// A tracker that is entered by its IMEI is found by what its terminal makes of that in a phone of
// twelve digits, and what is sent to it arrives.
func TestTrackerEnteredByIMEI(t *testing.T) {
	const imei = "863412590617224"
	r := newRig(t, []queue.Tracker{{ID: 1, Protocol: "jt808", DeviceID: imei}})
	for name, phone := range map[string]string{
		"its last digits":            imei[3:],
		"packed":                     "4e86e41369da", // its first 14 digits as a number
		"as it is, in 2019's header": imei,
	} {
		d := r.login("jt808", phone, func(c *protocol.DeviceConfig) {
			if phone == imei {
				c.Variant = "2019"
			}
		})
		id := r.send(1, name)[0]
		d.ack(d.text(), protocol.AckDelivered)
		r.become(id, 1, queue.StatusDelivered)
	}
	for _, stranger := range []string{"4e86e41369d0", imei[4:], "1" + imei[4:]} {
		r.dial("jt808", stranger).wait(protocol.DeviceRefused)
	}
}

// Where two IMEIs end alike, the end of one is neither.
func TestTrackersWhoseIMEIsEndAlike(t *testing.T) {
	r := newRig(t, []queue.Tracker{
		{ID: 1, Protocol: "jt808", DeviceID: "863412590617224"},
		{ID: 2, Protocol: "jt808", DeviceID: "352412590617224"},
	})
	r.dial("jt808", "412590617224").wait(protocol.DeviceRefused)
	r.login("jt808", "4e86e41369da").silent(protocol.DeviceRefused)
}

// A terminal of EGTS that sends its number and its IMEI is found by either.
func TestTerminalOfEGTSByNumberOrIMEI(t *testing.T) {
	// TERM_IDENTITY with the number 4711 and the IMEI 861234567890123.
	login, err := hex.DecodeString("0100000b00200001000" + "19b190001008001010116006712000042" +
		"383631323334353637383930313233" + "00040a4a")
	must(t, err)
	for name, c := range map[string]struct {
		ids    []string
		wanted queue.TrackerID
	}{
		"number": {[]string{"4711"}, 1},
		"IMEI":   {[]string{"861234567890123"}, 1},
		"both":   {[]string{"4711", "861234567890123"}, 2},
		"nobody": {[]string{"4712"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var trackers []queue.Tracker
			for i, id := range c.ids {
				tr := eg(queue.TrackerID(i+1), nil)
				tr.DeviceID = id
				trackers = append(trackers, tr)
			}
			r := newRig(t, trackers)
			d := r.pipe("egts")
			d.write(login)
			if c.wanted == 0 {
				r.counted("refused_total", 1, "reason=unknown_device")
				return
			}
			r.send(c.wanted, "found")
			d.until("found")
		})
	}
}
