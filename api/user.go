package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"trackchat/api/audit"
	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

// locale is what user/get_info tells of an account's own login and of keys, and of a user without
// one.
const locale = "en_US"

// userAuth answers user/auth.
func (a *API) userAuth(ctx context.Context, c *call) error {
	q, err := readAuth(c.read)
	if err != nil {
		return err
	}
	account, user, found := c.snap.Login(q.login)
	stored := ""
	c.trail.Actor = audit.Actor{Kind: audit.User, Name: audit.Text(q.login)}
	if found {
		stored, c.trail.Account = account.Password, account.ID
	}
	if user != nil {
		stored, c.trail.ID = user.Password, strconv.FormatInt(user.ID, 10)
	}
	wait, cancel := context.WithTimeout(ctx, a.timeout/2) // the other half is the store's
	defer cancel()
	attempt := auth.Attempt{Login: q.login, Address: c.client.addr, Now: c.now}
	ok, err := a.logins.Verify(wait, &attempt, stored, q.password)
	if err != nil {
		return refuseLogin(err)
	}
	if !ok {
		return c.wrongLogin()
	}
	if err := enter(ctx, a.places.running); err != nil {
		return err
	}
	defer a.places.running.Release()
	hash, err := a.sessions.Begin(ctx, account.ID, user, c.now)
	switch {
	case errors.Is(err, queue.ErrNotFound): // removed while the password was verified
		return navixy.Refuse(navixy.CodeWrongLogin)
	case err != nil:
		return err
	}
	c.out.buf = append(c.out.buf, `{"success":true,"type":"authenticated","hash":"`...)
	c.out.buf = append(c.out.buf, hash...)
	c.out.buf = append(c.out.buf, `"}`...)
	return nil
}

// refuseLogin is the answer to a login whose password was not verified.
func refuseLogin(err error) error {
	if f, ok := errors.AsType[*auth.FailuresError](err); ok {
		return &navixy.Refusal{Code: navixy.CodeLoginAttempts, Retry: retryAfter(f.Wait)}
	}
	return &navixy.Refusal{Code: navixy.CodeTooMany, Reason: reasonWaiting, Retry: 2}
}

// wrongLogin refuses a login, and tells who has just installed the service what is missing.
func (c *call) wrongLogin() error {
	if accounts, _ := c.snap.Len(); accounts > 0 {
		return navixy.Refuse(navixy.CodeWrongLogin)
	}
	return &navixy.Refusal{Code: navixy.CodeWrongLogin, Problems: navixy.Problems{{
		Parameter: "login", Error: "there are no accounts yet; trackchat account put makes one",
	}}}
}

// userLogout answers user/logout; a key is no session and does not end.
func (a *API) userLogout(ctx context.Context, c *call) error {
	if err := c.sessionOnly(navixy.CodeUnknownHash); err != nil {
		return err
	}
	if err := a.sessions.End(ctx, c.hash); err != nil {
		return err
	}
	c.out.buf = append(c.out.buf, navixy.Success...)
	return nil
}

// userRenew answers user/session/renew: the session lives its whole life again from now on.
func (a *API) userRenew(ctx context.Context, c *call) error {
	if err := c.sessionOnly(navixy.CodeNotPermitted); err != nil {
		return err
	}
	done, err := a.sessions.Renew(ctx, c.hash, c.now)
	if err != nil {
		return err
	}
	if !done {
		return navixy.Refuse(navixy.CodeUnknownHash)
	}
	c.out.buf = append(c.out.buf, navixy.Success...)
	return nil
}

// userPassword answers user/password/change: the caller's own. His sessions end, this one too.
func (a *API) userPassword(ctx context.Context, c *call) error {
	c.read.Only("old_password", "new_password")
	old, password := c.read.Text("old_password"), c.read.Text("new_password")
	if password == "" && c.read.Params.Given("new_password") || len(password) > queue.MaxPassword {
		c.read.Fail("new_password", fmt.Sprintf("must have 1 to %d bytes", queue.MaxPassword))
	}
	if err := c.sessionOnly(navixy.CodeNotPermitted); err != nil {
		return err
	}
	login, stored := c.account.Login, c.account.Password
	if c.user != nil {
		login, stored = c.user.Login, c.user.Password
	}
	attempt := auth.Attempt{Login: login, Address: c.client.addr, Now: c.now}
	if ok, err := a.logins.Verify(ctx, &attempt, stored, old); err != nil {
		return refuseLogin(err)
	} else if !ok {
		return navixy.Refuse(navixy.CodeWrongLogin)
	}
	hash, err := a.logins.Hash(ctx, c.client.addr, password)
	if err != nil {
		return refuseLogin(err)
	}
	user := c.user
	err = a.editAccount(ctx, c, func(account *queue.Account) error {
		if user == nil {
			account.Password = hash
			return nil
		}
		account.People = account.People.Clone()
		return change(account.People.Users, user.ID, userID, func(u *queue.User) {
			u.Password = hash
		})
	})
	if err != nil {
		return err
	}
	return c.succeed()
}

// sessionOnly refuses keys for what makes sense for sessions only.
func (c *call) sessionOnly(key navixy.Code) error {
	if err := c.read.Done(); err != nil {
		return err
	}
	if c.key != nil {
		return navixy.Refuse(key)
	}
	return nil
}

// userInfo answers user/get_info.
func (a *API) userInfo(_ context.Context, c *call) error {
	if err := c.read.Done(); err != nil {
		return err
	}
	zone := c.account.TimeZone
	if zone == "" {
		zone = "UTC"
	}
	out := c.out
	out.buf = append(out.buf, `{"success":true,"user_info":{"id":`...)
	out.buf = strconv.AppendInt(out.buf, int64(c.account.ID), 10)
	members := [][2]string{
		{"login", c.account.Login},
		{"title", c.account.Title},
		{"time_zone", zone},
		{"locale", locale},
	}
	switch u, k := c.user, c.key; {
	case u != nil:
		members[0][1], members[3][1] = u.Login, cmp.Or(u.Locale, locale)
		members = append(members, [2]string{"name", u.Name}, [2]string{"role", u.Role.String()})
	case k != nil && (k.Name != "" || k.Role != queue.RoleManager):
		members = append(members, [2]string{"name", k.Name}, [2]string{"role", k.Role.String()})
	}
	for _, member := range members {
		out.buf = append(out.buf, `,"`...)
		out.buf = append(out.buf, member[0]...)
		out.buf = append(out.buf, `":`...)
		out.buf = navixy.AppendString(out.buf, member[1])
	}
	out.buf = append(out.buf, `}}`...)
	return nil
}
