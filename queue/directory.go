package queue

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Account owns trackers and keys.
type Account struct {
	ID       AccountID
	Login    string
	Password string // argon2id hash in PHC form, empty: nobody can log in
	Title    string
	TimeZone string // IANA name
	Keys     []Key  // nil: none, and in an import that they stay as they are
	// People are its users, groups and templates; nil: none, and in an edit or an import that they
	// stay as they are.
	People *People
}

// KeyHash is the SHA-256 of an API key's 32 lower-case hex characters; keys are never stored
// themselves.
type KeyHash [sha256.Size]byte

// HashKey hashes an API key; upper-case hex digits count as lower-case ones.
func HashKey(key string) KeyHash { return sha256.Sum256([]byte(strings.ToLower(key))) }

// Tracker is one device of an account.
type Tracker struct {
	ID       TrackerID
	Account  AccountID
	Label    string
	Protocol string // name of a wire protocol
	DeviceID string // what the device logs in with, normalised by NormalizeDeviceID
	Password string // what the device presents; empty accepts anything
	Model    string
	Blocked  bool
	Chat     bool // the model has a chat at all
	// Conversation is the number of its account's conversation, see Key.
	Conversation uint8
	History      History  // of an edit or import only: never stored
	Features     []string // of the tariff; "chat" allows messages
	Employee     int64    // 0 none
	// EmployeeRecord is what is known of the employee; nil: nothing but the number.
	EmployeeRecord *EmployeeRecord
	Settings       map[string]string
	// Sorting is how its account sorts it; nil: not at all, and in an edit or an import that it
	// stays as it is.
	Sorting *Sorting
	// Upstream is the tracking server that answers the device: host:port, UpstreamNone, or empty
	// for that of the listener which the device comes to.
	Upstream string
	// Former are the conversations that other accounts have kept: a pointer, nil where there are
	// none, since a million trackers are held and nearly none has any. The list is never changed in
	// place.
	Former *[]Former
}

// Sorting is where an account has put a tracker. One that is in a directory is never changed in
// place.
type Sorting struct {
	Group int64    `json:"group,omitempty"` // one of its account's groups, 0 none
	Tags  []string `json:"tags,omitempty"`  // each once, in the order given
}

// EmployeeRecord is what a directory says of an employee.
type EmployeeRecord struct {
	FirstName string `json:"first_name" yaml:"first_name"`
	LastName  string `json:"last_name"  yaml:"last_name"`
	Phone     string `json:"phone"      yaml:"phone"`
}

// Most characters of what an EmployeeRecord holds.
const (
	MaxEmployeeName  = 100
	MaxEmployeePhone = 32
)

// MaxPassword is the greatest length of an account's password in bytes.
const MaxPassword = 1024

// FeatureChat is the tariff's feature that allows messages.
const FeatureChat = "chat"

// HasFeature reports whether the tariff includes name.
func (t *Tracker) HasFeature(name string) bool {
	return slices.Contains(t.Features, name)
}

// NormalizeDeviceID brings a device id to the form it is compared in: lower case, without leading
// zeros. JT/T 808 phones are padded with zeros and may hold the nibbles a-f.
func NormalizeDeviceID(id string) string { return strings.TrimLeft(strings.ToLower(id), "0") }

// UpstreamNone is the Upstream of a tracker whose device the gateway answers itself.
const UpstreamNone = "none"

// IsUpstream reports whether s can be the Upstream of a tracker.
func IsUpstream(s string) bool {
	if s == "" || s == UpstreamNone {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && n > 0 && IsHost(host)
}

// IsHost accepts addresses and host names.
func IsHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	const longest = 253
	if len(s) > longest || strings.Trim(s, "0123456789.") == "" {
		// digits and dots alone: a damaged address
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInLabel) {
			return false
		}
	}
	return true
}

func notInLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' &&
		r != '_'
}

// DirectoryStore keeps accounts and trackers durably.
type DirectoryStore interface {
	// LoadDirectory reads all of it, ordered by id.
	LoadDirectory(ctx context.Context) ([]Account, []Tracker, error)
	// ImportDirectory adds and updates accounts and trackers in one step; prune also removes those
	// that are not given (a removed tracker's messages stay until retention takes them, with the
	// account that had it: it finds them when the tracker comes back, another account does not).
	// Rows that are as given already are not written. ErrConflict says that the result would
	// contradict itself, and nothing changes: an id given twice, two accounts with one login or
	// key, two trackers that log in alike, a tracker without its account.
	ImportDirectory(ctx context.Context, accounts []Account, trackers []Tracker,
		prune bool) (ImportStats, error)
}

// ImportStats counts what an import changed.
type ImportStats struct{ Added, Updated, Removed, Unchanged int }
