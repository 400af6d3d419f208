package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A balancer that forwards TCP connections says in a PROXY header, before anything else, whose they
// are. The layouts are those of HAProxy's "The PROXY protocol, versions 1 & 2"
// (proxy-protocol.txt), sections 2.1 and 2.2:
//
//	version 1   PROXY SP (TCP4|TCP6) SP source SP destination SP port SP port CRLF, or PROXY SP
//	            UNKNOWN … CRLF; at most 107 bytes
//	version 2   signature 12 | version and command 1 | family and transport 1 | length 2 | length
//	            bytes: addresses, then TLVs

// ErrProxy says that the first bytes of a connection are not a PROXY header, or not one that can be
// believed.
var ErrProxy = errors.New("engine: no proper PROXY header")

const (
	proxyV1Prefix = "PROXY "
	proxyV1Most   = 107
	proxyV2Sign   = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Fixed  = 16
	// of a header of version 2, TLVs included; balancers send a few hundred bytes at most.
	proxyMost = 2 << 10

	proxyV2     = 0x2 // high nibble of the 13th byte
	proxyLocal  = 0x0 // low nibble: the balancer's own connection, a health check for instance
	proxyRemote = 0x1 // low nibble: somebody else's

	proxyUnspec = 0x0 // high nibble of the 14th byte
	proxyInet   = 0x1
	proxyInet6  = 0x2
	proxyUnix   = 0x3
	proxyStream = 0x1 // low nibble
	proxyDgram  = 0x2
)

// ProxyHeader returns the header of that version, 1 or 2, that says whose connection follows: the
// peer's, to the local address. Empty for another version, or a peer that is not known.
func ProxyHeader(version int, peer, local netip.AddrPort) []byte {
	if !peer.IsValid() || version != 1 && version != 2 {
		return nil
	}
	a, b, family, name := peer.Addr(), local.Addr(), byte(proxyInet), "TCP4"
	switch {
	case !b.IsValid() && a.Is4():
		b = netip.IPv4Unspecified()
	case !b.IsValid():
		b = netip.IPv6Unspecified()
	}
	if a.Is6() || b.Is6() { // the balancer that names the peer may be of another family
		family, name = proxyInet6, "TCP6"
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	if version == 1 {
		return fmt.Appendf(nil, "%s%s %s %s %d %d\r\n", proxyV1Prefix, name, a.WithZone(""),
			b.WithZone(""), peer.Port(), local.Port())
	}
	addresses := append(a.AsSlice(), b.AsSlice()...)
	out := append([]byte(proxyV2Sign), proxyV2<<4|proxyRemote, family<<4|proxyStream)
	out = binary.BigEndian.AppendUint16(out, uint16(len(addresses)+4))
	out = append(out, addresses...)
	out = binary.BigEndian.AppendUint16(out, peer.Port())
	return binary.BigEndian.AppendUint16(out, local.Port())
}

// parseProxy reads the header at the beginning of buf. n is its length, or 0 while it is not whole;
// then more is how many further bytes belong to it for sure. peer is whose connection it is; the
// zero value says that it is the balancer's own, or that the balancer does not know.
func parseProxy(buf []byte) (peer netip.AddrPort, n, more int, err error) {
	switch {
	case len(buf) == 0:
		return peer, 0, len(proxyV2Sign), nil // version 1 is no shorter
	case startsLike(buf, proxyV2Sign):
		return parseProxyV2(buf)
	case startsLike(buf, proxyV1Prefix):
		return parseProxyV1(buf)
	default:
		return netip.AddrPort{}, 0, 0, fmt.Errorf("%w: neither version begins like this", ErrProxy)
	}
}

// startsLike says whether buf begins with prefix, as far as buf goes.
func startsLike(buf []byte, prefix string) bool {
	n := min(len(buf), len(prefix))
	return string(buf[:n]) == prefix[:n]
}

func parseProxyV1(buf []byte) (peer netip.AddrPort, n, more int, err error) {
	end := bytes.IndexByte(buf[:min(len(buf), proxyV1Most)], '\n')
	if end < 0 {
		if len(buf) >= proxyV1Most {
			return peer, 0, 0, fmt.Errorf("%w: no end of line", ErrProxy)
		}
		return peer, 0, max(len("PROXY UNKNOWN\r\n")-len(buf), 1), nil
	}
	line, ok := strings.CutSuffix(string(buf[:end]), "\r")
	if !ok {
		return peer, 0, 0, fmt.Errorf("%w: a line without CR", ErrProxy)
	}
	f := strings.Split(line, " ")
	if len(f) > 1 && f[1] == "UNKNOWN" {
		return peer, end + 1, 0, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return peer, 0, 0, fmt.Errorf(
			"%w: not TCP4, TCP6 or UNKNOWN with two addresses and two ports", ErrProxy)
	}
	for i := 2; i < 4; i++ { // the destination has to be there, but is of no interest
		if err := proxyAddress(f[1], f[i]); err != nil {
			return peer, 0, 0, err
		}
		if _, err := proxyPort(f[i+2]); err != nil {
			return peer, 0, 0, err
		}
	}
	port, err := proxyPort(f[4])
	if err != nil {
		return peer, 0, 0, err
	}
	return netip.AddrPortFrom(netip.MustParseAddr(f[2]).Unmap(), port), end + 1, 0, nil
}

func proxyAddress(family, s string) error {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4() != (family == "TCP4") {
		return fmt.Errorf("%w: not an address of %s", ErrProxy, family)
	}
	return nil
}

func proxyPort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%w: not a port", ErrProxy)
	}
	return uint16(n), nil
}

func parseProxyV2(buf []byte) (peer netip.AddrPort, n, more int, err error) {
	if len(buf) < proxyV2Fixed {
		return peer, 0, proxyV2Fixed - len(buf), nil
	}
	command, family, transport := buf[12]&0xF, buf[13]>>4, buf[13]&0xF
	length := int(binary.BigEndian.Uint16(buf[14:]))
	whole := proxyV2Fixed + length
	switch {
	case buf[12]>>4 != proxyV2:
		return peer, 0, 0, fmt.Errorf("%w: version %d", ErrProxy, buf[12]>>4)
	case command != proxyLocal && command != proxyRemote:
		return peer, 0, 0, fmt.Errorf("%w: command %d", ErrProxy, command)
	case family > proxyUnix || transport > proxyDgram:
		return peer, 0, 0, fmt.Errorf("%w: address family %d, transport %d", ErrProxy, family,
			transport)
	case whole > proxyMost:
		return peer, 0, 0, fmt.Errorf("%w: %d bytes, at most %d are accepted", ErrProxy, whole,
			proxyMost)
	case len(buf) < whole:
		return peer, 0, whole - len(buf), nil
	case command == proxyLocal, family == proxyUnspec, family == proxyUnix:
		return peer, whole, 0, nil
	case transport != proxyStream:
		return peer, 0, 0, fmt.Errorf("%w: transport %d on a TCP connection", ErrProxy, transport)
	}
	size := 4
	if family == proxyInet6 {
		size = 16
	}
	if length < 2*size+4 { // two addresses and two ports
		return peer, 0, 0, fmt.Errorf("%w: %d bytes are too few for its addresses", ErrProxy,
			length)
	}
	body := buf[proxyV2Fixed:]
	a, _ := netip.AddrFromSlice(body[:size]) // 4 or 16 bytes are an address
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(body[2*size:])), whole, 0, nil
}
