package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// ProtocolNames lists the protocols that are built in.
func ProtocolNames() []string {
	protocols := all.Protocols()
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.Name
	}
	return names
}

// checkListener looks at one listener, whose keys begin with prefix.
func (l *loader) checkListener(prefix string, ln *Listener) {
	p, ok := all.Find(ln.Protocol)
	switch {
	case ln.Protocol == "":
		l.report(prefix+"protocol", "missing; built in: %s", strings.Join(ProtocolNames(), ", "))
	case !ok:
		l.report(prefix+"protocol", "%s is not built in; built in: %s", l.show(prefix+"protocol",
			ln.Protocol), strings.Join(ProtocolNames(), ", "))
	}
	if ok || ln.Listen != "" {
		l.address(prefix+"listen", ln.Listen, listenAddress)
	}
	l.certificate(prefix, ln.TLSCert, ln.TLSKey)
	if ln.ClientCA != "" {
		l.authorities(prefix, ln)
	}
	l.networks(prefix+"proxy_protocol", ln.ProxyProtocol)
	between(l, prefix+"max_conns", ln.MaxConns, 0, 100_000_000)
	if ok {
		l.settings(prefix+"settings", p, ln.Settings)
	}
	if ln.Upstream != nil {
		l.checkUpstream(prefix+"upstream.", ln.Upstream)
	}
}

// networks reports what is not address/bits.
func (l *loader) networks(path string, list []string) {
	for i, network := range list {
		if _, err := netip.ParsePrefix(network); err != nil {
			path := fmt.Sprintf("%s[%d]", path, i)
			l.report(path, "%s is not a network such as 10.0.0.0/8", l.show(path, network))
		}
	}
}

// settings lets the protocol check the settings of a listener.
func (l *loader) settings(path string, p *protocol.Protocol, settings map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		key := path + "." + name
		err := checkSetting(p, name, settings[name])
		switch {
		case err != nil && l.origins[key].expanded:
			// the protocol's own words may hold the value.
			l.report(key, "%s is not what %s accepts", l.show(key, settings[name]), p.Name)
		case err != nil:
			l.report(key, "%v", err)
		}
	}
}

// checkSetting lets a protocol check one setting by itself.
func checkSetting(p *protocol.Protocol, name, value string) error {
	_, err := p.NewSettings(map[string]string{name: value})
	return err
}

// certificate checks a certificate and its key, whose keys are prefix + tls_cert and tls_key.
func (l *loader) certificate(prefix, cert, key string) {
	l.keyPair(prefix+"tls_cert", cert, prefix+"tls_key", key)
}

// keyPair checks a certificate and its key, of two configuration keys.
func (l *loader) keyPair(certPath, cert, keyPath, key string) {
	lastName := func(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
	const missing = "missing, because %s is given; both or neither are expected"
	switch {
	case cert == "" && key == "":
	case cert == "":
		l.report(certPath, missing, lastName(keyPath))
	case key == "":
		l.report(keyPath, missing, lastName(certPath))
	default:
		certOK, keyOK := l.readable(certPath, cert), l.readable(keyPath, key)
		if !certOK || !keyOK {
			return
		}
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			l.report(certPath, "%s and its key cannot be used: %v", l.show(certPath, cert),
				cause(err))
		}
	}
}

// authorities checks a listener's client_ca.
func (l *loader) authorities(prefix string, ln *Listener) {
	path := prefix + "client_ca"
	if ln.TLSCert == "" && ln.TLSKey == "" {
		l.report(path, "given without tls_cert and tls_key; certificates of clients need TLS")
	}
	l.certificatesIn(path, ln.ClientCA)
}

// certificatesIn checks a file of authorities' certificates.
func (l *loader) certificatesIn(path, file string) {
	if !l.readable(path, file) {
		return
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		l.report(path, "%s cannot be read: %v", l.show(path, file), cause(err))
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		l.report(path, "%s holds no certificate in PEM form", l.show(path, file))
	}
}

// addressUse says what an address is for.
type addressUse int

const (
	listenAddress addressUse = iota // the host may be empty and the port 0
	dialAddress
	upstreamAddress // the same, of a tracking server
)

// address reports what is not host:port.
func (l *loader) address(path, address string, use addressUse) {
	dial, example := use != listenAddress, "127.0.0.1:8080 or :8080"
	switch use {
	case listenAddress:
	case dialAddress:
		example = "127.0.0.1:6379"
	case upstreamAddress:
		example = "tracking.example:6808"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		l.report(path, "%s is not host:port such as %s", l.show(path, address), example)
		return
	}
	n, ok := validPort(port)
	switch {
	case !ok:
		l.report(path, "%s has no port from 0 to 65535, such as %s", l.show(path, address), example)
	case dial && n == 0:
		l.report(path, "%s has no port from 1 to 65535, such as %s", l.show(path, address), example)
	case dial && host == "", host != "" && !queue.IsHost(host):
		l.report(path, "%s does not begin with an address or a host name, such as %s",
			l.show(path, address), example)
	}
}

// port is one address that this process listens on.
type port struct {
	Path    string // its key
	What    string
	Address string
}

// Ports lists the addresses that the configured roles listen on.
func Ports(c *Config) []port {
	var list []port
	if c.HasRole(RoleAPI) {
		list = append(list, port{"api.listen", "API", c.API.Listen})
	}
	list = append(list, port{"admin.listen", "admin", c.Admin.Listen})
	if c.HasRole(RoleGateway) {
		for i, ln := range c.Gateway.Listeners {
			list = append(list, port{
				fmt.Sprintf("gateway.listeners[%d].listen", i), ln.Protocol,
				ln.Listen,
			})
		}
	}
	return list
}

// checkAddresses reports addresses that cannot be listened on together.
func (l *loader) checkAddresses(c *Config) {
	ports := Ports(c)
	for i, a := range ports {
		for _, b := range ports[:i] {
			if collide(a.Address, b.Address) {
				l.report(a.Path, "%s is taken by %s (%s)", l.show(a.Path, a.Address), b.Path,
					l.show(b.Path, b.Address))
				break
			}
		}
	}
}

// collide reports whether two addresses exclude each other: the same port on the same address, or
// on all addresses of its family.
func collide(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	numA, okA := validPort(portA)
	numB, okB := validPort(portB)
	if errA != nil || errB != nil || !okA || !okB || numA != numB || numA == 0 {
		return false
	}
	ipA, ipB := hostAddr(hostA), hostAddr(hostB)
	switch {
	case hostA == hostB, covers(ipA, ipB), covers(ipB, ipA):
		return true
	default:
		return ipA.IsValid() && ipA == ipB
	}
}

// hostAddr is the address of a host, the zero value for a name that only the resolver knows. An
// empty host is all addresses of both families.
func hostAddr(host string) netip.Addr {
	switch host {
	case "":
		return netip.IPv6Unspecified()
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap()
}

// covers reports whether a is a wildcard that takes the port of b too.
func covers(a, b netip.Addr) bool {
	return a.IsUnspecified() && (a.Is6() || !b.Is6())
}
