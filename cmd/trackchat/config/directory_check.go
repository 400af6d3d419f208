package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	grouped            []membership
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
		accountIDs: make(map[int64]place), trackerIDs: make(map[int64]place),
		logins: make(map[string]place),
		keys:   make(map[queue.KeyHash]place), devices: make(map[device]place),
	}
}

// zone reports whether an IANA time zone exists. The machine's own zone is none: it is another one
// on another machine.
func (r *directoryReader) zone(name string) bool {
	ok, known := r.zones[name]
	if !known {
		_, err := time.LoadLocation(name)
		ok = err == nil && name != "" && name != "Local"
		r.zones[name] = ok
	}
	return ok
}

// entry is where an entry stands: its path, and the line that it begins on.
type entry struct {
	path *keyPath
	line int
}

// report adds a problem about a key of an entry. The line is that of the entry.
func (r *directoryReader) report(at entry, key, format string, args ...any) {
	r.decoder.report(origin{line: at.line}, at.path.String()+"."+key, format, args...)
}

// unique notes where a value stands and reports one that has come before.
func unique[K comparable](r *directoryReader, m map[K]place, k K, at entry, key, value string) {
	if first, ok := m[k]; ok {
		section := at.path.parent.String()
		r.report(at, key, "%s is that of %s[%d] (line %d) too", value, section, first.index,
			first.line)
		return
	}
	m[k] = place{at.path.index, at.line}
}

func (r *directoryReader) checkAccount(at entry, e *accountEntry) {
	if !isID(e.ID) {
		r.report(at, "id", "%d is not an id from 1 to 2^53-1", e.ID)
	} else {
		unique(r, r.seen.accountIDs, e.ID, at, "id", fmt.Sprint(e.ID))
	}
	r.name(at, "title", e.Title)
	r.name(at, "login", e.Login)
	switch {
	case e.Login != "":
		unique(r, r.seen.logins, e.Login, at, "login", quote(e.Login, false))
	case e.Password != "":
		r.report(at, "login", "missing, because a password is given")
	}
	r.checkPassword(at, "password", e.Password)
	if !r.zone(e.TimeZone) {
		r.report(at, "time_zone", "%s is not an IANA time zone such as Europe/Berlin",
			quote(e.TimeZone, false))
	}
}

func (r *directoryReader) checkTracker(at entry, e *trackerEntry) {
	if !isID(e.ID) {
		r.report(at, "id", "%d is not an id from 1 to 2^53-1", e.ID)
	} else {
		unique(r, r.seen.trackerIDs, e.ID, at, "id", fmt.Sprint(e.ID))
	}
	if _, ok := r.seen.accountIDs[e.Account]; !ok {
		r.seen.unowned = append(r.seen.unowned, ownership{e.Account, place{at.path.index, at.line}})
	}
	r.name(at, "label", e.Label)
	r.name(at, "model", e.Model)
	if n := len(e.Password); n > maxName {
		r.report(at, "password", "%d bytes, at most %d are expected", n, maxName)
	}
	r.checkEmployee(at, e)
	for i, f := range e.Features {
		if f == "" || len(f) > maxName || strings.ContainsFunc(f, notGraphic) {
			r.report(at, fmt.Sprintf("features[%d]", i),
				"%s is not the name of a feature such as chat", quote(f, false))
		}
	}
	if !queue.IsUpstream(e.Upstream) {
		r.report(at, "upstream", "%s is neither none nor host:port such as tracking.example:6808",
			quote(e.Upstream, false))
	}
	if _, ok := queue.ParseHistory(e.History); !ok {
		r.report(at, "history", "%s is none of keep, move, drop", quote(e.History, false))
	}
	r.checkDevice(at, e)
}

func (r *directoryReader) checkEmployee(at entry, e *trackerEntry) {
	switch {
	case e.EmployeeID < 0 || e.EmployeeID >= queue.MaxID:
		r.report(at, "employee_id", "%d is not an id from 1 to 2^53-1, or 0 for none", e.EmployeeID)
	case e.EmployeeID == 0 && e.Employee != queue.EmployeeRecord{}:
		r.report(at, "employee_id", "missing, because an employee is given")
	}
	r.text(at, "employee.first_name", e.Employee.FirstName, queue.MaxEmployeeName)
	r.text(at, "employee.last_name", e.Employee.LastName, queue.MaxEmployeeName)
	r.text(at, "employee.phone", e.Employee.Phone, queue.MaxEmployeePhone)
}

// checkDevice looks at what belongs to the wire protocol.
func (r *directoryReader) checkDevice(at entry, e *trackerEntry) {
	proto, ok := all.Find(e.Protocol)
	switch {
	case e.Protocol == "":
		r.report(at, "protocol", "missing; built in: %s", strings.Join(ProtocolNames(), ", "))
	case !ok:
		r.report(at, "protocol", "%s is not built in; built in: %s", quote(e.Protocol, false),
			strings.Join(ProtocolNames(), ", "))
	case len(e.Settings) > 0:
		for _, name := range slices.Sorted(maps.Keys(e.Settings)) {
			if err := proto.CheckTracker(name, e.Settings[name]); err != nil {
				r.report(at, "settings."+name, "%v", err)
			}
		}
	}
	id := queue.NormalizeDeviceID(e.DeviceID)
	switch {
	case e.DeviceID == "":
		r.report(at, "device_id",
			"missing; what the device logs in with is expected, such as its phone number or IMEI")
	case id == "":
		r.report(at, "device_id", "%s is only zeros, which are ignored", quote(e.DeviceID, false))
	case len(id) > maxName || strings.ContainsFunc(id, notInDeviceID):
		r.report(at, "device_id",
			"%s holds spaces or unprintable characters, or more than %d bytes", quote(e.DeviceID,
				false), maxName)
	default:
		unique(r, r.seen.devices, device{e.Protocol, id}, at, "device_id",
			fmt.Sprintf("%s device %s", e.Protocol, quote(e.DeviceID, false)))
	}
}

func notInDeviceID(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }

// owners reports the trackers whose account never came.
func (r *directoryReader) owners() {
	for _, o := range r.seen.unowned {
		at := entry{(*keyPath)(nil).key(sectionTrackers).element(o.tracker.index), o.tracker.line}
		switch _, ok := r.seen.accountIDs[o.account]; {
		case ok:
		case o.account == 0:
			r.report(at, "account", "missing; the id of an account is expected")
		default:
			r.report(at, "account", "%d is not the id of an account of this file", o.account)
		}
	}
}

func (r *directoryReader) name(at entry, key, s string) { r.text(at, key, s, maxName) }

// text reports a text that does not fit on a line.
func (r *directoryReader) text(at entry, key, s string, most int) {
	if utf8.RuneCountInString(s) > most || strings.ContainsFunc(s, unicode.IsControl) {
		r.report(at, key, "%s has control characters or more than %d characters", quote(s, false),
			most)
	}
}

func isID(id int64) bool { return id > 0 && id < queue.MaxID }
