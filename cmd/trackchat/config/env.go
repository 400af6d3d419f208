package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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
	replaced := func(p string) bool { return p == path || strings.HasPrefix(p, path+"[") }
	maps.DeleteFunc(l.origins, func(p string, _ origin) bool { return replaced(p) })
	maps.DeleteFunc(l.broken, func(p string, _ bool) bool { return replaced(p) })
	l.variable = s.variable
	defer func() { l.variable = "" }()
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if s.value.Kind() == reflect.Slice {
		if n = jsonNode(text); n.Kind != yaml.SequenceNode {
			l.fail(s.path, n, `not a list in JSON, such as ["a","b"]`)
			return
		}
	}
	l.value(s.path, n, s.value, s.secret)
}

// jsonNode turns JSON into YAML nodes, and what is none into a node of no kind. YAML reads most
// JSON itself, but not all of it.
func jsonNode(text string) *yaml.Node {
	if !json.Valid([]byte(text)) {
		return new(yaml.Node)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	return readNode(dec)
}

// readNode reads one value of valid JSON. Depth is bounded by json.Valid, which refuses what is
// nested deeper than 10,000.
func readNode(dec *json.Decoder) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	token, _ := dec.Token()
	switch t := token.(type) {
	case json.Delim:
		n.Kind = yaml.MappingNode
		if t == '[' {
			n.Kind = yaml.SequenceNode
		}
		for dec.More() {
			n.Content = append(n.Content, readNode(dec))
		}
		_, _ = dec.Token()
	case string:
		n.Tag, n.Style, n.Value = "!!str", yaml.DoubleQuotedStyle, t
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(t)
	default:
		n.Tag = "!!null"
	}
	return n
}
