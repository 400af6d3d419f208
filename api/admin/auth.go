package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"trackchat/api/audit"
	"trackchat/api/auth"
	"trackchat/api/navixy"
)

// tokenAuth admits requests to what is not for everybody who reaches the admin listener: those with
// the token, or, where none is set, those of this machine.
type tokenAuth struct {
	token [sha256.Size]byte
	open  bool // no token is set
	audit *audit.Log
	next  http.Handler
}

func newTokenAuth(o *Options, next http.Handler) *tokenAuth {
	return &tokenAuth{sha256.Sum256([]byte(o.Token)), o.Token == "", o.Audit, next}
}

// newDebugAuth admits only those with the token: a profile holds up the process and tells of its
// memory, and who reaches this machine is not yet who runs the service.
func newDebugAuth(o *Options, next http.Handler) http.Handler {
	if o.Token == "" {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			(&navixy.Refusal{Code: navixy.CodeDenied}).Write(w)
		})
	}
	return newTokenAuth(o, next)
}

func (g *tokenAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.admits(r) {
		if !g.open && r.Header.Get("Authorization") != "" { // a guess, not a page that begins
			g.audit.Write(audit.Event{
				Actor: audit.Actor{Kind: audit.Admin}, Remote: r.RemoteAddr, Action: "admin/auth",
				Code: navixy.CodeDenied,
			})
		}
		(&navixy.Refusal{Code: navixy.CodeDenied}).Write(w)
		return
	}
	auth.Known(r.Context(), "administrator")
	g.next.ServeHTTP(w, r)
}

func (g *tokenAuth) admits(r *http.Request) bool {
	if g.open {
		return isLocal(r)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	// of equal length, so that the comparison takes the same time for all.
	got := sha256.Sum256([]byte(token))
	return ok && subtle.ConstantTimeCompare(got[:], g.token[:]) == 1
}

// isLocal reports whether a request comes from a program on this machine: not through a proxy, not
// from a page in a browser, not by a foreign name that was made to point here (such a page sends no
// Origin when it reads from what it takes for its own host).
func isLocal(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		// nginx to its upstreams, unless told otherwise; no browser and no curl
		return false
	}
	for name, values := range r.Header {
		switch {
		case name == "Sec-Fetch-Site":
			if slices.ContainsFunc(values, isForeignSite) {
				return false
			}
		case slices.Contains([]string{"Origin", "Forwarded", "Via", "X-Real-Ip"}, name),
			strings.HasPrefix(name, "X-Forwarded-"):
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback() && isLoopbackName(r.Host)
}

// isForeignSite reports whether a browser says of a request that another page had a part in it.
func isForeignSite(site string) bool { return site != "none" && site != "same-origin" }

// isLoopbackName reports whether a Host header names this machine.
func isLoopbackName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}
