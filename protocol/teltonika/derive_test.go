package teltonika_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/teltonika"
)

func TestDerivedVectors(t *testing.T) {
	for _, chat := range []string{"fmi", "serial"} {
		t.Run(chat, func(t *testing.T) {
			settings := map[string]string{"chat": chat}
			protocoltest.Derived(t, teltonika.New(), protocoltest.Derivation{
				File: "teltonika.jsonl", Update: *update, Derive: derive, Secrets: secrets,
				Prepare: logIn, Settings: settings,
				Device: func(protocoltest.Vector) protocol.DeviceConfig {
					return config(t, "",
						settings)
				},
			})
		})
	}
}

// derive is the Derive of Teltonika's frames. Where the length in the head is wrong, all that
// follows the codec and the number of its items is noise.
func derive(s *protocoltest.Scrubber, _ protocoltest.Vector, frame []byte) ([]byte, error) {
	const head, tail = 8, 4
	if frame[0]|frame[1] != 0 && frame[0] == 0 {
		s.Digits(frame[2:])
		return frame, nil
	}
	if len(frame) < head+3+tail {
		return nil, protocoltest.ErrLeftOut
	}
	end := len(frame) - tail
	data := frame[head:end]
	if int(binary.BigEndian.Uint32(frame[4:])) != len(data) {
		s.Noise(frame[head+2:])
		return frame, nil
	}
	off := binary.BigEndian.Uint32(frame[end:]) ^ crc(data)
	inside := data[2 : len(data)-1]
	before := slices.Clone(inside)
	scrub := avlRecords
	if data[0] >= 12 && data[0] <= 15 {
		scrub = commands
	}
	if !scrub(s, data[0], inside) {
		copy(inside, before)
		s.Noise(inside)
	}
	binary.BigEndian.PutUint32(frame[end:], crc(data)^off)
	return frame, nil
}

// commands scrubs times, IMEIs and payloads. It reports whether they fill b.
func commands(s *protocoltest.Scrubber, codec byte, b []byte) bool {
	s.Keep = "\r\n"
	for len(b) >= 5 && len(b)-5 >= int(binary.BigEndian.Uint32(b[1:])) {
		payload := b[5 : 5+binary.BigEndian.Uint32(b[1:])]
		b = b[5+len(payload):]
		if codec == 13 || codec == 15 {
			if len(payload) < 4 {
				return false
			}
			s.Clock(payload[:4], binary.BigEndian, time.Unix(0, 0), time.Second)
			payload = payload[4:]
		}
		if codec == 14 || codec == 15 {
			if len(payload) < 8 {
				return false
			}
			s.PackedIMEI(payload[:8])
			payload = payload[8:]
		}
		s.Mixed(payload)
	}
	return len(b) == 0
}

// avlRecords scrubs times, positions and the values of the elements, but not the ids of these. It
// reports whether they fill b.
func avlRecords(s *protocoltest.Scrubber, codec byte, b []byte) bool {
	const fix = 24
	id, count := 1, 1 // bytes of an element's id and of a number of elements
	event := 1
	switch codec {
	case 0x8E:
		id, count, event = 2, 2, 2
	case 0x10:
		id, event = 2, 3
	case 8:
	default:
		return false
	}
	number := func(size int) (n int) {
		for _, c := range b[:min(size, len(b))] {
			n = n<<8 | int(c)
		}
		b = b[min(size, len(b)):]
		return n
	}
	for len(b) >= fix+event {
		fixed(s, b)
		b = b[fix+event:]
		number(count)
		widths := []int{1, 2, 4, 8}
		if codec == 0x8E {
			widths = append(widths, 0)
		}
		for _, width := range widths {
			for range number(count) {
				number(id)
				n := width
				if width == 0 {
					n = number(2)
				}
				if n > len(b) {
					return false
				}
				s.Noise(b[:n])
				b = b[n:]
			}
		}
	}
	return len(b) == 0
}

// fixed scrubs what every record begins with; the priority stays.
func fixed(s *protocoltest.Scrubber, b []byte) {
	order := binary.BigEndian
	s.Clock(b[:8], order, time.Unix(0, 0), time.Millisecond)
	for _, at := range []int{9, 13} {
		s.Number(b[at:at+4], order, 10_000_000, 800_000_000)
	}
	s.Number(b[17:19], order, 1, 3000)
	s.Number(b[19:21], order, 1, 359)
	s.Number(b[21:22], order, 1, 20)
	s.Number(b[22:24], order, 1, 120)
}

// secrets returns the IMEI, and time and position of the first record.
func secrets(t *testing.T, v protocoltest.Vector, frame []byte) [][]byte {
	t.Helper()
	switch {
	case frame[1] != 0:
		return [][]byte{frame[2:]}
	case frame[8] == 14 || frame[8] == 15:
		return [][]byte{
			frame[len(frame)-13 : len(frame)-5], frame[15:19], frame[19:27],
			frame[15:23],
		}
	case frame[8] == 13:
		return [][]byte{frame[15:19]}
	case frame[8] == 12:
		return nil
	case v.Good():
		return [][]byte{frame[10:18], frame[13:18], frame[19:23], frame[23:27]}
	}
	return [][]byte{frame[10:18], frame[19:23], frame[23:27]}
}
