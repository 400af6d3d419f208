package engine

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// proxyHeaderV2 is a header of version 2 with the given 13th and 14th bytes and body.
func proxyHeaderV2(command, family byte, body string) string {
	b := append([]byte(proxyV2Sign), command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(body)))) + body
}

const (
	inetBody  = "\xC0\x00\x02\x01\xC6\x33\x64\x01\xDC\x04\x1A\x98"
	inet6Body = "\x20\x01\x0D\xB8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0D\xB8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08" + "\xDC\x04\x1A\x98"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xFF\xFF\xC0\x00\x02\x01" +
		"\x20\x01\x0D\xB8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08" + "\xDC\x04\x1A\x98"
	tlvs = "\x03\x00\x04\xFD\x16\xEE\x60\x05\x00\x02id"
)

// headers are proper ones, and whom they name; "" for nobody.
func headers() map[string]string {
	return map[string]string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 56324 6808\r\n":            "192.0.2.1:56324",
		"PROXY TCP6 2001:db8::7 2001:db8::8 56324 6808\r\n":           "[2001:db8::7]:56324",
		"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 1 65535\r\n": "192.0.2.1:1",
		"PROXY UNKNOWN\r\n": "",
		"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n":              "",
		"PROXY UNKNOWN " + strings.Repeat("f", 107-len("PROXY UNKNOWN ")-2) + "\r\n": "",
		proxyHeaderV2(0x21, 0x11,
			inetBody): "192.0.2.1:56324",
		proxyHeaderV2(0x21, 0x11,
			inetBody+tlvs): "192.0.2.1:56324",
		proxyHeaderV2(0x21, 0x21,
			inet6Body): "[2001:db8::7]:56324",
		proxyHeaderV2(0x21, 0x21,
			mapped): "192.0.2.1:56324",
		proxyHeaderV2(0x20, 0x00, ""):                       "",
		proxyHeaderV2(0x20, 0x11, inetBody):                 "",
		proxyHeaderV2(0x21, 0x00, tlvs):                     "",
		proxyHeaderV2(0x21, 0x31, strings.Repeat("/", 216)): "",
		proxyHeaderV2(0x21, 0x11, inetBody+strings.Repeat("x",
			proxyMost-proxyV2Fixed-12)): "192.0.2.1:56324",
		"PROXY TCP4 0.0.0.0 255.255.255.255 0 0\r\n":                                         "0.0.0.0:0",
		"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff::1 65535 443\r\n": "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	}
}

func TestProxyHeaders(t *testing.T) {
	for h, want := range headers() {
		for cut := range len(h) {
			if _, n, more, err := parseProxy([]byte(h[:cut])); n != 0 || more <= 0 ||
				cut+more > len(h) || err != nil {
				t.Fatalf("%q: n %d, more %d, %v", h[:cut], n, more, err)
			}
		}
		for _, behind := range []string{"", "\n", "PROXY ", "\x16\x03\x01"} {
			peer, n, _, err := parseProxy([]byte(h + behind))
			if err != nil || n != len(h) || peer.IsValid() != (want != "") ||
				want != "" && peer.String() != want {
				t.Errorf("%q: %s, n %d, %v", h+behind, peer, n, err)
			}
		}
	}
}

