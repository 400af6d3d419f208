package admin

import (
	"context"
	"net/http"

	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

func (a *administration) listAccounts(ctx context.Context, r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	accounts, err := a.store.Accounts(ctx, queue.AccountID(after), limit)
	if err != nil {
		return nil, err
	}
	list := make([]*accountObject, len(accounts))
	for i := range accounts {
		list[i] = accountAnswer(&accounts[i], false)
	}
	return listMembers{list}, nil
}

// account reads one from the store, so that the answer is never older than an edit that was
// answered before.
func (a *administration) account(ctx context.Context, id int64) (*queue.Account, error) {
	accounts, err := a.store.Accounts(ctx, queue.AccountID(id-1), 1)
	if err != nil {
		return nil, err
	}
	if len(accounts) == 0 || accounts[0].ID != queue.AccountID(id) {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	return &accounts[0], nil
}

func (a *administration) getAccount(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	account, err := a.account(ctx, id)
	if err != nil {
		return nil, err
	}
	return valueMembers{accountAnswer(account, false)}, nil
}

func (a *administration) putAccount(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	o := newAccountObject()
	if err := readObject(r, o); err != nil {
		return nil, err
	}
	if err := sameID(&o.ID, id); err != nil {
		return nil, err
	}
	var c checker
	e := c.account(o)
	if o.passwords() > maxPasswords {
		c.fail("users", "must have at most %d passwords at a time; an import takes more",
			maxPasswords)
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	if err := a.hashPasswords(ctx, o, &e); err != nil {
		return nil, err
	}
	return a.edit(ctx, e)
}

// hashPasswords sets the hashes of passwords that are given, and says which users keep theirs. A
// password that is as before keeps its hash, and so its sessions.
func (a *administration) hashPasswords(ctx context.Context, o *accountObject,
	e *queue.Edit,
) error {
	if o.Users != nil {
		for _, u := range *o.Users {
			if u.Password == nil && u.PasswordHash == nil {
				e.KeepUsers = append(e.KeepUsers, u.ID)
			}
		}
	}
	if o.passwords() == 0 {
		return nil
	}
	list, err := a.store.Accounts(ctx, e.Account.ID-1, 1)
	if err != nil {
		return err
	}
	old := new(queue.Account)
	if len(list) == 1 && list[0].ID == e.Account.ID {
		old = &list[0]
	}
	if o.Password != nil {
		if e.Account.Password, err = hashPassword(old.Password, *o.Password); err != nil {
			return err
		}
	}
	if o.Users == nil {
		return nil
	}
	for i := range *o.Users {
		if err := ctx.Err(); err != nil {
			return err
		}
		was, u := "", &(*o.Users)[i]
		if before, ok := old.User(u.ID); ok {
			was = before.Password
		}
		if u.Password == nil {
			continue
		}
		into := &e.Account.People.Users[i].Password
		if *into, err = hashPassword(was, *u.Password); err != nil {
			return err
		}
	}
	return nil
}

// hashPassword returns the hash of a password, the one that there was if it is that of the same;
// empty for none.
func hashPassword(was, password string) (string, error) {
	switch {
	case password == "":
		return "", nil
	case auth.VerifyPassword(was, password):
		return was, nil
	}
	return auth.HashPassword(password)
}

func (a *administration) deleteAccount(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	answer, err := a.edit(ctx, queue.Edit{
		Kind:    queue.EditDropAccount,
		Account: queue.Account{ID: queue.AccountID(id)},
	})
	if err == nil && a.hooks != nil {
		_, err = a.hooks.DropWebhook(ctx, queue.AccountID(id))
	}
	return answer, err
}
