package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"trackchat/api/audit"
	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

// What an account's managers edit: its users, keys, groups and templates.

// manage adds the operations to rs. All but the lists are in the audit.
func (a *API) manage(rs routes) {
	for path, run := range map[string]func(context.Context, *call) error{
		"account/user/list": a.userList, "account/user/create": a.userCreate,
		"account/user/update": a.userUpdate, "account/user/delete": a.userDelete,
		"account/key/list": a.keyList, "account/key/create": a.keyCreate,
		"account/key/update": a.keyUpdate, "account/key/delete": a.keyDelete,
		"account/group/create": a.groupCreate, "account/group/update": a.groupUpdate,
		"account/group/delete": a.groupDelete, "account/group/assign": a.groupAssign,
		"account/tag/assign":    a.tagAssign,
		"account/template/list": a.templateList, "account/template/create": a.templateCreate,
		"account/template/update": a.templateUpdate, "account/template/delete": a.templateDelete,
	} {
		op := a.operation(queue.RoleManager, path, navixy.CodeDatabase, run)
		i := strings.LastIndexByte(path, '/')
		if path[i:] != "/list" {
			op.action = strings.TrimPrefix(path, "account/")
		}
		if rs[path[:i]] == nil {
			rs[path[:i]] = make(map[string]*operation)
		}
		rs[path[:i]][path[i+1:]] = op
	}
	rs["account/template"]["list"].need = queue.RoleViewer
}

// edit makes edits of the account and its trackers, and has this node see them before it answers.
// The error is that of the first edit that was refused; the others are made all the same.
func (a *API) edit(ctx context.Context, edits ...queue.Edit) error {
	results, err := a.accounts.EditDirectory(ctx, edits)
	if err != nil {
		return fmt.Errorf("editing an account: %w", err)
	}
	// It is stored: others see it within a second in any case.
	_ = a.directory.Sync(ctx, a.accounts)
	for i := range results {
		if err := results[i].Err; err != nil {
			return refuseEdit(err)
		}
	}
	return nil
}

func refuseEdit(err error) error {
	var conflict *queue.ConflictError
	switch {
	case errors.As(err, &conflict) && conflict.Parameter == "login":
		return navixy.Invalid("login", "is taken") // by whom is nobody's business
	case errors.As(err, &conflict):
		return navixy.Invalid(conflict.Parameter, conflict.Problem)
	case errors.Is(err, queue.ErrNotFound):
		return navixy.Refuse(navixy.CodeNotFound)
	case errors.Is(err, queue.ErrTooMany):
		return navixy.Refuse(navixy.CodeTooManyEntries)
	default:
		return err
	}
}

// editAccount changes the caller's account.
func (a *API) editAccount(ctx context.Context, c *call, change func(*queue.Account) error) error {
	return a.edit(ctx, queue.Edit{
		Kind: queue.EditChangeAccount, Account: queue.Account{ID: c.account.ID}, Change: change,
	})
}

// editPeople changes what the caller's account has beside its keys.
func (a *API) editPeople(ctx context.Context, c *call, change func(*queue.People) error) error {
	return a.editAccount(ctx, c, func(account *queue.Account) error {
		account.People = account.People.Clone()
		if err := change(account.People); err != nil {
			return err
		}
		// An empty list says that there is nothing any more, where nil says that all stays.
		p := account.People
		p.Users, p.Groups, p.Templates = given(p.Users), given(p.Groups), given(p.Templates)
		return nil
	})
}

func given[V any](list []V) []V {
	if list == nil {
		return []V{}
	}
	return list
}

// add appends v where there is room.
func add[V any](list *[]V, most int, v V) error {
	if len(*list) >= most {
		return queue.ErrTooMany
	}
	*list = append(*list, v)
	return nil
}

// change has the one with an id changed.
func change[V any](list []V, n int64, id func(*V) int64, f func(*V)) error {
	i := slices.IndexFunc(list, func(o V) bool { return id(&o) == n })
	if i < 0 {
		return queue.ErrNotFound
	}
	f(&list[i])
	return nil
}

