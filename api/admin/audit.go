package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"trackchat/api/audit"
)

// auditAdmin answers /admin/audit: the last that the audit of this process has, newest first.
type auditAdmin struct{ *administration }

func (a *auditAdmin) routes() routes {
	return routes{"/admin/audit": {http.MethodGet: a.handle(a.list)}}
}

func (a *auditAdmin) list(_ context.Context, r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	list := a.audit.Recent(after, limit)
	for i := range list {
		e := &list[i]
		e.Time = e.Time.UTC()
		if e.Since != nil {
			since := e.Since.UTC()
			e.Since = &since
		}
	}
	return listMembers{list}, nil
}

// change is handle for what changes something: the audit has it, by an action and the kind of the
// object that the path names. query are the parameters that its address may have.
func (a *administration) change(action, kind string, h handler, query ...string) http.Handler {
	return a.handle(func(ctx context.Context, r *http.Request) (any, error) {
		err := onlyKnown(r, query)
		var members any
		if err == nil {
			members, err = h(ctx, r)
		}
		return members, a.record(r, audit.Event{
			Action: action, Object: object(kind, r), Detail: detail(members),
		}, err)
	})
}

// record tells the audit what became of an administrator's request, and returns its error as it is
// answered.
func (a *administration) record(r *http.Request, e audit.Event, err error) error {
	if err != nil {
		refused := a.refusal(err)
		e.Code, err = refused.Code, refused
	}
	e.Actor, e.Remote = audit.Actor{Kind: audit.Admin}, r.RemoteAddr
	a.audit.Write(e)
	return err
}

// object names what a path is about; of a path that is refused only the kind.
func object(kind string, r *http.Request) string {
	id := ""
	switch kind {
	case "key":
		if hash, ok := parseKeyID(r.PathValue("id")); ok {
			id = audit.KeyID(hash)
		}
	case "node":
		id = r.URL.Query().Get("node")
	default:
		if n, err := pathID(r); err == nil {
			id = strconv.FormatInt(n, 10)
		}
	}
	name := strings.TrimSpace(kind + " " + id)
	if _, user, err := pathUser(r); err == nil {
		name += ", user " + strconv.FormatInt(user, 10)
	}
	return name
}

// detail is what an answer tells of a change.
func detail(members any) string {
	switch m := members.(type) {
	case resultMembers:
		return m.Result
	case keyMembers:
		return "key " + audit.KeyID(m.Value.hash)
	case userMembers:
		return "user " + strconv.FormatInt(m.Value.ID, 10)
	}
	return ""
}

// counts is what an import has done, for the audit.
func (s *importSummary) counts() string {
	text := strconv.Itoa(s.Accounts.Added+s.Trackers.Added) + " added, " +
		strconv.Itoa(s.Accounts.Updated+s.Trackers.Updated) + " updated, " +
		strconv.Itoa(s.Accounts.Unchanged+s.Trackers.Unchanged) + " unchanged, " +
		strconv.Itoa(len(s.Refused)) + " refused"
	if s.Stopped != "" {
		text += "; stopped: " + s.Stopped
	}
	return text
}
