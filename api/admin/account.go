package admin

import (
	"context"
	"net/http"
	"slices"

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
	if err := c.done(); err != nil {
		return nil, err
	}
	if err := a.hashPassword(ctx, o, &e); err != nil {
		return nil, err
	}
	return a.edit(ctx, e)
}

// hashPassword sets the hash of a password that is given. One that is as before keeps its hash, and
// so its sessions.
func (a *administration) hashPassword(ctx context.Context, o *accountObject, e *queue.Edit) error {
	if o.Password == nil || *o.Password == "" {
		return nil
	}
	old, err := a.store.Accounts(ctx, e.Account.ID-1, 1)
	if err != nil {
		return err
	}
	if len(old) == 1 && old[0].ID == e.Account.ID &&
		auth.VerifyPassword(old[0].Password, *o.Password) {
		e.Account.Password = old[0].Password
		return nil
	}
	e.Account.Password, err = auth.HashPassword(*o.Password)
	return err
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

// createKey answers the key, which nobody can be told again.
func (a *administration) createKey(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	account, err := a.account(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(account.Keys) >= maxKeys {
		return nil, navixy.Refuse(navixy.CodeTooManyEntries)
	}
	key := auth.NewKey()
	hash := queue.HashKey(key)
	if _, err := a.edit(ctx, queue.Edit{
		Kind:    queue.EditChangeAccount,
		Account: queue.Account{ID: queue.AccountID(id)}, Change: func(a *queue.Account) error {
			a.Keys = append(slices.Clone(a.Keys), queue.Key{Hash: hash})
			return nil
		},
	}); err != nil {
		return nil, err
	}
	return keyMembers{keyValue{keyID(hash), key, hash}}, nil
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
	_ = hash
	return nil, nil
}
