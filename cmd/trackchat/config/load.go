package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

const maxConfigFile = 4 << 20

// loader puts a Config together and remembers where each value came from.
type loader struct {
	problems problems
	env      map[string]string
	origins  map[string]origin
	broken   map[string]bool // keys about which something has been said already
}

func newLoader(environ []string) *loader {
	l := &loader{
		env: make(map[string]string, len(environ)), origins: make(map[string]origin),
		broken: make(map[string]bool),
	}
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

func (l *loader) decoder(variable string) *decoder {
	return &decoder{
		problems: &l.problems,
		variable: variable,
		noted:    func(p *keyPath, from origin) { l.origins[p.String()] = from },
		broken:   func(p *keyPath) { l.broken[p.String()] = true },
	}
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
	d := l.decoder("")
	d.expand = l.expand
	d.value(nil, root, reflect.ValueOf(c).Elem(), false)
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
func (l *loader) expand(text string) (string, error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var out strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			out.WriteString(text)
			return out.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			out.WriteString(text[:i-1])
			out.WriteString("${")
			text = text[i+2:]
			continue
		}
		out.WriteString(text[:i])
		name, rest, ok := strings.Cut(text[i+2:], "}")
		if !ok || !isVariableName(name) {
			return "", errors.New(
				"holds a ${ that begins no ${NAME}; write $${ for the characters themselves")
		}
		value, ok := l.env[name]
		if !ok {
			return "", fmt.Errorf("uses ${%s}, but the environment has no %s", name, name)
		}
		out.WriteString(value)
		text = rest
	}
}

func isVariableName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
