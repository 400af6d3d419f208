package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/api"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

const maxName = 255 // characters of labels, titles and the like

// place is where an entry stands in a file.
type place struct{ index, line int }

// seen is what has come so far, to find what comes twice.
type seen struct {
	accounts, trackers int // entries, also damaged ones
	accountIDs         map[int64]place
	trackerIDs         map[int64]place
	logins             map[string]place
	keys               map[queue.KeyHash]place
	devices            map[device]place
	unowned            []ownership
}

// device is what a tracker logs in with.
type device struct{ protocol, id string }

// ownership is a tracker whose account has not come before it.
type ownership struct {
	account int64
	tracker place
}

func newSeen() seen {
	return seen{
		accountIDs: make(map[int64]place), trackerIDs: make(map[int64]place), logins: make(map[string]place),
		keys: make(map[queue.KeyHash]place), devices: make(map[device]place),
	}
}

// entryCheck holds what every entry is compared with.
type entryCheck struct {
	protocols map[string]*protocol.Protocol
	zones     map[string]bool // whether such a time zone exists
	features  []string        // the default
}

func newEntryCheck() entryCheck {
	c := entryCheck{protocols: make(map[string]*protocol.Protocol), zones: make(map[string]bool), features: defaultFeatures()}
	for _, p := range all.Protocols() {
		c.protocols[p.Name] = p
	}
	return c
}

// zone reports whether an IANA time zone exists. The machine's own zone is none: it is another one on another machine.
func (c *entryCheck) zone(name string) bool {
	ok, known := c.zones[name]
	if !known {
		_, err := time.LoadLocation(name)
		ok = err == nil && name != "" && name != "Local"
		c.zones[name] = ok
	}
	return ok
}

// report adds a problem about a key of an entry, unless what stands there could not even be read. The line is that of the entry.
func (r *directoryReader) report(p *keyPath, key string, line int, format string, args ...any) {
	path := p.String()
	if key != "" {
		path += "." + key
	}
	for b := path; b != ""; b = parentPath(b) {
		if r.broken[b] {
			return
		}
	}
	r.problems.add(origin{line: line}.at(path) + ": " + fmt.Sprintf(format, args...))
}

// unique notes where a value stands and reports one that has come before.
func unique[K comparable](r *directoryReader, m map[K]place, k K, p *keyPath, key, value string, line int) {
	if first, ok := m[k]; ok {
		section := p.parent.String()
		r.report(p, key, line, "%s is that of %s[%d] (line %d) too", value, section, first.index, first.line)
		return
	}
	m[k] = place{p.index, line}
}

func (r *directoryReader) checkAccount(p *keyPath, e *accountEntry) {
	if !isID(e.ID) {
		r.report(p, "id", e.line, "%d is not an id from 1 to 2^53-1", e.ID)
	} else {
		unique(r, r.seen.accountIDs, e.ID, p, "id", fmt.Sprint(e.ID), e.line)
	}
	r.name(p, "title", e.Title, e.line)
	r.name(p, "login", e.Login, e.line)
	switch {
	case e.Login != "":
		unique(r, r.seen.logins, e.Login, p, "login", shown(e.Login, false), e.line)
	case e.Password != "":
		r.report(p, "login", e.line, "missing, because a password is given")
	}
	if n := len(e.Password); n > api.MaxPassword {
		r.report(p, "password", e.line, "%d bytes, at most %d are expected", n, api.MaxPassword)
	}
	if !r.check.zone(e.TimeZone) {
		r.report(p, "time_zone", e.line, "%s is not an IANA time zone such as Europe/Berlin", shown(e.TimeZone, false))
	}
	for i, k := range e.Keys {
		key := fmt.Sprintf("keys[%d]", i)
		if b, err := hex.DecodeString(k); err != nil || len(b) != 16 {
			r.report(p, key, e.line, "the (hidden) value is not a key of 32 hexadecimal digits")
			continue
		}
		unique(r, r.seen.keys, queue.HashKey(k), p, key, "the (hidden) value", e.line)
	}
}

