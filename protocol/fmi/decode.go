package fmi

import (
	"bytes"
	"encoding/binary"
	"time"

	"trackchat/protocol"
)

// Msg of the events of this package: id of the link packet in the third byte, fleet packet id (or
// the id of the packet that a link packet is about) below.
const msgShift = 16

// What AppendReply has to do for an event: the low byte of Event.Aux. The next byte says how often
// the text was renamed.
const (
	actReceipt   = iota + 1 // 0025 for Event.Seq
	actAnswered             // 002C
	actAskStatus            // 0040
	actGoOn                 // the next packet of the text in flight
	actUnicode              // 0005
	actPong                 // 0261
	actNAK                  // link NAK
	actAgain                // the last packet once more
	actDriver               // 0812 for Event.Seq; the driver's index is in the next byte
	actDuty                 // 0822, likewise

	actShift = 8
)

// Results.
const (
	resultInUse    = 4 // of 0056
	resultRepeated = 3 // of 0029: the client has that list
)

const (
	dedupeWindow   = 24 * time.Hour  // a text whose time of writing is known
	timelessWindow = 2 * time.Minute // one without: clients count anew
	protocolText   = 'A'             // letter of 0003 before the numbers of application protocols
	textHead       = 8               // bytes of 0024 before the text
	replyUnique    = 12              // offset in 0026 of the unique id
	replyID        = 16              // of the id of the text that is answered
	replyHead      = 36              // bytes of 0026 before the text
)

// Owns reports whether an event comes from a Session: AppendReply of the codec passes it back.
func Owns(e *protocol.Event) bool { return e.Msg>>msgShift != 0 }

// Decode takes the next bytes that the tracker brought and emits what the frames in them mean, at
// least one event. The first damaged frame is reported when all were dealt with.
func (s *Session) Decode(chunk []byte, emit func(*protocol.Event)) error {
	var failed error
	frames := 0
	s.rest = s.shared.read(s.rest, chunk, func(id byte, payload []byte, err error) {
		frames++
		if err == nil {
			err = s.frame(id, payload, emit)
		} else if failed == nil { // one answer is enough: the client sends one packet at a time
			e := protocol.Event{Kind: protocol.KindRefused, Msg: uint32(id) << msgShift}
			if s.linkACK {
				e.Aux = actNAK
			}
			s.shared.events.Emit(emit, e)
		}
		if failed == nil {
			failed = err
		}
	})
	if frames == 0 {
		s.shared.events.Emit(emit, protocol.Event{Kind: protocol.KindOther})
	}
	return failed
}

func (s *Session) frame(id byte, payload []byte, emit func(*protocol.Event)) error {
	e := protocol.Event{Kind: protocol.KindUnknown, Msg: uint32(id) << msgShift}
	var err error
	switch id {
	case linkACK, linkNAK:
		e.Kind = protocol.KindOther
		if len(payload) > 0 {
			e.Msg |= uint32(payload[0])
		}
		if id == linkNAK {
			e.Aux = actAgain
			break
		}
		if f := s.flight; f != nil && f.leg == legText && byte(e.Msg) == linkFleet {
			e.Kind, e.Ref, e.Outcome = protocol.KindEvidence, f.ref, protocol.Linked
		}
		s.heard(true)
	case linkFleet:
		if len(payload) < 2 {
			err = errShort(0, len(payload))
			break
		}
		packet := binary.LittleEndian.Uint16(payload)
		e.Msg |= uint32(packet)
		if err = s.fleet(packet, payload[2:], &e); err == nil {
			s.heard(packet == packetReported)
		}
	}
	if err != nil {
		e.Kind = protocol.KindRefused
	}
	s.shared.events.Emit(emit, e)
	return err
}

