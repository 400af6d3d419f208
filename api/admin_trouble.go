package api

import (
	"context"
	"net/http"
	"time"
)

// Trouble is one warning or error of this process's log.
type Trouble struct {
	Time    time.Time         `json:"time"`
	Level   string            `json:"level"` // warn, error, …
	Message string            `json:"message"`
	Fields  map[string]string `json:"fields"`
}

// troubleAdmin answers /admin/errors: the last warnings and errors of this process, newest first.
type troubleAdmin struct {
	*administration
	recent func() []Trouble
}

func (a *troubleAdmin) routes() adminRoutes {
	return adminRoutes{"/admin/errors": {http.MethodGet: a.handle(a.list)}}
}

func (a *troubleAdmin) list(context.Context, *http.Request) (any, error) {
	list := a.recent()
	if list == nil {
		list = []Trouble{}
	}
	for i := range list {
		list[i].Time = list[i].Time.UTC()
	}
	return listMembers{list}, nil
}
