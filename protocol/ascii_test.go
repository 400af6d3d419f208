package protocol_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"trackchat/protocol"
)

func TestASCII(t *testing.T) {
	cs := protocol.ASCII()
	long := strings.Repeat("é好~\x00", 200)
	for text, want := range map[string]string{
		"Call us\n": "Call us\n", "é": "e", "": "", long: strings.Repeat("e?~\x00", 200),
	} {
		if got := string(cs.Append([]byte("kept"), text)); got != "kept"+want {
			t.Errorf("%q became %q", text, got)
		}
	}
	for r, lossy := range map[rune]bool{'a': false, 0x7F: false, 0x80: true, 'é': true, '好': true} {
		if cs.Lossy(r) != lossy || cs.RuneLen(r) != 1 {
			t.Errorf("%q: lossy %v, %d bytes", r, cs.Lossy(r), cs.RuneLen(r))
		}
	}
	if text, err := cs.Decode([]byte("a~\x7f")); err != nil || text != "a~\x7f" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := cs.Decode([]byte{'a', utf8.RuneSelf}); err == nil {
		t.Error("byte 80 was read as ASCII")
	}
}