// fleet fills e with what a fleet packet means.
func (s *Session) fleet(packet uint16, b []byte, e *protocol.Event) error {
	e.Kind = protocol.KindOther
	switch packet {
	case packetProduct:
		s.product = true
	case packetProtocols:
		s.protocols(b)
	case packetAskUnicode:
		s.asked()
		e.Aux = actUnicode
	case packetPing:
		e.Kind, e.Aux = protocol.KindHeartbeat, actPong
	case packetReported, packetPong:
	case packetReceipt, packetLongReceipt, packetAnswer:
		return s.aboutText(packet, b, e)
	case packetStatus, packetListReceipt, packetDeleted:
		return s.aboutID(packet, b, e)
	case packetReplyReceipt:
		if len(b) < 5 {
			return errShort(packet, len(b))
		}
		s.replySet(binary.LittleEndian.Uint32(b), b[4] != 0, e)
	case packetClientText:
		if len(b) < textHead {
			return errShort(packet, len(b))
		}
		s.text(b, b[4:], b[textHead:], e)
	case packetClientReply:
		if len(b) < replyHead {
			return errShort(packet, len(b))
		}
		s.text(b, b[replyUnique:], b[replyHead:], e)
		e.ReplyTo, _, e.Replies = readID(b[replyID:]).ours()
	case packetDriver, packetDriverA607, packetDuty, packetDutyA607:
		return changed(packet, b, e)
	default:
		e.Kind = protocol.KindUnknown
	}
	return nil
}

// protocols reads which text protocol is the best that the client speaks.
func (s *Session) protocols(b []byte) {
	s.said = A602
	for ; len(b) >= 3; b = b[3:] {
		if b[0] != protocolText {
			continue
		}
		for _, v := range []Version{A604, A611} {
			if binary.LittleEndian.Uint16(b[1:]) == v.number() {
				s.said = max(s.said, v)
			}
		}
	}
}

// changed reads that another driver, or another duty, was chosen on the client, which says so until
// it has its receipt. Who drives is no matter of chat.
func changed(packet uint16, b []byte, e *protocol.Event) error {
	index, act := 8, uint64(actDriver) // where the driver's index is
	if packet == packetDuty || packet == packetDutyA607 {
		index, act = 12, actDuty
	}
	if len(b) < index || packet&2 != 0 && len(b) == index {
		return errShort(packet, len(b))
	}
	e.Seq, e.Aux = binary.LittleEndian.Uint32(b), act
	if packet&2 != 0 { // A607: there are several drivers
		e.Aux |= uint64(b[index]) << actShift
	}
	return nil
}

// text reads what the driver wrote; at and unique begin with the time of writing and the number.
// Clients repeat a text until it is acknowledged, and number texts anew when they lose their
// memory, so the time and the text itself are part of the key.
func (s *Session) text(at, unique, b []byte, e *protocol.Event) {
	e.Seq, e.Aux = binary.LittleEndian.Uint32(unique), actReceipt
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	text, err := s.charset.Decode(b)
	if err != nil {
		text, _ = s.shared.narrow.Decode(b) // never fails
	}
	if protocol.Blank(text) {
		return // nothing to store; the receipt ends it
	}
	e.Kind, e.Text, e.Window = protocol.KindText, text, dedupeWindow
	if t := binary.LittleEndian.Uint32(at); t == 0 || t == noTime {
		e.Window = timelessWindow
	}
	e.Key = max(hash(hash(hash(hashSeed, at[:4]), unique[:4]), b), 1)
}

// aboutText reads 002B, 0056 and 0020: time u32, id_size u8, three bytes, id.
func (s *Session) aboutText(packet uint16, b []byte, e *protocol.Event) error {
	if len(b) < 8+idBytes || packet == packetAnswer && len(b) < 8+idBytes+4 {
		return errShort(packet, len(b))
	}
	ref, renamed, ok := readID(b[4:]).ours()
	if !ok {
		return nil // a text of another server
	}
	e.Ref, e.Aux = ref, uint64(renamed)<<actShift
	switch packet {
	case packetAnswer:
		s.answer(binary.LittleEndian.Uint32(b[8+idBytes:]), e)
	case packetReceipt:
		if b[5] != 0 {
			s.final(protocol.AckDelivered, e)
		} else {
			s.doubt(e)
		}
	default:
		s.longReceipt(b[5], b[6] != 0, b[7], e)
	}
	return nil
}

// final is the client's last word about a text.
func (s *Session) final(o protocol.Outcome, e *protocol.Event) {
	e.Kind, e.Outcome = protocol.KindAck, o
	s.answered(e.Ref)
}

