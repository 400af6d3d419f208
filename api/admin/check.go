package admin

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

const (
	maxName         = 255 // characters of labels, titles and the like
	maxFeatures     = 100
	maxSettings     = 100
	problemID       = "must be between 1 and 2^53-1"
	problemPassword = "must have at most 1024 bytes"
	problemUnknown  = "is unknown"
)

// checker collects what is wrong with an object.
type checker struct{ wrong navixy.Problems }

func (c *checker) fail(name, format string, args ...any) {
	c.wrong.Add(name, fmt.Sprintf(format, args...))
}

func (c *checker) done() error { return c.wrong.Err() }

func (c *checker) id(name string, id int64) {
	if id < 1 || id >= queue.MaxID {
		c.fail(name, problemID)
	}
}

func (c *checker) name(name, s string) { c.text(name, s, maxName) }

func (c *checker) text(name, s string, most int) {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most ||
		strings.ContainsFunc(s, unicode.IsControl) {
		c.fail(name, "must have at most %d characters and no control characters", most)
	}
}

// account turns an object into an edit; its password is still to be hashed.
func (c *checker) account(o *accountObject) queue.Edit {
	c.id("id", o.ID)
	c.name("login", o.Login)
	c.name("title", o.Title)
	if _, err := time.LoadLocation(o.TimeZone); err != nil || o.TimeZone == "" ||
		o.TimeZone == "Local" {
		c.fail("time_zone", "must be an IANA time zone such as Europe/Berlin")
	}
	e := queue.Edit{
		Kind: queue.EditPutAccount,
		Account: queue.Account{
			ID: queue.AccountID(o.ID), Login: o.Login, Title: o.Title,
			TimeZone: o.TimeZone,
		},
		KeepPassword: o.Password == nil && o.PasswordHash == nil, KeepKeys: o.Keys == nil,
	}
	c.password(o, &e)
	c.people(o, &e.Account)
	return e
}

func (c *checker) password(o *accountObject, e *queue.Edit) {
	switch {
	case o.Password != nil && o.PasswordHash != nil:
		c.fail("password", "must not be given together with password_hash")
	case o.Password != nil && len(*o.Password) > queue.MaxPassword:
		c.fail("password", problemPassword)
	case o.Password != nil && *o.Password != "" && o.Login == "":
		c.fail("login", "must not be empty where a password is given")
	case o.PasswordHash != nil && *o.PasswordHash != "":
		if !auth.IsPasswordHash(*o.PasswordHash) {
			c.fail("password_hash", "must be an Argon2id hash in PHC form")
		}
		e.Account.Password = *o.PasswordHash
	}
}

// tracker turns an object into an edit. What only a wire protocol knows is left to devices, which
// may be nil.
func (c *checker) tracker(o *trackerObject,
	devices func(*queue.Tracker) []navixy.Problem,
) queue.Edit {
	c.id("id", o.ID)
	c.id("account", o.Account)
	c.name("label", o.Label)
	c.name("model", o.Model)
	if len(o.Password) > maxName {
		c.fail("password", "must have at most %d bytes", maxName)
	}
	c.employee(o)
	if len(o.Features) > maxFeatures {
		c.fail("features", "must be at most %d", maxFeatures)
	}
	for i, f := range o.Features {
		if f == "" || len(f) > maxName || strings.ContainsFunc(f, notWord) {
			c.fail(fmt.Sprintf("features[%d]", i), "must be the name of a feature such as chat")
		}
	}
	if len(o.Settings) > maxSettings {
		c.fail("settings", "must be at most %d", maxSettings)
	}
	if !queue.IsUpstream(o.Upstream) {
		c.fail("upstream", "must be host:port, none, or empty for that of the listener")
	}
	id := queue.NormalizeDeviceID(o.DeviceID)
	switch {
	case o.DeviceID == "":
		c.fail("device_id", "must be what the device logs in with, such as its phone number or IMEI")
	case id == "":
		c.fail("device_id", "must not be only zeros, which are ignored")
	case len(id) > maxName || strings.ContainsFunc(id, notWord):
		c.fail("device_id", "must have at most %d bytes and no spaces or unprintable characters",
			maxName)
	}
	t := queue.Tracker{
		ID: queue.TrackerID(o.ID), Account: queue.AccountID(o.Account), Label: o.Label,
		Protocol: o.Protocol, DeviceID: id, Password: o.Password, Model: o.Model,
		Blocked: o.Blocked, Chat: o.Chat, Features: o.Features, Employee: o.EmployeeID,
		EmployeeRecord: o.Employee, Settings: o.Settings, Upstream: o.Upstream,
		Sorting: c.sorting(o),
	}
	history, ok := queue.ParseHistory(o.History)
	if !ok {
		c.fail("history", "must be keep, move or drop")
	}
	t.History = history
	if o.Protocol == "" {
		c.fail("protocol", "must be the name of a wire protocol")
	} else if devices != nil {
		for _, p := range devices(&t) {
			c.fail(p.Parameter, "%s", p.Error)
		}
	}
	return queue.Edit{Kind: queue.EditPutTracker, Tracker: t}
}

// employee also makes nothing of a record that says nothing.
func (c *checker) employee(o *trackerObject) {
	if o.EmployeeID < 0 || o.EmployeeID >= queue.MaxID {
		c.fail("employee_id", "must be between 1 and 2^53-1, or 0 for none")
	}
	switch r := o.Employee; {
	case r == nil:
	case *r == queue.EmployeeRecord{}:
		o.Employee = nil
	default:
		if o.EmployeeID == 0 {
			c.fail("employee_id", "must be given where an employee is")
		}
		c.text("employee.first_name", r.FirstName, queue.MaxEmployeeName)
		c.text("employee.last_name", r.LastName, queue.MaxEmployeeName)
		c.text("employee.phone", r.Phone, queue.MaxEmployeePhone)
	}
}

func notWord(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }
