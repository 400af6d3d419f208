package wialon

import (
	"strconv"

	"trackchat/protocol"
)

// answer is what stands in an answer behind its type. Numbers stand for themselves; the others are
// above them.
type answer uint8

const (
	answerZero     answer = 0 // refused: login, message, tachograph file; wrong time: position
	answerOne      answer = 1 // taken
	answerPlace    answer = 10
	answerMotion   answer = 11 // speed, course or altitude
	answerSats     answer = 12 // satellites or HDOP
	answerShortCRC answer = 13 // #SD#
	answerInOut    answer = 13 // #D#: inputs or outputs
	answerADC      answer = 14
	answerParams   answer = 15
	answerCRC      answer = 16 // #D#
	answerLoginCRC answer = 10

	answerDamaged      answer = iota + 64 // "01"
	answerStructure                       // "-1"
	answerNothing                         // "": the CRC of a black box is wrong
	answerCount                           // the number of records of a black box
	answerBlock                           // "ind;1"
	answerBlockWrong                      // "ind;0"
	answerBlockDamaged                    // "ind;01"
	answerBlockUnknown                    // "NA;0"
)

// aux packs an answer and the number of a block, or of records, into Event.Aux.
func aux(a answer, block uint32) uint64 { return uint64(a) | uint64(block)<<8 }

// notLoggedIn is the answer to a packet that needs a login, or comes from another device than the
// one that logged in. Only a login has a word for that; the nearest one says that nothing was
// taken.
func notLoggedIn(typ uint32) answer {
	switch typ {
	case typeSD, typeD:
		return answerStructure
	case typeP:
		return answerNothing // a ping asks whether the line works, and it does
	case typeI, typeT:
		return answerBlockUnknown
	default: // L, B, M, IT
		return answerZero
	}
}

// AppendReply: What cannot be stored now (protocol.Later) is not answered: the device sends it
// again.
func (c *codec) AppendReply(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	if e.Kind == protocol.KindLogin {
		if r != protocol.OK {
			c.device, c.version = 0, versionUnknown
		}
		if e.Msg != typeL {
			return dst // the packet that named the device has its own answer
		}
	}
	if r == protocol.Later {
		return dst
	}
	switch e.Kind {
	case protocol.KindLogin:
		return appendAnswer(dst, e.Msg, loginAnswer(r), 0)
	case protocol.KindRefused:
		return appendPrepared(dst, e)
	case protocol.KindHeartbeat:
		return appendAnswer(dst, e.Msg, answerNothing, 0)
	case protocol.KindPosition:
		return appendPositionAnswer(dst, e, r)
	case protocol.KindText:
		if e.Msg != typeM {
			return dst // answered with the position it came with
		}
		if r != protocol.OK {
			return appendAnswer(dst, e.Msg, answerZero, 0)
		}
		return appendAnswer(dst, e.Msg, answerOne, 0)
	case protocol.KindOther:
		switch {
		case r == protocol.OK:
			return appendPrepared(dst, e)
		case e.Msg == typeIT, e.Msg == typeB:
			return appendAnswer(dst, e.Msg, answerZero, 0)
		}
		return appendAnswer(dst, e.Msg, answerBlockWrong, uint32(e.Aux>>8))
	default:
		return dst
	}
}

func loginAnswer(r protocol.Result) answer {
	switch r {
	case protocol.OK:
		return answerOne
	case protocol.BadCredentials:
		return answerDamaged // "01": wrong password
	default:
		return answerZero
	}
}

// appendPositionAnswer answers #SD#, #D# and #B#. A text that can never be accepted makes the
// parameters of #D# wrong; a black box is taken nevertheless, or it would come again and again.
func appendPositionAnswer(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	taken := r == protocol.OK || r == protocol.Invalid
	switch {
	case taken && e.Msg == typeB:
		return appendPrepared(dst, e)
	case r == protocol.OK:
		return appendAnswer(dst, e.Msg, answerOne, 0)
	case taken && e.Msg == typeD:
		return appendAnswer(dst, e.Msg, answerParams, 0)
	default:
		return appendAnswer(dst, e.Msg, notLoggedIn(e.Msg), 0)
	}
}

// appendPrepared appends the answer that Decode put into e.Aux.
func appendPrepared(dst []byte, e *protocol.Event) []byte {
	return appendAnswer(dst, e.Msg, answer(e.Aux), uint32(e.Aux>>8))
}

// appendAnswer appends #A, the letters of typ, # and the answer.
func appendAnswer(dst []byte, typ uint32, a answer, block uint32) []byte {
	dst = append(dst, '#', 'A')
	dst = appendType(dst, typ)
	dst = append(dst, '#')
	switch a {
	case answerDamaged:
		dst = append(dst, "01"...)
	case answerStructure:
		dst = append(dst, "-1"...)
	case answerNothing:
	case answerCount:
		dst = strconv.AppendUint(dst, uint64(block), 10)
	case answerBlock:
		dst = append(strconv.AppendUint(dst, uint64(block), 10), ";1"...)
	case answerBlockWrong:
		dst = append(strconv.AppendUint(dst, uint64(block), 10), ";0"...)
	case answerBlockDamaged:
		dst = append(strconv.AppendUint(dst, uint64(block), 10), ";01"...)
	case answerBlockUnknown:
		dst = append(dst, "NA;0"...)
	default:
		dst = strconv.AppendUint(dst, uint64(a), 10)
	}
	return append(dst, '\r', '\n')
}

func appendType(dst []byte, typ uint32) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		if c := byte(typ >> shift); c != 0 {
			dst = append(dst, c)
		}
	}
	return dst
}
