// Package fmi speaks Garmin's Fleet Management Interface (document 001-00096-00, Rev. M) with a
// navigator in the cab. FMI has no connection of its own: a tracker carries its bytes as the
// payload of its own protocol, so this package is not a protocol.Protocol but what the codec of
// such a tracker embeds (Session), and the navigator itself for simulators (Client).
//
// Flow; the client is the navigator, we are the server:
//
//	<  0000 features                 enable, repeated until the link acknowledges it
//	>  0004                          may I use Unicode?           <  0005
//	<  0001                          which protocols?             >  0002 product, 0003 protocols
//	                                 (A602 … A611), where the tracker lets them through
//	<  0250 0041, 0250 0024          report statuses, send texts  >  0251
//	<  002A id, text  (A604)         a text of up to 199 bytes    >  002B id: the client has it
//	<  0055 id, segment  (A611)      one of up to 1,999 bytes     >  0056 id, result: the next,
//	                                 after the last: the client has it
//	<  0022 id, text  (A602)         a text with an OK button     >  0020 id: read
//	<  0030 …, 0028 id, then the text: with answers to choose from  >  0032 …, 0029,
//	                                 and 0020 id, answer          <  002C id
//	>  0041 id, status               unread, read, not found; by itself or when asked with 0040
//	>  0024 or 0026 unique id, text  from the driver              <  0025 unique id
//	>  0811, 0813, 0821, 0823        driver and status            <  0812 or 0822
//
// Numbers are little-endian, structures packed. Times are seconds since 1989-12-31 00:00 UTC.
package fmi

import (
	"fmt"
	"sync"

	"trackchat/protocol"
)

// Carrier wraps one FMI frame into a packet of the tracker's own protocol.
type Carrier interface {
	// Begin appends what comes before the frame.
	Begin(dst []byte) []byte
	// End completes the packet that began at start.
	End(dst []byte, start int) []byte
}

// Version is the text protocol that a client speaks.
type Version uint8

// Versions, in rising order. With Auto it is A604 until the client says what it speaks (0003).
const (
	Auto Version = iota
	A602         // texts with an OK button, no receipt before the driver presses it
	A604         // texts of up to 199 bytes with a receipt
	A611         // texts of up to 1,999 bytes in segments, each with a receipt
)

// Names of the versions.
const (
	versionAuto = "auto"
	versionA602 = "a602"
	versionA604 = "a604"
	versionA611 = "a611"
)

// ParseVersion reads a602, a604 or a611; anything else is Auto.
func ParseVersion(v string) Version {
	switch v {
	case versionA602:
		return A602
	case versionA604:
		return A604
	case versionA611:
		return A611
	}
	return Auto
}

// Variants are the names of what a simulated client speaks, the default of NewClient first.
func Variants() []string { return []string{versionA611, versionA604, versionA602} }

// number is that of the protocol behind its letter.
func (v Version) number() uint16 {
	switch v {
	case A602:
		return 602
	case A611:
		return 611
	default:
		return 604
	}
}

// RefBits is the width of the references that travel in message ids.
const RefBits = 64

const (
	maxChoices   = 8
	segmentBytes = 200
	shortBytes   = 199 // of a text without its NUL, A602 and A604
	longBytes    = 1999
	replyBytes   = 49 // of a canned answer without its NUL
)

// Options say how a Session talks.
type Options struct {
	Version Version
	Charset protocol.Charset
	LinkACK bool // we acknowledge the client's packets ourselves; otherwise the tracker does
	// ask for the client's protocols with 0001: the carrier lets that and the answer through.
	AskA1  bool
	Now    bool // a text is shown at once instead of in the inbox with a floating button
	Prefix bool // "(2/7) " before each part
	Mute   bool // nobody answered on an earlier connection, see Session.Learnt
}

// Names and values of the settings that carriers share.
const (
	SettingVersion    = "fmi_version"
	SettingLinkACK    = "link_ack"
	SettingShow       = "fmi_show"
	SettingCharset    = "charset"
	SettingPartPrefix = "part_prefix"

	LinkACKServer  = "server"
	LinkACKTracker = "tracker"

	showInbox = "inbox"
	showNow   = "now"

	charsetUTF8   = "utf8"
	charsetCP1251 = "cp1251"
	charsetGBK    = "gbk"
)

