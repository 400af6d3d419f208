package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder fills structs from YAML nodes, strictly: whatever does not fit is a problem that names
// its place, and what it was for keeps its value. The yaml package itself decodes strictly too, but
// it names lines and no keys, ends at the first duration that is none, and shows secrets.
type decoder struct {
	problems problems
	broken   map[string]bool // keys about which something has been said already

	// where each scalar and list came from that was taken; nil: nobody asks.
	origins  map[string]origin
	env      map[string]string // for ${NAME}; nil: texts stay as they are
	variable string            // that the nodes come from, empty for a file
	offset   int               // lines of the file before the first line that the nodes count

	fields map[reflect.Type]map[string]fieldRef // keys of the structs that were met
}

type fieldRef struct {
	index  int
	secret bool
}

// starter is a list element, or a section that may be absent, which has defaults or wants to know
// its line.
type starter interface{ start(line int) }

// shorthand is a struct that may be written as the value of one of its fields, to which short
// points.
type shorthand interface{ short() any }

func (d *decoder) origin(n *yaml.Node) origin {
	if d.variable != "" {
		return origin{variable: d.variable}
	}
	return origin{line: n.Line + d.offset}
}

// fail says what is wrong with a node, and that nothing more is to be said about its key.
func (d *decoder) fail(p *keyPath, n *yaml.Node, format string, args ...any) {
	d.say(d.origin(n), p.String(), format, args...)
	d.broken[p.String()] = true
}

func (d *decoder) say(from origin, path, format string, args ...any) {
	d.problems.add(from.at(path) + ": " + fmt.Sprintf(format, args...))
}

// report adds a problem about one key, unless what stands there could not even be read.
func (d *decoder) report(from origin, path, format string, args ...any) {
	for p := path; p != ""; p = parentPath(p) {
		if d.broken[p] {
			return
		}
	}
	d.say(from, path, format, args...)
}

// parentPath removes the last name or [index].
func parentPath(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// value decodes n into v. Recursion is bounded by the type of v, so aliases that contain themselves
// end.
func (d *decoder) value(p *keyPath, n *yaml.Node, v reflect.Value, secret bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if _, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		d.scalar(p, n, v, secret)
		return
	}
	if s, ok := reflect.TypeAssert[shorthand](v.Addr()); ok && n.Kind == yaml.ScalarNode {
		d.scalar(p, n, reflect.ValueOf(s.short()).Elem(), secret)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(p, n, v)
	case reflect.Pointer:
		d.block(p, n, v)
	case reflect.Slice:
		d.list(p, n, v, secret)
	case reflect.Map:
		d.texts(p, n, v)
	default:
		d.scalar(p, n, v, secret)
	}
}

// keys calls f for every key of a mapping that stands there once.
func (d *decoder) keys(p *keyPath, n *yaml.Node, f func(key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.fail(p, key, "%s where the name of a key is expected", kindName(key))
			continue
		}
		if line, ok := seen[key.Value]; ok {
			also := ""
			if line > 0 {
				also = fmt.Sprintf(", first on line %d", line+d.offset)
			}
			d.fail(p.key(key.Value), key, "given twice%s", also)
			continue
		}
		seen[key.Value] = key.Line
		f(key, value)
	}
}

func (d *decoder) structure(p *keyPath, n *yaml.Node, v reflect.Value) {
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return // a section whose keys are all commented out
	case n.Kind != yaml.MappingNode:
		d.fail(p, n, "%s where keys are expected", kindName(n))
		return
	}
	fields := d.fieldsOf(v.Type())
	d.keys(p, n, func(key, value *yaml.Node) {
		field, ok := fields[key.Value]
		if !ok {
			known := make([]string, 0, len(fields))
			for name := range fields {
				known = append(known, name)
			}
			slices.Sort(known)
			if near := suggest(key.Value, known); near != "" {
				d.fail(p.key(key.Value), key, "unknown key, did you mean %s?", near)
				return
			}
			d.fail(p.key(key.Value), key, "unknown key, known here: %s", strings.Join(known, ", "))
			return
		}
		d.value(p.key(key.Value), value, v.Field(field.index), field.secret)
	})
}

// block decodes a section that may be absent, as it is where all its keys are commented out.
func (d *decoder) block(p *keyPath, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	b := reflect.New(v.Type().Elem())
	if s, ok := reflect.TypeAssert[starter](b); ok {
		s.start(n.Line + d.offset)
	}
	d.value(p, n, b.Elem(), false)
	v.Set(b)
}

