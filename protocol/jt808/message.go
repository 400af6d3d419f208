package jt808

import (
	"encoding/binary"

	"trackchat/protocol"
)

// Messages of the terminal.
const (
	msgReply      = 0x0001 // general reply: serial WORD, id WORD, result BYTE
	msgHeartbeat  = 0x0002
	msgLogout     = 0x0003 // unregister
	msgTimeQuery  = 0x0004 // 2019
	msgResend     = 0x0005 // 2019: asks for subpackages of ours
	msgRegister   = 0x0100
	msgAuth       = 0x0102
	msgVendorTime = 0x0109 // Xchinchun: asks for the time
	msgParameters = 0x0104 // an answer to a query, as are 0x0107, 0x0201, 0x0500 and 0x0805
	msgAttributes = 0x0107
	msgPosition   = 0x0200
	msgLocated    = 0x0201
	msgVendorInfo = 0x0210 // Xchinchun: battery and the like
	msgEvent      = 0x0301
	msgAnswer     = 0x0302
	msgDemand     = 0x0303
	msgControlled = 0x0500
	msgWaybill    = 0x0701
	msgDriver     = 0x0702
	msgPositions  = 0x0704
	msgCAN        = 0x0705
	msgMediaEvent = 0x0800
	msgMedia      = 0x0801
	msgCameraDone = 0x0805
	msgSerial     = 0x0900
	msgCompressed = 0x0901
	msgVendorData = 0x1007 // Xchinchun
	msgTextReply  = 0x1300 // BSJ: serial WORD, UTF-16BE
	msgText       = 0x6006 // BSJ: encoding BYTE, text
)

// Messages of the platform.
const (
	msgServerReply   = 0x8001
	msgAskAgain      = 0x8003
	msgTime          = 0x8004
	msgRegistered    = 0x8100
	msgTimeVendor    = 0x8109
	msgShow          = 0x8300
	msgSetEvents     = 0x8301
	msgAsk           = 0x8302
	msgMediaReceived = 0x8800
)

// Results of general replies (8.1, 8.2).
const (
	resultOK          = 0
	resultFailed      = 1
	resultMalformed   = 2
	resultUnsupported = 3
)

// Values of Event.Aux: a kind in the top byte, a number below.
const (
	auxResult = 1 << 56 // KindRefused: the result to answer with
	auxPart   = 2 << 56 // a subpackage: answered even where the whole message would not be
	auxText   = 3 << 56 // a text in subpackages: their number, then 16 bits of the serial of part 1
	auxMedia  = 4 << 56 // complete multimedia of this id, in one message
	auxParts  = 5 << 56 // complete multimedia of this id, in several
	auxKind   = 0xFF << 56
)

// Encodings of msgText. Some firmwares send none: then the text begins at once.
const (
	encodingGBK     = 0
	encodingUnicode = 1 // UTF-16BE
	encodingUTF8    = 2
)

// questionFlags are the flags of a text that a question has as well: urgent, read aloud,
// advertising screen.
const questionFlags = flagUrgent | flagSpeak | 0x10

// Flags of a text (8.20). Those of 2019 have the kind of the text where urgent was.
const (
	flagUrgent  = 0x01
	flagDisplay = 0x04
	flagSpeak   = 0x08 // read aloud (TTS)

	kindMask    = 0x03 // 2019
	kindService = 0x01
	kindUrgent  = 0x02

	flagsDisplay2019 = kindService | flagDisplay
)

// quiet reports whether a message has no general reply where all is well: the time is the answer to
// a question for it, and we send no subpackages that could be asked for again. Answers to queries
// have one because we do not query: whoever sends them unasked waits for it.
func quiet(id uint32) bool { return id == msgTimeQuery || id == msgVendorTime || id == msgResend }

// positionBytes is the fixed part of a position (8.12).
const positionBytes = 28

// positions counts the positions in a body of msgPositions: count WORD, type BYTE, then length WORD
// and position each.
func positions(body []byte) (int, bool) {
	if len(body) < 3 {
		return 0, false
	}
	want, n := int(binary.BigEndian.Uint16(body)), 0
	for body = body[3:]; n < want && len(body) >= 2; n++ {
		size := 2 + int(binary.BigEndian.Uint16(body))
		if size < 2+positionBytes || size > len(body) {
			break
		}
		body = body[size:]
	}
	return n, n > 0 || want == 0
}

// outcome is what the result of a general reply says about a text.
func outcome(result byte) protocol.Outcome {
	switch result {
	case resultOK:
		return protocol.AckDelivered
	case resultMalformed:
		return protocol.AckRejected
	case resultUnsupported:
		return protocol.AckUnsupported
	default:
		return protocol.AckFailed
	}
}

// hash is FNV-1a over the number, the id and the body of a message, never 0: what tells a repeated
// message from a new one.
func hash(serial, id uint16, body []byte) uint64 {
	h := uint64(14695981039346656037)
	const prime = 1099511628211
	for _, b := range [...]byte{byte(serial >> 8), byte(serial), byte(id >> 8), byte(id)} {
		h = (h ^ uint64(b)) * prime
	}
	for _, b := range body {
		h = (h ^ uint64(b)) * prime
	}
	return max(h, 1)
}
