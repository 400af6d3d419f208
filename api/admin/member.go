package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

// Single keys and users of an account.

// changeAccount makes one edit of an account.
func (a *administration) changeAccount(ctx context.Context, id int64,
	change func(*queue.Account) error,
) (queue.EditOutcome, error) {
	return a.makeChange(ctx, queue.Edit{
		Account: queue.Account{ID: queue.AccountID(id)}, Change: change,
	})
}

// makeChange makes an edit of that kind, and returns what it says it did.
func (a *administration) makeChange(ctx context.Context, e queue.Edit) (queue.EditOutcome, error) {
	e.Kind = queue.EditChangeAccount
	res, err := a.store.EditDirectory(ctx, []queue.Edit{e})
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
	if _, err := a.changeAccount(ctx, id, func(account *queue.Account) error {
		if len(account.Keys) >= queue.MaxKeys {
			return queue.ErrTooMany
		}
		account.Keys = append(slices.Clip(account.Keys), k)
		return nil
	}); err != nil {
		return nil, err
	}
	return keyMembers{keyValue{keyID(k.Hash), key, k.Hash}}, nil
}

// keyMembers are the members of an answer with a new key.
type keyMembers struct {
	Value keyValue `json:"value"`
}

type keyValue struct {
	ID   string `json:"id"`
	Key  string `json:"key"`
	hash queue.KeyHash
}

func (a *administration) deleteKey(ctx context.Context, r *http.Request) (any, error) {
	hash, ok := parseKeyID(r.PathValue("id"))
	if !ok {
		return nil, navixy.Invalid("id", "must be the id of a key: 64 hexadecimal digits")
	}
	_, err := a.makeChange(ctx, queue.Edit{
		Holder: hash, Change: func(account *queue.Account) error {
			account.Keys = without(account.Keys, queue.KeyIndex(account.Keys, hash))
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return resultMembers{outcomeName(queue.EditRemoved)}, nil
}

// without is a copy of a list without one of its elements.
func without[V any](list []V, i int) []V {
	return append(append(make([]V, 0, len(list)-1), list[:i]...), list[i+1:]...)
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
	return userMembers{userValue{id}}, nil
}

// userMembers are the members of an answer with a new user.
type userMembers struct {
	Value userValue `json:"value"`
}

type userValue struct {
	ID int64 `json:"id"`
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
	outcome, err = a.changeAccount(ctx, account, func(account *queue.Account) error {
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
	return slices.IndexFunc(users, func(u queue.User) bool { return u.ID == id })
}

func (a *administration) deleteUser(ctx context.Context, r *http.Request) (any, error) {
	account, id, err := pathUser(r)
	if err != nil {
		return nil, err
	}
	if _, err := a.changeAccount(ctx, account, func(account *queue.Account) error {
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