// Settings declares them. linkACK is the carrier's default for who acknowledges the client's
// packets.
func Settings(linkACK string) []protocol.SettingSpec {
	return []protocol.SettingSpec{
		{
			Name: SettingVersion, Default: versionAuto, Check: protocol.CheckOneOf(versionAuto,
				versionA602, versionA604, versionA611),
			Help: "text protocol of the Garmin client: a602 (texts with an OK button), a604 (up to 199 bytes with a receipt), a611 (up to 1,999 bytes); auto = what the client says it speaks, a604 where it does not say",
		},
		{
			Name: SettingLinkACK, Default: linkACK, Check: protocol.CheckOneOf(LinkACKServer,
				LinkACKTracker),
			Help: "who acknowledges the Garmin client's packets on the serial link: server (this gateway) or tracker",
		},
		{
			Name: SettingShow, Default: showInbox, Check: protocol.CheckOneOf(showInbox, showNow),
			Help: "what the Garmin client does with a text: inbox (with a floating button) or now (shows it at once)",
		},
		{
			Name: SettingCharset, Default: charsetUTF8, Check: protocol.CheckOneOf(charsetUTF8,
				charsetCP1251, charsetGBK),
			Help: "of texts on the wire: utf8, cp1251 or gbk; with utf8 a Garmin client gets ASCII until it has asked for Unicode (packet 0004)",
		},
		{
			Name: SettingPartPrefix, Default: "false", Check: protocol.CheckBool,
			Help: `"(2/7) " before each part of a longer text`,
		},
	}
}

// Shared is what all sessions of one carrier have in common. It is safe for concurrent use.
type Shared struct {
	Clock             protocol.Clock // of deadlines
	events            protocol.Events
	bodies            sync.Pool // *[maxBody]byte
	utf8, cp1251, gbk protocol.Charset
	narrow            protocol.Charset // instead of utf8 until the client asks for Unicode
}

// NewShared makes it.
func NewShared() *Shared {
	return &Shared{
		utf8: protocol.UTF8(), cp1251: protocol.Windows1251(), gbk: protocol.GBK(),
		narrow: &untilAsked{protocol.ASCII()},
	}
}

// Charset returns the charset that the settings name, for whatever is no Garmin client.
func (h *Shared) Charset(s protocol.Settings) protocol.Charset {
	switch s.String(SettingCharset) {
	case charsetCP1251:
		return h.cp1251
	case charsetGBK:
		return h.gbk
	default:
		return h.utf8
	}
}

// Options reads the settings; askA1 is the carrier's.
func (h *Shared) Options(s protocol.Settings, askA1 bool) Options {
	charset := h.Charset(s)
	if charset == h.utf8 {
		charset = h.narrow
	}
	return Options{
		Version: ParseVersion(s.String(SettingVersion)),
		Charset: charset,
		LinkACK: s.String(SettingLinkACK) == LinkACKServer,
		AskA1:   askA1,
		Now:     s.String(SettingShow) == showNow,
		Prefix:  s.Bool(SettingPartPrefix),
	}
}

// Caps says what a session with these options can carry as long as the client has not spoken. One
// that knows more than A602 is about to ask for Unicode.
func (o Options) Caps() protocol.TextCaps {
	if _, narrow := o.Charset.(*untilAsked); narrow && o.Version != A602 {
		o.Charset = protocol.UTF8()
	}
	return capsOf(o.Version, o)
}

func capsOf(v Version, o Options) protocol.TextCaps {
	caps := protocol.TextCaps{
		PartBytes: shortBytes, RefBits: RefBits, Charset: o.Charset,
		Prefix: o.Prefix, Choices: maxChoices, Opens: true,
	}
	switch v {
	case A602:
		caps.Choices = 0
	case A611:
		caps.PartBytes = longBytes
	default:
	}
	return caps
}

const (
	epoch     = 631065600 // 1989-12-31 00:00 UTC as Unix time
	noTime    = 0xFFFFFFFF
	mostYears = noTime + epoch
)

// garminTime turns Unix milliseconds into seconds since Garmin's epoch; a time that does not fit is
// the invalid one.
func garminTime(ms int64) uint32 {
	unix := ms / 1000
	if unix < epoch || unix >= mostYears {
		return noTime
	}
	return uint32(unix - epoch)
}

// errShort is what a packet shorter than its structure becomes.
func errShort(packet uint16, n int) error {
	return fmt.Errorf("%w: packet %04x with %d bytes", protocol.ErrMalformed, packet, n)
}
