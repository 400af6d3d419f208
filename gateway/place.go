package gateway

import (
	"hash/fnv"
	"net/netip"
)

// place is what stands for where a peer comes from: an address, of IPv6 its first 64 bits, which is
// what one customer has.
type place netip.Addr

func placeOf(a netip.Addr) place {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return place(p.Addr())
		}
	}
	return place(a)
}

// short is a hash, for what remembers many places and may take one for another once in a while; it
// is never one of otherwise and nowhereWrong.
func (p place) short() uint32 {
	h := fnv.New32a()
	b := netip.Addr(p).As16()
	_, _ = h.Write(b[:]) // never fails
	return max(h.Sum32(), nowhereWrong+1)
}