// doubt asks for the status of a text that was refused: it may be refused because the client has
// it.
func (s *Session) doubt(e *protocol.Event) { s.later(actAskStatus, e) }

// later says that the verdict about the text follows.
func (s *Session) later(act uint64, e *protocol.Event) {
	e.Kind, e.Outcome = protocol.KindAck, protocol.AckLater
	e.Aux |= act
	if f := s.flight; f != nil && f.ref == e.Ref {
		f.progress()
	}
}

// longReceipt deals with 0056 for one segment.
func (s *Session) longReceipt(result byte, finished bool, sequence byte, e *protocol.Event) {
	f := s.flight
	mine := f != nil && f.ref == e.Ref && f.leg == legText && uint64(f.renamed) == e.Aux>>actShift
	switch {
	case result == 0 && mine && sequence == f.index && !f.lastSegment():
		f.index++
		s.later(actGoOn, e)
	case result == 0 && finished && (!mine || sequence == f.index):
		s.final(protocol.AckDelivered, e)
	case result == resultInUse:
		s.doubt(e)
	case storage(result):
		s.final(protocol.AckStorage, e)
	case result == 0 || !mine: // a repeated word about a segment that is dealt with
	case f.renamed == 0:
		f.leg = legDelete
		s.later(actGoOn, e)
	default:
		s.final(protocol.AckRejected, e)
	}
}

// answer deals with 0020: the driver pressed a button.
func (s *Session) answer(response uint32, e *protocol.Event) {
	if s.speaks() != A602 { // which does not know 002C
		e.Aux |= actAnswered
	}
	if choice := choiceOf(response); choice > 0 {
		s.answered(e.Ref)
		var b [12]byte
		binary.LittleEndian.PutUint64(b[:], e.Ref)
		binary.LittleEndian.PutUint32(b[8:], response)
		e.Kind, e.Choice, e.Key, e.Window = protocol.KindAnswer, choice, max(hash(hashSeed, b[:]),
			1), dedupeWindow
		return
	}
	s.final(protocol.AckOpened, e)
}

// aboutID reads 0041, 0029 and 002E: id_size u8, code u8, two bytes, id.
func (s *Session) aboutID(packet uint16, b []byte, e *protocol.Event) error {
	if len(b) < 4+idBytes {
		return errShort(packet, len(b))
	}
	ref, renamed, ok := readID(b).ours()
	if !ok {
		return nil
	}
	e.Ref, e.Aux = ref, uint64(renamed)<<actShift
	f := s.flight
	mine := f != nil && f.ref == ref && f.renamed == renamed
	code := b[1]
	switch {
	case packet == packetStatus:
		s.status(code, mine, e)
	case packet == packetDeleted && mine && f.leg == legDelete:
		f.rename()
		s.later(actGoOn, e)
	case packet == packetListReceipt && mine && f.leg == legList:
		if code == 0 || code == resultRepeated {
			f.leg, f.index = legText, 0
		} else {
			f.plain()
		}
		s.later(actGoOn, e)
	}
	return nil
}

func (s *Session) status(code byte, mine bool, e *protocol.Event) {
	switch code {
	case statusUnread:
		s.final(protocol.AckDelivered, e)
	case statusRead:
		s.final(protocol.AckOpened, e)
	case statusNotFound:
		if f := s.flight; f != nil && f.ref == e.Ref && !mine {
			return // gone under the name it had before
		}
		e.Kind, e.Outcome = protocol.KindAck, protocol.AckFailed
		if mine {
			s.flight.rename()
		}
	}
}

// replySet deals with 0032.
func (s *Session) replySet(response uint32, ok bool, e *protocol.Event) {
	f := s.flight
	if f == nil || !f.replied(response) {
		return
	}
	e.Ref, e.Aux = f.ref, uint64(f.renamed)<<actShift
	switch {
	case !ok:
		f.plain()
	case int(f.index) == len(f.choices)-1:
		f.leg, f.index = legList, 0
	default:
		f.index++
	}
	s.later(actGoOn, e)
}
