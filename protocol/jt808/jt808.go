// Package jt808 speaks JT/T 808, the Chinese national protocol for vehicle terminals, in its
// editions of 2011, 2013 and 2019. Section numbers below are those of JT/T 808-2013.
//
// A frame is 7E, header, body, XOR of header and body, 7E; between the flags 7E is written 7D 02
// and 7D is written 7D 01, after the XOR was computed (4.4.1). Numbers are big-endian, strings are
// GBK. The header of 2011 and 2013 (4.4.3) is: message id WORD, attributes WORD (bits 0-9 length of
// the body, 10-12 encryption, 13 subpackage, 14 version flag), terminal phone BCD[6], serial number
// WORD, and for a subpackage also total WORD and number WORD (from 1). With the version flag it is
// that of 2019: id, attributes, protocol version BYTE, phone BCD[10], serial, total and number.
//
// A session: the terminal registers once (0x0100, answered by 0x8100 with an authentication code),
// presents the code with each connection (0x0102, answered by 0x8001), and beats (0x0002). A text
// goes down as 0x8300 or, with answers to choose from, as 0x8302; the terminal's 0x0001 names the
// serial number and is its word that it has the text. The chosen answer comes as 0x0302. No edition
// has free text from the driver: 0x6006 and 0x1300 are what terminals of the BSJ family use, 0x0301
// is one of the events that were set with 0x8301, 0x0900 what a display on the serial line wrote.
package jt808

import (
	"time"

	"trackchat/protocol"
)

// refuseDelay leaves a terminal whose code was refused the time to register again on the same
// connection.
const refuseDelay = 10 * time.Second

// Most canned answers of a question, a bound of ours: the menus of terminals are short.
const maxChoices = 8

// shared is what all sessions have in common.
type shared struct {
	events protocol.Events
	gbk    protocol.Charset
	utf8   protocol.Charset
	utf16  protocol.Charset
}

// New describes the protocol.
func New() *protocol.Protocol {
	s := &shared{gbk: protocol.GBK(), utf8: protocol.UTF8(), utf16: protocol.UTF16(true)}
	return &protocol.Protocol{
		Name:     "jt808",
		Port:     6808,
		MaxFrame: maxFrame,
		Frame:    cut,
		NewCodec: func(settings protocol.Settings) protocol.Codec {
			return newCodec(s,
				settings)
		},
		NewRelay: func(settings protocol.Settings, o protocol.RelayOptions) protocol.Relay {
			return newRelay(s, settings, o)
		},
		NewDevice:   func(c protocol.DeviceConfig) protocol.Device { return newDevice(s, c) },
		Settings:    append(settings(), linkSettings()...),
		Registers:   registers,
		Variants:    []string{variant2013, variant2011, variant2019},
		RefuseDelay: refuseDelay,
	}
}
