package queue

import (
	"math"
	"strconv"
)

// Phones of JT/T 808 before 2019 have twelve digits. Terminals that are known by their IMEI send
// its last ones there, or its first fourteen packed: as a binary number of six bytes.
const (
	shortPhones = "jt808" // the protocol
	shortPhone  = 12
	imeiDigits  = 15
	maxPacked   = 100_000_000_000_000 // fourteen digits; the last of an IMEI is their check digit
	endOfPhones = 1_000_000_000_000   // twelve digits
	minPacked   = maxPacked / 100     // the first two, the reporting body, begin with 01
)

// byIMEI finds the tracker whose IMEI a normalised phone stands for: packed, or cut to its end,
// where several trackers' that end alike are none of them.
func (s *Snapshot) byIMEI(protocol, phone string) (*Tracker, bool) {
	if protocol != shortPhones || len(phone) > shortPhone {
		return nil, false
	}
	if n, err := strconv.ParseUint(phone, 16, 64); err == nil && n >= minPacked && n < maxPacked {
		if t, ok := s.packed(protocol, n); ok {
			return t, true
		}
	}
	n, err := strconv.ParseInt(phone, 10, 64)
	if err != nil {
		return nil, false
	}
	var found *Tracker
	alone := true
	s.tails.Ascend(listed{n, &Tracker{ID: math.MinInt64}}, func(l listed) bool {
		if l.under != n {
			return false
		}
		alone, found = found == nil, l.tracker
		return alone
	})
	if !alone {
		found = nil
	}
	return found, found != nil
}

// packed finds the tracker whose IMEI begins with n: with its check digit, or with the only other
// last digit that is there, since not every IMEI in use has the right one.
func (s *Snapshot) packed(protocol string, n uint64) (found *Tracker, ok bool) {
	check := luhn(n)
	for last := range uint64(10) {
		t, there := s.ExactDevice(protocol, strconv.FormatUint(10*n+last, 10))
		switch {
		case there && last == check:
			return t, true
		case there && ok:
			found = nil
		case there:
			found, ok = t, true
		}
	}
	return found, found != nil
}

// luhn is the check digit of an IMEI (3GPP TS 23.003, annex B): every second digit from the last
// one on counts twice, by its digits.
func luhn(n uint64) uint64 {
	sum := uint64(0)
	for double := true; n > 0; n, double = n/10, !double {
		d := n % 10
		if double {
			d = d*2/10 + d*2%10
		}
		sum += d
	}
	return (10 - sum%10) % 10
}

// tailOf returns the number that the end of a tracker's IMEI makes; false where it is not entered
// by one. Zeros at its beginning are gone.
func tailOf(t *Tracker) (int64, bool) {
	id := t.DeviceID
	if t.Protocol != shortPhones || len(id) <= shortPhone || len(id) > imeiDigits {
		return 0, false
	}
	n, err := strconv.ParseInt(id, 10, 64)
	return n % endOfPhones, err == nil
}
