package wialon_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"trackchat/protocol/protocoltest"
	"trackchat/protocol/wialon"
)

func TestDerivedVectors(t *testing.T) {
	for name, prepare := range preparations() {
		t.Run(name, func(t *testing.T) {
			protocoltest.Derived(t, wialon.New(), protocoltest.Derivation{
				File: "wialon-ips.jsonl", Update: *update, Derive: derive, Secrets: secrets,
				Prepare: prepare, LeftOut: 1,
			})
		})
	}
}

// derive is the Derive of Wialon IPS.
func derive(s *protocoltest.Scrubber, v protocoltest.Vector, frame []byte) ([]byte, error) {
	if frame[0] == 0xFF { // compressed: never again in as many bytes
		return nil, protocoltest.ErrLeftOut
	}
	end := bytes.IndexByte(frame, '\r')
	first := bytes.IndexByte(frame, '#')
	if end < 0 || first < 0 {
		return nil, protocoltest.ErrLeftOut
	}
	typ, msg, ok := bytes.Cut(frame[first+1:end], []byte{'#'})
	if !ok {
		return nil, protocoltest.ErrLeftOut
	}
	if _, id, versioned := bytes.Cut(frame[:first], []byte{';'}); versioned {
		s.Text(id)
	} else {
		s.Text(frame[:first])
	}
	wrong := uint64(0)
	cut := bytes.LastIndexAny(msg, ";|") + 1
	checked := v.ChecksumOK != nil
	if checked {
		written, err := strconv.ParseUint(string(msg[cut:]), 16, 16)
		if err != nil {
			return nil, err
		}
		wrong = written ^ number(crc(string(msg[:cut])))
	}
	switch string(typ) {
	case "L":
		login(s, msg)
	case "SD", "D", "B":
		for record := range bytes.SplitSeq(msg, []byte{'|'}) {
			position(s, record)
		}
	case "P", "AL", "AP", "ASD", "AD", "AB", "AM": // nothing, or a code
	default:
		s.Text(msg)
	}
	if checked {
		copy(msg[cut:], fmt.Sprintf("%04X", number(crc(string(msg[:cut])))^wrong))
	}
	return frame, nil
}

func number(hex string) uint64 {
	n, err := strconv.ParseUint(hex, 16, 16)
	if err != nil {
		panic(err)
	}
	return n
}

// login scrubs id and password; the version and NA stay.
func login(s *protocoltest.Scrubber, msg []byte) {
	for field := range bytes.SplitSeq(msg, []byte{';'}) {
		switch {
		case string(field) == "2.0", string(field) == "NA":
		case regexp.MustCompile(`^\d{8,}$`).Match(field):
			s.Digits(field)
		default:
			s.Text(field)
		}
	}
}

// position scrubs a record of #SD#, #D# or #B#; NA stays.
func position(s *protocoltest.Scrubber, record []byte) {
	for i, field := range bytes.SplitN(record, []byte{';'}, 16) {
		if string(field) == "NA" {
			continue
		}
		switch i {
		case 0:
			copy(field, s.Date("020106"))
		case 1:
			copy(field, s.Date("150405"))
		case 2, 4:
			degrees(s, field)
		case 3, 5: // N, S, E, W
		case 14:
			s.Text(field)
		case 15:
			for param := range bytes.SplitSeq(field, []byte{','}) {
				name, value, _ := bytes.Cut(param, []byte{':'})
				s.Text(name)
				if len(value) > 2 {
					s.Text(value[2:])
				}
			}
		default:
			for part := range bytes.SplitSeq(field, []byte{','}) {
				if string(part) != "NA" {
					s.Decimal(part)
				}
			}
		}
	}
}

// degrees scrubs (D)DDMM.MMMM.
func degrees(s *protocoltest.Scrubber, b []byte) {
	whole := bytes.IndexByte(b, '.')
	if whole < 4 || len(bytes.Trim(b, "0.")) == 0 {
		return
	}
	s.Text(b)
	at := whole - 4
	b[at], b[at+2] = "12345678"[b[at]%8], "012345"[b[at+2]%6]
	copy(b[:at], "00") // a longitude below 100
}

// secrets returns ids, times and positions.
func secrets(t *testing.T, _ protocoltest.Vector, frame []byte) (all [][]byte) {
	t.Helper()
	for _, pattern := range []string{
		`\d{6};\d{6};`, `\d{4,5}\.\d+`, `^[0-9.;]{4,}#`, `#L#.{4,}\r`, `;\d{6}\d*`,
	} {
		all = append(all, regexp.MustCompile(pattern).FindAll(frame, -1)...)
	}
	if strings.HasPrefix(string(frame), "#B#") && len(all) < 3 {
		t.Error("no secrets were found")
	}
	return all
}
