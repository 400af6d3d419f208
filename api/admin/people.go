package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"trackchat/api/auth"
	"trackchat/queue"
)

// keyDetails are what is known of a key.
type keyDetails struct {
	Name string `json:"name,omitempty"`
	Role string `json:"role,omitempty"` // absent: manager
	End  string `json:"end,omitempty"`  // RFC 3339; absent: never
}

// keyObject is a key in the shape of directory.yaml: by itself as a text, or with its details. What
// is answered tells the id instead of the key.
type keyObject struct {
	Key string `json:"key,omitempty"` // 32 hexadecimal digits
	ID  string `json:"id,omitempty"`

	Name string `json:"name,omitempty"`
	Role string `json:"role,omitempty"`
	End  string `json:"end,omitempty"`

	bare string // a text: the key, or its id
}

func (o *keyObject) details() keyDetails { return keyDetails{o.Name, o.Role, o.End} }

// UnmarshalJSON reads both forms.
func (o *keyObject) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &o.bare)
	}
	type plain keyObject // without this method
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(o))
}

// MarshalJSON writes a key of which there is nothing else to be told as its id.
func (o keyObject) MarshalJSON() ([]byte, error) {
	if o.details() == (keyDetails{}) {
		return json.Marshal(o.ID)
	}
	type plain keyObject
	return json.Marshal(plain(o))
}

func keyAnswer(k *queue.Key) keyObject {
	o := keyObject{ID: keyID(k.Hash), Name: k.Name}
	if k.Role != queue.RoleManager || k.Name != "" || k.EndMs != 0 {
		o.Role = k.Role.String()
	}
	if k.EndMs != 0 {
		o.End = time.UnixMilli(k.EndMs).UTC().Format(time.RFC3339Nano)
	}
	return o
}

// key reads a key of which what can be wrong is told at a place such as keys[0].
func (c *checker) key(place string, o *keyObject) queue.Key {
	k := c.keyDetails(place+".", o.details())
	var ok bool
	switch {
	case o.Key != "" && o.ID != "":
		c.fail(place, "must have a key or an id, not both")
		return k
	case o.Key != "":
		if ok = auth.IsKey(o.Key); ok {
			k.Hash = queue.HashKey(o.Key)
		}
	case o.ID != "":
		k.Hash, ok = parseKeyID(o.ID)
	default:
		k.Hash, ok = parseKey(o.bare)
	}
	if !ok {
		c.fail(place, "must be a key of 32 hexadecimal digits, or the id of one")
	}
	return k
}

// keyDetails leaves what queue.Account.Check says to that.
func (c *checker) keyDetails(at string, o keyDetails) queue.Key {
	k := queue.Key{Name: o.Name}
	if o.Role != "" {
		k.Role = c.role(at, o.Role)
	}
	if o.End != "" {
		end, err := time.Parse(time.RFC3339, o.End)
		if k.EndMs = end.UnixMilli(); err != nil || k.EndMs <= 0 {
			k.EndMs = 0
			c.fail(at+"end", "must be a time such as 2030-01-01T00:00:00Z")
		}
	}
	return k
}

func (c *checker) role(at, name string) (r queue.Role) {
	if r.UnmarshalText([]byte(name)) != nil {
		c.fail(at+"role", "must be manager, dispatcher or viewer")
	}
	return r
}

// userObject is a user in the shape of directory.yaml. What is absent of a password keeps it as it
// is.
type userObject struct {
	ID           int64   `json:"id"`
	Login        string  `json:"login"`
	Password     *string `json:"password,omitempty"`
	PasswordHash *string `json:"password_hash,omitempty"`
	Name         string  `json:"name"`
	Role         string  `json:"role"`
	Locale       string  `json:"locale,omitempty"`
}

func userAnswer(u *queue.User, hashes bool) userObject {
	o := userObject{
		ID: u.ID, Login: u.Login, Name: u.Name, Role: u.Role.String(), Locale: u.Locale,
	}
	if hashes {
		o.PasswordHash = &u.Password
	}
	return o
}

