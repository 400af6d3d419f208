package queue_test

import (
	"fmt"
	"strings"
	"testing"

	"trackchat/queue"

	"pgregory.net/rapid"
)

// A phone is the end of an IMEI only where it is the end of one, and nobody has it as it is.
func TestDeviceByTheEndOfItsIMEI(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		trackers := map[queue.TrackerID]queue.Tracker{}
		s := queue.NewSnapshot(nil, nil)
		ids := []string{
			"351234567890123", "861234567890123", "351034567890123", "1034567890123", "34567890123",
			"234567890123", "861034567890124", "3512345678901234", "86123456789012a", "",
		}
		for version := range rapid.IntRange(1, 20).Draw(rt, "changes") {
			c := queue.DirectoryChanges{Version: int64(version + 1)}
			id := queue.TrackerID(rapid.IntRange(1, 6).Draw(rt, "tracker"))
			if _, ok := trackers[id]; ok && rapid.Bool().Draw(rt, "gone") {
				delete(trackers, id)
				c.GoneTrackers = append(c.GoneTrackers, id)
			} else {
				tr := queue.Tracker{ID: id, Account: 1, Label: fmt.Sprint(version)}
				tr.Protocol = rapid.SampledFrom([]string{"jt808", "jt808", "egts"}).Draw(rt,
					"protocol")
				tr.DeviceID = rapid.SampledFrom(ids).Draw(rt, "id")
				taken := false
				for _, other := range trackers {
					same := other.Protocol == tr.Protocol && other.DeviceID == tr.DeviceID
					taken = taken || other.ID != id && same
				}
				if taken {
					continue
				}
				trackers[id] = tr
				c.Trackers = append(c.Trackers, tr)
			}
			s = s.With(c)
		}
		for _, protocol := range []string{"jt808", "egts"} {
			for _, phone := range []string{
				"234567890123", "034567890123", "034567890124", "00000000234567890123", "2345",
				"3512345678901",
			} {
				want := lookedUp(trackers, protocol, phone)
				got, ok := s.Device(protocol, phone)
				if ok != (want != nil) || ok && !queue.SameTracker(got, want) {
					rt.Fatalf("%s %s: %+v, want %+v", protocol, phone, got, want)
				}
			}
		}
	})
}

// lookedUp is what Device has to find, the slow way.
func lookedUp(trackers map[queue.TrackerID]queue.Tracker, protocol, phone string) *queue.Tracker {
	phone = strings.TrimLeft(phone, "0")
	var ends []queue.Tracker
	for _, t := range trackers {
		switch n := len(t.DeviceID); {
		case t.Protocol != protocol:
		case t.DeviceID == phone:
			return &t
		case protocol != "jt808" || n < 13 || n > 15 ||
			strings.Trim(t.DeviceID, "0123456789") != "":
		case strings.TrimLeft(t.DeviceID[n-12:], "0") == phone:
			ends = append(ends, t)
		}
	}
	if len(ends) != 1 {
		return nil
	}
	return &ends[0]
}

// A packed IMEI names the tracker with that IMEI, also where all its digits are decimal.
func TestDeviceByItsPackedIMEI(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.Uint64Range(1_000_000_000_000, 99_999_999_999_999).Draw(rt, "fourteen digits")
		imei := fmt.Sprintf("%d%d", n, check(n))
		s := queue.NewSnapshot(nil, []queue.Tracker{{ID: 1, Protocol: "jt808", DeviceID: imei}})
		if _, ok := s.Device("jt808", fmt.Sprintf("%012x", n)); !ok {
			rt.Fatalf("%s is not found by %012x", imei, n)
		}
		if _, ok := s.Device("jt808", fmt.Sprintf("%020x", n)); !ok {
			rt.Fatalf("%s is not found in ten bytes", imei)
		}
		if _, ok := s.Device("jt808", fmt.Sprintf("%012x", n^1)); ok {
			rt.Fatalf("%s is found by %012x", imei, n^1)
		}
	})
}

// An IMEI whose check digit is wrong is found by the rest of it, unless another one has the right
// digit, or several are wrong.
func TestDeviceByItsPackedIMEIWithAWrongCheckDigit(t *testing.T) {
	const n = 35209308149003
	right := check(n)
	imei := func(id queue.TrackerID, digit int) queue.Tracker {
		return queue.Tracker{ID: id, Protocol: "jt808", DeviceID: fmt.Sprintf("%d%d", n, digit%10)}
	}
	for name, c := range map[string]struct {
		trackers []queue.Tracker
		want     queue.TrackerID
	}{
		"wrong": {[]queue.Tracker{imei(1, right+1)}, 1},
		"beside a right one": {
			[]queue.Tracker{imei(1, right+1), imei(2, right), imei(3, right+2)},
			2,
		},
		"several": {[]queue.Tracker{
			imei(1, right+1), imei(2, right+2),
			imei(3, right+3),
		}, 0},
	} {
		found, ok := queue.NewSnapshot(nil, c.trackers).Device("jt808", fmt.Sprintf("%012x",
			int64(n)))
		if ok != (c.want != 0) || ok && found.ID != c.want {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// check is the digit that makes the Luhn sum of the whole a multiple of ten.
func check(n uint64) int {
	for digit := range uint64(10) {
		sum, all := uint64(0), n*10+digit
		for i := 0; all > 0; i, all = i+1, all/10 {
			d := all % 10
			if i%2 == 1 {
				d *= 2
			}
			sum += d/10 + d%10
		}
		if sum%10 == 0 {
			return int(digit)
		}
	}
	return -1
}
