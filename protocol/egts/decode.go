package egts

import (
	"encoding/binary"
	"errors"
	"fmt"

	"trackchat/protocol"
)

// An event's Seq is the PID of its packet and, above, the RN of its record. Its Msg is the service
// and, below, the subrecord; 0 for what is of no record. Its Ref is the CID and the low half of its
// Aux the SID of the driver's text; above are these.
const (
	// shift of the code that the record, or the packet, is answered with where all else is well.
	auxCode   = 32
	auxRecord = 1 << 40
	auxPacket = 1 << 41 // the last event of its packet
	auxQuiet  = 1 << 42 // the packet is a RESPONSE
	auxWhole  = 1 << 43 // the code is the packet's
)

var errForeign = errors.New("record of another terminal")

// emission emits the events of one packet. It holds the last one back until it is known whether it
// ends its record and its packet.
type emission struct {
	*codec
	emit func(*protocol.Event)
	held protocol.Event
	has  bool
	aux  uint64 // of every event of the packet
	pid  uint16
	base protocol.Event // of every event of the record
	told bool           // the record has an event
	code code           // what the record is answered with
	err  error          // the first one
}

func (c *codec) Decode(frame []byte, emit func(*protocol.Event)) error {
	p, problem, err := parse(frame)
	m := emission{codec: c, emit: emit, pid: p.pid}
	switch {
	case err != nil && (problem == codeOK || p.response()):
		// nothing to answer, or nothing that may be
		return err
	case err != nil:
		m.refuse(problem, protocol.KindRefused)
		return err
	}
	if p.via.on || c.via.on {
		c.via = p.via.back()
	}
	data := p.data
	switch p.kind {
	case typeResponse:
		m.aux = auxQuiet
		data, err = m.response(data)
	case typeAppData:
	case typeSigned:
		data, problem, err = unsigned(data)
	default:
		m.refuse(codeType, protocol.KindUnknown)
		return nil
	}
	if err == nil {
		if problem = checkRecords(data); problem != codeOK {
			err = fmt.Errorf("%w: records in %d bytes", protocol.ErrMalformed, len(data))
		}
	}
	if err != nil {
		if !p.response() {
			m.refuse(problem, protocol.KindRefused)
		}
		return err
	}
	m.records(data)
	return m.err
}

// unsigned passes over the signature: SIGL 2, signature. We have no key to check it with.
func unsigned(data []byte) (records []byte, problem code, err error) {
	if len(data) < 2 {
		return nil, codeDataForm, fmt.Errorf("%w: signed packet with %d bytes",
			protocol.ErrMalformed, len(data))
	}
	n := 2 + int(binary.LittleEndian.Uint16(data))
	if len(data) < n {
		return nil, codeLength, fmt.Errorf("%w: signature of %d bytes in %d", protocol.ErrMalformed,
			n-2, len(data))
	}
	return data[n:], codeOK, nil
}

// refuse answers the packet as a whole.
func (m *emission) refuse(c code, kind protocol.Kind) {
	m.events.Emit(m.emit, protocol.Event{
		Kind: kind, Seq: uint32(m.pid),
		Aux: uint64(c)<<auxCode | auxWhole | auxPacket,
	})
}

// response reads RPID and PR, and returns the records that follow.
func (m *emission) response(data []byte) ([]byte, error) {
	if len(data) < responseHead {
		return nil, fmt.Errorf("%w: response with %d bytes", protocol.ErrMalformed, len(data))
	}
	answered, result := binary.LittleEndian.Uint16(data), code(data[2])
	m.answered(answered)
	if m.text.is && answered == m.text.pid {
		m.begin(protocol.Event{Seq: uint32(m.pid)})
		m.ack(m.text.ref, packetOutcome(result))
	}
	if result != codeHeaderCRC && result != codeDataCRC {
		if key := m.learned(func(t told) bool { return t.pid == answered }); key != 0 {
			m.begin(protocol.Event{Seq: uint32(m.pid)})
			m.known(key)
		}
	}
	return data[responseHead:], nil
}

// begin starts a record, or what is of none.
func (m *emission) begin(base protocol.Event) {
	m.base, m.told, m.code = base, false, codeOK
}

func (m *emission) add(e protocol.Event) {
	m.flush()
	e.Aux |= m.aux
	m.held, m.has, m.told = e, true, true
}

func (m *emission) flush() {
	if m.has {
		m.events.Emit(m.emit, m.held)
		m.has = false
	}
}

func (m *emission) plain(kind protocol.Kind) {
	e := m.base
	e.Kind = kind
	m.add(e)
}

func (m *emission) ack(ref uint32, o protocol.Outcome) {
	if m.text.is && ref == m.text.ref { // whatever it says: the packet has arrived
		m.answered(m.text.pid)
	}
	e := m.base
	e.Kind, e.Ref, e.Outcome = protocol.KindAck, uint64(ref), o
	if o == protocol.Linked || o == protocol.Accepted {
		e.Kind = protocol.KindEvidence
	}
	m.add(e)
}

// known says that the terminal knows what became of its text.
func (m *emission) known(key uint64) {
	e := m.base
	e.Kind, e.Key = protocol.KindKnown, key
	m.add(e)
}

// bad refuses the record. The others of the packet stand.
func (m *emission) bad(c code, err error) {
	m.code = c
	if m.err == nil {
		m.err = err
	}
	m.plain(protocol.KindRefused)
}

