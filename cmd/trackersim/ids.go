package main

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"trackchat/protocol"
	"trackchat/protocol/all"
)

// maxDevices is more than one process can hold.
const maxDevices = 1_000_000

// First device ids: a phone for JT/T 808, an IMEI for everything else.
const (
	firstPhone = "13800000001"
	firstIMEI  = "860000000000001"
)

const (
	nameJT808    = "jt808"
	variant2019  = "2019"
	maxCounter   = 18 // digits of an id that are counted up
	maxIDLength  = 32
	phone2013    = 12 // digits
	phone2019    = 20
	idCharacters = `^[0-9A-Za-z._-]+$`
)

// deviceFlags say which devices there are; the simulator and its directory share them, so that both mean the same ones.
type deviceFlags struct {
	protocol string
	variant  string
	devices  int
	firstID  string
}

func (f *deviceFlags) register(fs *flag.FlagSet) {
	names := make([]string, 0, len(all.Protocols()))
	for _, p := range all.Protocols() {
		names = append(names, p.Name)
	}
	fs.StringVar(&f.protocol, "protocol", "", "`NAME` of the trackers' protocol: "+strings.Join(names, ", "))
	fs.StringVar(&f.variant, "variant", "", "`NAME` of the protocol's variant (jt808: 2011, 2013, 2019; wialon: 1.1, 2.0); default: the protocol's own")
	fs.IntVar(&f.devices, "devices", 1, "`NUMBER` of trackers")
	fs.StringVar(&f.firstID, "first-id", "", "device `ID` of the first tracker, counted up for the others (default "+firstPhone+" for jt808, else "+firstIMEI+")")
}

// resolve finds the protocol and the devices' ids.
func (f *deviceFlags) resolve() (*protocol.Protocol, ids, error) {
	if f.protocol == "" {
		return nil, ids{}, errors.New("--protocol is missing")
	}
	p, ok := all.Find(f.protocol)
	if !ok {
		return nil, ids{}, fmt.Errorf("unknown protocol %q", f.protocol)
	}
	if f.devices < 1 || f.devices > maxDevices {
		return nil, ids{}, fmt.Errorf("--devices %d is not within 1 and %d", f.devices, maxDevices)
	}
	first := f.firstID
	if first == "" {
		first = firstIMEI
		if p.Name == nameJT808 {
			first = firstPhone
		}
	}
	n, err := newIDs(first, f.devices)
	if err == nil && p.Name == nameJT808 {
		err = checkPhone(n.at(f.devices-1), f.variant)
	}
	if err != nil {
		return nil, ids{}, fmt.Errorf("--first-id: %w", err)
	}
	return p, n, nil
}

// ids counts device ids up from the first one.
type ids struct {
	prefix string
	first  uint64
	width  int
}

func newIDs(first string, devices int) (ids, error) {
	if len(first) > maxIDLength || !regexp.MustCompile(idCharacters).MatchString(first) {
		return ids{}, fmt.Errorf("%q is not 1 to %d letters, digits, dots, hyphens and underscores", first, maxIDLength)
	}
	prefix := strings.TrimRight(first, "0123456789")
	prefix = first[:max(len(prefix), len(first)-maxCounter)]
	number, err := strconv.ParseUint(first[len(prefix):], 10, 64)
	if err != nil {
		return ids{}, fmt.Errorf("%q does not end in a number", first)
	}
	n := ids{prefix: prefix, first: number, width: len(first) - len(prefix)}
	if prefix != "" && len(n.at(devices-1)) > len(first) {
		return ids{}, fmt.Errorf("%q has no room to count %d devices", first, devices)
	}
	return n, nil
}

// at returns the id of a device, from 0.
func (n ids) at(i int) string { return fmt.Sprintf("%s%0*d", n.prefix, n.width, n.first+uint64(i)) }

// checkPhone tells whether a terminal phone can carry an id: BCD[6], from 2019 on BCD[10].
func checkPhone(id, variant string) error {
	digits := phone2013
	if variant == variant2019 {
		digits = phone2019
	}
	if len(id) > digits || strings.Trim(id, "0123456789") != "" {
		return fmt.Errorf("%q is not a phone of at most %d digits", id, digits)
	}
	return nil
}
