package protocol_test

import (
	"testing"

	"trackchat/protocol"
)

func TestBlank(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, " \t\r\n": true, "\x00\x1b\x7f\u0085": true, "\u00a0\u2003\u3000": true,
		"\ufeff": true,
		"\x00.":  false, " a ": false, "0": false, "好": false, "\u2800": false,
	} {
		if got := protocol.Blank(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
