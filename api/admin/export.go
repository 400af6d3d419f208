package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"trackchat/queue"

	"go.uber.org/zap"
)

const ndjsonType = "application/x-ndjson"

// exportLines answers GET /admin/export: every account, then every tracker, ordered by id, as POST
// /admin/import takes them. It reads a page at a time, so that what is edited meanwhile may be
// there or not. Passwords are there as hashes; keys as ids, which an import takes for the keys
// themselves.
func (a *administration) exportLines(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", ndjsonType)
	w.Header().Set("Cache-Control", "no-store")
	e := &exporting{a: a, w: w, control: http.NewResponseController(w)}
	err := e.accounts(r.Context())
	if err == nil {
		err = e.trackers(r.Context())
	}
	switch {
	case err == nil:
	case e.started:
		a.log.Error("export cut", zap.Error(err))
		panic(http.ErrAbortHandler) // half of it must not look like the whole
	default:
		a.refusal(err).Write(w)
	}
}

type exporting struct {
	a       *administration
	w       http.ResponseWriter
	control *http.ResponseController
	buf     []byte
	started bool
}

func (e *exporting) accounts(ctx context.Context) error {
	for after := queue.AccountID(0); ; {
		page, err := e.a.store.Accounts(ctx, after, maxPageSize)
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].ID
			if err := e.line("account", accountAnswer(&page[i], true)); err != nil {
				return err
			}
		}
		if err := e.flush(); err != nil || len(page) < maxPageSize {
			return err
		}
	}
}

func (e *exporting) trackers(ctx context.Context) error {
	for after := queue.TrackerID(0); ; {
		page, err := e.a.store.Trackers(ctx, after, maxPageSize)
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].ID
			if err := e.line("tracker", trackerAnswer(&page[i], true)); err != nil {
				return err
			}
		}
		if err := e.flush(); err != nil || len(page) < maxPageSize {
			return err
		}
	}
}

func (e *exporting) line(kind string, object any) error {
	b, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("encoding an %s: %w", kind, err)
	}
	e.buf = append(e.buf, `{"`...)
	e.buf = append(e.buf, kind...)
	e.buf = append(e.buf, `":`...)
	e.buf = append(e.buf, b...)
	e.buf = append(e.buf, '}', '\n')
	if len(e.buf) >= maxObject {
		return e.flush()
	}
	return nil
}

func (e *exporting) flush() error {
	_ = e.control.SetWriteDeadline(e.a.now().Add(importWithin))
	e.started = e.started || len(e.buf) > 0
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}
