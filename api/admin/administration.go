package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"trackchat/api/audit"
	"trackchat/api/navixy"
	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	requestTimeout = 10 * time.Second // of one request that is no stream
	pageSize       = 100
	maxPageSize    = 1000
	// bytes of one account or tracker: of an account with all the users, keys, groups and templates
	// that it may have, about 6 MB.
	maxObject = 8 << 20
)

// administration answers /admin/accounts, /admin/keys, /admin/trackers, /admin/import and
// /admin/export.
type administration struct {
	store   queue.LiveDirectory
	sync    func(context.Context) error
	devices func(*queue.Tracker) []navixy.Problem
	hooks   queue.WebhookStore // nil: none
	now     func() time.Time
	log     *zap.Logger
	audit   *audit.Log
}

// handler answers one request; what it returns is encoded after "success".
type handler func(ctx context.Context, r *http.Request) (members any, err error)

// methods are the handlers of one path.
type methods map[string]http.Handler

// ServeHTTP refuses other methods in the API's own form.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, ok := m[r.Method]
	if !ok {
		(&navixy.Refusal{Code: navixy.CodeWrongMethod}).Write(w)
		return
	}
	h.ServeHTTP(w, r)
}

// routes are handlers by path and method.
type routes map[string]methods

func (rs routes) register(mux *http.ServeMux) {
	for path, m := range rs {
		mux.Handle(path, m)
	}
}

func (a *administration) routes() routes {
	return routes{
		"/admin/accounts": {http.MethodGet: a.handle(a.listAccounts)},
		"/admin/accounts/{id}": {
			http.MethodGet:    a.handle(a.getAccount),
			http.MethodPut:    a.change("account/put", "account", a.putAccount),
			http.MethodDelete: a.change("account/delete", "account", bare(a.deleteAccount)),
		},
		"/admin/accounts/{id}/keys": {
			http.MethodPost: a.change("key/create", "account", a.createKey),
		},
		"/admin/accounts/{id}/users": {
			http.MethodPost: a.change("user/create", "account", a.createUser),
		},
		"/admin/accounts/{id}/users/{user}": {
			http.MethodPut:    a.change("user/put", "account", a.putUser),
			http.MethodDelete: a.change("user/delete", "account", bare(a.deleteUser)),
		},
		"/admin/keys/{id}": {
			http.MethodDelete: a.change("key/delete", "key", bare(a.deleteKey)),
		},
		"/admin/trackers": {http.MethodGet: a.handle(a.listTrackers)},
		"/admin/trackers/{id}": {
			http.MethodGet:    a.handle(a.getTracker),
			http.MethodPut:    a.change("tracker/put", "tracker", a.putTracker),
			http.MethodDelete: a.change("tracker/delete", "tracker", bare(a.deleteTracker)),
		},
		"/admin/import": {http.MethodPost: http.HandlerFunc(a.importLines)},
		"/admin/export": {http.MethodGet: http.HandlerFunc(a.exportLines)},
	}
}

// handle bounds a request in time and puts its outcome into the API's form.
func (a *administration) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		var body []byte
		members, err := h(ctx, r)
		if err == nil {
			body, err = encodeSuccess(members)
		}
		if err != nil {
			a.refusal(err).Write(w)
			return
		}
		navixy.WriteJSON(w, http.StatusOK, body)
	})
}

// onlyKnown refuses parameters in the address of a write that it does not know: what an
// administrator asks for is done or refused.
func onlyKnown(r *http.Request, query []string) error {
	var c checker
	for name := range r.URL.Query() {
		if !slices.Contains(query, name) {
			c.fail(name, problemUnknown)
		}
	}
	return c.done()
}

// bare is h for requests without a body, or with an object that asks for nothing.
func bare(h handler) handler {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if err := readOptional(r, &struct{}{}); err != nil {
			return nil, err
		}
		return h(ctx, r)
	}
}

// refusal finds the table's answer to an error.
func (a *administration) refusal(err error) *navixy.Refusal {
	if c, ok := errors.AsType[*queue.ConflictError](err); ok {
		err = navixy.Invalid(c.Parameter, c.Problem)
	}
	if r, ok := errors.AsType[*navixy.Refusal](err); ok {
		return r
	}
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return &navixy.Refusal{Code: navixy.CodeNotFound}
	case errors.Is(err, queue.ErrTooMany):
		return &navixy.Refusal{Code: navixy.CodeTooManyEntries}
	}
	a.log.Error("administration failed", zap.Error(err))
	return &navixy.Refusal{Code: navixy.CodeDatabase}
}

// encodeSuccess puts "success" before the members of an object; nil has none.
func encodeSuccess(members any) ([]byte, error) {
	if members == nil {
		return []byte(navixy.Success), nil
	}
	b, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("encoding an answer: %w", err)
	}
	return append([]byte(`{"success":true,`), b[1:]...), nil
}

// Members of answers.
type (
	listMembers struct {
		List any `json:"list"`
	}
	valueMembers struct {
		Value any `json:"value"`
	}
	resultMembers struct {
		Result string `json:"result"`
	}
)

func outcomeName(o queue.EditOutcome) string {
	switch o {
	case queue.EditAdded:
		return "added"
	case queue.EditUpdated:
		return "updated"
	case queue.EditRemoved:
		return "removed"
	default:
		return "unchanged"
	}
}

// edit makes one edit and returns when this node knows it; the others know it within a second.
func (a *administration) edit(ctx context.Context, e queue.Edit) (any, error) {
	res, err := a.store.EditDirectory(ctx, []queue.Edit{e})
	if err == nil {
		err = res[0].Err
	}
	if err != nil {
		return nil, err
	}
	a.follow(ctx)
	return resultMembers{outcomeName(res[0].Outcome)}, nil
}

// follow is only for who asks this node next; the edit itself stands.
func (a *administration) follow(ctx context.Context) {
	if err := a.sync(ctx); err != nil {
		a.log.Warn("an edit is not known here yet", zap.Error(err))
	}
}

func pathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 || id >= queue.MaxID {
		return 0, navixy.Invalid("id", problemID)
	}
	return id, nil
}

// page reads after and limit of a query.
func page(r *http.Request) (after int64, limit int, err error) {
	p, err := navixy.ParseParams("", nil, r.URL.RawQuery)
	if err != nil {
		return 0, 0, err
	}
	read := navixy.Reader{Params: p}
	after, _ = read.OptionalID("after")
	limit = read.Within("limit", pageSize, 1, maxPageSize)
	return after, limit, read.Done()
}

func readObject(r *http.Request, into any) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	return decodeObject(body, into)
}

// readOptional is readObject, but there may be none.
func readOptional(r *http.Request, into any) error {
	body, err := readBody(r)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return err
	}
	return decodeObject(body, into)
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxObject+1))
	switch {
	case err != nil:
		return nil, navixy.Refuse(navixy.CodeWrongFormat)
	case len(body) > maxObject:
		return nil, navixy.Refuse(navixy.CodeTooLarge)
	}
	return body, nil
}

// sameID takes the id of the path for an object that has none.
func sameID(given *int64, path int64) error {
	if *given == 0 {
		*given = path
	}
	if *given != path {
		return navixy.Invalid("id", "must be that of the path")
	}
	return nil
}
