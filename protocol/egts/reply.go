package egts

import (
	"cmp"
	"sync"

	"trackchat/protocol"
)

// maxDelivered bounds the CT_DELIV that one packet calls for; the RESPONSE confirms the others as
// well.
const maxDelivered = 64

// message names a text of the driver; key is that of its event.
type message struct {
	cid, sid uint32
	key      uint64
}

// answer is what a packet is answered with: one RESPONSE for all of its records, then what the
// records call for.
type answer struct {
	records []confirmation
	texts   []message // stored
	login   bool
	verdict code
}

// answers lends answers to packets with several events, which may wait for the store in between.
type answers struct{ free sync.Pool }

func (l *answers) get() *answer {
	if a, ok := l.free.Get().(*answer); ok {
		return a
	}
	return new(answer)
}

func (l *answers) put(a *answer) {
	*a = answer{records: a.records[:0], texts: a.texts[:0]}
	l.free.Put(a)
}

// AppendReply: the answer to a packet follows its last event.
func (c *codec) AppendReply(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	if e.Kind == protocol.KindLogin && r != protocol.Later {
		c.loggedIn = r == protocol.OK
	}
	last := e.Aux&auxPacket != 0
	if c.open == nil && last { // most packets have one event
		var a answer
		a.add(e, r)
		only := [...]confirmation{confirm(e, r)}
		return c.appendAnswer(dst, e, r, &a, only[:e.Aux/auxRecord&1])
	}
	if c.open == nil {
		c.open = c.answers.get()
	}
	a := c.open
	a.add(e, r)
	if e.Aux&auxRecord != 0 {
		a.records = append(a.records, confirm(e, r))
	}
	if last {
		dst = c.appendAnswer(dst, e, r, a, a.records)
		c.answers.put(a)
		c.open = nil
	}
	return dst
}

// add notes what e calls for besides the confirmation of its record.
func (a *answer) add(e *protocol.Event, r protocol.Result) {
	switch {
	case e.Kind == protocol.KindLogin && e.Msg != 0:
		a.login, a.verdict = true, resultCode(r)
	case e.Kind == protocol.KindText && r == protocol.OK && len(a.texts) < maxDelivered:
		a.texts = append(a.texts, message{uint32(e.Ref), uint32(e.Aux), e.Key})
	}
}

// confirm is the confirmation of the record that ends with e.
func confirm(e *protocol.Event, r protocol.Result) confirmation {
	result := code(e.Aux >> auxCode)
	if result == codeOK && e.Kind != protocol.KindLogin {
		// a login is in order as a record; what becomes of it is said by RESULT_CODE
		result = resultCode(r)
	}
	return confirmation{uint16(e.Seq >> 16), byte(e.Msg >> 8), result}
}

// appendAnswer answers the packet whose last event is e. What could not be stored must come again,
// so the packet stays unanswered then.
func (c *codec) appendAnswer(dst []byte, e *protocol.Event, worst protocol.Result, a *answer,
	records []confirmation,
) []byte {
	if worst == protocol.Later {
		return dst
	}
	if e.Aux&auxQuiet == 0 {
		result := codeOK
		if e.Aux&auxWhole != 0 {
			result = code(e.Aux >> auxCode)
		}
		dst = c.appendResponse(dst, uint16(e.Seq), result, records)
	}
	if a.login {
		dst = c.appendVerdict(dst, a.verdict)
	}
	for _, t := range a.texts {
		dst = c.appendDelivered(dst, t)
	}
	return dst
}

// appendResponse appends one RESPONSE, or several where the confirmations would make one that is
// longer than the terminal says it takes (BS). One that says nothing gets a single one: it may take
// the first for the whole answer.
func (c *codec) appendResponse(dst []byte, answered uint16, result code,
	records []confirmation,
) []byte {
	limit := int(cmp.Or(c.bs, maxFrame))
	most := (limit - c.via.header() - responseHead - checksum) / confirmationBytes
	for {
		var start int
		n := min(len(records), most)
		dst, start = beginResponse(dst, c.via, c.nextPID(), answered, result)
		for _, r := range records[:n] {
			dst = appendConfirmation(dst, c.nextRN(), fromPlatform, r)
		}
		dst = finish(dst, start)
		if records = records[n:]; len(records) == 0 {
			return dst
		}
	}
}

// appendVerdict appends RESULT_CODE.
func (c *codec) appendVerdict(dst []byte, verdict code) []byte {
	pid := c.nextPID()
	dst, start := begin(dst, c.via, pid, typeAppData)
	dst = appendRecord(dst, record{number: c.nextRN(), service: serviceAuth}, fromPlatform,
		subResultCode, 1)
	dst = finish(append(dst, byte(verdict)), start)
	c.wait(waitingPacket{pid: pid}, dst[start:])
	return dst
}

// appendDelivered appends CT_DELIV for a text of the driver.
func (c *codec) appendDelivered(dst []byte, t message) []byte {
	numbers := told{c.pid, c.rn, t.key}
	dst = c.appendBare(dst, messageDelivered, t)
	c.tell(numbers)
	return dst
}

// AppendWithdraw: CT_DELCOM with the CID and SID of the text.
func (c *codec) AppendWithdraw(dst []byte, ref uint64) []byte {
	if c.text.is && c.text.ref == uint32(ref) {
		c.answered(c.text.pid) // it is not repeated any more
		c.text.withdrawn = true
	}
	of := message{cid: uint32(ref), sid: uint32(c.settings.Int(settingSID))}
	return c.appendBare(dst, deleteCommand, of)
}

// appendBare appends a command that is nothing but its kind and whose it is.
func (c *codec) appendBare(dst []byte, kind byte, t message) []byte {
	pid := c.nextPID()
	dst, start := begin(dst, c.via, pid, typeAppData)
	dst = appendRecord(dst, record{number: c.nextRN(), service: serviceCommands}, fromPlatform,
		subCommand, commandHead+1)
	dst = appendCommandHead(dst, kind, confirmedOK, t.cid, t.sid)
	dst = finish(append(dst, 0), start)
	c.wait(waitingPacket{pid: pid}, dst[start:])
	return dst
}
