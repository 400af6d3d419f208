package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"trackchat/queue"
)

// Holder is who has a password: a user of an account, or with User 0 the account's own login.
type Holder struct {
	Account queue.AccountID
	User    int64
}

// keyEntry is a key as it is written: by itself, or with what is known of it.
type keyEntry struct {
	Key  string   `yaml:"key" secret:"true"`
	Name string   `yaml:"name"`
	Role role     `yaml:"role"`
	End  timeText `yaml:"end"`

	line int
}

func (e *keyEntry) start(line int) { e.line = line }

func (e *keyEntry) short() any { return &e.Key }

// userEntry is a user as it is written.
type userEntry struct {
	ID       int64  `yaml:"id"`
	Login    string `yaml:"login"`
	Password string `yaml:"password" secret:"true"`
	Name     string `yaml:"name"`
	Role     role   `yaml:"role"`
	Locale   string `yaml:"locale"`

	line int
}

func (e *userEntry) start(line int) { e.line = line }

// groupEntry is a group as it is written.
type groupEntry struct {
	ID    int64  `yaml:"id"`
	Title string `yaml:"title"`
	Color string `yaml:"color"`

	line int
}

func (e *groupEntry) start(line int) { e.line = line }

// templateEntry is a template as it is written.
type templateEntry struct {
	ID      int64    `yaml:"id"`
	Name    string   `yaml:"name"`
	Text    string   `yaml:"text"`
	Choices []string `yaml:"choices"`
	TTL     int      `yaml:"ttl"`

	line int
}

func (e *templateEntry) start(line int) { e.line = line }

// role is that of a key or a user.
type role struct {
	queue.Role
	given bool
}

// UnmarshalText reads the name of a role.
func (r *role) UnmarshalText(text []byte) error {
	r.given = true
	if r.Role.UnmarshalText(text) != nil {
		return errors.New("is none of manager, dispatcher, viewer")
	}
	return nil
}

// timeText is a moment in Unix milliseconds, 0 none.
type timeText int64

// UnmarshalText reads RFC 3339.
func (t *timeText) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.RFC3339, string(text))
	if err != nil || at.UnixMilli() <= 0 {
		return errors.New("is not a time such as 2030-01-01T00:00:00Z")
	}
	*t = timeText(at.UnixMilli())
	return nil
}

// people takes the keys, users, groups and templates of an account that are given. A list that is
// absent stays nil, one that is empty does not.
func (r *directoryReader) people(at entry, e *accountEntry, a *queue.Account) {
	lines := make(map[string]int) // of the elements of the lists
	note := func(list string, i, line int) string {
		place := fmt.Sprintf("%s[%d]", list, i)
		lines[place] = line
		return place
	}
	if e.Keys != nil {
		a.Keys = make([]queue.Key, len(e.Keys))
	}
	for i, k := range e.Keys {
		place := note("keys", i, k.line)
		a.Keys[i] = queue.Key{
			Hash: queue.HashKey(k.Key), Name: k.Name, Role: k.Role.Role, EndMs: int64(k.End),
		}
		here := entry{at.path, k.line}
		if b, err := hex.DecodeString(k.Key); err != nil || len(b) != 16 {
			r.report(here, place, "the (hidden) value is not a key of 32 hexadecimal digits")
			continue
		}
		unique(r, r.seen.keys, a.Keys[i].Hash, here, place, "the (hidden) value")
	}
	if e.Users != nil || e.Groups != nil || e.Templates != nil {
		a.People = new(queue.People)
		a.People.Users = r.users(at, e, note)
		a.People.Groups = converted(e.Groups, func(i int, g groupEntry) queue.Group {
			note("groups", i, g.line)
			return queue.Group{ID: g.ID, Title: g.Title, Color: g.Color}
		})
		a.People.Templates = converted(e.Templates, func(i int, t templateEntry) queue.Template {
			note("templates", i, t.line)
			return queue.Template{
				ID: t.ID, Name: t.Name, Text: t.Text, Choices: t.Choices, TTL: t.TTL,
			}
		})
	}
	a.Check(func(place, problem string) {
		here := at
		element, _, _ := strings.Cut(place, ".")
		if line, ok := lines[element]; ok {
			here.line = line
		}
		r.report(here, place, "%s", problem)
	})
}

// converted is nil for no list, and a list of its own for one that is empty.
func converted[A, B any](list []A, of func(int, A) B) []B {
	if list == nil {
		return nil
	}
	res := make([]B, len(list))
	for i := range list {
		res[i] = of(i, list[i])
	}
	return res
}

func (r *directoryReader) users(at entry, e *accountEntry,
	note func(list string, i, line int) string,
) []queue.User {
	return converted(e.Users, func(i int, u userEntry) queue.User {
		place, here := note("users", i, u.line)+".", entry{at.path, u.line}
		if u.Login != "" {
			unique(r, r.seen.logins, u.Login, here, place+"login", quote(u.Login, false))
		}
		if !u.Role.given {
			r.report(here, place+"role", "missing; manager, dispatcher or viewer is expected")
		}
		r.checkPassword(here, place+"password", u.Password)
		if u.Password != "" {
			r.file.Passwords[Holder{queue.AccountID(e.ID), u.ID}] = u.Password
		}
		return queue.User{
			ID: u.ID, Login: u.Login, Name: u.Name, Role: u.Role.Role, Locale: u.Locale,
		}
	})
}

func (r *directoryReader) checkPassword(at entry, key, password string) {
	if n := len(password); n > queue.MaxPassword {
		r.report(at, key, "%d bytes, at most %d are expected", n, queue.MaxPassword)
	}
}

// sorting is what is given of a tracker's group and tags, nil for nothing. A group that is not in a
// list of groups which the file gives is reported by owners: the account may come later.
func (r *directoryReader) sorting(at entry, e *trackerEntry) *queue.Sorting {
	if e.GroupID == nil && e.Tags == nil {
		return nil
	}
	s := &queue.Sorting{Tags: e.Tags}
	if e.GroupID != nil {
		s.Group = *e.GroupID
	}
	queue.CheckTags(s.Tags, func(place, problem string) { r.report(at, place, "%s", problem) })
	switch {
	case s.Group < 0 || s.Group >= queue.MaxID:
		r.report(at, "group_id", "%d is not an id from 1 to 2^53-1, or 0 for none", s.Group)
	case s.Group != 0:
		r.seen.grouped = append(r.seen.grouped, membership{
			e.Account, s.Group, place{at.path.index, at.line},
		})
	}
	return s
}

// membership is a tracker that is in a group.
type membership struct {
	account, group int64
	tracker        place
}

// groups reports the trackers in groups that their account does not have. Of an account whose
// groups the file does not give the store knows them, and a group may be gone there.
func (r *directoryReader) groups() {
	accounts := make(map[int64]*queue.Account)
	for i := range r.file.Accounts {
		a := &r.file.Accounts[i]
		if a.People != nil && a.People.Groups != nil {
			accounts[int64(a.ID)] = a
		}
	}
	for _, m := range r.seen.grouped {
		a, ok := accounts[m.account]
		if ok && !a.HasGroup(m.group) {
			at := entry{
				(*keyPath)(nil).key(sectionTrackers).element(m.tracker.index), m.tracker.line,
			}
			r.report(at, "group_id", "%d is not the id of a group of account %d", m.group,
				m.account)
		}
	}
}
