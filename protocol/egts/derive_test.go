package egts_test

import (
	"encoding/binary"
	"testing"
	"time"

	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"
)

func TestDerivedVectors(t *testing.T) {
	for _, lenient := range []string{"false", "true"} {
		t.Run(lenient, func(t *testing.T) {
			protocoltest.Derived(t, egts.New(), protocoltest.Derivation{
				File: vectorsFile, Update: *update, Derive: derive, Secrets: secrets,
				Settings: map[string]string{"lenient": lenient},
			})
		})
	}
}

// epoch is where EGTS counts its seconds from.
func epoch() time.Time { return time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC) }

// derive is the Derive of EGTS frames. Counters (PID, RN, CID) stay.
func derive(s *protocoltest.Scrubber, _ protocoltest.Vector, frame []byte) ([]byte, error) {
	if len(frame) < 11 || int(frame[3]) < 11 || len(frame) < int(frame[3]) {
		return nil, protocoltest.ErrLeftOut
	}
	head, n := int(frame[3]), int(binary.LittleEndian.Uint16(frame[5:]))
	off := frame[head-1] ^ crc8(frame[:head-1])
	s.Noise(frame[10 : head-1]) // the route
	frame[head-1] = crc8(frame[:head-1]) ^ off
	if n == 0 && len(frame) == head {
		return frame, nil
	}
	if len(frame) != head+n+2 {
		return nil, protocoltest.ErrLeftOut
	}
	data, tail := frame[head:head+n], frame[head+n:]
	wrong := binary.LittleEndian.Uint16(tail) ^ crc16(data)
	switch {
	case frame[9] == 0 && n >= 3:
		data = data[3:]
	case frame[9] == 2 && n >= 2 && n >= 2+int(binary.LittleEndian.Uint16(data)):
		signature := 2 + int(binary.LittleEndian.Uint16(data))
		s.Noise(data[2:signature])
		data = data[signature:]
	case frame[9] != 1:
		return nil, protocoltest.ErrLeftOut
	}
	x := scrubbing{s, map[uint32][]byte{}}
	for len(data) > 0 {
		var ok bool
		if data, ok = x.record(data); !ok {
			return nil, protocoltest.ErrLeftOut
		}
	}
	binary.LittleEndian.PutUint16(tail, crc16(frame[head:head+n])^wrong)
	return frame, nil
}

// scrubbing is that of one packet, in which an object keeps its id from record to record.
type scrubbing struct {
	*protocoltest.Scrubber
	objects map[uint32][]byte
}

// record scrubs the first record of data and returns what follows it.
func (x scrubbing) record(data []byte) (rest []byte, ok bool) {
	if len(data) < 7 {
		return nil, false
	}
	length, flags := int(binary.LittleEndian.Uint16(data)), data[4]
	at := 5
	for bit := range 3 {
		if flags>>bit&1 == 0 {
			continue
		}
		if len(data) < at+4 {
			return nil, false
		}
		x.optional(bit, data[at:at+4])
		at += 4
	}
	if len(data) < at+2+length {
		return nil, false
	}
	service := data[at]
	subs, rest := data[at+2:at+2+length], data[at+2+length:]
	for len(subs) > 0 {
		if len(subs) < 3 || len(subs) < 3+int(binary.LittleEndian.Uint16(subs[1:])) {
			return nil, false
		}
		kind, end := subs[0], 3+int(binary.LittleEndian.Uint16(subs[1:]))
		x.sub(service, kind, subs[3:end])
		subs = subs[end:]
	}
	return rest, true
}

// optional scrubs OID, EVID or TM.
func (x scrubbing) optional(bit int, b []byte) {
	switch bit {
	case 0:
		was := binary.LittleEndian.Uint32(b)
		if x.objects[was] == nil {
			x.Noise(b)
			x.objects[was] = b
		}
		copy(b, x.objects[was])
	case 1:
		x.Noise(b)
	default:
		x.Clock(b, binary.LittleEndian, epoch(), time.Second)
	}
}

// sub scrubs a subrecord.
func (x scrubbing) sub(service, kind byte, b []byte) {
	switch {
	case kind == 0, service == 1 && kind == 9: // numbers of records and codes of results
	case service == 1 && kind == 1 && len(b) >= 5:
		x.identity(b)
	case service == 2 && kind == 16 && len(b) >= 21:
		x.Clock(b[:4], binary.LittleEndian, epoch(), time.Second)
		x.Number(b[4:8], binary.LittleEndian, 1<<20, 1<<32-1)
		x.Number(b[8:12], binary.LittleEndian, 1<<20, 1<<32-1)
		x.Noise(b[13:20]) // the flags stay
		x.Noise(b[21:])
	case service == 4 && kind == 51 && len(b) >= 10:
		x.Noise(b[5:9]) // SID
		at := 10
		if b[9]&1 != 0 {
			at++
		}
		x.Mixed(b[min(at, len(b)):])
	case service == 10 && kind == 62 && len(b) > 5:
		x.Clock(b[1:5], binary.LittleEndian, epoch(), time.Second)
		x.Noise(b[5:])
	default:
		x.Mixed(b)
	}
}

// identity scrubs TERM_IDENTITY; flags and the size of the buffer stay.
func (x scrubbing) identity(b []byte) {
	x.Noise(b[:4])
	at := 5
	for bit, n := range []int{2, 15, 16, 3, 0, 3, 2, 15} {
		if b[4]>>bit&1 == 0 {
			continue
		}
		if len(b) < at+n {
			break
		}
		switch field := b[at : at+n]; n {
		case 15, 16:
			x.Digits(field)
		case 3:
			x.Mixed(field)
		default:
			if bit == 0 {
				x.Noise(field)
			}
		}
		at += n
	}
	x.Mixed(b[at:])
}

// secrets returns ids of objects and terminals, times and positions.
func secrets(t *testing.T, _ protocoltest.Vector, frame []byte) (all [][]byte) {
	t.Helper()
	for _, r := range unframe(t, frame)[0].records {
		if r.oid != 0 {
			all = append(all, binary.LittleEndian.AppendUint32(nil, r.oid))
		}
		for _, s := range r.subs {
			switch data := []byte(s.data); {
			case r.service == 2 && s.kind == 16:
				all = append(all, data[:4], data[4:8], data[8:12])
			case r.service == 10 && s.kind == 62:
				for at := 1; at+4 <= len(data); at++ {
					all = append(all, data[at:at+4])
				}
			case r.service == 1 && s.kind != 0 && s.kind != 9:
				for at := 5; at+4 <= len(data); at++ {
					all = append(all, data[at:at+4])
				}
			}
		}
	}
	return all
}
