// Package egts speaks EGTS, the Russian telematics standard: Order 285/2012 of the Ministry of
// Transport (appendix 6 transport, appendix 7 services), GOST R 54619-2011 and GOST 33472-2015.
// Numbers are little-endian; the terminal connects.
//
// A packet is a header, data and the data's CRC-16 (5.1 of the GOST; the CRC only where there is
// data):
//
//	PRV 1 | SKID 1 | PRF:2 RTE:1 ENA:2 CMP:1 PR:2 | HL 1 | HE 1 | FDL 2 | PID 2 | PT 1 |
//	    [PRA 2 RCA 2 TTL 1, with RTE] | HCS 1 | data FDL | SFRCS 2
//
// PT 0 is RESPONSE (RPID 2, PR 1, records), 1 APPDATA (records), 2 SIGNED (SIGL 2, signature,
// records). A record holds subrecords of one service:
//
//	RL 2 | RN 2 | RFL 1 | [OID 4] [EVID 4] [TM 4] | SST 1 | RST 1 | subrecords:
//	    SRT 1 | SRL 2 | data
//
// Flow:
//
//	APPDATA AUTH TERM_IDENTITY           >
//	                                     <   RESPONSE with RECORD_RESPONSE, then APPDATA AUTH
//	                                         RESULT_CODE
//	APPDATA TELEDATA POS_DATA …          >   telemetry; the standard has no other sign of life
//	                                     <   RESPONSE with a RECORD_RESPONSE for each record
//	                                     <   APPDATA COMMANDS COMMAND_DATA CT_MSGTO, CID names the
//	                                         part
//	RESPONSE with RECORD_RESPONSE        >   the command service took it
//	APPDATA … COMMAND_DATA CT_DELIV      >   the terminal has the text: DELIVERED
//	APPDATA … COMMAND_DATA CT_MSGCONF    >   shown or confirmed by the driver: READ
//	APPDATA … COMMAND_DATA CT_MSGFROM    >   the driver's text
//	                                     <   RESPONSE with RECORD_RESPONSE, then APPDATA …
//	                                         CT_DELIV with the same CID
//
// Every APPDATA is answered by a RESPONSE and no RESPONSE is answered, but terminals put records of
// their own into one, and those count. PID and RN are counters of their own on either side.
//
// A terminal has to authenticate within 6 s. One that never does (setting lenient) names itself
// only with its first telemetry, so it has as long as the gateway allows.
package egts

import (
	"time"

	"trackchat/protocol"
)

const (
	name        = "egts"
	defaultPort = 6809

	loginTimeout = 6 * time.Second // EGTS_SL_NOT_AUTH_TO
)

// New describes the protocol.
func New() *protocol.Protocol {
	s := newShared()
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
		Settings:  settings(),
		LoginTimeout: func(settings protocol.Settings) time.Duration {
			if settings.Bool(settingLenient) {
				return 0
			}
			return loginTimeout
		},
		Variants: []string{variantAuth, variantOID},
	}
}

// shared is what all sessions have in common. It is safe for concurrent use.
type shared struct {
	events  protocol.Events
	answers answers
	be, le  charset // by the byte order of UCS2
}

func newShared() *shared {
	return &shared{be: newCharset(true), le: newCharset(false)}
}

func (s *shared) charset(settings protocol.Settings) *charset {
	if settings.String(settingUCS2) == orderLittle {
		return &s.le
	}
	return &s.be
}
