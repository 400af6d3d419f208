package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrNotFound says that what an edit names does not exist.
var ErrNotFound = errors.New("not found")

// MaxSessions is how many sessions of an account's own login, or of one of its users, are kept; a
// further one ends the oldest.
const MaxSessions = 1000

// Session is a login of an account, or of one of its users, through the API.
type Session struct {
	Hash    KeyHash // HashKey of what the caller shows
	Account AccountID
	User    int64 // 0: the account's own login
	// Stamp is that of the user's password at the login: with another one the session has ended.
	Stamp     string
	CreatedMs int64
	ExpiresMs int64 // from then on it is no session any more
}

// SessionStore keeps sessions durably. A change of an account's password and the end of an account
// end those of its own login in the same step. Those of users end with what Snapshot.Session says.
type SessionStore interface {
	// PutSession stores a session. Beyond MaxSessions of the account's own login, or of the user,
	// the oldest ones (CreatedMs, Hash) end. ErrNotFound where the account does not exist.
	PutSession(ctx context.Context, s Session) error
	// RenewSession moves the end of a session; false where there is none any more.
	RenewSession(ctx context.Context, h KeyHash, expiresMs int64) (bool, error)
	// EndSession removes a session; false where there was none any more.
	EndSession(ctx context.Context, h KeyHash) (bool, error)
	// Sessions returns the session of each hash; Account is 0 where there is none or it has expired
	// by the store's clock.
	Sessions(ctx context.Context, hs []KeyHash) ([]Session, error)
}

// LiveDirectory is the directory as data that changes while the service runs.
//
// Every change of an account or tracker, ImportDirectory's included, takes the next version: a
// number that rises by one with every row changed and is never used twice, also after a restart.
// What is as it was before takes none.
type LiveDirectory interface {
	// Accounts returns up to limit accounts with greater ids than after, ordered by id.
	Accounts(ctx context.Context, after AccountID, limit int) ([]Account, error)
	// Trackers returns up to limit trackers with greater ids than after, ordered by id.
	Trackers(ctx context.Context, after TrackerID, limit int) ([]Tracker, error)
	// EditDirectory makes the edits in order, in one atomic step: result i belongs to edit i, a
	// refused edit changes nothing and does not touch the others, and each sees what those before
	// it did. Per edit: a *ConflictError (which is an ErrConflict), ErrNotFound
	// or ErrTooMany.
	EditDirectory(ctx context.Context, edits []Edit) ([]EditResult, error)
	DirectoryHistory
}

// DirectoryHistory tells what changes in a directory.
type DirectoryHistory interface {
	// DirectoryChanges returns what changed after version since, ordered by version, about limit
	// rows at a time; each row is told once, as it is now. From 0 it tells all there is. ErrTooOld:
	// the store cannot tell from since, begin at 0 with an empty directory.
	DirectoryChanges(ctx context.Context, since int64, limit int) (DirectoryChanges, error)
}

// EditKind tells the edits apart.
type EditKind byte

// Kinds of Edit.
const (
	EditPutAccount EditKind = iota + 1 // Account is added, or replaces the one with its id
	// Tracker is added, or replaces the one with its id; in another account Tracker.History says
	// what becomes of its messages.
	EditPutTracker
	// Account.ID is removed with its keys and sessions; a conflict while it has trackers, or
	// messages of former ones.
	EditDropAccount
	// Tracker.ID is removed with all its messages: pending ones are never sent, ids resolve to
	// nothing, its session is kicked.
	EditDropTracker
	// Change is called with a copy of the account with Account.ID, in whose lists nothing may be
	// changed in place, once or more often; what it leaves replaces the account, its error is the
	// edit's.
	EditChangeAccount
	EditChangeTracker // the same for the tracker with Tracker.ID
)

