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

// pluralForms are the forms of a message with a count (CLDR; "many" of Spanish is for millions,
// which are said as "other"). exact: "one" is 1 and nothing else, so that it may leave out {n}.
var pluralForms = map[string]struct {
	forms []string
	exact bool
}{
	"en": {[]string{"one", "other"}, true},
	"de": {[]string{"one", "other"}, true},
	"es": {[]string{"one", "other"}, true},
	"ru": {[]string{"few", "many", "one", "other"}, false},
	"zh": {[]string{"other"}, false},
}

// languages are those that the console offers, each of which has its message file and no other has.
func languages(t *testing.T) []string {
	t.Helper()
	code := sources(t, "shared")
	list := regexp.MustCompile(`(?s)LANGUAGES = \{(.*?)\}`).FindStringSubmatch(code)
	if list == nil {
		t.Fatal("no list of languages")
	}
	var offered, files []string
	for _, m := range regexp.MustCompile(`(\w+): '`).FindAllStringSubmatch(list[1], -1) {
		offered = append(offered, m[1])
	}
	entries, err := os.ReadDir("web/lang")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, strings.TrimSuffix(e.Name(), ".json"))
	}
	slices.Sort(offered)
	if known := slices.Sorted(maps.Keys(pluralForms)); !slices.Equal(offered, files) ||
		!slices.Equal(offered, known) {
		t.Fatalf("offered are %v, files %v, known here %v", offered, files, known)
	}
	return offered
}

// Every language says the same things, with the same values in them, in its own plural forms.
func TestLanguagesHaveTheSameMessages(t *testing.T) {
	english := messageFile(t, "web/lang/en.json")
	for _, tag := range languages(t) {
		other := messageFile(t, "web/lang/"+tag+".json")
		want, got := slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(other))
		if !slices.Equal(want, got) {
			t.Errorf("en has %v\n%s has %v", want, tag, got)
		}
		for key, forms := range english {
			sameValues(t, tag, key, values(forms["other"]), other[key])
			want := []string{"other"}
			if len(forms) > 1 {
				want = pluralForms[tag].forms
			}
			if got := slices.Sorted(maps.Keys(other[key])); !slices.Equal(got, want) {
				t.Errorf("%s: %s has the forms %v, not %v", tag, key, got, want)
			}
		}
	}
}

// values are what a text has filled in.
func values(text string) []string {
	found := regexp.MustCompile(`\{\w+\}`).FindAllString(text, -1)
	slices.Sort(found)
	return found
}

// sameValues compares what each form of a message has filled in.
func sameValues(t *testing.T, tag, key string, want []string, forms map[string]string) {
	t.Helper()
	for form, text := range forms {
		got := values(text)
		if form == "one" && pluralForms[tag].exact && !slices.Contains(got, "{n}") {
			got = append(got, "{n}")
			slices.Sort(got)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s, %s: fills in %v, en %v", tag, key, form, values(text), want)
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
