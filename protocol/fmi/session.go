package fmi

import (
	"encoding/binary"
	"fmt"
	"time"

	"trackchat/protocol"
)

// step is what the session is doing before texts can go out. One packet is on its way at a time.
type step uint8

const (
	stepEnable    step = iota // 0000 until the client acknowledges it or says anything at all
	stepProtocols             // 0001 until 0002 and 0003 have come
	stepStatuses              // 0250 for 0041
	stepTexts                 // 0250 for 0024
	stepUnicode               // a moment for 0004, which may come after the answers to all of that
	stepReady
)

const (
	enableWait = 10 * time.Second // doubles with every try
	enableMost = time.Hour
	// after so many tries texts go out nevertheless: not every tracker passes link acknowledgements
	// on.
	blindTries  = 3
	askWait     = 5 * time.Second
	askTries    = 3
	reportWait  = 5 * time.Second
	unicodeWait = 2 * time.Second
	muteWait    = 3 * time.Second // for an answer to 0000; a tracker is mute without one
	// writes of a part without the client's word say that it lost power or its cable: FMI is
	// enabled anew.
	lostReceipt = 3
)

// Session is our side of FMI over one connection of a tracker; the codec that holds it passes bytes
// and time. It has one owner.
type Session struct {
	shared   *Shared
	flight   *flight
	rest     []byte // of an unfinished frame
	charset  protocol.Charset
	deadline int64 // of the step, Shared.Clock; 0: Poll sets it
	version  Version
	said     Version // what the client says it speaks
	step     step
	tries    uint8 // of the step
	sent     bool  // the step's packet is written
	product  bool  // 0002 has come
	linkACK  bool
	askA1    bool
	now      bool
	prefix   bool
	mute     bool // nobody has answered 0000, on this connection or an earlier one, for muteWait
	told     bool // mute, as Learnt said it last
	early    bool // Options.Mute, and nothing has come since
}

// NewSession returns a session that begins with enabling FMI at its first Poll.
func (h *Shared) NewSession(o Options) *Session {
	s := &Session{
		shared: h, charset: o.Charset, version: o.Version,
		linkACK: o.LinkACK, askA1: o.AskA1, now: o.Now, prefix: o.Prefix,
		mute: o.Mute, told: o.Mute, early: o.Mute,
	}
	if o.Mute { // the tries that nobody answered were made before
		s.tries = blindTries - 1
	}
	return s
}

// Mute is what a Session may learn: nobody answers 0000, because the tracker keeps the link's
// acknowledgements to itself. That belongs to the tracker and not to one connection of it, so its
// next Session begins with Options.Mute.
const Mute = 1

// Learnt is what protocol.Learner wants. A nil Session has learnt nothing.
func (s *Session) Learnt(now time.Time) (learnt uint8, news bool) {
	if s == nil {
		return 0, false
	}
	if s.step == stepEnable && s.sent && s.deadline != 0 {
		asked := s.deadline - s.wait().Milliseconds()
		s.mute = s.mute || s.shared.Clock.Ms(now)-asked >= muteWait.Milliseconds()
	}
	if s.mute {
		learnt = Mute
	}
	news = s.mute != s.told
	s.told = s.mute
	return learnt, news
}

func (s *Session) speaks() Version {
	switch {
	case s.version != Auto:
		return s.version
	case s.said != Auto:
		return s.said
	}
	return A604
}

// Caps says what the session can carry now.
func (s *Session) Caps() protocol.TextCaps {
	caps := capsOf(s.speaks(), Options{Charset: s.charset, Prefix: s.prefix})
	caps.NotYet = s.step != stepReady && (s.step != stepEnable || s.tries < blindTries)
	return caps
}

// AppendText appends a part of a text, or of a longer one what its receipts have not yet
// acknowledged; the rest follows by itself. ErrNotText: it does not fit the client's protocol, or a
// handshake is running.
func (s *Session) AppendText(dst []byte, c Carrier, t protocol.Text) ([]byte, error) {
	if s.Caps().NotYet {
		return dst, fmt.Errorf("%w: the client is not ready", protocol.ErrNotText)
	}
	f := s.flight
	if f == nil || f.ref != t.Ref || f.body != t.Body || f.part != t.Part || f.parts != t.Parts {
		var err error
		if f, err = s.board(t); err != nil {
			return dst, err
		}
	}
	if f.leg == legDelete && f.writes > 0 { // nobody answers: the new name has to do without
		f.rename()
	}
	f.writes = min(f.writes+1, lostReceipt)
	return s.appendFlight(dst, c), nil
}