func (r *directoryReader) checkTracker(p *keyPath, e *trackerEntry) {
	if !isID(e.ID) {
		r.report(p, "id", e.line, "%d is not an id from 1 to 2^53-1", e.ID)
	} else {
		unique(r, r.seen.trackerIDs, e.ID, p, "id", fmt.Sprint(e.ID), e.line)
	}
	if _, ok := r.seen.accountIDs[e.Account]; !ok {
		r.seen.unowned = append(r.seen.unowned, ownership{e.Account, place{p.index, e.line}})
	}
	r.name(p, "label", e.Label, e.line)
	r.name(p, "model", e.Model, e.line)
	if n := len(e.Password); n > maxName {
		r.report(p, "password", e.line, "%d bytes, at most %d are expected", n, maxName)
	}
	if e.EmployeeID < 0 || e.EmployeeID >= queue.MaxID {
		r.report(p, "employee_id", e.line, "%d is not an id from 1 to 2^53-1, or 0 for none", e.EmployeeID)
	}
	for i, f := range e.Features {
		if f == "" || len(f) > maxName || strings.ContainsFunc(f, notGraphic) {
			r.report(p, fmt.Sprintf("features[%d]", i), e.line, "%s is not the name of a feature such as chat", shown(f, false))
		}
	}
	r.checkDevice(p, e)
}

// checkDevice looks at what belongs to the wire protocol.
func (r *directoryReader) checkDevice(p *keyPath, e *trackerEntry) {
	proto, ok := r.check.protocols[e.Protocol]
	switch {
	case e.Protocol == "":
		r.report(p, "protocol", e.line, "missing; built in: %s", strings.Join(protocolNames(), ", "))
	case !ok:
		r.report(p, "protocol", e.line, "%s is not built in; built in: %s", shown(e.Protocol, false), strings.Join(protocolNames(), ", "))
	case len(e.Settings) > 0:
		for _, problem := range settingProblems(proto, e.Settings) {
			r.report(p, "settings", e.line, "%s", problem)
		}
	}
	id := queue.NormalizeDeviceID(e.DeviceID)
	switch {
	case e.DeviceID == "":
		r.report(p, "device_id", e.line, "missing; what the device logs in with is expected, such as its phone number or IMEI")
	case id == "":
		r.report(p, "device_id", e.line, "%s is only zeros, which are ignored", shown(e.DeviceID, false))
	case len(id) > maxName || strings.ContainsFunc(id, notInDeviceID):
		r.report(p, "device_id", e.line, "%s holds spaces or unprintable characters, or more than %d bytes", shown(e.DeviceID, false), maxName)
	default:
		unique(r, r.seen.devices, device{e.Protocol, id}, p, "device_id", fmt.Sprintf("%s device %s", e.Protocol, shown(e.DeviceID, false)), e.line)
	}
}

func notInDeviceID(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }

// owners reports the trackers whose account never came.
func (r *directoryReader) owners() {
	for _, o := range r.seen.unowned {
		p := (*keyPath)(nil).key(sectionTrackers).element(o.tracker.index)
		switch _, ok := r.seen.accountIDs[o.account]; {
		case ok:
		case o.account == 0:
			r.report(p, "account", o.tracker.line, "missing; the id of an account is expected")
		default:
			r.report(p, "account", o.tracker.line, "%d is not the id of an account of this file", o.account)
		}
	}
}

// name reports a text that does not fit on a line.
func (r *directoryReader) name(p *keyPath, key, s string, line int) {
	if utf8.RuneCountInString(s) > maxName || strings.ContainsFunc(s, unicode.IsControl) {
		r.report(p, key, line, "%s has control characters or more than %d characters", shown(s, false), maxName)
	}
}

func isID(id int64) bool { return id > 0 && id < queue.MaxID }
