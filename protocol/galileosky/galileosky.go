// Package galileosky speaks the protocol of Galileosky trackers (Galileosky protocol, "head packet"
// and "main packet"; Garmin FMI: user manual 5.1).
//
// Flow, the device connects:
//
//	01 tags            >   head packet: tag 03 is the IMEI, 04 the number of the device
//	                   <   02 and the CRC of the packet; nothing where it is damaged or the device
//	                       unknown: it is sent again
//	01 tags            >   positions and whatever else was recorded; 08: the same, compressed; 07:
//	                   part of a photo, answered with 07 and its CRC
//	                   <   01 with tags 03, 04, E0 and E1: a command
//	01 with E0, E1     >   its answer, under the same number in E0
//	06 FMI frame       <>  to and from a Garmin navigator; not confirmed
//
// A packet is head byte, length u16 (bit 15: the device has more stored), that many bytes,
// CRC-16/MODBUS of all of that u16. Numbers are little-endian.
//
// Texts go to the navigator (setting chat: fmi), which acknowledges them, or as commands to the
// tracker itself (chat: command), which answers that it has read them: by itself that does not say
// that anybody was shown anything.
package galileosky

import (
	"fmt"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

const (
	name        = "galileosky"
	defaultPort = 5034
)

// Names and values of the settings, besides those of FMI.
const (
	settingChat          = "chat"
	settingDeliveredOn   = "delivered_on"
	settingErrorPattern  = "error_pattern"
	settingCommandPrefix = "command_prefix"

	chatFMI     = "fmi"
	chatCommand = "command"
	chatNone    = "none"

	deliveredNone  = "none"
	deliveredReply = "reply"

	mostPrefix = 64

	// defaultErrors is how answers begin that say that there is no such command, or not like this.
	defaultErrors = `(?i)^\W*(unknown|error|wrong|incorrect|invalid|access denied)`
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
		Settings:  append(settings(), fmi.Settings(fmi.LinkACKServer)...),
		Variants:  fmi.Variants(),
	}
}

func settings() []protocol.SettingSpec {
	return []protocol.SettingSpec{
		{
			Name: settingChat, Default: chatFMI, Check: protocol.CheckOneOf(chatFMI, chatCommand,
				chatNone),
			Help: "what shows texts to the driver: fmi (a Garmin navigator), command (the tracker takes them as commands) or none (texts fail as unsupported)",
		},
		{
			Name: settingDeliveredOn, Default: deliveredNone,
			Check: protocol.CheckOneOf(deliveredNone, deliveredReply),
			Help:  "chat: command; what counts as delivered: reply = the tracker's answer to the command, none = nothing, a text is sent once",
		},
		{
			Name: settingErrorPattern, Default: defaultErrors, Check: protocol.CheckPattern,
			Help: "chat: command with delivered_on: reply; regular expression for answers that say that the tracker did not do what the command wanted: the text is FAILED then. Empty: every answer counts as delivered",
		},
		{
			Name: settingCommandPrefix, Default: "", Check: checkPrefix,
			Help: "chat: command; what stands before the text to make it the command that shows it",
		},
	}
}

func checkPrefix(v string) error {
	if len(v) > mostPrefix {
		return fmt.Errorf("%d bytes, more than %d", len(v), mostPrefix)
	}
	return nil
}
