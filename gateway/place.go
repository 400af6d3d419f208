package gateway

import (
	"hash/fnv"
	"net/netip"

	"trackchat/gateway/engine"
)

// place is where a peer comes from, see engine.Network.
type place netip.Addr

func placeOf(a netip.Addr) place {
	return place(engine.Network(a))
}

// short is a hash, for what remembers many places and may take one for another once in a while; it
// is never one of otherwise and nowhereWrong.
func (p place) short() uint32 {
	h := fnv.New32a()
	b := netip.Addr(p).As16()
	_, _ = h.Write(b[:]) // never fails
	return max(h.Sum32(), nowhereWrong+1)
}
