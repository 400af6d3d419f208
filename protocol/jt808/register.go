package jt808

import (
	"crypto/subtle"
	"strings"

	"trackchat/protocol"
)

// Values of settingRegister.
const (
	registerOpen  = "open"
	registerCode  = "code"
	registerKnown = "known"
)

// Results of 0x8100 other than 0 (8.6): the terminal has its code, so it gets none; it is not in
// the directory.
const (
	registerHasCode = 3
	registerUnknown = 4
)

// registers implements protocol.Protocol.Registers. The event's Secret is the terminal id of the
// registration.
func registers(s protocol.Settings, e *protocol.Event) (granted, presented bool) {
	switch s.String(settingRegister) {
	case registerOpen:
		return true, false
	case registerKnown:
		id := s.String(settingTerminalID)
		return id != "" && subtle.ConstantTimeCompare([]byte(id), []byte(e.Secret)) == 1, id != ""
	default:
		return false, false
	}
}

// refusal is the result of 0x8100 for a terminal that gets no code.
func refusal(r protocol.Result) byte {
	if r == protocol.BadCredentials {
		return registerHasCode
	}
	return registerUnknown
}

// terminalID reads the terminal id of a registration (8.5) without its padding: province WORD, city
// WORD, maker BYTE[5], model BYTE[20], terminal id BYTE[7]. In 2011 the model has 8 bytes, and the
// whole fewer than 37; in 2019 maker, model and id have 11, 30 and 30.
func terminalID(h *header, body []byte) string {
	from, size := 4+5+20, 7
	switch {
	case h.long && len(body) >= 4+11+30+30:
		from, size = 4+11+30, 30
	case len(body) < 37:
		from = 4 + 5 + 8
	}
	if len(body) < from+size {
		return ""
	}
	return strings.Trim(string(body[from:from+size]), " \x00")
}
