package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"time"

	"trackchat/api/audit"
	"trackchat/api/navixy"
	"trackchat/queue"

	"golang.org/x/sync/errgroup"
)

const (
	importBatch   = 1000            // lines, or passwords, that one step of the store takes
	importWithin  = 2 * time.Minute // for one batch: to arrive, and to be stored
	progressEvery = time.Second     // between two lines of progress
	// refused lines after which an import stops: then something is wrong with all of it.
	maxRefused = 10_000
	lineBuffer = 64 << 10
)

// notLines is said once of an input that begins with something else, such as directory.yaml.
const notLines = `this is not NDJSON: import takes lines {"account":{…}} and {"tracker":{…}}, ` +
	`such as export writes; a YAML file is named as directory.file`

// importSummary is the last line of the answer to an import.
type importSummary struct {
	Lines    int           `json:"lines"` // read, empty ones included
	Accounts importCounts  `json:"accounts"`
	Trackers importCounts  `json:"trackers"`
	Refused  []refusedLine `json:"refused"`
	Stopped  string        `json:"stopped,omitempty"` // why the rest was not read
}

type importCounts struct {
	Added     int `json:"added"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
}

type refusedLine struct {
	Line   int              `json:"line"`
	Errors []navixy.Problem `json:"errors"`
}

// importLine is one line: an account or a tracker.
type importLine struct {
	Account json.RawMessage `json:"account"`
	Tracker json.RawMessage `json:"tracker"`
}

// importing is one import under way.
type importing struct {
	a       *administration
	w       http.ResponseWriter
	control *http.ResponseController
	summary importSummary

	edits     []queue.Edit
	objects   []*accountObject // of edits, nil for trackers
	lines     []int            // of edits
	bytes     int              // of the lines of edits
	passwords int              // that edits have to hash
	told      time.Time        // of the last progress
	started   bool             // something is written
	seen      bool             // a line that is not empty was read
}

// importLines answers POST /admin/import: NDJSON in, NDJSON out. Lines take effect in order, a
// thousand at a time; a refused one stops nobody. The answer is lines {"progress":{"lines":n}}
// while it runs and at the end {"success":true,"summary":{…}}.
func (a *administration) importLines(w http.ResponseWriter, r *http.Request) {
	e := audit.Event{Action: "directory/import", Object: "directory"}
	if err := onlyKnown(r, nil); err != nil {
		a.refusal(a.record(r, e, err)).Write(w)
		return
	}
	m := &importing{a: a, w: w, control: http.NewResponseController(w), told: a.now()}
	m.summary.Refused = []refusedLine{}
	// Progress is written while lines are read; where that cannot be done, a client that reads only
	// at the end is as well served.
	_ = m.control.EnableFullDuplex()
	// An import that stops leaves the rest unread, and the connection ends with it. The header says
	// so before anybody knows, lest the client sends its next request there.
	w.Header().Set("Connection", "close")
	err := m.run(r)
	a.follow(context.WithoutCancel(r.Context()))
	e.Detail = m.summary.counts()
	m.finish(a.record(r, e, err))
}

func (m *importing) run(r *http.Request) error {
	scan := bufio.NewScanner(r.Body)
	scan.Buffer(make([]byte, lineBuffer), maxObject)
	m.extend()
	for scan.Scan() {
		m.summary.Lines++
		line := bytes.TrimSpace(scan.Bytes())
		if len(line) == 0 {
			continue
		}
		if !m.seen && line[0] != '{' {
			m.summary.Stopped = notLines
			break
		}
		m.seen = true
		if e, o, err := m.read(line); err != nil {
			m.refuse(m.summary.Lines, err)
		} else if err := m.take(r.Context(), e, o, len(line)); err != nil {
			return err
		}
		if len(m.summary.Refused) >= maxRefused {
			m.summary.Stopped = fmt.Sprintf("%d lines are refused", maxRefused)
			break
		}
	}
	if err := m.flush(r.Context()); err != nil {
		return err
	}
	switch err := scan.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		m.summary.Stopped = fmt.Sprintf("line %d is longer than %d bytes", m.summary.Lines+1,
			maxObject)
	case err != nil:
		m.summary.Stopped = fmt.Sprintf("the input ends within line %d: %v", m.summary.Lines+1, err)
	}
	return nil
}

// extend gives the next batch its time; the server's limits are for requests of one piece.
func (m *importing) extend() {
	until := m.a.now().Add(importWithin)
	_ = m.control.SetReadDeadline(until)
	_ = m.control.SetWriteDeadline(until)
}

// read checks one line; o is nil for a tracker.
func (m *importing) read(text []byte) (e queue.Edit, o *accountObject, err error) {
	var line importLine
	if err := decodeObject(text, &line); err != nil {
		return e, nil, err
	}
	var c checker
	switch {
	case len(line.Account) > 0 && len(line.Tracker) == 0:
		o = newAccountObject()
		if err := decodeObject(line.Account, o); err != nil {
			return e, nil, err
		}
		e = c.account(o)
	case len(line.Tracker) > 0 && len(line.Account) == 0:
		t := newTrackerObject()
		if err := decodeObject(line.Tracker, t); err != nil {
			return e, nil, err
		}
		e = c.tracker(t, m.a.devices)
	default:
		return e, nil, navixy.Invalid("line", "must hold an account or a tracker")
	}
	return e, o, c.done()
}

// take puts an edit to the batch, and stores the batch when it is full. An account that is in it
// already begins another one: its users may keep the passwords that they have been given there.
func (m *importing) take(ctx context.Context, e queue.Edit, o *accountObject, size int) error {
	if o != nil && o.passwords() > 0 && slices.ContainsFunc(m.edits, func(b queue.Edit) bool {
		return b.Kind == e.Kind && b.Account.ID == e.Account.ID
	}) {
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
	m.edits, m.objects, m.lines = append(m.edits, e), append(m.objects, o), append(m.lines,
		m.summary.Lines)
	m.bytes += size
	if o != nil {
		m.passwords += o.passwords()
	}
	if len(m.edits) < importBatch && m.bytes < maxObject && m.passwords < importBatch {
		return nil
	}
	return m.flush(ctx)
}

func (m *importing) refuse(line int, err error) {
	answer := m.a.refusal(err)
	wrong := answer.Problems
	if len(wrong) == 0 {
		description, _ := answer.Code.Answer()
		wrong.Add("line", description)
	}
	m.summary.Refused = append(m.summary.Refused, refusedLine{line, wrong})
}

// flush stores the batch.
func (m *importing) flush(ctx context.Context) error {
	if len(m.edits) > 0 {
		if err := m.store(ctx); err != nil {
			return err
		}
	}
	m.edits, m.objects, m.lines = m.edits[:0], m.objects[:0], m.lines[:0]
	m.bytes, m.passwords = 0, 0
	m.extend()
	if now := m.a.now(); now.Sub(m.told) >= progressEvery {
		m.told = now
		m.write(fmt.Appendf(nil, `{"progress":{"lines":%d}}`, m.summary.Lines))
	}
	return nil
}

func (m *importing) store(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, importWithin)
	defer cancel()
	if err := m.hashPasswords(ctx); err != nil {
		return err
	}
	results, err := m.a.store.EditDirectory(ctx, m.edits)
	if err != nil {
		return err
	}
	for i, res := range results {
		counts := &m.summary.Trackers
		if m.objects[i] != nil {
			counts = &m.summary.Accounts
		}
		switch {
		case res.Err != nil:
			m.refuse(m.lines[i], res.Err)
		case res.Outcome == queue.EditAdded:
			counts.Added++
		case res.Outcome == queue.EditUpdated:
			counts.Updated++
		default:
			counts.Unchanged++
		}
	}
	return nil
}

// hashPasswords hashes as many at once as there are processors.
func (m *importing) hashPasswords(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, o := range m.objects {
		if o != nil {
			group.Go(func() error { return m.a.hashPasswords(ctx, o, &m.edits[i]) })
		}
	}
	return group.Wait()
}

// write sends one line at once.
func (m *importing) write(line []byte) {
	if !m.started {
		m.started = true
		m.w.Header().Set("Content-Type", ndjsonType)
		m.w.Header().Set("Cache-Control", "no-store")
		m.w.WriteHeader(http.StatusOK)
	}
	_, _ = m.w.Write(append(line, '\n')) // a peer that is gone stops sending too
	_ = m.control.Flush()
}

// finish writes the last line. After a failure of the store it is an error of the table with what
// was done until then.
func (m *importing) finish(err error) {
	summary, encodeErr := json.Marshal(struct {
		Summary *importSummary `json:"summary"`
	}{&m.summary})
	if err = errors.Join(err, encodeErr); err == nil {
		m.write(append([]byte(`{"success":true,`), summary[1:]...))
		return
	}
	answer := m.a.refusal(err)
	body := answer.Append(nil)
	if encodeErr == nil {
		body = append(append(body[:len(body)-1], ','), summary[1:]...)
	}
	if !m.started {
		_, status := answer.Code.Answer()
		navixy.WriteJSON(m.w, status, body)
		return
	}
	m.write(body)
}
