// Package watch speaks the bracketed protocol of GPS watches ("Watch", SeTracker, Beesure, 3G ELEC:
// 4P-Touch "Beesure GPS SeTracker Server Protocol", and the numbered form of 2016 and 2017).
//
// Flow, the device connects:
//
//	[3G*id*0009*LK,0,0,64]                   >   the first frame names the device: no login
//	                                         <   [3G*id*0002*LK]
//	[ZJ*id*0001*002c*INIT,phone,…]           >   numbered form, its number behind the id
//	                                         <   [ZJ*id*0001*0006*INIT,1]
//	[3G*id*0064*UD,…]                        >   position, unanswered
//	[3G*id*0064*AL,…]                        >   alarm
//	                                         <   [3G*id*0002*AL]
//	                                         <   [3G*id*0010*MESSAGE,00480069]
//	[3G*id*0007*MESSAGE]                     >   its echo, which names no text
//	[3G*id*001c*TK,#!AMR…]                   >   voice
//	                                         <   [3G*id*0004*TK,1]
//
// A frame is a prefix of two characters, the id, the number where there is one, and the length of
// the content in bytes, four hexadecimal digits each; then the content, a name and its parameters.
package watch

import (
	"fmt"
	"time"

	"trackchat/protocol"
)

const (
	name        = "watch"
	defaultPort = 5093
	// maxFrame is the longest content and a header.
	maxFrame = 64<<10 + 64
	// idleTimeout is more than three of the longest pauses between two LK: 10 min.
	idleTimeout = 30 * time.Minute
)

// Names and values of the settings.
const (
	settingText      = "text"
	settingPrefix    = "prefix"
	settingPartUnits = "part_units"
	settingAck       = "ack"
	settingVoice     = "voice"
	settingAlarms    = "alarms"
	settingLKTime    = "lk_time"

	textAuto  = "auto"
	textHex   = "hex"
	textHexLE = "hexle"
	textUTF8  = "utf8"

	ackEcho = "echo"
	ackNone = "none"

	voiceNote   = "note"
	voiceRefuse = "refuse"
	voiceIgnore = "ignore"

	alarmsNone = "none"
	alarmsSOS  = "sos"

	leastUnits, mostUnits = 10, 500
)

// New describes the protocol.
func New() *protocol.Protocol {
	s := new(shared)
	return &protocol.Protocol{
		Name:        name,
		Port:        defaultPort,
		MaxFrame:    maxFrame,
		Frame:       cut,
		IdleTimeout: idleTimeout,
		NoProbes:    true,
		NewCodec:    func(set protocol.Settings) protocol.Codec { return newCodec(s, set) },
		NewRelay: func(set protocol.Settings, o protocol.RelayOptions) protocol.Relay {
			return newRelay(s, set, o)
		},
		NewDevice: func(c protocol.DeviceConfig) protocol.Device { return newDevice(c) },
		Variants:  []string{variant3G, variantZJ, variantYW},
		Settings: []protocol.SettingSpec{
			{
				Name: settingText, Default: textAuto,
				Check: protocol.CheckOneOf(textAuto, textHex, textHexLE, textUTF8),
				Help:  "of a MESSAGE: hex = UTF-16BE as hexadecimal digits, hexle = the same of UTF-16LE, utf8 = raw, with ( for [ and ) for ] and }; auto = utf8 or hexle where the device's INIT says so (mode 1 or 2), else hex",
			},
			{
				Name: settingPrefix, Check: checkPrefix,
				Help: "two letters or digits that a text's frame begins with, such as SG; empty: the device's own, which answers have in any case",
			},
			{
				Name: settingPartUnits, Default: "100",
				Check: protocol.CheckInt(leastUnits, mostUnits),
				Help:  "most UTF-16 units of text in one MESSAGE, 10 to 500; raw UTF-8 has three bytes for each",
			},
			{
				Name: settingAck, Default: ackEcho, Check: protocol.CheckOneOf(ackEcho, ackNone),
				Help: "what counts as delivered: echo = the MESSAGE that the device sends back, none = nothing, a text is written once and stays pending: for models that send it back without showing the text",
			},
			{
				Name: settingVoice, Default: voiceNote,
				Check: protocol.CheckOneOf(voiceNote, voiceRefuse, voiceIgnore),
				Help:  `a voice message, which is not kept: note = "[voice message]" is stored as the driver's text and it is taken, refuse = it is answered as failed, ignore = neither stored nor answered`,
			},
			{
				Name: settingAlarms, Default: alarmsNone,
				Check: protocol.CheckOneOf(alarmsNone, alarmsSOS),
				Help:  `alarms, which are answered in any case: none = nothing is stored, sos = "SOS" is stored as the driver's text where the status says so (bit 16)`,
			},
			{
				Name: settingLKTime, Check: checkZone,
				Help: "date and time behind the answer to a numbered LK, in that zone: utc, or an offset such as +08:00; empty: none",
			},
		},
	}
}

