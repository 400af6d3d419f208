package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
)

const maxRequestID = 64

// requestIDs names requests in answers and logs, so that a client's complaint finds its line.
type requestIDs struct {
	run  string // of this process
	last atomic.Uint64
}

func newRequestIDs() *requestIDs { return &requestIDs{run: newKey()[:8] + "-"} }

// of returns the name that the client or a proxy gave, if it is one that can be put into a header
// and a log, else a new one.
func (r *requestIDs) of(h http.Header) string {
	if id := h.Get("X-Request-Id"); id != "" && len(id) <= maxRequestID && isToken(id) {
		return id
	}
	var buf [32]byte
	return string(strconv.AppendUint(append(buf[:0], r.run...), r.last.Add(1), 36))
}

func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_',
			c == '.':
		default:
			return false
		}
	}
	return true
}
