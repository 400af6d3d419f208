package console_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trackchat/queue"
)

// messageFile reads a message file; each message is its plural forms, "other" where it has none.
func messageFile(t *testing.T, name string) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	messages := map[string]map[string]string{}
	for key, v := range raw {
		forms := map[string]string{}
		switch v := v.(type) {
		case string:
			forms["other"] = v
		case map[string]any:
			for form, text := range v {
				forms[form], _ = text.(string)
			}
		}
		if _, ok := forms["other"]; !ok {
			t.Errorf("%s: %s has no text", name, key)
		}
		messages[key] = forms
	}
	return messages
}

// sources returns the text of the modules below dir.
func sources(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS("."), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".js") {
			return err
		}
		text, err := os.ReadFile(name)
		b.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every language says the same things, with the same values in them.
func TestLanguagesHaveTheSameMessages(t *testing.T) {
	placeholder := regexp.MustCompile(`\{\w+\}`)
	english, german := messageFile(t, "web/lang/en.json"), messageFile(t, "web/lang/de.json")
	if a, b := slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(german)); !slices.Equal(a,
		b) {
		t.Errorf("en has %v\nde has %v", a, b)
	}
	values := func(forms map[string]string) []string {
		found := placeholder.FindAllString(forms["other"], -1)
		slices.Sort(found)
		return found
	}
	for key, forms := range english {
		if a, b := values(forms), values(german[key]); !slices.Equal(a, b) {
			t.Errorf("%s: en fills in %v, de %v", key, a, b)
		}
		if len(forms) != len(german[key]) {
			t.Errorf("%s has %d forms in en, %d in de", key, len(forms), len(german[key]))
		}
	}
}

// Every reason of a failure is said in the languages of people.
func TestReasonsAreTranslated(t *testing.T) {
	english := messageFile(t, "web/lang/en.json")
	last := queue.ReasonInUse
	if last.String() != "terminal in use by the tracking server" ||
		(last+1).String() != queue.Reason(255).String() {
		t.Errorf("the last reason is %q, and after it %q", last, last+1)
	}
	for r := queue.ReasonNone + 1; r <= last; r++ {
		if _, ok := english["reason."+r.String()]; !ok {
			t.Errorf("no message for the reason %q", r)
		}
	}
}

// Every message that the modules name exists, and none is there for nothing.
func TestMessagesAreUsed(t *testing.T) {
	messages := messageFile(t, "web/lang/en.json")
	code := sources(t, "web/js")
	var prefixes []string
	for _, m := range regexp.MustCompile("`([a-z]+\\.)\\$\\{").FindAllStringSubmatch(code, -1) {
		prefixes = append(prefixes, m[1])
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`'([a-z]+\.[A-Za-z]+)'`).FindAllStringSubmatch(code, -1) {
		named[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`\bt\('([^']+)'`).FindAllStringSubmatch(code, -1) {
		if _, ok := messages[m[1]]; !ok {
			t.Errorf("no message %s", m[1])
		}
	}
	for key := range messages {
		if !named[key] && !slices.ContainsFunc(prefixes,
			func(p string) bool { return strings.HasPrefix(key, p) }) {
			t.Errorf("nothing says %s", key)
		}
	}
}

// Text becomes a text node and nothing else; styles come from files.
func TestModulesMakeNoMarkupOfText(t *testing.T) {
	code := sources(t, ".")
	for _, never := range []string{
		"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write",
		"eval(", "new Function", "setHTML", "javascript:", "http://", "https://",
	} {
		if strings.Contains(strings.ReplaceAll(code, "http://www.w3.org/2000/svg", ""), never) {
			t.Errorf("a module has %s", never)
		}
	}
}
