package teltonika

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"trackchat/protocol"
)

// Names and values of the settings, besides those of FMI.
const (
	settingChat       = "chat"
	settingDownCodec  = "down_codec"
	settingDownType   = "down_type"
	settingUpTypes    = "up_types"
	settingEOL        = "eol"
	settingAckPattern = "ack_pattern"
	settingPartBytes  = "part_bytes"

	chatFMI    = "fmi"
	chatSerial = "serial"
	chatNone   = "none"
)

const (
	typeCommand  = 0x05 // to the device
	typeResponse = 0x06
	typeSerial   = 0x0E // to the serial port
	typeNACK     = 0x11 // codec 14: the IMEI is not that of the device

	mostType      = 15 // the device's "CMD ID" goes up to 14
	leastPart     = 32
	mostPart      = 1200 // trackers take packets of 1,280 bytes, older ones of 512
	mostEOL       = 4
	numberDigits  = len("65535")
	numberLetters = len("M:")
	refBits       = 16 // of texts to a terminal
)

func settings() []protocol.SettingSpec {
	return []protocol.SettingSpec{
		{
			Name: settingChat, Default: chatFMI, Check: protocol.CheckOneOf(chatFMI, chatSerial,
				chatNone),
			Help: "what shows texts to the driver: fmi (a Garmin navigator), serial (a terminal that takes lines) or none (texts fail as unsupported)",
		},
		{
			Name: settingDownCodec, Default: "12", Check: protocol.CheckOneOf("12", "14"),
			Help: "codec of what goes to the device: 12, or 14, with which the device compares the IMEI",
		},
		{
			Name: settingDownType, Default: "", Check: checkType,
			Help: "type byte of what goes to the device; empty: 0x05 for fmi, 0x0E (forward to the serial port) for serial. The FMB630 picks its port by it",
		},
		{
			Name: settingUpTypes, Default: "6", Check: checkTypes,
			Help: `type bytes of what comes from the navigator or terminal, as "6,11": 6 or the device's configured CMD ID`,
		},
		{
			Name: settingEOL, Default: `\r\n`, Check: checkEOL,
			Help: `end of a line to and from a terminal, with escapes as in \r\n, which the device's ASCII mode needs; empty: every packet is one line`,
		},
		{
			Name: settingAckPattern, Default: "", Check: checkPattern,
			Help: `regular expression for the line with which a terminal acknowledges text number n, with one group for the number, as "^A(\d+)$"; texts are then numbered "M<n>:". Without a group, as "^OK$", the line acknowledges the text before it. Empty: nothing acknowledges, a text is sent once`,
		},
		{
			Name: settingPartBytes, Default: "480", Check: protocol.CheckInt(leastPart, mostPart),
			Help: "most bytes of one line to a terminal, its number and end included; the FM63 and FMB630 take packets of 512 bytes",
		},
	}
}

func checkType(v string) error {
	if v == "" {
		return nil
	}
	return protocol.CheckInt(0, 0xFF)(v)
}

// parseTypes reads "6,0x0B" into a set of bits.
func parseTypes(v string) (types uint16, err error) {
	for item := range strings.SplitSeq(v, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(item), 0, 8)
		if err != nil || n > mostType {
			return 0, fmt.Errorf("%q is not a number from 0 to %d", item, mostType)
		}
		types |= 1 << n
	}
	return types, nil
}

func checkTypes(v string) error {
	_, err := parseTypes(v)
	return err
}

// parseEOL undoes the escapes.
func parseEOL(v string) (string, error) {
	eol := v
	if strings.Contains(v, `\`) {
		var err error
		if eol, err = strconv.Unquote(`"` + v + `"`); err != nil {
			return "", fmt.Errorf("%q is no end of a line: %w", v, err)
		}
	}
	if len(eol) > mostEOL {
		return "", fmt.Errorf("%q is longer than %d bytes", v, mostEOL)
	}
	return eol, nil
}

func checkEOL(v string) error {
	_, err := parseEOL(v)
	return err
}

var errGroups = errors.New("pattern may have one group, for the number")

func checkPattern(v string) error {
	if v == "" {
		return nil
	}
	p, err := regexp.Compile(v)
	if err != nil {
		return fmt.Errorf("reading the pattern: %w", err)
	}
	if p.NumSubexp() > 1 {
		return errGroups
	}
	return nil
}
