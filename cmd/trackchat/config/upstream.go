package config

import (
	"time"

	"trackchat/queue"
)

// Upstream is the tracking server behind a listener, which answers its devices; see docs/relay.md.
type Upstream struct {
	Address       string   `yaml:"address"` // host:port, resolved at each dial
	TLS           bool     `yaml:"tls"`
	ServerName    string   `yaml:"server_name"`    // with TLS; empty: the host of Address
	CA            string   `yaml:"ca"`             // with TLS, of a private authority; empty: the system's
	ProxyProtocol int      `yaml:"proxy_protocol"` // version of the header that is sent; 0: none
	Unknown       string   `yaml:"unknown"`        // devices that the directory does not name
	WhenDown      string   `yaml:"when_down"`
	DialTimeout   Duration `yaml:"dial_timeout"`
	DialRate      float64  `yaml:"dial_rate"` // dials a second, of this listener
	Buffer        Size     `yaml:"buffer"`    // each way and session
	Acks          string   `yaml:"acks"`
	Texts         string   `yaml:"texts"`
}

// Values of Upstream.Unknown, WhenDown, Acks and Texts.
const (
	UnknownRelay  = "relay" // bytes only, no chat
	UnknownRefuse = "refuse"

	WhenDownClose = "close"
	WhenDownChat  = "chat"

	AcksConsume = "consume"
	AcksPass    = "pass"

	TextsBoth = "both"
	TextsChat = "chat"
)

// DefaultUpstream is a block that names nothing, not even an address.
func DefaultUpstream() Upstream {
	return Upstream{
		Unknown: UnknownRelay, WhenDown: WhenDownClose, DialTimeout: Duration(5 * time.Second),
		DialRate: 500, Buffer: 64 << 10, Acks: AcksConsume, Texts: TextsBoth,
	}
}

func (u *Upstream) start(int) { *u = DefaultUpstream() }

// checkUpstream looks at a listener's upstream, whose keys begin with prefix.
func (l *loader) checkUpstream(prefix string, u *Upstream) {
	if u.Address == "" {
		l.report(prefix+"address", "missing; host:port of the tracking server is expected")
	} else {
		l.address(prefix+"address", u.Address, upstreamAddress)
	}
	if u.ServerName != "" {
		l.onlyWithTLS(prefix+"server_name", u.TLS)
		if !queue.IsHost(u.ServerName) {
			l.report(prefix+"server_name", "%s is neither a host name nor an address",
				l.show(prefix+"server_name", u.ServerName))
		}
	}
	if u.CA != "" {
		l.onlyWithTLS(prefix+"ca", u.TLS)
		l.certificatesIn(prefix+"ca", u.CA)
	}
	between(l, prefix+"proxy_protocol", u.ProxyProtocol, 0, 2)
	l.oneOf(prefix+"unknown", u.Unknown, UnknownRelay, UnknownRefuse)
	l.oneOf(prefix+"when_down", u.WhenDown, WhenDownClose, WhenDownChat)
	l.duration(prefix+"dial_timeout", u.DialTimeout, 100*time.Millisecond, time.Minute)
	between(l, prefix+"dial_rate", u.DialRate, 1, 100_000)
	between(l, prefix+"buffer", u.Buffer, 4<<10, 16<<20)
	l.oneOf(prefix+"acks", u.Acks, AcksConsume, AcksPass)
	l.oneOf(prefix+"texts", u.Texts, TextsBoth, TextsChat)
}

// onlyWithTLS reports a key that means nothing without the tls beside it.
func (l *loader) onlyWithTLS(path string, on bool) {
	if !on && !l.broken[parentPath(path)+".tls"] {
		l.report(path, "given without tls: true")
	}
}
