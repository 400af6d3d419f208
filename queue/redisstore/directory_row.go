package redisstore

import (
	"encoding/hex"
	"fmt"

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

func newAccountRow(a *queue.Account) accountRow {
	r := accountRow{ID: a.ID, Login: a.Login, Password: a.Password, Title: a.Title, TimeZone: a.TimeZone}
	for _, k := range a.Keys {
		r.Keys = append(r.Keys, hex.EncodeToString(k[:]))
	}
	return r
}

func (r accountRow) account() (queue.Account, error) {
	a := queue.Account{ID: r.ID, Login: r.Login, Password: r.Password, Title: r.Title, TimeZone: r.TimeZone}
	for _, text := range r.Keys {
		var k queue.KeyHash
		if _, err := hex.Decode(k[:], []byte(text)); len(text) != 2*len(k) || err != nil {
			return a, fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, r.ID)
		}
		a.Keys = append(a.Keys, k)
	}
	return a, nil
}

// trackerRow is how a tracker is stored.
type trackerRow struct {
	ID       queue.TrackerID   `json:"id"`
	Account  queue.AccountID   `json:"account"`
	Label    string            `json:"label,omitempty"`
	Protocol string            `json:"protocol"`
	DeviceID string            `json:"device"`
	Password string            `json:"password,omitempty"`
	Model    string            `json:"model,omitempty"`
	Blocked  bool              `json:"blocked,omitempty"`
	Chat     bool              `json:"chat,omitempty"`
	Features []string          `json:"features,omitempty"`
	Employee int64             `json:"employee,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
}

func (r trackerRow) tracker() (queue.Tracker, error) { return queue.Tracker(r), nil }
