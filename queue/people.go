package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of what an account's managers keep, and of what a text has.
const (
	MaxUsers        = 1000
	MaxKeys         = 1000
	MaxGroups       = 1000
	MaxTemplates    = 200
	MaxPeopleName   = 100                // characters of a name
	MaxTemplateText = 2000               // characters
	MaxChoices      = 8                  // of a text
	MaxChoice       = 50                 // characters
	MaxTags         = 20                 // of a tracker
	MaxTag          = 40                 // characters
	MaxTTL          = 365 * 24 * 60 * 60 // seconds that a text waits
)

// ErrTooMany says that an edit would go beyond a bound: nothing of it is done.
var ErrTooMany = errors.New("too many entities")

// Role is what a caller may do. Each role may all that the ones with a greater number may.
type Role byte

// Roles. The zero value is that of an account's own login, and of a key that names none.
const (
	RoleManager    Role = iota // also edits the account's users, keys, groups and templates
	RoleDispatcher             // also writes, marks and cancels
	RoleViewer                 // reads
)

var roleNames = [...]string{"manager", "dispatcher", "viewer"} //nolint:gochecknoglobals // names

// May reports whether a caller with role r may do what needs role need.
func (r Role) May(need Role) bool { return r <= need }

// String is the name of the role.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "unknown"
}

// MarshalText writes the name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the name.
func (r *Role) UnmarshalText(text []byte) error {
	i := slices.Index(roleNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%.20q is none of %s", text, strings.Join(roleNames[:], ", "))
	}
	*r = Role(i)
	return nil
}

// Key is an API key of an account.
type Key struct {
	Hash  KeyHash
	Name  string // may be empty
	Role  Role
	EndMs int64 // Unix milliseconds, from then on it is no key any more; 0 never
}

// Ended reports whether the key is none any more at now, in Unix milliseconds.
func (k *Key) Ended(now int64) bool { return k.EndMs != 0 && now >= k.EndMs }

// ID names the key without telling it: the first sixteen hexadecimal digits of its hash.
func (k *Key) ID() string { return hex.EncodeToString(k.Hash[:8]) }

// KeyIndex is where a key is in a list, -1 nowhere.
func KeyIndex(list []Key, h KeyHash) int {
	return slices.IndexFunc(list, func(k Key) bool { return k.Hash == h })
}

// User logs in to an account beside its own login.
type User struct {
	ID       int64  `json:"id"`
	Login    string `json:"login"`              // no other user or account has it
	Password string `json:"password,omitempty"` // as that of an Account
	Name     string `json:"name"`
	Role     Role   `json:"role"`
	Locale   string `json:"locale,omitempty"`
}

// Stamp tells one password of the user from another, and nothing about it.
func (u *User) Stamp() string {
	sum := sha256.Sum256([]byte(u.Password))
	return hex.EncodeToString(sum[:8])
}

// Group is what trackers of an account are sorted by; each is in one at most.
type Group struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
	Color string `json:"color,omitempty"` // six hexadecimal digits
}

// Template is a prepared text of an account. Its text may hold {label}, {employee} and {time},
// which whoever sends it replaces.
type Template struct {
	ID      int64    `json:"id"`
	Name    string   `json:"name"`
	Text    string   `json:"text"`
	Choices []string `json:"choices,omitempty"`
	TTL     int      `json:"ttl,omitempty"` // seconds, 0 for ever
}

// AuthorKind tells who wrote a message.
type AuthorKind byte

// Kinds of authors; stored, so values never change.
const (
	AuthorUser AuthorKind = 1 // a user of the account, or with id 0 its own login
	AuthorKey  AuthorKind = 2 // who has an API key of the account
)

// String is how the API names the kind.
func (k AuthorKind) String() string {
	if k == AuthorKey {
		return "key"
	}
	return "user"
}

// Author is who wrote an outgoing message, as he was named then.
type Author struct {
	Kind AuthorKind `json:"kind"`
	ID   string     `json:"id"` // of the user, or of the key
	Name string     `json:"name,omitempty"`
}

