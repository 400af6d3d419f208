package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// client is whom a request comes from.
type client struct {
	addr   netip.Addr // IPv4 in its 4-byte form, without a zone; the zero value where it has none
	remote string     // as logs name it
}

// clients tells whom requests come from: the peer, or whom a trusted proxy says it speaks for.
type clients struct {
	trusted []netip.Prefix
	log     *zap.Logger
	once    sync.Once // of the hint that a proxy may be missing
}

// of returns the client of a request. Of X-Forwarded-For and Forwarded the rightmost hop counts
// that is no trusted proxy: what stands to its left is that hop's own word. If both are there and
// disagree, one of them is the client's word, passed on by a proxy that sets the other, and neither
// counts.
func (c *clients) of(r *http.Request) client {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return client{remote: r.RemoteAddr}
	}
	direct := client{plainAddr(peer.Addr()), r.RemoteAddr}
	xff, forwarded := r.Header["X-Forwarded-For"], r.Header["Forwarded"]
	switch {
	case len(xff)+len(forwarded) == 0:
		return direct
	case !c.trusts(direct.addr):
		if direct.addr.IsLoopback() {
			c.hint()
		}
		return direct
	}
	var found []netip.Addr
	if len(xff) > 0 {
		found = append(found, c.behind(direct.addr, xff, hopOfList))
	}
	if len(forwarded) > 0 {
		found = append(found, c.behind(direct.addr, forwarded, hopOfForwarded))
	}
	if addr := found[0]; addr == found[len(found)-1] && addr != direct.addr {
		return client{addr, addr.String()}
	}
	return direct
}

func (c *clients) hint() {
	c.once.Do(func() {
		c.log.Warn("a proxy on this machine is not in api.trusted_proxies: " +
			"all its clients count as one, for limits and login attempts")
	})
}

func (c *clients) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(c.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// behind follows the hops of a header's lines from the last one on, as long as they are trusted
// proxies. One that cannot be read ends the way: what stands before it cannot be told from a lie.
func (c *clients) behind(peer netip.Addr, lines []string, read func(string) netip.Addr) netip.Addr {
	for _, line := range slices.Backward(lines) {
		for rest, more := line, true; more; {
			hop := rest
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, hop = rest[:at], rest[at+1:]
			} else {
				more = false
			}
			if hop = strings.TrimSpace(hop); hop == "" {
				continue // lists may have empty elements
			}
			addr := read(hop)
			if !addr.IsValid() {
				return peer
			}
			if peer = addr; !c.trusts(addr) {
				return peer
			}
		}
	}
	return peer
}

// hopOfList reads an element of X-Forwarded-For: an address, with a port or without.
func hopOfList(s string) netip.Addr {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["),
		"]")); err == nil {
		return plainAddr(addr)
	}
	if addr, err := netip.ParseAddrPort(s); err == nil {
		return plainAddr(addr.Addr())
	}
	return netip.Addr{}
}

// hopOfForwarded reads the "for" of an element of Forwarded (RFC 7239): 192.0.2.7, "192.0.2.7:80",
// "[2001:db8::7]:80". A name that hides the address, such as _hidden, is none.
func hopOfForwarded(s string) netip.Addr {
	for pair := range strings.SplitSeq(s, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(name, "for") {
			return hopOfList(strings.Trim(value, `"`))
		}
	}
	return netip.Addr{}
}

// plainAddr is an address as all parts of this package compare it.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
