package protocoltest_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
)

// lines cuts at line feeds, as a protocol should.
func lines(buf []byte, scanned int) (n, next int, err error) {
	i := bytes.IndexByte(buf[scanned:], '\n')
	switch {
	case i >= 0:
		return scanned + i + 1, 0, nil
	case len(buf) >= 16:
		return 0, 0, protocol.ErrTooLong
	}
	return 0, len(buf), nil
}

func TestCutAcceptsWhatKeepsTheContract(t *testing.T) {
	p := &protocol.Protocol{MaxFrame: 16, Frame: lines}
	stream := []byte("one\ntwo\n\nthr")
	for _, pieces := range [][][]byte{
		{stream},
		protocoltest.Bytewise(stream),
		protocoltest.Randomly(stream, rand.New(rand.NewPCG(1, 2))),
	} {
		if !bytes.Equal(slices.Concat(pieces...), stream) {
			t.Fatalf("%q are not the pieces of %q", pieces, stream)
		}
		frames, rest, err := protocoltest.Cut(p, pieces...)
		if err != nil || rest != 3 || string(bytes.Join(frames, []byte("|"))) != "one\n|two\n|\n" {
			t.Errorf("%q, %d bytes left, %v", frames, rest, err)
		}
	}
	if _, _, err := protocoltest.Cut(p, bytes.Repeat([]byte("x"), 20)); !errors.Is(err,
		protocol.ErrTooLong) || errors.Is(err, protocoltest.ErrContract) {
		t.Errorf("a long line: %v", err)
	}
}

func TestCutFindsBrokenContracts(t *testing.T) {
	for name, frame := range map[string]func(buf []byte, scanned int) (int, int, error){
		"cuts more than there is": func(buf []byte, _ int) (int, int, error) {
			return len(buf) + 1,
				0, nil
		},
		"cuts less than nothing": func([]byte, int) (int, int, error) { return -1, 0, nil },
		"cuts more than MaxFrame": func(buf []byte, _ int) (int, int, error) {
			if len(buf) < 17 {
				return 0, len(buf), nil
			}
			return 17, 0, nil
		},
		"goes back": func(_ []byte, scanned int) (int, int, error) {
			return 0,
				1 - min(scanned, 1), nil
		},
		"goes too far": func(buf []byte, _ int) (int, int, error) {
			return 0, len(buf) + 1,
				nil
		},
		"waits for ever": func(buf []byte, _ int) (int, int, error) { return 0, len(buf), nil },
		"has its own error": func([]byte, int) (int, int, error) {
			return 0, 0,
				errors.New("whatever")
		},
	} {
		p := &protocol.Protocol{MaxFrame: 16, Frame: frame}
		if _, _, err := protocoltest.Cut(p, protocoltest.Bytewise(bytes.Repeat([]byte("x"),
			40))...); !errors.Is(err, protocoltest.ErrContract) {
			t.Errorf("a protocol that %s passes: %v", name, err)
		}
	}
}
