package protocol_test

import (
	"strconv"
	"testing"

	"trackchat/protocol"
)

func TestPatterns(t *testing.T) {
	var p protocol.Patterns
	if p.Get("") != nil || p.Get("(") != nil {
		t.Error("a pattern from none")
	}
	if protocol.CheckPattern("") != nil || protocol.CheckPattern("(") == nil {
		t.Error("none is refused, or half of one is not")
	}
	if re := p.Get("^a"); re == nil || !re.MatchString("ab") || p.Get("^a") != re {
		t.Errorf("%v", re)
	}
	for i := range 1000 { // more than are kept
		if re := p.Get("^" + strconv.Itoa(i) + "$"); re == nil || !re.MatchString(strconv.Itoa(i)) {
			t.Fatalf("pattern %d: %v", i, re)
		}
	}
}