// fieldsOf returns the keys of a struct: its fields with a yaml tag.
func (d *decoder) fieldsOf(t reflect.Type) map[string]fieldRef {
	if f, ok := d.fields[t]; ok {
		return f
	}
	f := make(map[string]fieldRef, t.NumField())
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			f[name] = fieldRef{index: i, secret: t.Field(i).Tag.Get("secret") == "true"}
		}
	}
	if d.fields == nil {
		d.fields = make(map[reflect.Type]map[string]fieldRef)
	}
	d.fields[t] = f
	return f
}

// list replaces what v held.
func (d *decoder) list(p *keyPath, n *yaml.Node, v reflect.Value, secret bool) {
	if n.Kind != yaml.SequenceNode {
		d.fail(p, n, "%s where a list is expected", kindName(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, element := range n.Content {
		d.element(p.element(i), element, list.Index(i), secret)
	}
	d.note(p, d.origin(n))
	v.Set(list)
}

// element decodes one element of a list.
func (d *decoder) element(p *keyPath, n *yaml.Node, v reflect.Value, secret bool) {
	if s, ok := reflect.TypeAssert[starter](v.Addr()); ok {
		s.start(n.Line + d.offset)
	}
	if isNull(n) {
		d.fail(p, n, "has no value")
		return
	}
	d.value(p, n, v, secret)
}

// texts decodes a mapping of scalars; numbers and booleans keep the text that they are written
// with.
func (d *decoder) texts(p *keyPath, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail(p, n, "%s where keys are expected", kindName(n))
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	d.keys(p, n, func(key, value *yaml.Node) {
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		text := reflect.New(v.Type().Elem()).Elem()
		if d.scalar(p.key(key.Value), value, text, false) {
			m.SetMapIndex(reflect.ValueOf(key.Value), text)
		}
	})
	d.note(p, d.origin(n))
	v.Set(m)
}

// scalar decodes a single value and reports whether it was taken.
func (d *decoder) scalar(p *keyPath, n *yaml.Node, v reflect.Value, secret bool) bool {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.fail(p, n, "%s where %s is expected", kindName(n), typeName(v))
		return false
	case isNull(n):
		d.fail(p, n, "has no value; leave the key out for its default")
		return false
	case !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp", "!!merge"},
		n.ShortTag()):
		d.fail(p, n, "has the tag %s, which has no meaning here", n.ShortTag())
		return false
	}
	text, from := n.Value, d.origin(n)
	if d.env != nil && d.variable == "" {
		expanded, err := d.expand(text)
		if err != nil {
			d.fail(p, n, "%v", err)
			return false
		}
		from.raw, from.expanded = text, expanded != text
		text = expanded
	}
	if isQuoted(n) && !from.expanded && !takesQuotes(v) {
		d.fail(p, n, "%s is a text, write it without quotes", quote(n.Value, secret))
		return false
	}
	if err := setText(v, text); err != nil {
		d.fail(p, n, "%s %v", quote(n.Value, secret), err)
		return false
	}
	d.note(p, from)
	return true
}

func (d *decoder) note(p *keyPath, from origin) {
	if d.origins != nil {
		d.origins[p.String()] = from
	}
}

// quote is a value as problems show it.
func quote(value string, secret bool) string {
	if secret {
		return "the (hidden) value"
	}
	const most = 80
	if len(value) > most {
		value = value[:most] + "…"
	}
	return strconv.Quote(value)
}

// setText sets a scalar from its text; the error goes on where the value has been named.
func setText(v reflect.Value, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("is neither true nor false")
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return errors.New("is not a whole number")
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return errors.New("is not a number")
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("cannot become a %s", v.Type())
	}
	return nil
}

// takesQuotes reports whether a value may be written in quotes.
func takesQuotes(v reflect.Value) bool {
	_, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	return ok || v.Kind() == reflect.String
}

func isQuoted(n *yaml.Node) bool {
	const quotes = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle |
		yaml.FoldedStyle
	return n.Style&quotes != 0
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// typeName says what a scalar should have been.
func typeName(v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[Duration]():
		return "a duration"
	case v.Type() == reflect.TypeFor[Size]():
		return "a size"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	default:
		return "a text"
	}
}

// kindName says what stands there.
func kindName(n *yaml.Node) string {
	switch {
	case isNull(n):
		return "nothing"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	default:
		return "a single value"
	}
}
