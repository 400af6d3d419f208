package egts

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"trackchat/protocol"
)

// glance is what a packet of the server says to a login.
type glance struct {
	verdict  code // of RESULT_CODE
	number   uint16
	has      bool // there is one
	stranger bool // a record of the terminal's is refused because of who it is
	bare     bool // nothing but confirmations and RESULT_CODE
	asks     bool // the authentication service says something else
}

func (r *relay) Down(w *protocol.Ways, frame []byte, _ time.Time,
	emit func(*protocol.Event),
) error {
	start := len(w.Device)
	w.Device = append(w.Device, frame...)
	p, _, err := parse(w.Device[start:])
	if errors.Is(err, protocol.ErrFraming) || (err != nil && hidden(frame)) {
		r.blind()
		return err
	}
	data, bad := content(&p)
	if err == nil {
		err = bad
	}
	if p.kind == typeSigned {
		r.opaque, r.waiting = true, nil
	}
	if err != nil { // the terminal may make something of it all the same
		r.renumber(&p, w.Device[start:], data, false)
		return err
	}
	g := look(data)
	taken := r.swallow(w, &p, &g)
	if taken {
		w.Device = w.Device[:start]
	} else if r.renumber(&p, w.Device[start:], data, p.response() || p.kind == typeAppData) {
		reseal(w.Device[start:])
		w.Mapped++
	}
	if kind := r.outcome(&p, &g); kind != 0 {
		r.events.Emit(emit, protocol.Event{
			Kind: kind, Seq: uint32(g.number)<<16 | uint32(p.pid), Passed: !taken,
		})
	}
	return nil
}

// content returns the records of a packet, with an error also what of them cannot be told apart.
func content(p *packet) (records []byte, err error) {
	switch p.kind {
	case typeAppData:
		records = p.data
	case typeSigned:
		records, _, err = unsigned(p.data)
	case typeResponse:
		if len(p.data) < responseHead {
			return nil, fmt.Errorf("%w: response with %d bytes", protocol.ErrMalformed, len(p.data))
		}
		records = p.data[responseHead:]
	}
	if err == nil && checkRecords(records) != codeOK {
		err = fmt.Errorf("%w: records in %d bytes", protocol.ErrMalformed, len(records))
	}
	return records, err
}

// hidden reports whether the frame's content is encrypted, compressed or for a router to read.
func hidden(frame []byte) bool {
	return frame[offsetFlags]&(flagPrefix|flagEncrypted|flagCompressed) != 0
}

// look reads the records of a packet.
func look(data []byte) glance {
	g := glance{bare: true}
	for len(data) > 0 {
		var rec record
		rec, data, _ = nextRecord(data)
		if len(rec.data) == 0 || !checkSubs(rec.data) {
			g.bare = false
			continue
		}
		for subs := rec.data; len(subs) > 0; {
			var kind byte
			var sub []byte
			kind, sub, subs, _ = nextSub(subs)
			switch {
			case kind == subRecordResponse:
				if len(sub) >= 3 && stranger(code(sub[2])) {
					g.stranger = true
				}
			case rec.service == serviceAuth && kind == subResultCode && len(sub) > 0:
				g.verdict, g.number, g.has = code(sub[0]), rec.number, true
			default:
				g.bare = false
				g.asks = g.asks || rec.service == serviceAuth
			}
		}
	}
	return g
}

// decides reports whether the verdict is one: codes below firstError and above 0 only say that the
// server is still at it.
func (g *glance) decides() bool {
	return g.has && (g.verdict == codeOK || g.verdict >= firstError)
}

func stranger(c code) bool { return c == codeDenied || c == codeNotFound }

// swallow takes the answers to a login that was sent again: its RESPONSE, and RESULT_CODE, which is
// answered as the terminal would. Where the server asks for more it is the terminal that has to
// answer, and that gets what follows.
func (r *relay) swallow(w *protocol.Ways, p *packet, g *glance) bool {
	a := &r.again
	due := a.verdict
	switch {
	case due && g.asks:
		a.verdict = false
	case due && g.has:
		a.verdict = !g.decides()
	}
	switch {
	case p.response():
		if !a.response || le16(p.data) != a.pid {
			return false
		}
		a.response = false
		return g.bare
	case due && g.has && g.bare:
		var start int
		w.Server, start = beginResponse(w.Server, p.via.back(), r.pid, p.pid, codeOK)
		w.Server = appendConfirmation(w.Server, r.rn, fromDevice,
			confirmation{number: g.number, service: serviceAuth})
		w.Server = finish(w.Server, start)
		return true
	}
	return false
}