// remove removes the one with an id.
func remove[V any](list *[]V, n int64, id func(*V) int64) error {
	i := slices.IndexFunc(*list, func(o V) bool { return id(&o) == n })
	if i < 0 {
		return queue.ErrNotFound
	}
	*list = slices.Delete(*list, i, i+1)
	return nil
}

func userID(u *queue.User) int64         { return u.ID }
func groupID(g *queue.Group) int64       { return g.ID }
func templateID(t *queue.Template) int64 { return t.ID }

// answer writes an answer with one member.
func (c *call) answer(name string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing an answer: %w", err)
	}
	c.out.buf = append(c.out.buf, `{"success":true,"`...)
	c.out.buf = append(c.out.buf, name...)
	c.out.buf = append(append(append(c.out.buf, `":`...), b...), '}')
	return nil
}

// about names the object of an operation to the audit.
func (c *call) about(kind, id string) {
	c.trail.Object = kind + " " + audit.Text(id)
}

// created answers the id of what was made.
func (c *call) created(kind string, id int64) error {
	c.about(kind, strconv.FormatInt(id, 10))
	return c.answer("id", id)
}

func (c *call) succeed() error {
	c.out.buf = append(c.out.buf, navixy.Success...)
	return nil
}

func roleOf(r *navixy.Reader, dst *queue.Role) {
	text, given := r.OptionalText("role")
	if given && dst.UnmarshalText([]byte(text)) != nil {
		r.Fail("role", "must be manager, dispatcher or viewer")
	}
}

func (a *API) userList(_ context.Context, c *call) error {
	c.read.Only()
	if err := c.read.Done(); err != nil {
		return err
	}
	list := slices.Clone(given(c.account.AllUsers()))
	for i := range list {
		list[i].Password = ""
	}
	return c.answer("list", list)
}

// readUser reads what is given of a user into u.
func readUser(r *navixy.Reader, u *queue.User) {
	r.TextInto("login", &u.Login)
	r.TextInto("name", &u.Name)
	r.TextInto("locale", &u.Locale)
	roleOf(r, &u.Role)
	u.Check(r.Fail)
}

// newPassword hashes the password of a request, if it has one.
func (a *API) newPassword(ctx context.Context, c *call) (hash string, err error) {
	password := ""
	c.read.TextInto("password", &password)
	if len(password) > queue.MaxPassword {
		c.read.Fail("password", fmt.Sprintf("must have at most %d bytes", queue.MaxPassword))
	}
	if err := c.read.Done(); err != nil || password == "" {
		return "", err
	}
	if hash, err = a.logins.Hash(ctx, c.client.addr, password); err != nil {
		return "", refuseLogin(err)
	}
	return hash, nil
}

func (a *API) userCreate(ctx context.Context, c *call) error {
	c.read.Only("login", "password", "name", "role", "locale")
	u := queue.User{Role: queue.RoleViewer}
	readUser(c.read, &u)
	var err error
	if u.Password, err = a.newPassword(ctx, c); err != nil {
		return err
	}
	err = a.editPeople(ctx, c, func(p *queue.People) error {
		u.ID = p.NextID()
		return add(&p.Users, queue.MaxUsers, u)
	})
	if err != nil {
		return err
	}
	return c.created("user", u.ID)
}

func (a *API) userUpdate(ctx context.Context, c *call) error {
	c.read.Only("user_id", "login", "password", "name", "role", "locale")
	id := c.read.ID("user_id")
	c.about("user", strconv.FormatInt(id, 10))
	old, ok := c.account.User(id)
	if !ok {
		old = &queue.User{Login: "-", Name: "-"} // nothing else is wrong with it
	}
	asked := *old
	readUser(c.read, &asked)
	hash, err := a.newPassword(ctx, c)
	if err != nil {
		return err
	}
	err = a.editPeople(ctx, c, func(p *queue.People) error {
		return change(p.Users, id, userID, func(u *queue.User) {
			readUser(c.read, u)
			if hash != "" {
				u.Password = hash
			}
		})
	})
	if err != nil {
		return err
	}
	return c.succeed()
}

