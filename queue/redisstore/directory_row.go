package redisstore

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"trackchat/queue"
)

// accountRow is how an account is stored.
type accountRow struct {
	ID       queue.AccountID `json:"id"`
	Login    string          `json:"login,omitempty"`
	Password string          `json:"password,omitempty"`
	Title    string          `json:"title,omitempty"`
	TimeZone string          `json:"time_zone,omitempty"`
	Keys     []string        `json:"keys,omitempty"` // hexadecimal
}

func encodeAccount(a *queue.Account, version int64) (string, error) {
	r := accountRow{
		ID: a.ID, Login: a.Login, Password: a.Password, Title: a.Title,
		TimeZone: a.TimeZone,
	}
	for _, k := range a.Keys {
		r.Keys = append(r.Keys, hex.EncodeToString(k[:]))
	}
	return encodeRow(r, version)
}

func decodeAccount(value string) (a queue.Account, version int64, err error) {
	var r accountRow
	if version, err = decodeRow(value, &r); err != nil {
		return a, 0, err
	}
	a = queue.Account{
		ID: r.ID, Login: r.Login, Password: r.Password, Title: r.Title,
		TimeZone: r.TimeZone,
	}
	for _, text := range r.Keys {
		var k queue.KeyHash
		if _, err := hex.Decode(k[:], []byte(text)); len(text) != 2*len(k) || err != nil {
			return a, 0, fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, r.ID)
		}
		a.Keys = append(a.Keys, k)
	}
	return a, version, nil
}

// trackerRow is how a tracker is stored.
type trackerRow struct {
	ID             queue.TrackerID       `json:"id"`
	Account        queue.AccountID       `json:"account"`
	Label          string                `json:"label,omitempty"`
	Protocol       string                `json:"protocol"`
	DeviceID       string                `json:"device"`
	Password       string                `json:"password,omitempty"`
	Model          string                `json:"model,omitempty"`
	Blocked        bool                  `json:"blocked,omitempty"`
	Chat           bool                  `json:"chat,omitempty"`
	Conversation   uint8                 `json:"conversation,omitempty"`
	History        queue.History         `json:"-"`
	Features       []string              `json:"features,omitempty"`
	Employee       int64                 `json:"employee,omitempty"`
	EmployeeRecord *queue.EmployeeRecord `json:"employee_record,omitempty"`
	Settings       map[string]string     `json:"settings,omitempty"`
	Former         *[]queue.Former       `json:"former,omitempty"`
}

func encodeTracker(t *queue.Tracker, version int64) (string, error) {
	return encodeRow(trackerRow(*t), version)
}

func decodeTracker(value string) (queue.Tracker, int64, error) {
	var r trackerRow
	version, err := decodeRow(value, &r)
	return queue.Tracker(r), version, err
}

// encodeRow puts the version of the row's last change before it.
func encodeRow(row any, version int64) (string, error) {
	text, err := json.Marshal(row)
	if err != nil {
		return "", fmt.Errorf("writing a row of the directory: %w", err)
	}
	return strconv.FormatInt(version, 10) + " " + string(text), nil
}

// rowVersion is the version before a stored row, and the row.
func rowVersion(value string) (version int64, text string, err error) {
	first, text, _ := strings.Cut(value, " ")
	if version, err = strconv.ParseInt(first, 10, 64); err != nil {
		return 0, "", fmt.Errorf("%w: version %q of a row of the directory", queue.ErrCorrupt,
			first)
	}
	return version, text, nil
}

func decodeRow(value string, row any) (version int64, err error) {
	version, text, err := rowVersion(value)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal([]byte(text), row); err != nil {
		return 0, fmt.Errorf("%w: row of the directory: %w", queue.ErrCorrupt, err)
	}
	return version, nil
}