// outcome is KindAdmitted or KindDenied where the packet decides about a login.
func (r *relay) outcome(p *packet, g *glance) protocol.Kind {
	if r.asked && g.decides() {
		r.asked = false
		if g.verdict == codeOK {
			return protocol.KindAdmitted
		}
		return protocol.KindDenied
	}
	if !r.naming || !p.response() || (le16(p.data) != r.first && le16(p.data) != r.newest) {
		return 0
	}
	switch result := code(p.data[2]); {
	case result == codeHeaderCRC, result == codeDataCRC:
		return 0 // it comes again
	case result >= firstError && result != codeTwice, g.stranger:
		r.naming, r.offered = false, false // the next packet may fare better
		return protocol.KindDenied
	case result == codeOK, result == codeTwice:
		r.naming = false
		return protocol.KindAdmitted
	}
	return 0
}

// renumber sees to the numbers that the terminal may name in what it answers to the packet: the PID
// unless that is a RESPONSE, the RN of records that are no mere confirmation, and the CID of
// commands. It reports whether the frame, whose records are data, was changed; without touch it is
// not.
func (r *relay) renumber(p *packet, frame, data []byte, touch bool) (changed bool) {
	if !p.response() {
		changed = replace(frame[offsetPID:], r.packetNumber(p.pid, touch))
	}
	for len(data) >= recordHead {
		field := data[2:]
		var rec record
		var problem code
		if rec, data, problem = nextRecord(data); problem != codeOK {
			break
		}
		if r.commands(rec.data) && p.response() {
			continue
		}
		if replace(field, r.recordNumber(rec.number, touch)) {
			changed = true
		}
	}
	return changed
}

// commands notes the CIDs of the server's commands in a record, and reports whether that is nothing
// but confirmations.
func (r *relay) commands(subs []byte) (confirms bool) {
	confirms = len(subs) > 0
	for len(subs) > 0 {
		kind, sub, rest, ok := nextSub(subs)
		if !ok {
			return false
		}
		subs = rest
		confirms = confirms && kind == subRecordResponse
		if kind == subCommand && len(sub) >= 5 {
			switch sub[0] >> 4 {
			case commandConfirmed, messageConfirmed, messageDelivered: // the terminal's CID
			default:
				r.use(binary.LittleEndian.Uint32(sub[1:]))
			}
		}
	}
	return confirms
}

// use notes a CID of the server's, which then is none of ours.
func (r *relay) use(cid uint32) {
	if r.text.is && r.text.ref == cid {
		r.drop()
	}
	r.seen().use(cid)
}

// packetNumber returns the PID under which the terminal gets the server's packet.
func (r *relay) packetNumber(pid uint16, touch bool) uint16 {
	if pid < ownHalf {
		return pid
	}
	n := r.seen().pids.pass(pid, touch)
	if n == pid {
		if r.text.is && r.text.pid == n {
			r.drop()
		}
		r.answered(n)
		r.learned(func(t told) bool { return t.pid == n })
	}
	return n
}

// recordNumber returns the RN under which the terminal gets the server's record.
func (r *relay) recordNumber(rn uint16, touch bool) uint16 {
	if rn < ownHalf {
		return rn
	}
	n := r.seen().rns.pass(rn, touch)
	if n == rn {
		if r.text.is && r.text.rn == n {
			r.drop()
		}
		r.learned(func(t told) bool { return t.rn == n })
	}
	return n
}

// replace puts n into a field, and reports whether that held another number.
func replace(field []byte, n uint16) bool {
	if le16(field) == n {
		return false
	}
	binary.LittleEndian.PutUint16(field, n)
	return true
}

// reseal makes the checksums of a packet anew.
func reseal(frame []byte) {
	head := int(frame[offsetHL])
	frame[head-1] = crc8(frame[:head-1])
	if end := len(frame) - checksum; end > head {
		binary.LittleEndian.PutUint16(frame[end:], crc16(frame[head:end]))
	}
}