// Edit is one change of the directory.
type Edit struct {
	Kind    EditKind
	Account Account
	Tracker Tracker // DeviceID is normalised by the store

	Change        func(*Account) error
	ChangeTracker func(*Tracker) error

	// EditPutAccount: an account that exists keeps its password, Account.Password is that of a new
	// one.
	KeepPassword bool
	KeepKeys     bool // EditPutAccount: the same for its keys
	// EditPutAccount: users, by id, who keep the password that they have.
	KeepUsers []int64
	// EditChangeAccount with Account.ID 0: the account that has this key.
	Holder KeyHash
}

// EditOutcome says what an edit did.
type EditOutcome byte

// Outcomes of an edit.
const (
	EditUnchanged EditOutcome = iota // it is so already, or the edit was refused
	EditAdded
	EditUpdated
	EditRemoved
)

// EditResult answers an Edit.
type EditResult struct {
	Outcome EditOutcome
	Err     error
}

// DirectoryChanges is a part of the directory's history.
type DirectoryChanges struct {
	Version      int64 // where to go on
	More         bool  // there is more now
	Accounts     []Account
	Trackers     []Tracker
	GoneAccounts []AccountID
	GoneTrackers []TrackerID
}

// Empty reports whether nothing changed.
func (c *DirectoryChanges) Empty() bool {
	return len(c.Accounts) == 0 && len(c.Trackers) == 0 && len(c.GoneAccounts) == 0 &&
		len(c.GoneTrackers) == 0
}

// ConflictError says which part of an edit contradicts the directory. It is an ErrConflict.
type ConflictError struct {
	Parameter string // as directory.yaml names it
	Problem   string
}

// Error names both.
func (e *ConflictError) Error() string { return e.Parameter + " " + e.Problem }

// Unwrap makes it an ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// LoginTaken is the conflict of an account whose login another one has.
func LoginTaken(other AccountID) error {
	return &ConflictError{"login", fmt.Sprintf("is that of account %d", other)}
}

// KeyTaken is the conflict of a key that another account has. It does not say which one: a key's
// holder is not to be found by trying.
func KeyTaken() error { return &ConflictError{"keys", "contain a key of another account"} }

// NoAccount is the conflict of a tracker without an account.
func NoAccount(id AccountID) error {
	return &ConflictError{"account", fmt.Sprintf("%d does not exist", id)}
}

// DeviceTaken is the conflict of a tracker that would log in like another one.
func DeviceTaken(other TrackerID) error {
	return &ConflictError{"device_id", fmt.Sprintf("is that of tracker %d with the same protocol",
		other)}
}

// HasTrackers is the conflict of an account that cannot go.
func HasTrackers(one TrackerID) error {
	return &ConflictError{"id", fmt.Sprintf("has trackers, such as %d", one)}
}

// SameAccount reports whether two accounts agree in everything.
func SameAccount(a, b *Account) bool {
	return a.ID == b.ID && a.Login == b.Login && a.Password == b.Password && a.Title == b.Title &&
		a.TimeZone == b.TimeZone && slices.Equal(a.Keys, b.Keys) && samePeople(a.People, b.People)
}

// SameTracker reports whether two trackers agree in everything.
func SameTracker(a, b *Tracker) bool {
	return a.ID == b.ID && a.Account == b.Account && a.Label == b.Label &&
		a.Protocol == b.Protocol && a.DeviceID == b.DeviceID && a.Password == b.Password &&
		a.Model == b.Model && a.Blocked == b.Blocked && a.Chat == b.Chat &&
		a.Employee == b.Employee && slices.Equal(a.Features, b.Features) &&
		maps.Equal(a.Settings, b.Settings) && a.Upstream == b.Upstream &&
		sameSorting(a.Sorting, b.Sorting) &&
		a.Conversation == b.Conversation &&
		slices.Equal(a.former(), b.former()) && sameRecord(a.EmployeeRecord, b.EmployeeRecord)
}

func sameRecord(a, b *EmployeeRecord) bool { return a == b || a != nil && b != nil && *a == *b }

// KeyTwice is the conflict of an account with one key two times.
func KeyTwice() error { return &ConflictError{"keys", "contain a key twice"} }
