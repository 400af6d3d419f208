package fmi

import (
	"encoding/binary"
	"slices"

	"trackchat/protocol"
)

// mostRefs bounds the references that Words keeps; the oldest are forgotten.
const mostRefs = 32

// Words is what a Session has said over one connection that it shares with another server: it tells
// what the client says to the session. The zero value has said nothing.
type Words struct {
	refs  []uint64
	spoke bool
}

// Spoke takes note that a frame of the session has left.
func (w *Words) Spoke() { w.spoke = true }

// Wrote takes note of a text of the session.
func (w *Words) Wrote(ref uint64) {
	if slices.Contains(w.refs, ref) {
		return
	}
	if len(w.refs) == mostRefs {
		w.refs = slices.Delete(w.refs, 0, 1)
	}
	w.refs = append(w.refs, ref)
}

// mine reports whether a frame of the client is for the session: the link's word about its frames,
// answers to its handshake, what names a text that it wrote, and what the driver writes. A frame
// that is too short for what it is, is not.
func (w *Words) mine(id byte, payload []byte) bool {
	switch {
	case id == linkACK, id == linkNAK:
		return w.spoke
	case id != linkFleet || len(payload) < 2:
		return false
	}
	packet, b := binary.LittleEndian.Uint16(payload), payload[2:]
	at := 0 // of id_size
	switch packet {
	case packetProduct, packetProtocols, packetAskUnicode, packetReported, packetPing:
		return w.spoke
	case packetClientText:
		return len(b) >= textHead
	case packetClientReply:
		return len(b) >= replyHead
	case packetReplyReceipt:
		return w.spoke && len(b) >= 5 && choiceOf(binary.LittleEndian.Uint32(b)) > 0
	case packetReceipt, packetLongReceipt, packetAnswer:
		at = 4
	case packetStatus, packetListReceipt, packetDeleted:
	default:
		return false
	}
	if len(b) < at+4+idBytes || packet == packetAnswer && len(b) < at+4+idBytes+4 {
		return false
	}
	ref, _, ok := readID(b[at:]).ours()
	switch {
	case !ok:
		return false
	case slices.Contains(w.refs, ref):
		return true
	default: // the driver may answer a question of an earlier connection, which nobody else knows
		return packet == packetAnswer && choiceOf(binary.LittleEndian.Uint32(b[at+4+idBytes:])) > 0
	}
}

// Content is what the payload of a tracker's packet is.
type Content struct {
	Frames bool // frames of the client, or parts of them
	Ours   bool // nothing but whole frames for the session
}

// Look says what chunk is, without reading it.
func (s *Session) Look(w *Words, chunk []byte) Content {
	if len(s.rest) > 0 {
		return Content{Frames: true}
	}
	frames, ours := 0, true
	rest := s.shared.read(nil, chunk, func(id byte, payload []byte, err error) {
		frames++
		ours = ours && err == nil && w.mine(id, payload)
	})
	if len(chunk) == 0 || frames == 0 && chunk[0] != dle {
		return Content{}
	}
	return Content{Frames: true, Ours: frames > 0 && ours && len(rest) == 0 && isWhole(chunk)}
}

// isWhole reports whether chunk begins and ends as frames do.
func isWhole(chunk []byte) bool {
	n := len(chunk)
	return n >= 4 && chunk[0] == dle && chunk[n-2] == dle && chunk[n-1] == etx
}

// DecodeShared is Decode for a connection that the session shares with another server: what is not
// for the session has no effect on it, and no answer. Nor have damaged frames.
func (s *Session) DecodeShared(w *Words, chunk []byte, emit func(*protocol.Event)) error {
	var failed error
	frames := 0
	s.rest = s.shared.read(s.rest, chunk, func(id byte, payload []byte, err error) {
		frames++
		switch {
		case err != nil:
		case w.mine(id, payload):
			err = s.frame(id, payload, emit)
		default:
			if id == linkFleet {
				s.heard(false)
			}
			s.shared.events.Emit(emit, protocol.Event{Kind: protocol.KindUnknown})
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

// IsFrames reports whether the payload of a packet to the client is FMI.
func IsFrames(b []byte) bool {
	if len(b) < 2 || b[0] != dle {
		return false
	}
	if b[1] == linkFleet {
		return true
	}
	var body [maxBody]byte
	_, n, count, err := unstuff(b, &body)
	return n > 0 && count > 0 && err == nil
}

// Waits reports whether the client answers a frame of a Session: acknowledgements of the link and
// receipts have no answer.
func Waits(frame []byte) bool {
	if len(frame) < 2 || frame[1] != linkFleet {
		return false
	}
	at := 3
	if len(frame) > 2 && frame[2] == dle { // a size of 16 is doubled
		at++
	}
	if len(frame) < at+2 {
		return false
	}
	switch binary.LittleEndian.Uint16(frame[at:]) {
	case packetUnicode, packetClientReceipt, packetAnswerReceipt, packetPong,
		packetDriverReceipt, packetDutyReceipt:
		return false
	}
	return true
}
