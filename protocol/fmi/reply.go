package fmi

import (
	"encoding/binary"

	"trackchat/protocol"
)

// AppendReply appends what FMI answers to an event of Decode, and the next packet of a handshake or
// a text that the event was waited for. What could not be stored (protocol.Later) is not
// acknowledged, so that the client sends it again.
func (s *Session) AppendReply(dst []byte, c Carrier, e *protocol.Event, r protocol.Result) []byte {
	if !Owns(e) || r != protocol.OK && r != protocol.Invalid && r != protocol.Later {
		return dst
	}
	if id := byte(e.Msg >> msgShift); id == linkFleet && s.linkACK &&
		e.Kind != protocol.KindRefused {
		dst = wrap(dst, c, linkACK, []byte{id, 0})
	}
	dst = s.appendAction(dst, c, e, r)
	if !s.sent && s.step != stepEnable && s.step != stepReady {
		dst = s.appendStep(dst, c)
	}
	return dst
}

func (s *Session) appendAction(dst []byte, c Carrier, e *protocol.Event, r protocol.Result) []byte {
	var room [32]byte
	p := room[:0]
	id := idOf(e.Ref, byte(e.Aux>>actShift))
	switch byte(e.Aux) {
	case actReceipt:
		if r != protocol.OK {
			return dst
		}
		p = binary.LittleEndian.AppendUint16(p, packetClientReceipt)
		p = binary.LittleEndian.AppendUint32(p, e.Seq)
	case actAnswered:
		if r != protocol.OK {
			return dst
		}
		p = appendIDPacket(p, packetAnswerReceipt, id, 0)
	case actAskStatus:
		p = appendIDPacket(p, packetAskStatus, id, 0)
	case actGoOn:
		if s.flight == nil || s.flight.ref != e.Ref {
			return dst
		}
		return s.appendFlight(dst, c)
	case actUnicode:
		p = binary.LittleEndian.AppendUint16(p, packetUnicode)
	case actDriver, actDuty:
		receipt := uint16(packetDriverReceipt)
		if byte(e.Aux) == actDuty {
			receipt = packetDutyReceipt
		}
		p = binary.LittleEndian.AppendUint16(p, receipt)
		p = binary.LittleEndian.AppendUint32(p, e.Seq)
		p = append(p, 1, byte(e.Aux>>actShift), 0, 0)
	case actPong:
		p = binary.LittleEndian.AppendUint16(p, packetPong)
	case actNAK:
		return wrap(dst, c, linkNAK, []byte{byte(e.Msg >> msgShift), 0})
	case actAgain:
		return s.appendAgain(dst, c)
	default:
		return dst
	}
	return wrap(dst, c, linkFleet, p)
}

// appendAgain writes once more what is on its way: it arrived damaged.
func (s *Session) appendAgain(dst []byte, c Carrier) []byte {
	switch f := s.flight; {
	case s.step != stepReady && s.sent:
		return s.appendStep(dst, c)
	case f != nil && f.naks < mostNAKs:
		f.naks++
		return s.appendFlight(dst, c)
	}
	return dst
}
