package admin

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"

	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

// accountObject is an account in the shape of directory.yaml. What is absent in a PUT keeps the
// password, the keys, the users, the groups and the templates as they are.
type accountObject struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	// never answered; "" means that nobody can log in.
	Password *string `json:"password,omitempty"`
	// in PHC form, answered by an export only.
	PasswordHash *string `json:"password_hash,omitempty"`
	Title        string  `json:"title"`
	TimeZone     string  `json:"time_zone"`
	// keys of 32 hexadecimal digits, or the ids by which keys are answered.
	Keys      *[]keyObject      `json:"keys"`
	Users     *[]userObject     `json:"users,omitempty"`
	Groups    *[]queue.Group    `json:"groups,omitempty"`
	Templates *[]queue.Template `json:"templates,omitempty"`
	// the greatest id that a user, group or template has had; answered by an export only.
	LastID int64 `json:"last_id,omitempty"`
}

// trackerObject is a tracker in the shape of directory.yaml.
type trackerObject struct {
	ID         int64                 `json:"id"`
	Account    int64                 `json:"account"`
	Label      string                `json:"label"`
	Protocol   string                `json:"protocol"`
	DeviceID   string                `json:"device_id"`
	Password   string                `json:"password"`
	Model      string                `json:"model"`
	Blocked    bool                  `json:"blocked"`
	Chat       bool                  `json:"chat"`
	Features   []string              `json:"features"`
	EmployeeID int64                 `json:"employee_id"`
	Employee   *queue.EmployeeRecord `json:"employee,omitempty"`
	Settings   map[string]string     `json:"settings"`
	Upstream   string                `json:"upstream,omitempty"`
	// where neither is given, both stay.
	GroupID *int64    `json:"group_id,omitempty"`
	Tags    *[]string `json:"tags,omitempty"`
	// keep, move or drop, where the account is another one; never answered.
	History string `json:"history,omitempty"`
}

func newAccountObject() *accountObject { return &accountObject{TimeZone: "UTC"} }

func newTrackerObject() *trackerObject {
	return &trackerObject{Chat: true, Features: []string{queue.FeatureChat}}
}

// accountAnswer is the answer about an account: of its keys only the ids. An export tells hashes of
// passwords too.
func accountAnswer(a *queue.Account, export bool) *accountObject {
	o := &accountObject{
		ID: int64(a.ID), Login: a.Login, Title: a.Title, TimeZone: a.TimeZone,
	}
	o.tellPeople(a, export)
	if export {
		o.PasswordHash = &a.Password
	}
	return o
}

// trackerAnswer is the answer about a tracker. An export tells also that it has no group and no
// tags.
func trackerAnswer(t *queue.Tracker, export bool) *trackerObject {
	o := &trackerObject{
		ID: int64(t.ID), Account: int64(t.Account), Label: t.Label, Protocol: t.Protocol,
		DeviceID: t.DeviceID, Password: t.Password, Model: t.Model,
		Blocked: t.Blocked, Chat: t.Chat, Features: t.Features, EmployeeID: t.Employee,
		Employee: t.EmployeeRecord, Settings: t.Settings, Upstream: t.Upstream,
	}
	if group := t.GroupID(); export || group != 0 {
		o.GroupID = &group
	}
	if tags := t.Tags(); export || len(tags) > 0 {
		o.Tags = new(append([]string{}, tags...))
	}
	if o.Features == nil {
		o.Features = []string{}
	}
	if o.Settings == nil {
		o.Settings = map[string]string{}
	}
	return o
}

// keyID names a key without telling it.
func keyID(h queue.KeyHash) string { return hex.EncodeToString(h[:]) }

// parseKey reads a key, or the id of one.
func parseKey(s string) (queue.KeyHash, bool) {
	if auth.IsKey(s) {
		return queue.HashKey(s), true
	}
	return parseKeyID(s)
}

func parseKeyID(s string) (queue.KeyHash, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(queue.KeyHash{}) {
		return queue.KeyHash{}, false
	}
	return queue.KeyHash(b), true
}

// decodeObject reads exactly one JSON object without unknown members.
func decodeObject(body []byte, into any) error {
	body, ok := navixy.TrimObject(body)
	if !ok {
		return navixy.Refuse(navixy.CodeWrongFormat)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return navixy.Refuse(navixy.CodeWrongFormat)
		}
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return navixy.Invalid(wrong.Field, "must not be a JSON "+wrong.Value)
	}
	if name, ok := unknownMember(err); ok {
		return navixy.Invalid(name, problemUnknown)
	}
	return navixy.Refuse(navixy.CodeWrongFormat)
}

// unknownMember returns the member that DisallowUnknownFields met: encoding/json has no type for
// it.
func unknownMember(err error) (string, bool) {
	const prefix = `json: unknown field "`
	text := err.Error()
	if len(text) > len(prefix) && text[:len(prefix)] == prefix && text[len(text)-1] == '"' {
		return text[len(prefix) : len(text)-1], true
	}
	return "", false
}
