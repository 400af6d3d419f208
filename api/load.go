package api

import (
	"net/http"
	"strconv"
	"time"
)

// Memory of requests.
const (
	// bytes of all requests together where no limit of memory is known.
	defaultRequestMemory = 256 << 20
	leastRequestMemory   = 8 << 20
	requestShare         = 16 // one part in so many of the limit of memory
	addressShare         = 8  // one part in so many of that: of one address, or one account
	freeBytes            = 8 << 10
	multiplexed          = 16 << 10 // what a request takes that shares its connection with others
)

// newRequestRoom returns the room for requests: a share of the limit of memory, half of it for
// strangers, and for the greatest request in any case. limit 0: not known.
func newRequestRoom(limit, maxBody int64) *fair {
	most := int64(defaultRequestMemory)
	if limit > 0 {
		most = min(max(limit/requestShare, leastRequestMemory), most)
	}
	each := max(most/addressShare, maxBody+maxHeader)
	rest := max(most/2, each)
	return newFair(max(most, 2*each), rest, each)
}

// load is what one request holds of the room for all: its header, and its body as it arrives. The
// first freeBytes are not counted: the bound on connections bounds them, and no flood can refuse
// them.
type load struct {
	api  *API
	w    http.ResponseWriter
	r    *http.Request
	free int64
	held *holder // nil: nothing that counts
}

func (a *API) newLoad(w http.ResponseWriter, r *http.Request) load {
	l := load{api: a, w: w, r: r, free: freeBytes}
	if r.ProtoMajor > 1 {
		l.free = -multiplexed // nothing bounds how many there are
	}
	return l
}

// header counts what was read before the handler began.
func (l *load) header() bool {
	n := int64(len(l.r.RequestURI))
	for name, values := range l.r.Header {
		for _, v := range values {
			n += int64(len(name) + len(v))
		}
	}
	return l.take(n)
}

// take counts n bytes more; false: there is no room for them, or others needed what this one held.
func (l *load) take(n int64) bool {
	if l.free -= n; l.free >= 0 {
		return true
	}
	n, l.free = -l.free, 0
	if l.held == nil {
		place, known := l.place()
		l.held = l.api.room.join(place, known, l.cut)
	}
	return l.held.grow(n)
}

// place is whose share the request takes of. Those who show a key or a session in the header or in
// the query are known before the body is there; whose key is in the body counts as a stranger of
// his address until then.
func (l *load) place() (key string, known bool) {
	a := l.api
	if p, err := parseParams("", nil, l.r.URL.RawQuery); err == nil {
		if hash, err := callerHash(&p, l.r.Header); err == nil {
			if account, ok := a.directory.Current().AccountByKey(hash); ok {
				return accountPlace(account.ID), true
			}
			if account, _, ok := a.sessions.cached(hash, a.now()); ok {
				return accountPlace(account), true
			}
		}
	}
	return placeOf(a.clients.of(l.r).addr), false
}

func accountPlace[T ~int | ~int64](id T) string {
	return "account " + strconv.FormatInt(int64(id),
		10)
}

// cut ends the reading of the body: others need the room, and this one has had it for longest.
func (l *load) cut() {
	// Without deadlines there is no connection either.
	_ = http.NewResponseController(l.w).SetReadDeadline(time.Unix(1, 0))
}

// refuse is the answer to a request that found no room, or lost it. Its connection ends: the rest
// of the body is not read, and cut has ended all reading from it.
func (l *load) refuse() error {
	if l.r.ProtoMajor == 1 {
		l.w.Header().Set("Connection", "close")
	}
	return &refusal{code: codeTooMany, reason: reasonBodies, retry: 1}
}

// whole says that all has arrived: nobody can take the room away any more. false: somebody has.
func (l *load) whole() bool { return l.held == nil || l.held.settle() }

// leave gives the room back.
func (l *load) leave() { l.held.leave() }