// People are what an account's managers edit beside its keys. One that is in a directory is never
// changed in place. Ids are unique in each list and never used again.
type People struct {
	LastID    int64      `json:"last_id,omitempty"` // the greatest id that was given in any list
	Users     []User     `json:"users,omitempty"`
	Groups    []Group    `json:"groups,omitempty"`
	Templates []Template `json:"templates,omitempty"`
}

// over completes what an edit gives for an account: a list that is nil stays as it was. What says
// nothing is nil.
func (p *People) over(old *People) *People {
	if p == nil {
		return old
	}
	n := *p
	if old != nil {
		n.LastID = max(n.LastID, old.LastID)
		if n.Users == nil {
			n.Users = old.Users
		}
		if n.Groups == nil {
			n.Groups = old.Groups
		}
		if n.Templates == nil {
			n.Templates = old.Templates
		}
	}
	for i := range n.Users {
		n.LastID = max(n.LastID, n.Users[i].ID)
	}
	for i := range n.Groups {
		n.LastID = max(n.LastID, n.Groups[i].ID)
	}
	for i := range n.Templates {
		n.LastID = max(n.LastID, n.Templates[i].ID)
	}
	n.Users, n.Groups, n.Templates = some(n.Users), some(n.Groups), some(n.Templates)
	if n.LastID == 0 {
		return nil
	}
	return &n
}

// some is nil for an empty list.
func some[V any](list []V) []V {
	if len(list) == 0 {
		return nil
	}
	return list
}

// Clone returns a copy whose lists may be changed; of nil an empty one.
func (p *People) Clone() *People {
	if p == nil {
		return &People{}
	}
	return &People{
		LastID: p.LastID, Users: slices.Clone(p.Users), Groups: slices.Clone(p.Groups),
		Templates: slices.Clone(p.Templates),
	}
}

// NextID gives an id away.
func (p *People) NextID() int64 {
	p.LastID++
	return p.LastID
}

// KeepSorting completes a tracker that replaces old (nil: none): see Sorting.
func (t *Tracker) KeepSorting(old *Tracker) {
	switch {
	case t.Sorting == nil && old != nil && old.Account == t.Account:
		t.Sorting = old.Sorting
	case t.Sorting != nil && t.Sorting.Group == 0 && len(t.Sorting.Tags) == 0:
		t.Sorting = nil
	}
}

// CheckGroup refuses a group that its account a never had. One that is gone is none.
func (t *Tracker) CheckGroup(a *Account) error {
	id := t.GroupID()
	if id == 0 || a.HasGroup(id) {
		return nil
	}
	if a.People == nil || id > a.People.LastID {
		return &ConflictError{
			"group_id", fmt.Sprintf("%d is not a group of account %d", id, a.ID),
		}
	}
	t.LeaveGroup()
	return nil
}

// LeaveGroup puts the tracker into no group.
func (t *Tracker) LeaveGroup() {
	tags := t.Tags()
	if t.Sorting = nil; len(tags) > 0 {
		t.Sorting = &Sorting{Tags: tags}
	}
}

// KeepPasswords gives users of the account, by id, the password that they have in old (nil: none).
func (a *Account) KeepPasswords(old *Account, ids []int64) {
	if len(ids) == 0 || a.People == nil {
		return
	}
	a.People = a.People.Clone()
	for i := range a.People.Users {
		u := &a.People.Users[i]
		if !slices.Contains(ids, u.ID) {
			continue
		}
		u.Password = ""
		if old != nil {
			if was, ok := old.User(u.ID); ok {
				u.Password = was.Password
			}
		}
	}
}

// GroupID is the tracker's group, 0 none.
func (t *Tracker) GroupID() int64 {
	if t.Sorting == nil {
		return 0
	}
	return t.Sorting.Group
}

