package egts

import (
	"encoding/binary"
	"errors"
	"slices"

	"trackchat/protocol"
)

// Feed takes what the platform sent and answers every packet that is none itself.
func (d *device) Feed(dst, in []byte, emit func(protocol.DeviceEvent)) (out []byte, consumed int,
	err error,
) {
	for {
		n, _, err := cut(in[consumed:], 0)
		if err != nil || n == 0 {
			return dst, consumed, err
		}
		frame := in[consumed : consumed+n]
		consumed += n
		p, problem, err := parse(frame)
		if err == nil {
			problem = d.packet(&dst, &p, emit)
		}
		if problem != codeOK && !p.response() {
			dst = d.appendResponse(dst, p.pid, problem)
		}
		if errors.Is(err, protocol.ErrFraming) {
			return dst, consumed, err
		}
		if problem != codeOK {
			emit(protocol.DeviceEvent{Kind: protocol.DeviceOther, Ref: uint64(p.pid)})
		}
	}
}

// packet sees to a whole packet; a problem says that it cannot be read.
func (d *device) packet(dst *[]byte, p *packet, emit func(protocol.DeviceEvent)) code {
	data := p.data
	answered, result := uint16(0), codeOK
	switch p.kind {
	case typeResponse:
		if len(data) < responseHead {
			return codeDataForm
		}
		answered, result, data = binary.LittleEndian.Uint16(data), code(data[2]),
			data[responseHead:]
	case typeAppData:
	case typeSigned:
		var problem code
		var err error
		if data, problem, err = unsigned(data); err != nil {
			return problem
		}
	default:
		return codeType
	}
	if problem := checkRecords(data); problem != codeOK {
		return problem
	}
	seen := &sighting{d: d, pid: p.pid, emit: emit}
	for len(data) > 0 {
		var r record
		r, data, _ = nextRecord(data)
		seen.record(&r)
		result = max(result, seen.refused)
	}
	if p.response() {
		seen.login(answered, result)
	} else {
		*dst = d.appendResponse(*dst, p.pid, codeOK, seen.confirmations...)
	}
	if !seen.told {
		emit(protocol.DeviceEvent{Kind: protocol.DeviceOther, Ref: uint64(p.pid)})
	}
	return codeOK
}

// sighting is what one packet brings.
type sighting struct {
	d             *device
	pid           uint16
	emit          func(protocol.DeviceEvent)
	told          bool
	refused       code // the worst RECORD_RESPONSE in it
	confirmations []confirmation
}

func (s *sighting) tell(e protocol.DeviceEvent) {
	s.told = true
	s.emit(e)
}

// record sees to one record and notes how it is confirmed.
func (s *sighting) record(r *record) {
	result := codeOK
	if !checkSubs(r.data) {
		result = codeLength
	}
	for data := r.data; result == codeOK && len(data) > 0; {
		var kind byte
		var sub []byte
		kind, sub, data, _ = nextSub(data)
		switch {
		case kind == subRecordResponse && len(sub) >= 3:
			s.confirmed(binary.LittleEndian.Uint16(sub), code(sub[2]))
		case r.service == serviceAuth && kind == subResultCode && len(sub) >= 1:
			s.verdict(code(sub[0]))
		case r.service == serviceCommands && kind == subCommand:
			result = s.command(r.number, sub)
		default:
			result = codeType
		}
	}
	s.confirmations = append(s.confirmations, confirmation{r.number, r.service, result})
}

// confirmed sees to the platform's word about a record of ours. That a text arrived is said by
// CT_DELIV; that it is refused, here.
func (s *sighting) confirmed(number uint16, result code) {
	s.refused = max(s.refused, result)
	i := slices.IndexFunc(s.d.texts, func(t said) bool { return t.rn == number })
	if i < 0 || result < firstError {
		return
	}
	s.tell(protocol.DeviceEvent{Kind: protocol.DeviceTextNak, Ref: uint64(s.d.texts[i].cid)})
	s.d.texts = slices.Delete(s.d.texts, i, i+1)
}

// verdict ends the login.
func (s *sighting) verdict(result code) {
	if !s.d.awaiting {
		return
	}
	s.d.awaiting = false
	if result >= firstError {
		s.tell(protocol.DeviceEvent{Kind: protocol.DeviceRefused})
		return
	}
	s.tell(protocol.DeviceEvent{Kind: protocol.DeviceLoggedIn})
}

// login sees to the answer to the packet that logs in: it refuses, or lets in a terminal that does
// not authenticate.
func (s *sighting) login(answered uint16, result code) {
	if answered == s.d.login && (result >= firstError || s.d.oid != 0) {
		s.verdict(result)
	}
}

func (s *sighting) command(number uint16, sub []byte) code {
	cmd, err := parseCommand(sub)
	if err != nil {
		return codeDataForm
	}
	switch cmd.kind {
	case messageTo:
		text, err := s.d.charset(s.d.settings).Decode(cmd.text)
		if err != nil {
			return codeDataForm
		}
		s.d.shown = shown{cid: cmd.cid, sid: cmd.sid, pid: s.pid, rn: number, is: true}
		s.tell(protocol.DeviceEvent{Kind: protocol.DeviceText, Ref: uint64(cmd.cid), Body: text})
	case messageDelivered:
		i := slices.IndexFunc(s.d.texts, func(t said) bool { return t.cid == cmd.cid })
		if i < 0 {
			return codeOK
		}
		s.d.texts = slices.Delete(s.d.texts, i, i+1)
		kind := protocol.DeviceTextAck
		if cmd.confirmed != confirmedOK {
			kind = protocol.DeviceTextNak
		}
		s.tell(protocol.DeviceEvent{Kind: kind, Ref: uint64(cmd.cid)})
	default:
		return codeType
	}
	return codeOK
}
