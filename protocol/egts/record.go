package egts

import "encoding/binary"

// Services.
const (
	serviceAuth     = 1
	serviceTeleData = 2
	serviceCommands = 4
	serviceFirmware = 9
	serviceECall    = 10
)

// Subrecords. Those above 0 belong to a service.
const (
	subRecordResponse = 0  // any service: CRN 2, RST 1
	subTermIdentity   = 1  // AUTH
	subResultCode     = 9  // AUTH: RCD 1
	subPosition       = 16 // TELEDATA: POS_DATA
	subState          = 20 // TELEDATA: STATE_DATA of Order 285
	subCommand        = 51 // COMMANDS: COMMAND_DATA
	subTrack          = 62 // ECALL: TRACK_DATA: SA 1, ATM 4, positions
)

// Flags of a record (RFL): which optional fields follow, and who speaks.
const (
	flagOID      = 1 << 0
	flagEVID     = 1 << 1
	flagTM       = 1 << 2
	fromPlatform = 0x40 // RSOD
	fromDevice   = 0x80 // SSOD
)

const (
	recordHead = 7 // RL, RN, RFL, SST, RST
	subHead    = 3 // SRT, SRL
	// confirmationBytes is a record that holds a RECORD_RESPONSE.
	confirmationBytes = recordHead + subHead + 3
)

// record is one record of a packet.
type record struct {
	number  uint16
	oid     uint32 // 0: none
	time    uint32 // TM: when it was made, seconds since 2010; 0: not said
	service byte   // SST
	data    []byte
}

// nextRecord takes the first record off data, which is not empty.
func nextRecord(data []byte) (r record, rest []byte, problem code) {
	if len(data) < recordHead {
		return r, nil, codeDataForm
	}
	length := int(binary.LittleEndian.Uint16(data))
	r.number = binary.LittleEndian.Uint16(data[2:])
	flags := data[4]
	at := 5
	if flags&flagOID != 0 {
		if len(data) < at+4 {
			return r, nil, codeDataForm
		}
		r.oid = binary.LittleEndian.Uint32(data[at:])
		at += 4
	}
	if flags&flagEVID != 0 {
		at += 4
	}
	tm := at
	if flags&flagTM != 0 {
		at += 4
	}
	if len(data) < at+2 {
		return r, nil, codeDataForm
	}
	if at > tm {
		r.time = binary.LittleEndian.Uint32(data[tm:])
	}
	r.service = data[at]
	at += 2
	if len(data) < at+length {
		return r, nil, codeLength
	}
	r.data = data[at : at+length]
	return r, data[at+length:], codeOK
}

// checkRecords walks over all records of a packet, so that a damaged one is refused as a whole.
func checkRecords(data []byte) code {
	for len(data) > 0 {
		var problem code
		if _, data, problem = nextRecord(data); problem != codeOK {
			return problem
		}
	}
	return codeOK
}

// nextSub takes the first subrecord off data, which is not empty.
func nextSub(data []byte) (kind byte, sub, rest []byte, ok bool) {
	if len(data) < subHead {
		return 0, nil, nil, false
	}
	end := subHead + int(binary.LittleEndian.Uint16(data[1:]))
	if len(data) < end {
		return 0, nil, nil, false
	}
	return data[0], data[subHead:end], data[end:], true
}

// checkSubs reports whether the subrecords fill the record.
func checkSubs(data []byte) bool {
	ok := true
	for ok && len(data) > 0 {
		_, _, data, ok = nextSub(data)
	}
	return ok
}

// appendRecord appends the head of a record with one subrecord of n bytes, which follow. oid 0:
// none.
func appendRecord(dst []byte, r record, flags, sub byte, n int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(subHead+n))
	dst = binary.LittleEndian.AppendUint16(dst, r.number)
	if r.oid != 0 {
		dst = append(dst, flags|flagOID)
		dst = binary.LittleEndian.AppendUint32(dst, r.oid)
	} else {
		dst = append(dst, flags)
	}
	dst = append(dst, r.service, r.service, sub)
	return binary.LittleEndian.AppendUint16(dst, uint16(n))
}

// confirmation is the word about a record: a RECORD_RESPONSE in a record of the same service.
type confirmation struct {
	number  uint16 // CRN
	service byte
	result  code
}

func appendConfirmation(dst []byte, number uint16, flags byte, c confirmation) []byte {
	dst = appendRecord(dst, record{number: number, service: c.service}, flags, subRecordResponse, 3)
	return append(binary.LittleEndian.AppendUint16(dst, c.number), byte(c.result))
}
