package audit

import (
	"net/netip"
	"slices"
	"time"

	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"
)

// Refusals are counted in windows: of those from one source so many are told at once, the others at
// the end of the window in one.
const (
	windowLength = time.Minute
	toldAtOnce   = 5
	maxSources   = 32 // that are told apart; the rest count together, by action
)

// source is whose refusals are counted together: those of one actor at one place, whatever login it
// tries.
type source struct {
	action  string
	code    navixy.Code
	account queue.AccountID // of a key or a session; a login that is only tried has none
	kind    string
	id      string
	place   string
}

// window is what was refused within a minute; Log.mu guards it.
type window struct {
	of    map[source]*refusals
	timer *time.Timer // that ends it; nil: nothing was refused yet
}

// refusals are those of one source.
type refusals struct {
	told  int
	more  int       // and counted
	since time.Time // the first of those
	last  *Entry
}

// take reports whether a refusal is to be told now, or counts it. end is called at the end of the
// window that it begins.
func (w *window) take(e *Entry, end func()) bool {
	if w.timer == nil {
		w.timer = time.AfterFunc(windowLength, end)
	}
	s := source{
		action: e.Action, code: e.Code, kind: e.Kind, id: e.Actor.ID, place: place(e.Remote),
	}
	if s.id != "" {
		s.account = e.Account
	}
	r := w.of[s]
	if r == nil && len(w.of) >= maxSources {
		s = source{action: e.Action}
		r = w.of[s]
	}
	if r == nil {
		r = new(refusals)
		w.of[s] = r
	}
	if r.told < toldAtOnce {
		r.told++
		return true
	}
	if r.more++; r.more == 1 {
		r.since = e.Time
	}
	r.last = e
	return false
}

// end returns what was counted, oldest first, and begins anew.
func (w *window) end() []*Entry {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	var list []*Entry
	for _, r := range w.of {
		if r.more > 0 {
			r.last.Repeated, r.last.Since = r.more, &r.since
			list = append(list, r.last)
		}
	}
	clear(w.of)
	slices.SortFunc(list, func(a, b *Entry) int { return a.Time.Compare(b.Time) })
	return list
}

// place is what stands for one customer's address.
func place(remote string) string {
	if peer, err := netip.ParseAddrPort(remote); err == nil {
		return auth.Place(peer.Addr().Unmap())
	}
	if addr, err := netip.ParseAddr(remote); err == nil {
		return auth.Place(addr.Unmap())
	}
	return remote
}
