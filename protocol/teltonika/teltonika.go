// Package teltonika speaks the protocol of Teltonika trackers over TCP: Codec 8, 8 Extended, 16 and
// 7 for positions, 12 to 15 for what else passes ("Teltonika Data Sending Protocols").
//
// Flow, the device connects:
//
//	000F imei           >   login; the first two bytes are the number of digits
//	                    <   01 accepted, 00 refused
//	codec 8 …           >   positions
//	                    <   number of records u32; nothing where the CRC or a count is wrong: the
//	                        device sends them again
//	FF                  >   keep-alive
//	                    <   codec 12 (or 14)   bytes for whatever is connected to the tracker
//	codec 12 13 14 15   >   bytes from there; never acknowledged
//
// Numbers are big-endian. A packet is 00000000, length of the data u32, data, CRC-16/ARC of the
// data u32; data is codec id, count, …, count.
//
// A tracker has no screen, so texts go to what hangs on it (setting chat): fmi is a Garmin
// navigator, whose frames are the payload and which acknowledges texts; serial is a terminal that
// takes lines. The tracker itself says nothing about either.
package teltonika

import (
	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

const (
	name        = "teltonika"
	defaultPort = 5027
)

// shared is what all sessions have in common. It is safe for concurrent use.
type shared struct {
	events   protocol.Events
	fmi      *fmi.Shared
	patterns protocol.Patterns
}

// New describes the protocol.
func New() *protocol.Protocol {
	s := &shared{fmi: fmi.NewShared()}
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
		Settings:  append(settings(), fmi.Settings(fmi.LinkACKTracker)...),
		Variants:  fmi.Variants(),
	}
}