func (a *API) userDelete(ctx context.Context, c *call) error {
	c.read.Only("user_id")
	id := c.read.ID("user_id")
	c.about("user", strconv.FormatInt(id, 10))
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editPeople(ctx, c, func(p *queue.People) error { return remove(&p.Users, id, userID) })
	if err != nil {
		return err
	}
	return c.succeed()
}

// keyAnswer is a key as it is told.
type keyAnswer struct {
	ID   string     `json:"id"`
	Name string     `json:"name"`
	Role queue.Role `json:"role"`
	End  *time.Time `json:"end"`
}

func (a *API) keyList(_ context.Context, c *call) error {
	c.read.Only()
	if err := c.read.Done(); err != nil {
		return err
	}
	list := make([]keyAnswer, len(c.account.Keys))
	for i := range list {
		k := &c.account.Keys[i]
		list[i] = keyAnswer{ID: k.ID(), Name: k.Name, Role: k.Role}
		if k.EndMs != 0 {
			list[i].End = new(time.UnixMilli(k.EndMs).UTC())
		}
	}
	return c.answer("list", list)
}

// readKey reads what is given of a key into k. An empty end is none.
func readKey(c *call, k *queue.Key) {
	r, now := c.read, c.now
	r.TextInto("name", &k.Name)
	roleOf(r, &k.Role)
	if end := r.Moment("end", math.MinInt64, true); end != math.MinInt64 {
		if k.EndMs = end * 1000; k.Ended(now.UnixMilli()) || end <= 0 {
			r.Fail("end", "must be later than now")
		}
	} else if r.Params.Given("end") {
		k.EndMs = 0
	}
	k.Check(r.Fail)
}

// keyCreate answers the key, which nobody can be told again.
func (a *API) keyCreate(ctx context.Context, c *call) error {
	c.read.Only("name", "role", "end")
	key := auth.NewKey()
	k := queue.Key{Hash: queue.HashKey(key), Role: queue.RoleViewer}
	readKey(c, &k)
	if !c.read.Params.Given("name") {
		c.read.Fail("name", navixy.ProblemNull)
	}
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editAccount(ctx, c, func(account *queue.Account) error {
		if len(account.Keys) >= queue.MaxKeys {
			return queue.ErrTooMany
		}
		account.Keys = append(slices.Clone(account.Keys), k)
		return nil
	})
	if err != nil {
		return err
	}
	c.about("key", k.ID())
	return c.answer("value", struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	}{k.ID(), key})
}

// editKey changes the key that a request names, or removes it where change is nil.
func (a *API) editKey(ctx context.Context, c *call, change func(*queue.Key)) error {
	id := c.read.Text("key_id")
	if b, err := hex.DecodeString(id); err == nil && len(b) == 8 { // not a key itself
		c.about("key", id)
	}
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editAccount(ctx, c, func(account *queue.Account) error {
		i := slices.IndexFunc(account.Keys, func(k queue.Key) bool { return k.ID() == id })
		if i < 0 {
			return queue.ErrNotFound
		}
		account.Keys = slices.Clone(account.Keys)
		if change == nil {
			account.Keys = slices.Delete(account.Keys, i, i+1)
		} else {
			change(&account.Keys[i])
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.succeed()
}

func (a *API) keyUpdate(ctx context.Context, c *call) error {
	c.read.Only("key_id", "name", "role", "end")
	readKey(c, &queue.Key{})
	return a.editKey(ctx, c, func(k *queue.Key) { readKey(c, k) })
}

func (a *API) keyDelete(ctx context.Context, c *call) error {
	c.read.Only("key_id")
	return a.editKey(ctx, c, nil)
}
