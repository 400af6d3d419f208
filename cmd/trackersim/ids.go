package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
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
	nameJT808      = "jt808"
	nameTeltonika  = "teltonika"
	nameEGTS       = "egts"
	nameGalileosky = "galileosky"
	variant2019    = "2019"
	variantOID     = "oid"
	firstOID       = "1"
	maxCounter     = 18 // digits of an id that are counted up
	maxIDLength    = 32
	idCharacters   = `^[0-9A-Za-z._-]+$`
)

// deviceFlags say which devices there are; the simulator and its directory share them, so that both
// mean the same ones.
type deviceFlags struct {
	protocol string
	variant  string
	devices  int
	firstID  string
	settings settings
}

func (f *deviceFlags) register(fs *flag.FlagSet) {
	f.registerKind(fs)
	fs.IntVar(&f.devices, "devices", 1, "`NUMBER` of trackers")
}

// registerKind registers what says which devices there are, without their number.
func (f *deviceFlags) registerKind(fs *flag.FlagSet) {
	protocols := all.Protocols()
	names, variants := make([]string, 0, len(protocols)), make([]string, 0, len(protocols))
	for _, p := range protocols {
		names = append(names, p.Name)
		if len(p.Variants) > 0 {
			variants = append(variants, p.Name+": "+strings.Join(p.Variants, ", "))
		}
	}
	fs.StringVar(&f.protocol, "protocol", "", "`NAME` of the trackers' protocol: "+strings.Join(
		names, ", "))
	fs.StringVar(&f.variant, "variant", "", "`NAME` of the protocol's variant ("+strings.Join(
		variants, "; ")+"); default: the first")
	fs.StringVar(&f.firstID, "first-id", "",
		"device `ID` of the first tracker, counted up for the others (default "+firstPhone+" for jt808, "+firstOID+" for egts oid, else "+firstIMEI+")")
	fs.Var(&f.settings, "setting",
		"`NAME=VALUE` of the protocol, as in the directory: of the simulated devices, and of the trackers in the directory as far as it is not the listener's; may be repeated")
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
	if f.variant != "" && !slices.Contains(p.Variants, f.variant) {
		return nil, ids{}, fmt.Errorf("--variant: %s has no %q (it has: %s)", p.Name, f.variant,
			strings.Join(p.Variants, ", "))
	}
	if _, err := p.NewSettings(f.settings); err != nil {
		return nil, ids{}, fmt.Errorf("--setting: %w", err)
	}
	n, err := newIDs(cmp.Or(f.firstID, firstOf(p.Name, f.variant)), f.devices)
	if err == nil {
		err = checkID(n.at(f.devices-1), p.Name, f.variant)
	}
	if err != nil {
		return nil, ids{}, fmt.Errorf("--first-id: %w", err)
	}
	return p, n, nil
}

func firstOf(protocolName, variant string) string {
	switch {
	case protocolName == nameJT808:
		return firstPhone
	case protocolName == nameEGTS && variant == variantOID:
		return firstOID
	default:
		return firstIMEI
	}
}

// ids counts device ids up from the first one.
type ids struct {
	prefix string
	first  uint64
	width  int
}

func newIDs(first string, devices int) (ids, error) {
	if len(first) > maxIDLength || !regexp.MustCompile(idCharacters).MatchString(first) {
		return ids{}, fmt.Errorf("%q is not 1 to %d letters, digits, dots, hyphens and underscores",
			first, maxIDLength)
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

// checkID tells whether a device of the protocol can log in with an id.
func checkID(id, protocolName, variant string) error {
	digits, what := 15, "an IMEI"
	switch {
	case protocolName == nameJT808 && variant == variant2019:
		digits, what = 20, "a phone" // BCD[10]
	case protocolName == nameJT808:
		digits, what = 12, "a phone" // BCD[6]
	case protocolName == nameEGTS && variant == variantOID:
		if n, err := strconv.ParseUint(id, 10, 32); err != nil || n == 0 {
			return fmt.Errorf("%q is not the number of a terminal, 1 to 4294967295", id)
		}
		return nil
	case protocolName == nameTeltonika, protocolName == nameEGTS, protocolName == nameGalileosky:
	default:
		return nil
	}
	if len(id) > digits || strings.Trim(id, "0123456789") != "" {
		return fmt.Errorf("%q is not %s of at most %d digits", id, what, digits)
	}
	return nil
}

// settings are those of a protocol.
type settings map[string]string

func (s *settings) String() string {
	words := make([]string, 0, len(*s))
	for _, name := range slices.Sorted(maps.Keys(*s)) {
		words = append(words, name+"="+(*s)[name])
	}
	return strings.Join(words, " ")
}

func (s *settings) Set(word string) error {
	name, value, found := strings.Cut(word, "=")
	if !found || name == "" {
		return errors.New("not a name, =, and a value")
	}
	if *s == nil {
		*s = make(settings)
	}
	(*s)[name] = value
	return nil
}
