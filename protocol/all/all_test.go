package all_test

import (
	"testing"

	"trackchat/protocol/all"
)

// A name picks a protocol in the configuration and in the directory, and each port can be listened
// on once.
func TestProtocolsAreDistinct(t *testing.T) {
	names, ports := make(map[string]bool), make(map[int]string)
	for _, p := range all.Protocols() {
		if names[p.Name] {
			t.Errorf("two protocols are called %q", p.Name)
		}
		names[p.Name] = true
		if other, ok := ports[p.Port]; ok {
			t.Errorf("%s and %s have the same default port %d", other, p.Name, p.Port)
		}
		ports[p.Port] = p.Name
		if found, ok := all.Find(p.Name); !ok || found.Name != p.Name {
			t.Errorf("Find does not find %s", p.Name)
		}
		if _, err := p.NewSettings(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		for _, s := range p.Settings {
			if s.Check != nil && s.Check(s.Default) != nil {
				t.Errorf("%s: default %q of setting %q is refused by its own check: %v", p.Name,
					s.Default, s.Name, s.Check(s.Default))
			}
		}
	}
	if len(names) == 0 {
		t.Error("no protocol is built in")
	}
	if p, ok := all.Find("jt809"); ok {
		t.Errorf("Find makes %s of a name that is not built in", p.Name)
	}
}