func TestWrongProxyHeaders(t *testing.T) {
	for _, h := range []string{
		"#L#1;NA\r\n",
		"\x7E\x00",
		"proxy TCP4 192.0.2.1 198.51.100.1 56324 6808\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 56324 6808\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 56324 6808 \r\n",
		"PROXY  TCP4 192.0.2.1 198.51.100.1 56324 6808\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
		"PROXY TCP4 192.0.2.01 198.51.100.1 56324 6808\r\n",
		"PROXY TCP4 192.0.2 198.51.100.1 56324 6808\r\n",
		"PROXY TCP4 192.0.2.1 host 56324 6808\r\n",
		"PROXY TCP4 2001:db8::7 2001:db8::8 56324 6808\r\n",
		"PROXY TCP6 192.0.2.1 198.51.100.1 56324 6808\r\n",
		"PROXY TCP6 fe80::1%eth0 2001:db8::8 56324 6808\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 65536 6808\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 -1 6808\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 +1 6808\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 080 6808\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 56324 x\r\n",
		"PROXY UDP4 192.0.2.1 198.51.100.1 56324 6808\r\n",
		"PROXY\r\n",
		"PROXY \r\n",
		"PROXY UNKNOWN " + strings.Repeat("f", 107),
		proxyHeaderV2(0x11, 0x11, inetBody),
		proxyHeaderV2(0x22, 0x11, inetBody),
		proxyHeaderV2(0x21, 0x41, inetBody),
		proxyHeaderV2(0x21, 0x13, inetBody),
		proxyHeaderV2(0x21, 0x12, inetBody),
		proxyHeaderV2(0x21, 0x10, inetBody),
		proxyHeaderV2(0x21, 0x11, inetBody[:11]),
		proxyHeaderV2(0x21, 0x21, inet6Body[:35]),
		proxyHeaderV2(0x21, 0x11, inetBody+strings.Repeat("x", proxyMost)),
		"\r\n\r\n\x00\r\nQUIT\r!\x11\x00\x00",
	} {
		if peer, n, _, err := parseProxy([]byte(h)); !errors.Is(err, ErrProxy) || n != 0 ||
			peer.IsValid() {
			t.Errorf("%q: %s, n %d, %v", h, peer, n, err)
		}
	}
}

// FuzzProxyHeader holds the parser to what its readers rely on: it never claims bytes that are not
// there or asks for more than it may, more bytes do not change a verdict, and what it accepts was
// asked for piece by piece.
func FuzzProxyHeader(f *testing.F) {
	for h := range headers() {
		f.Add([]byte(h))
		f.Add([]byte(h[:len(h)-1] + "?"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		peer, n, more, err := parseProxy(data)
		switch {
		case err != nil:
			if !errors.Is(err, ErrProxy) || n != 0 || peer != (netip.AddrPort{}) {
				t.Fatalf("n %d, %s, %v", n, peer, err)
			}
			return
		case n == 0:
			if more <= 0 || len(data)+more > proxyMost {
				t.Fatalf("asks for %d behind %d", more, len(data))
			}
			return
		case n > len(data) || n > proxyMost:
			t.Fatalf("n %d of %d", n, len(data))
		}
		if again, m, _, err := parseProxy(data[:n]); again != peer || m != n || err != nil {
			t.Fatalf("alone: %s, n %d, %v", again, m, err)
		}
		if peer.IsValid() && (peer.Addr().Zone() != "" || peer.Addr().Is4In6()) {
			t.Fatalf("peer %s", peer)
		}
		for at := 0; at < n; {
			_, m, more, err := parseProxy(data[:at])
			if m != 0 || err != nil || more <= 0 || at+more > n {
				t.Fatalf("after %d of %d: n %d, more %d, %v", at, n, m, more, err)
			}
			at += more
		}
	})
}

// TestProxyHeader sees what is said of a connection be read again.
func TestProxyHeaderSays(t *testing.T) {
	addr := netip.MustParseAddrPort
	for _, c := range []struct{ peer, local string }{
		{"192.0.2.1:56324", "198.51.100.1:6808"},
		{"[2001:db8::7]:1", "[2001:db8::8]:65535"},
		{"192.0.2.1:56324", "[2001:db8::8]:6808"},
		{"[2001:db8::7]:9", "198.51.100.1:6808"},
	} {
		for version := 1; version <= 2; version++ {
			h := ProxyHeader(version, addr(c.peer), addr(c.local))
			peer, n, _, err := parseProxy(append(h, "more"...))
			if err != nil || n != len(h) || peer != addr(c.peer) {
				t.Errorf("version %d of %s: %q is read as %s, %d, %v", version, c.peer, h, peer, n, err)
			}
		}
	}
	if h := ProxyHeader(1, addr("192.0.2.1:1"), netip.AddrPort{}); string(h) !=
		"PROXY TCP4 192.0.2.1 0.0.0.0 1 0\r\n" {
		t.Errorf("without a local address: %q", h)
	}
	if ProxyHeader(0, addr("192.0.2.1:1"), addr("192.0.2.1:1")) != nil ||
		ProxyHeader(1, netip.AddrPort{}, addr("192.0.2.1:1")) != nil {
		t.Error("a header although there is nothing to say")
	}
}
