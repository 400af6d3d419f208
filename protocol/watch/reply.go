package watch

import (
	"time"

	"trackchat/protocol"
)

// Event.Aux: what the answer needs, besides the digits of the number in Event.Seq.
const (
	owed        = 1 << iota // an answer is
	refused                 // it says that a recording failed
	numbered                // the form of the frame
	prefixShift = 32        // its prefix
)

// AppendReply: What cannot be stored now (protocol.Later) is not answered: the device sends it
// again.
func (c *codec) AppendReply(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	w := word(e.Msg)
	switch r {
	case protocol.NoLogin, protocol.UnknownDevice, protocol.BadCredentials:
		return c.refuse(dst, e)
	case protocol.Later:
		if e.Kind == protocol.KindLogin {
			c.peer.idLength = 0
		}
		return dst
	case protocol.OK, protocol.Invalid:
	}
	if e.Aux&owed == 0 {
		return dst
	}
	if w == wordLK && e.Aux&numbered != 0 && c.lkTime {
		return c.awaitTime(dst, e)
	}
	answer := answerTo(w)
	if e.Aux&refused != 0 || r == protocol.Invalid {
		answer = refusalOf(w)
	}
	return c.appendAnswer(dst, e, answer)
}

// refuse answers a device that may not log in, where there is a word for that.
func (c *codec) refuse(dst []byte, e *protocol.Event) []byte {
	if e.Kind != protocol.KindLogin {
		return dst
	}
	if word(e.Msg) == wordINIT {
		dst = c.appendAnswer(dst, e, refusalOf(wordINIT))
	}
	c.peer.idLength, c.mode = 0, modeCharacters
	return dst
}

// appendAnswer writes as the device wrote the frame that is answered, under the same number.
func (c *codec) appendAnswer(dst []byte, e *protocol.Event, answer string) []byte {
	to := c.peer
	to.numbered = e.Aux&numbered != 0
	to.prefix = [prefixLength]byte{byte(e.Aux >> prefixShift), byte(e.Aux >> (prefixShift + 8))}
	dst = to.begin(dst, e.Seq)
	start := len(dst)
	return end(append(dst, answer...), start)
}

func answerTo(w word) string {
	switch w {
	case wordLK:
		return "LK"
	case wordINIT:
		return "INIT,1"
	case wordAL:
		return "AL"
	case wordTKQ:
		return "TKQ"
	case wordTKQ2:
		return "TKQ2"
	case wordTK:
		return "TK,1"
	case wordTK2:
		return "TK2,1"
	case wordJXTK:
		return "JXTKR,1"
	case wordCONFIG:
		return "CONFIG,1"
	case wordBPHRT:
		return "bphrt"
	case wordOXYGEN:
		return "oxygen,1"
	case wordBTEMP2:
		return "btemp2"
	case wordWIFIINFOUP:
		return "WIFIINFOUP,1"
	case wordCOST2:
		return "COST2,1"
	default:
		return ""
	}
}

// refusalOf is the answer that refuses, where there is one.
func refusalOf(w word) string {
	switch w {
	case wordINIT:
		return "INIT,0"
	case wordTK:
		return "TK,0"
	case wordTK2:
		return "TK2,0"
	case wordJXTK:
		return "JXTKR,0"
	default:
		return answerTo(w)
	}
}

// awaitTime leaves the answer to Poll, which knows the time. An LK that waits already is answered
// without one.
func (c *codec) awaitTime(dst []byte, e *protocol.Event) []byte {
	if c.lkDue != 0 {
		earlier := *e
		earlier.Seq = c.lkDue
		dst = c.appendAnswer(dst, &earlier, answerTo(wordLK))
	}
	c.lkDue = e.Seq
	return dst
}

func (c *codec) appendLKTime(dst []byte, now time.Time) []byte {
	to := c.peer
	to.numbered = true
	dst = to.begin(dst, c.lkDue)
	start := len(dst)
	dst = append(dst, answerTo(wordLK)...)
	at := now.UTC().Add(time.Duration(c.zone) * time.Minute)
	return end(at.AppendFormat(dst, ",2006-01-02,15:04:05"), start)
}
