package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const envPrefix = "TRACKCHAT_"

// setting is one key that an environment variable can set.
type setting struct {
	variable string
	path     *keyPath
	value    reflect.Value
	secret   bool
}

// settingsOf lists the keys of a struct that are no sections, in the order of their declaration.
func settingsOf(p *keyPath, prefix string, v reflect.Value) []setting {
	var list []setting
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("yaml")
		variable, path, value := prefix+strings.ToUpper(name), p.key(name), v.Field(i)
		if _, ok := reflect.TypeAssert[encoding.TextUnmarshaler](value.Addr()); !ok &&
			value.Kind() == reflect.Struct {
			list = append(list, settingsOf(path, variable+"_", value)...)
			continue
		}
		list = append(list, setting{
			variable: variable, path: path, value: value,
			secret: f.Tag.Get("secret") == "true",
		})
	}
	return list
}

// environment lays the variables with our prefix over c.
func (l *loader) environment(c *Config) {
	settings := settingsOf(nil, envPrefix, reflect.ValueOf(c).Elem())
	known := make(map[string]bool, len(settings))
	names := make([]string, 0, len(settings))
	for _, s := range settings {
		known[s.variable] = true
		names = append(names, s.variable)
		if text, ok := l.env[s.variable]; ok {
			l.override(s, text)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if strings.HasPrefix(name, envPrefix) && !known[name] && name != envPrefix+"VECTORS" &&
			name != envPrefix+"BIN" {
			l.problems.add(unknownVariable(name, names))
		}
	}
}

// unknownVariable says what is wrong with a variable that names no key.
func unknownVariable(name string, known []string) string {
	// Kubernetes describes every service to every container; one that is called trackchat gets our
	// prefix.
	if ok, err := regexp.MatchString(`_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP|SCTP).*)?$`,
		name); ok && err == nil {
		return name + ": unknown variable; if Kubernetes set it for a service of that name, set enableServiceLinks: false in the pod"
	}
	if near := suggest(name, known); near != "" {
		return fmt.Sprintf("%s: unknown variable, did you mean %s?", name, near)
	}
	return name + ": unknown variable; each key has one, such as TRACKCHAT_API_LISTEN for api.listen"
}

// override sets one key from its variable.
func (l *loader) override(s setting, text string) {
	path := s.path.String()
	maps.DeleteFunc(l.origins, func(p string, _ origin) bool {
		return p == path ||
			strings.HasPrefix(p, path+"[")
	})
	maps.DeleteFunc(l.broken, func(p string, _ bool) bool {
		return p == path ||
			strings.HasPrefix(p, path+"[")
	})
	from := origin{variable: s.variable}
	if s.value.Kind() == reflect.Slice {
		n, err := jsonNode(text)
		if err != nil || n.Kind != yaml.SequenceNode {
			l.problems.add(from.at(path) + ": not a list in JSON, such as [\"a\",\"b\"]")
			l.broken[path] = true
			return
		}
		l.decoder(s.variable).value(s.path, n, s.value, s.secret)
		return
	}
	if err := setText(s.value, text); err != nil {
		l.problems.add(fmt.Sprintf("%s: %s %v", from.at(path), quote(text, s.secret), err))
		l.broken[path] = true
		return
	}
	l.origins[path] = from
}

// jsonNode turns JSON into YAML nodes. YAML reads most JSON itself, but not all of it.
func jsonNode(text string) (*yaml.Node, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if !json.Valid(bytes.TrimSpace([]byte(text))) {
		return nil, errors.New("not JSON")
	}
	n, err := readNode(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return n, nil
}

// readNode reads one value. Depth is bounded by json.Valid, which refuses what is nested deeper
// than 10,000.
func readNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if t == '[' {
			n.Kind = yaml.SequenceNode
		}
		for dec.More() {
			child, err := readNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := dec.Token()
		return n, err
	case string:
		return &yaml.Node{
			Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle,
			Value: t,
		}, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(t)}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
}
