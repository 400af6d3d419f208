package watch_test

import (
	"errors"
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/watch"
)

// A frame ends at the first of three brackets, and none of them is looked for twice.
func TestWhereAFrameEnds(t *testing.T) {
	head := "[3G*" + id + "*"
	for in, want := range map[string]int{ // which ] it is, 0: none yet
		head + "0002*LK]x":                            1,
		head + "0004*LK]x]":                           1, // balance comes first
		head + "0003*a[b]cd":                          1, // the length points at a bracket that balances none
		head + "0004*a[b]cd]":                         2, // at no bracket
		head + "0004*a[b]cd":                          0,
		head + "0009*a[b][3G*x":                       1, // another frame begins
		head + "0009*a[b]\r\n\n[SG*":                  1,
		head + "0009*a[b]\r\n\n[S!*]]":                3,
		head + "0009*a[b]" + "[3Gx]]":                 3,
		head + "0009*a[b" + "[c]d]":                   0,
		head + "0009*a[b" + "[c]d]]":                  3,
		head + "00ff*]":                               1,
		head + "0000*]":                               1,
		head + "0001*0002*a[]":                        1, // numbered
		head + "0001*0001*a[b]":                       0,
		head + "0001*0001*a[]]":                       2,
		head + "0001*[02*a]]":                         2, // plain, although digits follow
		"[zz*a*FFFF*x]":                               1,
		"[00*" + strings.Repeat("9", 20) + "*0001*x]": 1,
	} {
		end := 0
		for range want {
			end += strings.IndexByte(in[end:], ']') + 1
		}
		for at := 1; at <= len(in); at++ {
			n, next, err := watch.New().Frame([]byte(in[:at]), 0)
			if err != nil || next > at || n != 0 && n != end {
				t.Errorf("%q of %q is cut at %d, %v", in[:at], in, n, err)
			}
		}
		if n, _, _ := watch.New().Frame([]byte(in), 0); n != end {
			t.Errorf("%q is cut at %d instead of %d", in, n, end)
		}
	}
}

func TestLongestFrame(t *testing.T) {
	p := watch.New()
	head := "[3G*" + id + "*ffff*"
	if p.MaxFrame != 65_600 { // 64 KiB + 64
		t.Errorf("a frame has at most %d bytes", p.MaxFrame)
	}
	whole := head + strings.Repeat("x", 0xFFFF) + "]"
	if n, _, err := p.Frame([]byte(whole), 0); n != len(whole) || err != nil {
		t.Errorf("the longest content: %d, %v", n, err)
	}
	for _, c := range []struct {
		filling string
		length  int
		err     error
	}{
		{"x", p.MaxFrame - 1, nil},
		{"x", p.MaxFrame, protocol.ErrTooLong},
		{"[", p.MaxFrame + 7, protocol.ErrTooLong},
		{"[x", p.MaxFrame, protocol.ErrTooLong},
	} {
		in := []byte(head + strings.Repeat(c.filling, c.length)[:c.length-len(head)])
		scanned := 0
		for _, piece := range []int{len(in) / 3, len(in) - 1, len(in)} {
			n, next, err := p.Frame(in[:piece], scanned)
			if scanned = next; n != 0 || piece == len(in) && !errors.Is(err, c.err) {
				t.Errorf("%d times %q: %d, %v", c.length, c.filling, n, err)
			}
		}
	}
}

// A stranger is refused before much of what he says has come, and a device's line ends never are.
func TestGarbageIsCutSoon(t *testing.T) {
	p := watch.New()
	for in, want := range map[string]int{
		strings.Repeat("x", 255): 0, strings.Repeat("x", 256): 256, strings.Repeat("x", 999): 256,
		"hello\r\nhello": 7, "\n": 1, "x[": 1, "[[": 1, "[3G9": 0, "[3G9[": 4,
		"\xffAQS": 0, "\xffAQSH\x00": 5, "\xffAQX\n": 5,
		"[" + strings.Repeat("0a", 16) + "YS":   0,
		"[" + strings.Repeat("0a", 16) + "YS*9": 36,
		"[" + strings.Repeat("0a", 16) + "Y!*9": 0,
		"[" + strings.Repeat("0a", 16) + "*\n":  35,
	} {
		if n, _, err := p.Frame([]byte(in), 0); n != want || err != nil {
			t.Errorf("%q is cut at %d instead of %d, %v", in, n, want, err)
		}
	}
	s := loggedIn(t, nil)
	for range 100 {
		if got := s.Send("\r\n\r\n"); got.Err != nil || len(got.Events) != 0 {
			t.Fatalf("line ends became %+v", got)
		}
	}
}

// What Frame would never cut is no frame.
func TestDecodeOfWhatIsNoFrame(t *testing.T) {
	for _, in := range []string{
		"", "x", "[", "]", "[3G*1*0002*", "[3G*1*0002*LK", "[3G*1*0002*LK]x", "[3G*1*0002]",
	} {
		codec := protocoltest.NewSession(t, watch.New(), nil).Codec
		events, err := protocoltest.Decode(codec, []byte(in))
		if len(events) != 0 || !errors.Is(err, protocol.ErrGarbage) {
			t.Errorf("%q became %+v, %v", in, events, err)
		}
	}
}
