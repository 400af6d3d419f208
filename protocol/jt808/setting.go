package jt808

import (
	"fmt"
	"strconv"
	"strings"

	"trackchat/protocol"
)

// Names of the settings.
const (
	settingLenient       = "lenient"
	settingTextFlags     = "text_flags"
	settingTextType      = "text_type"
	settingPartBytes     = "part_bytes"
	settingPartPrefix    = "part_prefix"
	settingEvents        = "events"
	settingSerialText    = "serial_text"
	settingSerialCharset = "serial_charset"
	settingAck           = "ack"
	settingCharset       = "charset"
)

// Values of settingCharset.
const (
	charsetGBK  = "gbk"
	charsetUTF8 = "utf8"
)

// Values of settingAck.
const (
	ackReply     = "0001"
	ackTextReply = "1300"
	ackText      = "6006"
	ackNextFrame = "next_frame"
	ackNone      = "none"
)

func settings() []protocol.SettingSpec {
	return []protocol.SettingSpec{
		{
			Name: settingLenient, Default: "false", Check: protocol.CheckBool, Early: true,
			Help: "take a terminal that never authenticates for the one its header names, from its first frame on. It presents no code then, so this lets in only trackers with an empty password; anybody who knows the phone number can pass for them",
		},
		{
			Name: settingTextFlags, Default: "", Check: checkFlags,
			Help: "flag byte of a text (0x8300). 2013: 0x01 urgent, 0x04 display, 0x08 read aloud, 0x10 advertising screen. Empty: 0x04, and 0x05 (service, display) for terminals of 2019",
		},
		{
			Name: settingTextType, Default: "2", Check: protocol.CheckInt(1, 2),
			Help: "type byte of a text for terminals of 2019: 1 notice, 2 service",
		},
		{
			Name: settingPartBytes, Default: "500", Check: protocol.CheckInt(8, 1000),
			Help: "most bytes of text in one 0x8300, 8 to 1000; many terminals stop at 499 or 1024",
		},
		{
			Name: settingPartPrefix, Default: "false", Check: protocol.CheckBool,
			Help: "write (2/7) before each part of a longer text",
		},
		{
			Name: settingEvents, Default: "", Check: checkEvents,
			Help: `texts that the driver can send with one key, as "1=Arrived;2=Loading": set after login (0x8301, terminals of 2011 and 2013) and read back (0x0301)`,
		},
		{
			Name: settingSerialText, Default: "", Check: checkSerialTypes,
			Help: `types of 0x0900 that carry what the driver wrote on a display at the serial line, as "0x41,0x42"; empty: none`,
		},
		{
			Name: settingSerialCharset, Default: charsetGBK,
			Check: protocol.CheckOneOf(charsetGBK, charsetUTF8, "cp1251", "windows1251", "utf16be",
				"utf16le"),
			Help: "charset of those texts: gbk, utf8, cp1251 (or windows1251), utf16be or utf16le",
		},
		{
			Name: settingCharset, Default: charsetGBK, Check: protocol.CheckOneOf(charsetGBK,
				charsetUTF8),
			Help: "charset of texts in both directions where the message does not say it: gbk or utf8",
		},
		{
			Name: settingAck, Default: ackReply,
			Check: protocol.CheckOneOf(ackReply, ackTextReply, ackText, ackNextFrame, ackNone),
			Help: "what counts as delivered besides a general reply or a 0x1300 that names the text: " +
				"0001 = nothing, 1300 = a 0x1300 that names none, 6006 = the next 0x6006, " +
				"next_frame = whatever valid frame comes next, " +
				"none = each text is written once and stays pending",
		},
	}
}

func checkFlags(v string) error {
	if v == "" {
		return nil
	}
	return protocol.CheckInt(0, 0xFF)(v)
}

// event is one line of the driver's menu of events.
type event struct {
	id   byte
	text string
}

// parseEvents reads "1=Arrived;2=Loading".
func parseEvents(v string) ([]event, error) {
	var events []event
	for item := range strings.SplitSeq(v, ";") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		number, text, found := strings.Cut(item, "=")
		id, err := strconv.ParseUint(strings.TrimSpace(number), 0, 8)
		text = strings.TrimSpace(text)
		if !found || err != nil || text == "" {
			return nil, fmt.Errorf("%q is not a number from 0 to 255, =, and a text", item)
		}
		events = append(events, event{byte(id), text})
	}
	return events, nil
}

// checkEvents also sees to it that the menu fits one 0x8301.
func checkEvents(v string) error {
	events, err := parseEvents(v)
	if err != nil {
		return err
	}
	gbk, size, seen := protocol.GBK(), 2, map[byte]bool{}
	for _, e := range events {
		n := len(gbk.Append(nil, e.text))
		if n > 0xFF {
			return fmt.Errorf("event %d takes %d bytes, more than 255", e.id, n)
		}
		if seen[e.id] {
			return fmt.Errorf("event %d is there twice", e.id)
		}
		seen[e.id], size = true, size+2+n
	}
	if size > maxBody || len(events) > 0xFF {
		return fmt.Errorf("%d events take %d bytes, more than fit one message", len(events), size)
	}
	return nil
}

// serialType reports whether v, such as "0x41,0x42", has the type t; an error where v cannot be
// read.
func serialType(v string, t byte) (bool, error) {
	found := false
	for item := range strings.SplitSeq(v, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		n, err := strconv.ParseUint(item, 0, 8)
		if err != nil {
			return false, fmt.Errorf("%q is not a number from 0 to 255", item)
		}
		found = found || byte(n) == t
	}
	return found, nil
}

func checkSerialTypes(v string) error {
	_, err := serialType(v, 0)
	return err
}

// charset returns that of texts.
func (s *shared) charset(settings protocol.Settings) protocol.Charset {
	if settings.String(settingCharset) == charsetUTF8 {
		return s.utf8
	}
	return s.gbk
}

// serialCharset returns the charset of displays at the serial line.
func (s *shared) serialCharset(settings protocol.Settings) protocol.Charset {
	switch settings.String(settingSerialCharset) {
	case charsetUTF8:
		return s.utf8
	case "cp1251", "windows1251":
		return protocol.Windows1251()
	case "utf16be":
		return s.utf16
	case "utf16le":
		return protocol.UTF16(false)
	default:
		return s.gbk
	}
}