// user leaves what queue.User.Check says to that. A password is still to be hashed.
func (c *checker) user(at string, o *userObject) queue.User {
	u := queue.User{ID: o.ID, Login: o.Login, Name: o.Name, Locale: o.Locale}
	u.Role = c.role(at, o.Role)
	switch {
	case o.Password != nil && o.PasswordHash != nil:
		c.fail(at+"password", "must not be given together with password_hash")
	case o.Password != nil && len(*o.Password) > queue.MaxPassword:
		c.fail(at+"password", problemPassword)
	case o.PasswordHash != nil && *o.PasswordHash != "":
		if !auth.IsPasswordHash(*o.PasswordHash) {
			c.fail(at+"password_hash", "must be an Argon2id hash in PHC form")
		}
		u.Password = *o.PasswordHash
	}
	return u
}

// people takes the keys, users, groups and templates that are given. A list that is absent is nil,
// one that is empty is not.
func (c *checker) people(o *accountObject, a *queue.Account) {
	if o.Keys != nil {
		a.Keys = make([]queue.Key, len(*o.Keys))
		for i := range *o.Keys {
			a.Keys[i] = c.key(fmt.Sprintf("keys[%d]", i), &(*o.Keys)[i])
		}
	}
	p := new(queue.People)
	if o.Users != nil {
		p.Users = make([]queue.User, len(*o.Users))
		for i := range *o.Users {
			p.Users[i] = c.user(fmt.Sprintf("users[%d].", i), &(*o.Users)[i])
		}
	}
	if o.Groups != nil {
		p.Groups = *o.Groups
	}
	if o.Templates != nil {
		p.Templates = *o.Templates
	}
	if o.LastID < 0 || o.LastID >= queue.MaxID {
		c.fail("last_id", problemID)
	}
	p.LastID = o.LastID
	if p.Users != nil || p.Groups != nil || p.Templates != nil || p.LastID != 0 {
		a.People = p
	}
	a.Check(func(place, problem string) { c.fail(place, "%s", problem) })
}

// sorting is what is given of a tracker's group and tags, nil for nothing. That its account has the
// group is for the store to say.
func (c *checker) sorting(o *trackerObject) *queue.Sorting {
	if o.GroupID == nil && o.Tags == nil {
		return nil
	}
	s := new(queue.Sorting)
	if o.GroupID != nil {
		if s.Group = *o.GroupID; s.Group < 0 || s.Group >= queue.MaxID {
			c.fail("group_id", "must be between 1 and 2^53-1, or 0 for none")
		}
	}
	if o.Tags != nil {
		s.Tags = *o.Tags
	}
	queue.CheckTags(s.Tags, func(place, problem string) { c.fail(place, "%s", problem) })
	return s
}

// maxPasswords are hashed in the time of one request.
const maxPasswords = 50

// passwords are how many there are to be hashed.
func (o *accountObject) passwords() (n int) {
	if o.Password != nil {
		n++
	}
	if o.Users != nil {
		for i := range *o.Users {
			if (*o.Users)[i].Password != nil {
				n++
			}
		}
	}
	return n
}

// tellPeople answers what an account has of keys, users, groups and templates; with all also lists
// that are empty, so that an import of them leaves nothing else.
func (o *accountObject) tellPeople(a *queue.Account, all bool) {
	keys := make([]keyObject, len(a.Keys))
	for i := range a.Keys {
		keys[i] = keyAnswer(&a.Keys[i])
	}
	o.Keys = &keys
	if users := a.AllUsers(); all || len(users) > 0 {
		list := make([]userObject, len(users))
		for i := range users {
			list[i] = userAnswer(&users[i], all)
		}
		o.Users = &list
	}
	if groups := a.AllGroups(); all || len(groups) > 0 {
		o.Groups = new(append([]queue.Group{}, groups...))
	}
	if templates := a.AllTemplates(); all || len(templates) > 0 {
		o.Templates = new(append([]queue.Template{}, templates...))
	}
	if all && a.People != nil {
		o.LastID = a.People.LastID
	}
}
