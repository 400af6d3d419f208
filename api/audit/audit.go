// Package audit tells who changed what, and who logged in or could not: each as a line of a logger
// of its own, the last thousand also in memory.
package audit

import (
	"encoding/hex"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/api/navixy"
	"trackchat/queue"

	"go.uber.org/zap"
)

// Name is that of the logger; its lines are written at any level of the log.
const Name = "audit"

// Bounds of what is remembered.
const (
	maxEntries = 1000
	maxRefused = 250 // refusals among them, so that who guesses pushes out little that was done
	maxText    = 300 // bytes of one text
)

// Kinds of actors.
const (
	User  = "user"
	Key   = "key"
	Admin = "admin"
	File  = "file"
)

// Actor is who did something.
type Actor struct {
	Account queue.AccountID `json:"account,omitempty"`
	Kind    string          `json:"actor"`
	ID      string          `json:"actor_id,omitempty"`
	Name    string          `json:"actor_name,omitempty"`
}

// Event is something that was done or refused. No text of it may be a secret.
type Event struct {
	Actor
	Remote  string      `json:"remote,omitempty"`  // address, with a port or without
	Request string      `json:"request,omitempty"` // X-Request-Id
	Action  string      `json:"action"`            // such as key/create
	Object  string      `json:"object,omitempty"`  // such as account 1
	Detail  string      `json:"detail,omitempty"`  // what came of it
	Code    navixy.Code `json:"code,omitempty"`    // why it was refused; CodeOK: it was done
}

// Entry is an event as it is remembered.
type Entry struct {
	// grows with time, also from one run of the service to the next.
	ID   int64     `json:"id"`
	Time time.Time `json:"time"`
	Event
	Outcome  string     `json:"outcome"`            // done or refused
	Repeated int        `json:"repeated,omitempty"` // refusals that this one stands for
	Since    *time.Time `json:"since,omitempty"`    // the first of those
}

// KeyID names a key in the audit: enough of its id to find it, and not the whole hash.
func KeyID(h queue.KeyHash) string {
	const shown = 8 // bytes, as queue.Key.ID
	return hex.EncodeToString(h[:shown])
}

// Log writes and remembers events. It is safe for concurrent use; nil drops them.
type Log struct {
	log *zap.Logger
	now func() time.Time

	mu      sync.Mutex
	last    int64    // id; guarded by mu
	entries []*Entry // oldest first; guarded by mu
	refused int      // how many of entries are; guarded by mu
	window  window   // guarded by mu
}

// New returns a log whose lines go to a part of log.
func New(log *zap.Logger, now func() time.Time) *Log {
	return &Log{
		log: log.Named(Name), now: now, last: now().UnixMicro(),
		window: window{of: make(map[source]*refusals)},
	}
}

// Write notes an event. What was done has a line each; of refusals of one kind so many have that a
// minute, and then one with their number.
func (l *Log) Write(e Event) {
	if l == nil {
		return
	}
	for _, text := range [...]*string{
		&e.ID, &e.Name, &e.Remote, &e.Request, &e.Action, &e.Object, &e.Detail,
	} {
		*text = Text(*text)
	}
	l.mu.Lock()
	entry := &Entry{Time: l.now(), Event: e}
	if e.Code != navixy.CodeOK && !l.window.take(entry, l.Flush) {
		l.mu.Unlock()
		return
	}
	l.add(entry)
	l.mu.Unlock()
	l.line(entry)
}

// Flush tells what is counted and not told yet.
func (l *Log) Flush() {
	if l == nil {
		return
	}
	l.mu.Lock()
	list := l.window.end()
	for _, entry := range list {
		l.add(entry)
	}
	l.mu.Unlock()
	for _, entry := range list {
		l.line(entry)
	}
}

// Recent returns up to limit of the last entries with greater ids than after, newest first.
func (l *Log) Recent(after int64, limit int) []Entry {
	list := []Entry{}
	if l == nil {
		return list
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.entries) - 1; i >= 0 && len(list) < limit && l.entries[i].ID > after; i-- {
		list = append(list, *l.entries[i])
	}
	return list
}

// add remembers an entry. The lock is held.
func (l *Log) add(e *Entry) {
	e.Outcome = "done"
	if e.Code != navixy.CodeOK {
		e.Outcome = "refused"
		l.refused++
	}
	l.last++
	e.ID = l.last
	l.entries = append(l.entries, e)
	victim := 0
	switch {
	case l.refused > maxRefused:
		for l.entries[victim].Code == navixy.CodeOK {
			victim++
		}
	case len(l.entries) <= maxEntries:
		return
	}
	if l.entries[victim].Code != navixy.CodeOK {
		l.refused--
	}
	copy(l.entries[victim:], l.entries[victim+1:])
	l.entries[len(l.entries)-1] = nil
	l.entries = l.entries[:len(l.entries)-1]
}

// line writes an entry into the log.
func (l *Log) line(e *Entry) {
	ce := l.log.Check(zap.InfoLevel, e.Action)
	if ce == nil {
		return
	}
	ce.Time = e.Time
	fields := []zap.Field{zap.String("actor", e.Kind), zap.String("outcome", e.Outcome)}
	if e.Account != 0 {
		fields = append(fields, zap.Int64("account", int64(e.Account)))
	}
	for _, f := range [...][2]string{
		{"actor_id", e.Actor.ID},
		{"actor_name", e.Name},
		{"remote", e.Remote},
		{"request", e.Request},
		{"object", e.Object},
		{"detail", e.Detail},
	} {
		if f[1] != "" {
			fields = append(fields, zap.String(f[0], f[1]))
		}
	}
	if e.Code != navixy.CodeOK {
		fields = append(fields, zap.Int("code", int(e.Code)))
	}
	if e.Since != nil {
		fields = append(fields, zap.Int("repeated", e.Repeated), zap.Time("since", *e.Since))
	}
	ce.Write(fields...)
}

// Text is what a log and a page can show of a text: a copy, cut to maxText bytes. Characters that
// would move what stands around them are replaced.
func Text(s string) string {
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > maxText {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