// AppendWithdraw deletes the text of that reference on the client if it is the one on its way. What
// the client says about that changes nothing any more.
func (s *Session) AppendWithdraw(dst []byte, c Carrier, ref uint64) []byte {
	f := s.flight
	if f == nil || f.ref != ref || s.Caps().NotYet {
		return dst
	}
	s.flight = nil
	var room [32]byte
	return wrap(dst, c, linkFleet, appendIDPacket(room[:0], packetDelete, idOf(f.ref, f.renamed),
		0))
}

// Poll appends what the session sends by itself and says when it wants to be asked again.
func (s *Session) Poll(dst []byte, c Carrier, now time.Time) ([]byte, time.Time) {
	if f := s.flight; s.step == stepReady && f != nil && f.writes == lostReceipt {
		f.writes = 0
		s.step, s.tries, s.sent, s.deadline = stepEnable, 0, false, 0
	}
	if s.step == stepReady {
		return dst, time.Time{}
	}
	if s.sent && s.deadline != 0 && s.shared.Clock.Ms(now) >= s.deadline {
		s.timedOut()
	}
	if !s.sent {
		dst = s.appendStep(dst, c)
	}
	if s.step == stepReady {
		return dst, time.Time{}
	}
	if s.deadline == 0 {
		s.deadline = s.shared.Clock.Ms(now.Add(s.wait()))
	}
	return dst, s.shared.Clock.Time(s.deadline)
}

func (s *Session) wait() time.Duration {
	switch s.step {
	case stepEnable:
		if s.early && s.tries < blindTries {
			return muteWait
		}
		return min(enableWait<<min(s.tries, 10), enableMost)
	case stepUnicode:
		return unicodeWait
	case stepProtocols:
		return askWait
	default:
		return reportWait
	}
}

// timedOut sends the step's packet again, or gives the step up.
func (s *Session) timedOut() {
	if s.tries < 0xFF {
		s.tries++
	}
	s.mute = s.mute || s.step == stepEnable
	switch {
	case s.step == stepEnable, s.step == stepProtocols && s.tries < askTries:
		s.sent, s.deadline = false, 0
	default:
		s.advance()
	}
}

func (s *Session) advance() {
	s.step++
	if s.step == stepProtocols && (!s.askA1 || s.version != Auto) {
		s.step++
	}
	if s.step == stepUnicode && !s.waitsForUnicode() {
		s.step++
	}
	s.tries, s.sent, s.deadline = 0, false, 0
}

// heard takes note that the client has said something; acked that it acknowledged a packet.
func (s *Session) heard(acked bool) {
	s.mute, s.early = false, false
	if !s.sent {
		return
	}
	switch s.step {
	case stepEnable:
		s.advance()
	case stepProtocols:
		if s.product && s.said != Auto {
			s.advance()
		}
	case stepStatuses, stepTexts:
		if acked {
			s.advance()
		}
	case stepUnicode:
		if !s.waitsForUnicode() {
			s.advance()
		}
	case stepReady:
	}
}

// appendStep writes the packet of the step.
func (s *Session) appendStep(dst []byte, c Carrier) []byte {
	var room [16]byte
	p := room[:0]
	switch s.step {
	case stepEnable:
		p = binary.LittleEndian.AppendUint16(p, packetEnable)
		p = append(p, 2, 0)
		p = binary.LittleEndian.AppendUint16(p, featureOn|featureUnicode)
		p = binary.LittleEndian.AppendUint16(p, featureOn|featureA607)
	case stepProtocols:
		p = binary.LittleEndian.AppendUint16(p, packetAskProtocols)
	case stepStatuses:
		p = appendReport(p, packetStatus)
	case stepTexts:
		p = appendReport(p, packetClientText)
	case stepUnicode:
		s.sent = true
		return dst
	case stepReady:
		return dst
	}
	s.sent = true
	return wrap(dst, c, linkFleet, p)
}

func appendReport(p []byte, packet uint16) []byte {
	p = binary.LittleEndian.AppendUint16(p, packetReport)
	p = binary.LittleEndian.AppendUint16(p, packet)
	return binary.LittleEndian.AppendUint16(p, 1)
}
