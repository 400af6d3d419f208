package watch_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/watch"
)

func TestDerivedVectors(t *testing.T) {
	protocoltest.Derived(t, watch.New(), protocoltest.Derivation{
		File: "watch.jsonl", Update: *update, Derive: derive, Secrets: secrets, LeftOut: 5,
		Device: func(protocoltest.Vector) protocol.DeviceConfig { return device(t, "", nil) },
	})
}

// A frame with its header, by the document's words; balanced brackets may stand in the content.
const (
	aHeader = `\[[0-9A-Za-z]{2}\*([0-9A-Za-z]{1,20})\*(?:[0-9a-fA-F]{4}\*)?[0-9a-fA-F]{4}\*`
	aFrame  = `(?s)` + aHeader + `((?:[^\[\]]|\[[^\[\]]*\])*)\]`
)

// derive is the Derive of Watch. One device speaks in a stream. A name of six letters cannot be
// told from a stranger's word; MESSAGE is among the generated frames.
func derive(s *protocoltest.Scrubber, _ protocoltest.Vector, frame []byte) ([]byte, error) {
	frames := regexp.MustCompile(aFrame).FindAllSubmatchIndex(frame, -1)
	if frames == nil {
		return nil, protocoltest.ErrLeftOut
	}
	var id []byte
	for _, at := range frames {
		if id == nil {
			id = bytes.Clone(frame[at[2]:at[3]])
			s.Digits(id)
		}
		copy(frame[at[2]:at[3]], id)
		name, params, _ := bytes.Cut(frame[at[4]:at[5]], []byte{','})
		if regexp.MustCompile(`[0-9A-Za-z]{6}`).Match(name) {
			return nil, protocoltest.ErrLeftOut
		}
		switch string(name) {
		case "TK", "JXTK":
			voice(s, params)
		default:
			for param := range bytes.SplitSeq(params, []byte{','}) {
				if len(param) > 1 { // not A, V, N, E, a mode or a status
					s.Text(param)
				}
			}
		}
	}
	return frame, nil
}

// voice scrubs [from,file,part,parts,]data; escapes stay.
func voice(s *protocoltest.Scrubber, params []byte) {
	if f := bytes.SplitN(params, []byte{','}, 5); len(f) == 5 {
		s.Text(f[1])
		params = f[4]
	}
	s.Keep = "}[],*"
	params = bytes.TrimPrefix(params, []byte("#!AMR\n"))
	for i := 0; i < len(params); i++ {
		if params[i] == '}' {
			i++
			continue
		}
		s.Noise(params[i : i+1])
	}
}

// secrets returns ids, coordinates, addresses of networks and what stands beside them.
func secrets(t *testing.T, _ protocoltest.Vector, frame []byte) (all [][]byte) {
	t.Helper()
	for _, m := range regexp.MustCompile(aHeader).FindAllSubmatch(frame, -1) {
		all = append(all, m[1])
	}
	for _, pattern := range []string{
		`\d+\.\d{4,}`, `[^,]{3,},(?:[0-9a-f]{2}:){5}[0-9a-f]{2},`, `,\d{6},\d{6},`,
	} {
		all = append(all, regexp.MustCompile(pattern).FindAll(frame, -1)...)
	}
	if strings.Contains(string(frame), "*UD") && len(all) < 2 {
		t.Error("no secrets were found")
	}
	return all
}
