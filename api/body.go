package api

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"trackchat/api/auth"
	"trackchat/api/navixy"
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
func newRequestRoom(limit, maxBody int64) *auth.FairShare {
	most := int64(defaultRequestMemory)
	if limit > 0 {
		most = min(max(limit/requestShare, leastRequestMemory), most)
	}
	each := max(most/addressShare, maxBody+maxHeader)
	rest := max(most/2, each)
	return auth.NewFairShare(max(most, 2*each), rest, each)
}

// load is what one request holds of the room for all: its header, and its body as it arrives. The
// first freeBytes are not counted: the bound on connections bounds them, and no flood can refuse
// them.
type load struct {
	api  *API
	w    http.ResponseWriter
	r    *http.Request
	free int64
	held *auth.Holder // nil: nothing that counts
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
		l.held = l.api.room.Join(place, known, l.cut)
	}
	return l.held.Grow(n)
}

// place is whose share the request takes of. Those who show a key or a session in the header or in
// the query are known before the body is there; whose key is in the body counts as a stranger of
// his address until then.
func (l *load) place() (key string, known bool) {
	a := l.api
	if p, err := navixy.ParseParams("", nil, l.r.URL.RawQuery); err == nil {
		if hash, err := callerHash(&p, l.r.Header); err == nil {
			if account, _, ok := a.directory.Current().Key(hash); ok {
				return accountPlace(account.ID), true
			}
			if account, _, ok := a.sessions.Cached(hash, a.now()); ok {
				return accountPlace(account), true
			}
		}
	}
	return auth.Place(a.clients.of(l.r).addr), false
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
	return &navixy.Refusal{Code: navixy.CodeTooMany, Reason: reasonBodies, Retry: 1}
}

// whole says that all has arrived: nobody can take the room away any more. false: somebody has.
func (l *load) whole() bool { return l.held == nil || l.held.Settle() }

// leave gives the room back.
func (l *load) leave() { l.held.Leave() }

// drained is how much of a body that is too large is still read, so that a client which writes
// before it reads sees the refusal.
const drained = 4 << 20

// firstBody is the room that is made before a body arrives, and the greatest that is used again:
// what is kept for the next request is not counted.
const firstBody = 4 << 10

// inflaterRoom is what reading a compressed body takes beside it.
const inflaterRoom = 48 << 10

// body reads the body into a buffer for keepBody; nil where there is none.
func (a *API) body(r *http.Request, l *load) (*[]byte, error) {
	if !l.header() {
		return nil, l.refuse()
	}
	if r.Body == nil || r.Body == http.NoBody {
		if !l.whole() {
			return nil, l.refuse()
		}
		return nil, nil //nolint:nilnil // said above
	}
	if r.ContentLength > a.maxBody {
		return nil, tooLarge(r.Body)
	}
	if !l.take(firstBody) {
		return nil, l.refuse()
	}
	buf, _ := a.bodies.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
		*buf = make([]byte, 0, firstBody)
	}
	if r.Header.Get("Content-Encoding") != "" && !l.take(inflaterRoom) {
		return buf, l.refuse()
	}
	plain, err := inflated(r)
	if err == nil {
		*buf, err = a.readBody(l, (*buf)[:0], plain)
	}
	switch {
	case err == nil && int64(len(*buf)) > a.maxBody:
		*buf = nil
		l.leave()
		return nil, tooLarge(r.Body)
	case !l.whole():
		return buf, l.refuse()
	case err == nil:
		_ = r.Body.Close() // has all been read: net/http would try to
	}
	return buf, err
}

// tooLarge refuses a body. The refusal stands, whether the rest can be read or not.
func tooLarge(rest io.Reader) error {
	_, _ = io.CopyN(io.Discard, rest, drained)
	return navixy.Refuse(navixy.CodeTooLarge)
}

// readBody appends a body to dst, and no more than a byte beyond what it may have.
func (a *API) readBody(l *load, dst []byte, body io.Reader) ([]byte, error) {
	for int64(len(dst)) <= a.maxBody {
		if len(dst) == cap(dst) {
			room := int(min(2*int64(cap(dst)), a.maxBody+1))
			if !l.take(int64(room - cap(dst))) {
				return dst, l.refuse()
			}
			dst = append(make([]byte, 0, room), dst...)
		}
		n, err := body.Read(dst[len(dst):min(int64(cap(dst)), a.maxBody+1)])
		dst = dst[:len(dst)+n]
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return dst, navixy.Refuse(navixy.CodeWrongFormat)
		}
	}
	return dst, nil
}

// keepBody takes back what body returned.
func (a *API) keepBody(buf *[]byte) {
	if cap(*buf) <= firstBody {
		a.bodies.Put(buf)
	}
}
