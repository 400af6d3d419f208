package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard admits requests to what is not for everybody who reaches the admin listener: those with the token, or, where none is set, those of this machine.
type guard struct {
	token [sha256.Size]byte
	open  bool // no token is set
	next  http.Handler
}

func newGuard(token string, next http.Handler) *guard {
	return &guard{token: sha256.Sum256([]byte(token)), open: token == "", next: next}
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.admits(r) {
		writeRefusal(w, codeDenied)
		return
	}
	g.next.ServeHTTP(w, r)
}

func (g *guard) admits(r *http.Request) bool {
	if g.open {
		return isLocal(r)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got := sha256.Sum256([]byte(token)) // of equal length, so that the comparison takes the same time for all
	return ok && subtle.ConstantTimeCompare(got[:], g.token[:]) == 1
}

// isLocal reports whether a request comes from a program on this machine: not through a proxy, not from a page in a browser, not by a foreign name that was made to
// point here (such a page sends no Origin when it reads from what it takes for its own host).
func isLocal(r *http.Request) bool {
	for _, name := range [...]string{"Origin", "Forwarded", "X-Forwarded-For"} {
		if _, ok := r.Header[name]; ok {
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback() && isLoopbackName(r.Host)
}

// isLoopbackName reports whether a Host header names this machine; one without a host is of a client that has no names.
func isLoopbackName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if name == "" || strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}
