package fmi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"trackchat/protocol"
)

// leg is the packet of a text that waits for the client's word.
type leg uint8

const (
	legReplies leg = iota // 0030 for the choice index
	legList               // 0028
	legText               // the text, or its segment index
	legDelete             // 002D: what the client has of it under the old name
)

// flight is the part of a text that the client is being told.
type flight struct {
	ref     uint64
	body    string // with part and parts what it was made from
	part    int
	parts   int
	text    []byte // encoded, with its prefix
	choices []string
	at      uint32
	version Version
	leg     leg
	index   uint8 // of choice or segment
	renamed uint8 // see idOf
	writes  uint8 // by AppendText since the client's last word
	naks    uint8
}

const mostNAKs = 3

// board prepares a part.
func (s *Session) board(t protocol.Text) (*flight, error) {
	f := s.flight
	if f == nil {
		f = &flight{}
	}
	text := f.text[:0]
	if s.prefix {
		text = protocol.AppendPrefix(text, t)
	}
	text = s.charset.Append(text, t.Body)
	for i := bytes.IndexByte(text, 0); i >= 0; i = bytes.IndexByte(text, 0) {
		text[i] = ' '
	}
	*f = flight{
		ref: t.Ref, body: t.Body, part: t.Part, parts: t.Parts, text: text, choices: t.Choices,
		at: garminTime(t.AtMs), version: s.speaks(), leg: legText,
	}
	most := shortBytes
	if f.version == A611 {
		most = longBytes
		if len(text)%segmentBytes == 0 {
			// an empty last segment is one that clients wait for in vain
			f.text = append(text, ' ')
		}
	}
	if len(f.text) > most || len(t.Choices) > maxChoices {
		return nil, fmt.Errorf("%w: %d bytes and %d choices", protocol.ErrNotText, len(f.text),
			len(t.Choices))
	}
	if f.version == A602 {
		f.choices = nil
	}
	if len(f.choices) > 0 {
		f.leg = legReplies
	}
	s.flight = f
	return f, nil
}

// rename begins again under a name that the client does not know.
func (f *flight) rename() {
	f.renamed = min(f.renamed+1, maxRenamed)
	f.leg, f.index, f.writes = legText, 0, 0
	if len(f.choices) > 0 {
		f.leg = legList
	}
}

// plain goes on without the choices, which the client did not take.
func (f *flight) plain() { f.choices, f.leg, f.index = nil, legText, 0 }

func (f *flight) lastSegment() bool { return (int(f.index)+1)*segmentBytes >= len(f.text) }

// progress takes note of the client's word about a packet of the flight.
func (f *flight) progress() { f.writes, f.naks = 0, 0 }

// appendFlight writes the packet that waits for the client's word.
func (s *Session) appendFlight(dst []byte, c Carrier) []byte {
	f := s.flight
	var room [maxPayload]byte
	p := room[:0]
	id := idOf(f.ref, f.renamed)
	switch f.leg {
	case legReplies:
		return s.appendChoice(dst, c, f.choices[f.index], int(f.index)+1)
	case legList:
		p = appendIDPacket(p, packetList, id, byte(len(f.choices)))
		for i, choice := range f.choices {
			p = binary.LittleEndian.AppendUint32(p, responseID(choice, i+1))
		}
	case legText:
		p = s.appendText(p, f, id)
	case legDelete:
		p = appendIDPacket(p, packetDelete, id, 0)
	}
	return wrap(dst, c, linkFleet, p)
}

func (s *Session) appendText(p []byte, f *flight, id messageID) []byte {
	kind := byte(0)
	if s.now {
		kind = 1
	}
	switch f.version {
	case A602:
		p = appendTextHead(p, packetTextOK, f.at, id, [3]byte{})
	case A611:
		from := int(f.index) * segmentBytes
		finished := byte(0)
		segment := f.text[from:min(from+segmentBytes, len(f.text))]
		if f.lastSegment() {
			finished = 1
		}
		p = appendTextHead(p, packetLongText, f.at, id, [3]byte{kind, finished, f.index})
		p = append(p, segment...)
		if finished == 0 {
			return p
		}
		return append(p, 0)
	default:
		p = appendTextHead(p, packetText, f.at, id, [3]byte{kind})
	}
	return append(append(p, f.text...), 0)
}

// appendChoice sets a canned answer. It is apart from appendFlight because its packet passes
// through the charset and so cannot stay on the stack.
func (s *Session) appendChoice(dst []byte, c Carrier, text string, choice int) []byte {
	p := binary.LittleEndian.AppendUint16(make([]byte, 0, maxPayload), packetReply)
	p = binary.LittleEndian.AppendUint32(p, responseID(text, choice))
	from, room := len(p), replyBytes
	text, _ = protocol.Fold(s.charset, text)
	for i, r := range text {
		if room -= s.charset.RuneLen(r); room < 0 {
			text = text[:i]
			break
		}
	}
	p = s.charset.Append(p, text)
	for i := range p[from:] {
		if p[from+i] == 0 {
			p[from+i] = ' '
		}
	}
	return wrap(dst, c, linkFleet, append(p, 0))
}

var errAnswers = errors.New("answers of more than 49 bytes")

// Asks says why a client would be shown a canned answer cut short, for protocol.Asker.
func (o Options) Asks(t protocol.Text) error {
	charset := o.Caps().Charset
	for _, choice := range t.Choices {
		if n := len(charset.Append(nil, choice)); n > replyBytes {
			return errAnswers
		}
	}
	return nil
}

// replied reports whether response is the canned answer that the flight waits for.
func (f *flight) replied(response uint32) bool {
	return f.leg == legReplies && responseID(f.choices[f.index], int(f.index)+1) == response
}

// answered drops the flight once the client has said the last word about it.
func (s *Session) answered(ref uint64) {
	if f := s.flight; f != nil && f.ref == ref {
		s.flight = nil
	}
}

// storage reports whether a result of 0056 means that the client has no room.
func storage(result byte) bool { return slices.Contains([]byte{3, 5, 12, 13, 14, 15}, result) }