func (m *emission) records(data []byte) {
	m.offer(data)
	for len(data) > 0 {
		var r record
		r, data, _ = nextRecord(data)
		m.begin(protocol.Event{
			Seq: uint32(r.number)<<16 | uint32(m.pid),
			Msg: uint32(r.service) << 8,
		})
		m.record(&r)
		m.held.Aux |= auxRecord | uint64(m.code)<<auxCode
	}
	if !m.has { // no records: the shortest sign of life there is, or a bare confirmation
		m.begin(protocol.Event{Seq: uint32(m.pid)})
		kind := protocol.KindHeartbeat
		if m.aux&auxQuiet != 0 {
			kind = protocol.KindOther
		}
		m.plain(kind)
	}
	m.held.Aux |= auxPacket
	m.flush()
}

// offer logs a terminal in that never authenticates: by the first OID that comes in a packet
// without a word of the authentication service.
func (m *emission) offer(data []byte) {
	if m.loggedIn || m.offered || !m.settings.Bool(settingLenient) {
		return
	}
	oid := uint32(0)
	for len(data) > 0 {
		var r record
		if r, data, _ = nextRecord(data); r.service == serviceAuth {
			return
		}
		if oid == 0 {
			oid = r.oid
		}
	}
	if oid == 0 {
		return
	}
	m.oid, m.offered = oid, true
	id := identity{tid: oid}
	m.add(protocol.Event{
		Kind: protocol.KindLogin, Seq: uint32(m.pid),
		DeviceID: id.deviceID(loginByTID),
	})
}

// record emits what a record means: at least one event.
func (m *emission) record(r *record) {
	switch {
	case m.offered && r.oid != 0 && r.oid != m.oid:
		m.bad(codeNotFound, fmt.Errorf("%w: %w: %d", protocol.ErrMalformed, errForeign, r.oid))
		return
	case !known(r.service):
		m.code = codeServiceOther
		m.plain(protocol.KindUnknown)
		return
	case !checkSubs(r.data):
		m.bad(codeLength, fmt.Errorf("%w: subrecords in %d bytes", protocol.ErrMalformed,
			len(r.data)))
		return
	}
	positions := 0
	service := m.base.Msg
	for data := r.data; len(data) > 0; {
		var kind byte
		var sub []byte
		kind, sub, data, _ = nextSub(data)
		m.base.Msg = service | uint32(kind)
		switch {
		case r.service == serviceTeleData && kind == subPosition:
			positions++
		case r.service == serviceECall && kind == subTrack:
			positions += track(sub)
		default:
			m.sub(r, kind, sub)
		}
	}
	switch {
	case positions > 0:
		e := m.base
		e.Kind, e.Count, e.Msg = protocol.KindPosition, positions, service|subPosition
		m.add(e)
	case !m.told && r.service == serviceTeleData:
		m.plain(protocol.KindHeartbeat)
	case !m.told:
		m.plain(protocol.KindOther)
	}
}

func known(service byte) bool {
	switch service {
	case serviceAuth, serviceTeleData, serviceCommands, serviceFirmware, serviceECall:
		return true
	}
	return false
}

// track counts the positions of TRACK_DATA: SA says how many, each takes at least a byte.
func track(sub []byte) int {
	if len(sub) < 5 {
		return 0
	}
	return min(int(sub[0]), len(sub)-5)
}

// sub emits what a subrecord means that is no position; nothing where it means nothing.
func (m *emission) sub(r *record, kind byte, sub []byte) {
	switch service := r.service; {
	case kind == subRecordResponse:
		m.confirmed(sub)
	case service == serviceAuth && kind == subTermIdentity:
		m.identity(sub)
	case service == serviceCommands && kind == subCommand:
		m.command(r, sub)
	}
}

func (m *emission) confirmed(sub []byte) {
	if len(sub) < 3 {
		m.bad(codeDataForm, fmt.Errorf("%w: confirmation of %d bytes", protocol.ErrMalformed,
			len(sub)))
		return
	}
	number := binary.LittleEndian.Uint16(sub)
	if key := m.learned(func(t told) bool { return t.rn == number }); key != 0 {
		m.known(key)
		return
	}
	if m.text.is && number == m.text.rn {
		if o := recordOutcome(code(sub[2]), m.taken()); o != 0 {
			m.ack(m.text.ref, o)
			return
		}
	}
	m.plain(protocol.KindOther)
}

func (m *emission) identity(sub []byte) {
	id, err := parseIdentity(sub)
	if err != nil {
		m.bad(codeDataForm, err)
		return
	}
	if id.bs >= minBS {
		m.bs = id.bs
	}
	e := m.base
	by := m.settings.String(settingLoginBy)
	e.Kind, e.DeviceID, e.Alias = protocol.KindLogin, id.deviceID(by), id.alias(by)
	m.add(e)
}

func (m *emission) command(r *record, sub []byte) {
	cmd, err := parseCommand(sub)
	if err != nil {
		m.bad(codeDataForm, err)
		return
	}
	switch cmd.kind {
	case messageFrom:
		m.driverText(r, &cmd)
	case commandConfirmed:
		if !m.text.is || m.text.withdrawn || cmd.cid != m.text.ref { // about another command
			m.plain(protocol.KindOther)
			return
		}
		fallthrough
	case messageConfirmed, messageDelivered:
		if o := cmd.outcome(m.taken()); o != 0 {
			m.ack(cmd.cid, o)
			return
		}
		m.plain(protocol.KindOther)
	default:
		m.code = codeType
		m.plain(protocol.KindUnknown)
	}
}
