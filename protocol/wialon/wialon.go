// Package wialon speaks Wialon IPS 1.1 and 2.0 (Gurtam, "Wialon IPS" v.1.1 and v.2.0; the packets
// of 2.1 that this package does not know are passed over with their raw bytes).
//
// Flow, the device connects:
//
//	#L#imei;password            >    login, 1.1
//	#L#2.0;imei;password;CRC    >    login, 2.0
//	                            <    #AL#1
//	#P#                         >    ping, whenever the device likes
//	                            <    #AP#
//	#SD#… #D#… #B#…             >    short data, extended data, black box
//	                            <    #ASD#1 #AD#1 #AB#n
//	#M#text  or  #M#text;CRC    <>   message to or from the driver
//	#AM#1                       ><   its answer; towards the server custom, not specification
//
// A packet is one line ending in LF, with an optional CR before it; #I#, #T# and a few others are
// followed by raw bytes. In 2.0 the last field is a CRC.
package wialon

import (
	"time"

	"trackchat/protocol"
)

const (
	name        = "wialon"
	defaultPort = 20332
	maxFrame    = 1 << 20 // a black box of 5,000 records fits
)

// Names and values of the settings.
const (
	settingAck        = "ack"
	settingCharset    = "charset"
	settingPartBytes  = "part_bytes"
	settingPartPrefix = "part_prefix"
	settingRepeat     = "repeat_seconds"

	ackAM        = "am"
	ackNextFrame = "next_frame"
	ackNone      = "none"

	charsetUTF8   = "utf8"
	charsetCP1251 = "cp1251"
)

// New describes Wialon IPS.
func New() *protocol.Protocol {
	s := &shared{utf8: protocol.UTF8(), cp1251: protocol.Windows1251()}
	return &protocol.Protocol{
		Name:     name,
		Port:     defaultPort,
		MaxFrame: maxFrame,
		Frame:    cut,
		NewCodec: func(settings protocol.Settings) protocol.Codec { return newCodec(s, settings) },
		NewRelay: func(settings protocol.Settings, o protocol.RelayOptions) protocol.Relay {
			return newRelay(s, settings, o)
		},
		NewDevice: func(c protocol.DeviceConfig) protocol.Device { return newDevice(s, c) },
		Variants:  []string{variant2, variant1},
		Settings: []protocol.SettingSpec{
			{
				Name: settingAck, Default: ackAM, Check: protocol.CheckOneOf(ackAM, ackNextFrame,
					ackNone),
				Help: "what counts as delivered, because the specification has no ack from the device: am = its #AM#1, next_frame = whatever valid frame it sends next, none = nothing, a text written once stays pending",
			},
			{
				Name: settingCharset, Default: charsetUTF8, Check: protocol.CheckOneOf(charsetUTF8,
					charsetCP1251),
				Help: "of texts on the wire: utf8 (what is none is read as windows-1251) or cp1251",
			},
			{
				Name: settingPartBytes, Default: "1000", Check: protocol.CheckInt(16, 65_535),
				Help: "most bytes of text in one #M#",
			},
			{
				Name: settingPartPrefix, Default: "false", Check: protocol.CheckBool,
				Help: `"(2/7) " before each part of a longer text`,
			},
			{
				Name: settingRepeat, Default: "10", Check: protocol.CheckInt(1, 3600),
				Help: "messages have no numbers: the driver's words that come again over another connection within so many seconds are the same message, whose answer got lost",
			},
		},
	}
}

// shared is what all sessions have in common. It is safe for concurrent use.
type shared struct {
	events       protocol.Events
	clock        protocol.Clock // of deadlines
	utf8, cp1251 protocol.Charset
	inflaters    inflaters
}

func (s *shared) charset(settings protocol.Settings) protocol.Charset {
	if settings.String(settingCharset) == charsetCP1251 {
		return s.cp1251
	}
	return s.utf8
}

// version is the version of the protocol that a session speaks, which decides where a CRC is
// expected.
type version uint8

const (
	versionUnknown version = iota // before the login: a CRC is one where it fits
	version1
	version2
)

var _ protocol.Codec = (*codec)(nil)

// codec is the gateway's side of one connection; it is kept small because most of a million
// sessions are idle.
type codec struct {
	shared     *shared
	device     uint64 // hash of the device id that logged in or asks to; 0 none
	lastBlock  uint32 // number of the last block of the tachograph file that #IT# announced
	partBytes  uint16
	repeat     uint16 // seconds
	version    version
	announced  bool // lastBlock holds
	prefix     bool
	cp1251     bool
	silent     bool // ack: none
	nextFrame  bool // ack: next_frame
	unanswered bool // ack: next_frame, and a text was written since the last frame from the device
}

func newCodec(s *shared, settings protocol.Settings) *codec {
	c := &codec{shared: s}
	c.Bind(settings)
	return c
}

func (c *codec) Bind(s protocol.Settings) {
	c.partBytes = uint16(min(max(s.Int(settingPartBytes), 16), 65_535))
	c.repeat = uint16(min(max(s.Int(settingRepeat), 1), 3600))
	c.prefix = s.Bool(settingPartPrefix)
	c.cp1251 = s.String(settingCharset) == charsetCP1251
	c.silent = s.String(settingAck) == ackNone
	c.nextFrame = s.String(settingAck) == ackNextFrame
	c.unanswered = c.unanswered && c.nextFrame
}

// Caps: RefBits is 0: acks of Wialon IPS name nothing.
func (c *codec) Caps() protocol.TextCaps {
	return protocol.TextCaps{
		PartBytes: int(c.partBytes), Charset: c.charset(), Prefix: c.prefix,
		Silent: c.silent,
	}
}

func (c *codec) charset() protocol.Charset {
	if c.cp1251 {
		return c.shared.cp1251
	}
	return c.shared.utf8
}

// Poll: the server of Wialon IPS never speaks first.
func (c *codec) Poll(dst []byte, _ time.Time) ([]byte, time.Time) { return dst, time.Time{} }
