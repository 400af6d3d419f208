package queue

import "strconv"

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
	n, err := strconv.ParseUint(phone, 10, 64)
	if err != nil {
		return nil, false
	}
	found, ok := s.tails.get(n)
	if !ok || found.next != nil {
		return nil, false
	}
	return found.tracker, true
}

// packed finds the tracker whose IMEI begins with n: with its check digit, or with the only other
// last digit that is there, since not every IMEI in use has the right one.
func (s *Snapshot) packed(protocol string, n uint64) (found *Tracker, ok bool) {
	check := luhn(n)
	for last := range uint64(10) {
		t, there := s.devices.get(deviceKey{protocol, strconv.FormatUint(10*n+last, 10)})
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

// tail is a tracker in a list of those whose IMEIs end alike, immutable like all of a snapshot.
type tail struct {
	tracker *Tracker
	next    *tail
}

// tailOf returns the number that the end of a tracker's IMEI makes; false where it is not entered
// by one. Zeros at its beginning are gone.
func tailOf(t *Tracker) (uint64, bool) {
	id := t.DeviceID
	if t.Protocol != shortPhones || len(id) <= shortPhone || len(id) > imeiDigits {
		return 0, false
	}
	n, err := strconv.ParseUint(id, 10, 64)
	return n % endOfPhones, err == nil
}

func (e *snapshotEdit) putTail(t *Tracker) {
	if n, ok := tailOf(t); ok {
		others, _ := e.tails.get(n)
		e.tails.put(n, &tail{t, others})
	}
}

func (e *snapshotEdit) removeTail(t *Tracker) {
	n, ok := tailOf(t)
	if !ok {
		return
	}
	var left *tail
	all, _ := e.tails.get(n)
	for ; all != nil; all = all.next {
		if all.tracker.ID != t.ID {
			left = &tail{all.tracker, left}
		}
	}
	if left == nil {
		e.tails.remove(n)
		return
	}
	e.tails.put(n, left)
}