func checkPrefix(v string) error {
	if v != "" && (len(v) != prefixLength || !isWord(v[0]) || !isWord(v[1])) {
		return fmt.Errorf("%q is not two letters or digits", v)
	}
	return nil
}

// checkZone accepts what zone reads.
func checkZone(v string) error {
	if _, ok := zone(v); !ok && v != "" {
		return fmt.Errorf("%q is neither utc nor an offset such as +08:00", v)
	}
	return nil
}

// zone reads utc or ±hh:mm, in minutes.
func zone(v string) (minutes int16, ok bool) {
	if v == "utc" {
		return 0, true
	}
	at, err := time.Parse("-07:00", v)
	if err != nil {
		return 0, false
	}
	_, offset := at.Zone()
	return int16(offset / 60), true
}

// shared is what all sessions have in common. It is safe for concurrent use.
type shared struct {
	events protocol.Events
	clock  protocol.Clock // of deadlines
}

// mode is what the device's INIT says of its texts.
type mode uint8

const (
	modeCharacters mode = iota // it says nothing, or that its lengths count characters
	modeBytes
	modeHexLE
)

// Values of codec.voice.
type voice uint8

const (
	noteVoice voice = iota
	refuseVoice
	ignoreVoice
)

var _ protocol.Codec = (*codec)(nil)

// codec is the gateway's side of one connection; it is kept small because most of a million
// sessions are idle.
type codec struct {
	shared *shared
	sent   uint64 // hash of the text written last, in lower case; 0 none
	part   uint64 // hash of the part that has the number count; 0: it has its echo, or none had one
	peer   peer   // the device, as its last frame has it
	lkDue  uint32 // digits of the number of the LK that Poll answers; 0 none
	count  uint16 // our number of the text written last
	units  uint16 // part_units
	zone   int16  // lk_time, minutes east of UTC
	prefix [prefixLength]byte
	text   encoding
	mode   mode
	voice  voice
	lkTime bool
	silent bool // ack: none
	sos    bool // alarms: sos
	cutOff bool // the last frame ended before its declared length
}

// peer is how a device writes itself.
type peer struct {
	id       [maxID]byte
	idLength uint8 // 0: nobody has spoken
	prefix   [prefixLength]byte
	numbered bool
}

func newCodec(s *shared, settings protocol.Settings) *codec {
	c := &codec{shared: s}
	c.Bind(settings)
	return c
}

func (c *codec) Bind(s protocol.Settings) {
	c.units = uint16(min(max(s.Int(settingPartUnits), leastUnits), mostUnits))
	c.prefix = [prefixLength]byte{}
	copy(c.prefix[:], s.String(settingPrefix))
	c.text = encodingOf(s.String(settingText))
	c.zone, c.lkTime = zone(s.String(settingLKTime))
	c.silent = s.String(settingAck) == ackNone
	c.sos = s.String(settingAlarms) == alarmsSOS
	switch s.String(settingVoice) {
	case voiceRefuse:
		c.voice = refuseVoice
	case voiceIgnore:
		c.voice = ignoreVoice
	default:
		c.voice = noteVoice
	}
}

// Caps: RefBits is 0: the echo names nothing.
func (c *codec) Caps() protocol.TextCaps {
	e := c.text.with(c.mode)
	return protocol.TextCaps{
		PartBytes: e.partBytes(int(c.units)), Charset: e.charset(), Silent: c.silent,
	}
}

// Poll answers an LK that wants the time; the server never speaks first.
func (c *codec) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	if c.lkDue != 0 {
		dst = c.appendLKTime(dst, now)
		c.lkDue = 0
	}
	return dst, time.Time{}
}
