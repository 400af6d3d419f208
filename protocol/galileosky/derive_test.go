package galileosky_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/protocoltest"
)

func TestDerivedVectors(t *testing.T) {
	for _, chat := range []string{"command", "fmi"} {
		t.Run(chat, func(t *testing.T) {
			settings := map[string]string{"chat": chat, "delivered_on": "reply"}
			protocoltest.Derived(t, galileosky.New(), protocoltest.Derivation{
				File: "galileosky.jsonl", Update: *update, Derive: derive, Secrets: secrets,
				Prepare: logIn, Settings: settings,
				Device: func(protocoltest.Vector) protocol.DeviceConfig {
					return config(t, "",
						settings)
				},
			})
		})
	}
}

// derive is the Derive of Galileosky's frames.
func derive(s *protocoltest.Scrubber, _ protocoltest.Vector, frame []byte) ([]byte, error) {
	const head = 3
	end := len(frame) - 2
	if end < head || end != head+int(binary.LittleEndian.Uint16(frame[1:])&0x7FFF) {
		return nil, protocoltest.ErrLeftOut
	}
	off := binary.LittleEndian.Uint16(frame[end:]) ^ crc(frame[:end])
	if frame[0] == 1 {
		tags(s, frame[head:end])
	} else {
		s.Noise(frame[head:end])
	}
	binary.LittleEndian.PutUint16(frame[end:], crc(frame[:end])^off)
	return frame, nil
}

// tags scrubs what is no tag; from one on whose size is not known, all is noise.
func tags(s *protocoltest.Scrubber, b []byte) {
	order := binary.LittleEndian
	for len(b) > 0 {
		n := galileosky.Size(b[0], b[1:])
		if n == 0 || n > len(b)-1 {
			s.Noise(b)
			return
		}
		tag, value := b[0], b[1:1+n]
		b = b[1+n:]
		switch tag {
		case 0x01, 0x02, 0x10, 0xE0: // models and numbers of records and commands
		case 0x03:
			s.Digits(value)
		case 0x20:
			s.Clock(value, order, time.Unix(0, 0), time.Second)
		case 0x30: // validity and satellites stay
			s.Number(value[1:5], order, 1_000_000, 80_000_000)
			s.Number(value[5:], order, 1_000_000, 170_000_000)
		case 0x33:
			s.Number(value[:2], order, 1, 1200)
			s.Number(value[2:], order, 1, 3590)
		case 0x34:
			s.Number(value, order, 1, 3000)
		case 0xE1, 0xEA: // a length first
			s.Mixed(value[1:])
		default:
			s.Noise(value)
		}
	}
}

// secrets returns IMEI, ids, times and positions, found by the pattern in which these packets have
// them: IMEI and id, or id and number of the record, time, position.
func secrets(t *testing.T, _ protocoltest.Vector, frame []byte) (all [][]byte) {
	t.Helper()
	if frame[0] != 1 {
		return nil
	}
	if i := bytes.IndexByte(frame[3:12], 3) + 4; i > 3 && frame[i] >= '0' && frame[i] <= '9' {
		all = append(all, frame[i:i+15])
	}
	for i := range len(frame) - 22 {
		if b := frame[i:]; b[0] == 4 && b[3] == 0x10 && b[6] == 0x20 && b[11] == 0x30 {
			all = append(all, b[7:11], b[13:17], b[17:21])
		}
	}
	if frame[0] == 1 && len(frame) > 100 && len(all) == 0 {
		t.Error("no secrets were found")
	}
	return all
}
