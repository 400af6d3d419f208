package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

const maxConfigFile = 4 << 20

// loader puts a Config together and remembers where each value came from.
type loader struct{ decoder }

func newLoader(environ []string) *loader {
	l := &loader{decoder{
		env: make(map[string]string, len(environ)), origins: make(map[string]origin),
		broken: make(map[string]bool),
	}}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			l.env[name] = value
		}
	}
	return l
}

// readLimited reads a file of at most limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is longer than %s", name, Size(limit))
	}
	return data, nil
}

// file lays the content of a configuration file over c.
func (l *loader) file(data []byte, c *Config) {
	root, err := parseYAML(data)
	if err != nil {
		l.problems.add(err.Error())
		return
	}
	if root == nil {
		return
	}
	l.value(nil, root, reflect.ValueOf(c).Elem(), false)
}

// parseYAML returns the root of the only document, nil if there is none.
func parseYAML(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	case len(doc.Content) == 0:
		return nil, nil
	}
	switch err := dec.Decode(&next); {
	case err == nil:
		return nil, fmt.Errorf("line %d: a second document begins, only one is expected", next.Line)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return doc.Content[0], nil
}

// expand replaces every ${NAME} by that environment variable; $${ stands for ${ itself.
func (d *decoder) expand(text string) (out string, err error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	braces := regexp.MustCompile(`\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{`)
	out = braces.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(found, "${"), "}")
		value, ok := d.env[name]
		switch {
		case found == "$${":
			return "${"
		case err != nil:
		case name == "":
			err = errors.New(
				"holds a ${ that begins no ${NAME}; write $${ for the characters themselves")
		case !ok:
			err = fmt.Errorf("uses ${%s}, but the environment has no %s", name, name)
		}
		return value
	})
	return out, err
}
