package queue

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"sync/atomic"
)

// Account owns trackers and keys.
type Account struct {
	ID       AccountID
	Login    string
	Password string // argon2id hash in PHC form, empty: nobody can log in
	Title    string
	TimeZone string // IANA name
	Keys     []KeyHash
}

// KeyHash is the SHA-256 of an API key's 32 lower-case hex characters; keys are never stored themselves.
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
	Chat     bool     // the model has a chat at all
	Features []string // of the tariff; "chat" allows messages
	Employee int64    // 0 none
	Settings map[string]string
}

// FeatureChat is the tariff's feature that allows messages.
const FeatureChat = "chat"

// HasFeature reports whether the tariff includes name.
func (t *Tracker) HasFeature(name string) bool {
	return slices.Contains(t.Features, name)
}

// NormalizeDeviceID brings a device id to the form it is compared in: lower case, without leading zeros. JT/T 808 phones are padded with zeros and may hold the nibbles a-f.
func NormalizeDeviceID(id string) string { return strings.TrimLeft(strings.ToLower(id), "0") }

// DirectoryStore keeps accounts and trackers durably.
type DirectoryStore interface {
	// LoadDirectory reads all of it, ordered by id.
	LoadDirectory(ctx context.Context) ([]Account, []Tracker, error)
	// ImportDirectory adds and updates accounts and trackers in one step; prune also removes those that are not given (a removed tracker's messages stay until retention takes them).
	// Rows that are as given already are not written. ErrConflict says that the result would contradict itself, and nothing changes; see MergeDirectory.
	ImportDirectory(ctx context.Context, accounts []Account, trackers []Tracker, prune bool) (ImportStats, error)
}

// ImportStats counts what an import changed.
type ImportStats struct{ Added, Updated, Removed, Unchanged int }

type deviceKey struct{ protocol, id string }

// Snapshot is an immutable, indexed view of the directory; everything reached through it is read-only.
type Snapshot struct {
	accounts map[AccountID]*Account
	trackers map[TrackerID]*Tracker
	devices  map[deviceKey]*Tracker
	keys     map[KeyHash]*Account
	owned    map[AccountID][]*Tracker
}

// NewSnapshot indexes accounts and trackers; the slices must not be changed afterwards.
func NewSnapshot(accounts []Account, trackers []Tracker) *Snapshot {
	s := &Snapshot{
		accounts: make(map[AccountID]*Account, len(accounts)),
		trackers: make(map[TrackerID]*Tracker, len(trackers)),
		devices:  make(map[deviceKey]*Tracker, len(trackers)),
		keys:     make(map[KeyHash]*Account, len(accounts)),
		owned:    make(map[AccountID][]*Tracker, len(accounts)),
	}
	for i := range accounts {
		a := &accounts[i]
		s.accounts[a.ID] = a
		for _, k := range a.Keys {
			s.keys[k] = a
		}
	}
	for i := range trackers {
		t := &trackers[i]
		s.trackers[t.ID] = t
		s.devices[deviceKey{t.Protocol, t.DeviceID}] = t
		s.owned[t.Account] = append(s.owned[t.Account], t)
	}
	return s
}

// Account finds an account by id.
func (s *Snapshot) Account(id AccountID) (*Account, bool) { a, ok := s.accounts[id]; return a, ok }

// AccountByKey finds the account of an API key. The lookup is by hash, so its timing says nothing about the key.
func (s *Snapshot) AccountByKey(k KeyHash) (*Account, bool) { a, ok := s.keys[k]; return a, ok }

// Tracker finds a tracker by id.
func (s *Snapshot) Tracker(id TrackerID) (*Tracker, bool) { t, ok := s.trackers[id]; return t, ok }

// Device finds a tracker by the protocol and id that its device logs in with.
func (s *Snapshot) Device(protocol, id string) (*Tracker, bool) {
	t, ok := s.devices[deviceKey{protocol, NormalizeDeviceID(id)}]
	return t, ok
}

// TrackersOf returns the trackers of an account in the order they were loaded (by id).
func (s *Snapshot) TrackersOf(a AccountID) []*Tracker { return s.owned[a] }

// Len returns the number of accounts and trackers.
func (s *Snapshot) Len() (accounts, trackers int) { return len(s.accounts), len(s.trackers) }

// Directory is the current Snapshot, replaced as a whole when something changes. The zero value is empty and ready to use.
type Directory struct{ current atomic.Pointer[Snapshot] }

// Current returns the newest snapshot, never nil.
func (d *Directory) Current() *Snapshot {
	if s := d.current.Load(); s != nil {
		return s
	}
	return NewSnapshot(nil, nil)
}

// Replace makes s the current snapshot.
func (d *Directory) Replace(s *Snapshot) { d.current.Store(s) }