// Tags are the tracker's tags.
func (t *Tracker) Tags() []string {
	if t.Sorting == nil {
		return nil
	}
	return t.Sorting.Tags
}

func sameSorting(a, b *Sorting) bool {
	return a == b || a != nil && b != nil && a.Group == b.Group && slices.Equal(a.Tags, b.Tags)
}

// KeepPeople completes an account that replaces old (nil: none): see People.
func (a *Account) KeepPeople(old *Account) {
	var was *People
	if old != nil {
		was = old.People
	}
	a.People = a.People.over(was)
}

// IsLess reports whether the account has only lost keys, users, groups or templates of those that
// old has. So it takes no room, and whoever is to be out is out also where there is none.
func (a *Account) IsLess(old *Account) bool {
	now := [...]int{len(a.Keys), len(a.AllUsers()), len(a.AllGroups()), len(a.AllTemplates())}
	was := [...]int{
		len(old.Keys), len(old.AllUsers()), len(old.AllGroups()), len(old.AllTemplates()),
	}
	for i := range now {
		if now[i] > was[i] {
			return false
		}
	}
	return now != was
}

// AllUsers are the account's users.
func (a *Account) AllUsers() []User {
	if a.People == nil {
		return nil
	}
	return a.People.Users
}

// AllGroups are the account's groups.
func (a *Account) AllGroups() []Group {
	if a.People == nil {
		return nil
	}
	return a.People.Groups
}

// AllTemplates are the account's templates.
func (a *Account) AllTemplates() []Template {
	if a.People == nil {
		return nil
	}
	return a.People.Templates
}

// User finds one of the account's users.
func (a *Account) User(id int64) (*User, bool) {
	users := a.AllUsers()
	i := slices.IndexFunc(users, func(u User) bool { return u.ID == id })
	if i < 0 {
		return nil, false
	}
	return &users[i], true
}

// HasGroup reports whether the account has a group; 0 is no group.
func (a *Account) HasGroup(id int64) bool {
	return slices.ContainsFunc(a.AllGroups(), func(g Group) bool { return g.ID == id })
}

// Logins are all logins of the account: its own, and its users'.
func (a *Account) Logins(yield func(login string, u *User) bool) {
	if a.Login != "" && !yield(a.Login, nil) {
		return
	}
	users := a.AllUsers()
	for i := range users {
		if !yield(users[i].Login, &users[i]) {
			return
		}
	}
}

// ownConflict is what contradicts itself within one account.
func (a *Account) ownConflict() error {
	keys := make(map[KeyHash]bool, len(a.Keys))
	for i := range a.Keys {
		if keys[a.Keys[i].Hash] {
			return KeyTwice()
		}
		keys[a.Keys[i].Hash] = true
	}
	logins := make(map[string]bool)
	for login := range a.Logins {
		if logins[login] {
			return LoginTaken(a.ID)
		}
		logins[login] = true
	}
	return nil
}

// Conflict returns what contradicts itself within the account, or with another account as those
// that find the holder of a login and of a key say; nil for nothing.
func (a *Account) Conflict(byLogin func(string) (*Account, bool),
	byKey func(KeyHash) (*Account, bool),
) error {
	if err := a.ownConflict(); err != nil {
		return err
	}
	for login := range a.Logins {
		if other, ok := byLogin(login); ok && other.ID != a.ID {
			return LoginTaken(other.ID)
		}
	}
	for i := range a.Keys {
		if other, ok := byKey(a.Keys[i].Hash); ok && other.ID != a.ID {
			return KeyTaken()
		}
	}
	return nil
}

func samePeople(a, b *People) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	return a.LastID == b.LastID && slices.Equal(a.Users, b.Users) &&
		slices.Equal(a.Groups, b.Groups) &&
		slices.EqualFunc(a.Templates, b.Templates, func(a, b Template) bool {
			return a.ID == b.ID && a.Name == b.Name && a.Text == b.Text && a.TTL == b.TTL &&
				slices.Equal(a.Choices, b.Choices)
		})
}
