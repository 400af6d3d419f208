package all_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/all"
)

// docs/protocols.md says of every protocol which port, variants and settings it has; the settings'
// defaults and help are those of the code.
func TestDocumentationOfEveryProtocol(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocols.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, p := range all.Protocols() {
		if !strings.Contains(text, fmt.Sprintf("\n| `%s` | %d |", p.Name, p.Port)) {
			t.Errorf("the overview has no %s on port %d", p.Name, p.Port)
		}
		_, section, found := strings.Cut(text, "\n## "+p.Name+"\n")
		if !found {
			t.Errorf("no section about %s", p.Name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		if want := "`" + strings.Join(p.Variants, "`, `") + "`.\n"; !strings.Contains(section,
			"\n- Variants to simulate") || !strings.Contains(section, want) {
			t.Errorf("the section about %s does not list the variants %s", p.Name, want)
		}
		if want, got := rows(p), tableOf(section); !slices.Equal(got, want) {
			t.Errorf("settings of %s, as the code has them:\n%s\nas the document has them:\n%s",
				p.Name, strings.Join(want, "\n"), strings.Join(got, "\n"))
		}
	}
}

// rows are the settings of a protocol as the document shows them.
func rows(p *protocol.Protocol) []string {
	var lines []string
	for _, s := range p.Settings {
		value, help := "empty", s.Help
		if s.Default != "" {
			value = "`" + strings.ReplaceAll(s.Default, "|", `\|`) + "`" // as tables want it
		}
		if s.Early {
			help += ". Listener only"
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |", s.Name, value, help))
	}
	return lines
}

func tableOf(section string) []string {
	_, table, _ := strings.Cut(section, "\n|---|---|---|\n")
	var lines []string
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") {
			break
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}
