package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"trackchat/api/auth"
	"trackchat/api/navixy"
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

// needsPasswords reports whether there are passwords to be hashed, or to be kept.
func (o *accountObject) needsPasswords() bool {
	return o.passwords() > 0 || o.Users != nil && slices.ContainsFunc(*o.Users,
		func(u userObject) bool { return u.PasswordHash == nil })
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

// change makes one edit of an account. The result is what the edit says it did, or that there was
// nothing to be done.
func (a *administration) change(ctx context.Context, id int64,
	change func(*queue.Account) error,
) (queue.EditOutcome, error) {
	res, err := a.store.EditDirectory(ctx, []queue.Edit{{
		Kind: queue.EditChangeAccount, Account: queue.Account{ID: queue.AccountID(id)},
		Change: change,
	}})
	if err == nil {
		err = res[0].Err
	}
	if err != nil {
		return 0, err
	}
	a.follow(ctx)
	return res[0].Outcome, nil
}

// createKey answers the key, which nobody can be told again.
func (a *administration) createKey(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	var o keyDetails
	if err := readOptional(r, &o); err != nil {
		return nil, err
	}
	var c checker
	k := c.keyDetails("", o)
	(&queue.Account{Keys: []queue.Key{k}}).Check(func(place, problem string) {
		c.fail(strings.TrimPrefix(place, "keys[0]."), "%s", problem)
	})
	if k.Ended(a.now().UnixMilli()) {
		c.fail("end", "must be later than now")
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	key := auth.NewKey()
	k.Hash = queue.HashKey(key)
	if _, err := a.change(ctx, id, func(account *queue.Account) error {
		if len(account.Keys) >= queue.MaxKeys {
			return queue.ErrTooMany
		}
		account.Keys = append(slices.Clip(account.Keys), k)
		return nil
	}); err != nil {
		return nil, err
	}
	return valueMembers{struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	}{keyID(k.Hash), key}}, nil
}

func (a *administration) deleteKey(ctx context.Context, r *http.Request) (any, error) {
	hash, ok := parseKeyID(r.PathValue("id"))
	if !ok {
		return nil, navixy.Invalid("id", "must be the id of a key: 64 hexadecimal digits")
	}
	holder, err := a.keyHolder(ctx, hash)
	if err != nil {
		return nil, err
	}
	if _, err := a.change(ctx, int64(holder), func(account *queue.Account) error {
		i := queue.KeyIndex(account.Keys, hash)
		if i < 0 {
			return queue.ErrNotFound
		}
		account.Keys = without(account.Keys, i)
		return nil
	}); err != nil {
		return nil, err
	}
	return resultMembers{outcomeName(queue.EditRemoved)}, nil
}

// without is a copy of a list without one of its elements.
func without[V any](list []V, i int) []V {
	return append(append(make([]V, 0, len(list)-1), list[:i]...), list[i+1:]...)
}

// keyHolder finds the account that has a key.
func (a *administration) keyHolder(ctx context.Context, k queue.KeyHash) (queue.AccountID,
	error,
) {
	for after := queue.AccountID(0); ; {
		page, err := a.store.Accounts(ctx, after, maxPageSize)
		if err != nil {
			return 0, err
		}
		for i := range page {
			after = page[i].ID
			if queue.KeyIndex(page[i].Keys, k) >= 0 {
				return after, nil
			}
		}
		if len(page) < maxPageSize {
			return 0, queue.ErrNotFound
		}
	}
}

func pathUser(r *http.Request) (account, user int64, err error) {
	if account, err = pathID(r); err != nil {
		return 0, 0, err
	}
	user, err = strconv.ParseInt(r.PathValue("user"), 10, 64)
	if err != nil || user < 1 || user >= queue.MaxID {
		return 0, 0, navixy.Invalid("user", problemID)
	}
	return account, user, nil
}

// createUser answers the id that the user was given.
func (a *administration) createUser(ctx context.Context, r *http.Request) (any, error) {
	account, err := pathID(r)
	if err != nil {
		return nil, err
	}
	var o userObject
	if err := readObject(r, &o); err != nil {
		return nil, err
	}
	if o.ID != 0 {
		return nil, navixy.Invalid("id", "is given by the service")
	}
	id, _, err := a.editUser(ctx, account, &o)
	if err != nil {
		return nil, err
	}
	return valueMembers{struct {
		ID int64 `json:"id"`
	}{id}}, nil
}

func (a *administration) putUser(ctx context.Context, r *http.Request) (any, error) {
	account, id, err := pathUser(r)
	if err != nil {
		return nil, err
	}
	var o userObject
	if err := readObject(r, &o); err != nil {
		return nil, err
	}
	if err := sameID(&o.ID, id); err != nil {
		return nil, err
	}
	_, outcome, err := a.editUser(ctx, account, &o)
	if err != nil {
		return nil, err
	}
	return resultMembers{outcomeName(outcome)}, nil
}

// editUser adds or replaces a user; one without an id is a new one.
func (a *administration) editUser(ctx context.Context, account int64, o *userObject) (id int64,
	outcome queue.EditOutcome, err error,
) {
	var c checker
	u := c.user("", o)
	u.Check(func(place, problem string) { c.fail(place, "%s", problem) })
	if err := c.done(); err != nil {
		return 0, 0, err
	}
	was, err := a.account(ctx, account)
	if err != nil {
		return 0, 0, err
	}
	if o.Password != nil {
		before, ok := was.User(o.ID)
		if !ok {
			before = new(queue.User)
		}
		if u.Password, err = hashPassword(before.Password, *o.Password); err != nil {
			return 0, 0, err
		}
	}
	keep, isNew := o.Password == nil && o.PasswordHash == nil, false
	outcome, err = a.change(ctx, account, func(account *queue.Account) error {
		p, put := account.People.Clone(), u
		if put.ID == 0 {
			put.ID = p.NextID()
		}
		id, account.People = put.ID, p
		i := userIndex(p.Users, put.ID)
		switch isNew = i < 0; {
		case !isNew && keep:
			put.Password = p.Users[i].Password
			fallthrough
		case !isNew:
			p.Users[i] = put
		case len(p.Users) >= queue.MaxUsers, put.ID >= queue.MaxID:
			return queue.ErrTooMany
		default:
			p.Users = append(p.Users, put)
		}
		return nil
	})
	if isNew && outcome == queue.EditUpdated {
		outcome = queue.EditAdded
	}
	return id, outcome, err
}

func userIndex(users []queue.User, id int64) int {
	for i := range users {
		if users[i].ID == id {
			return i
		}
	}
	return -1
}

func (a *administration) deleteUser(ctx context.Context, r *http.Request) (any, error) {
	account, id, err := pathUser(r)
	if err != nil {
		return nil, err
	}
	if _, err := a.change(ctx, account, func(account *queue.Account) error {
		p := account.People.Clone()
		i := userIndex(p.Users, id)
		if i < 0 {
			return queue.ErrNotFound
		}
		p.Users, account.People = without(p.Users, i), p
		return nil
	}); err != nil {
		return nil, err
	}
	return resultMembers{outcomeName(queue.EditRemoved)}, nil
}
