package navixy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a parameter set beyond the size of the body and the header.
const (
	maxParams = 10_000 // names and values together; every id of a repeated key counts
	maxDepth  = 64     // nested arrays and objects of a JSON body
)

// byteOrderMark is what some editors and libraries begin UTF-8 with.
const byteOrderMark = "\ufeff"

// value is what one source gave for one name: raw JSON from a JSON body, else texts in the order
// given.
type value struct {
	raw      []byte
	texts    []string
	numbered []numbered // of name[0], name[1] …, as given
	listed   bool       // a text is that of name[] or name[0]: an element, whatever it looks like
	odd      bool       // the name was also given in a shape that means nothing, as name[a]
}

// numbered is an element of a list with its index, which may leave holes.
type numbered struct {
	index uint64
	text  string
	raw   []byte // of a JSON body
}

// shape is what follows a name: nothing, [] for an element, [7] for one with an index, or anything
// else, which means nothing.
type shape byte

const (
	shapePlain shape = iota
	shapeElement
	shapeNumbered
	shapeOdd
)

// cutShape cuts a name as it was given into the name of a parameter and its shape.
func cutShape(given string) (name string, s shape, index uint64) {
	i := strings.IndexAny(given, "[.")
	if i < 0 {
		return given, shapePlain, 0
	}
	name, rest := given[:i], given[i:]
	if rest == "[]" {
		return name, shapeElement, 0
	}
	digits := strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil &&
		len(digits) == len(rest)-len("[]") {
		return name, shapeNumbered, n
	}
	return name, shapeOdd, 0
}

// whole is the value with its numbered elements in the order of their indexes.
func (v value) whole() value {
	if len(v.numbered) == 0 {
		return v
	}
	elements := slices.Clone(v.numbered)
	slices.SortStableFunc(elements, func(a, b numbered) int {
		return cmp.Compare(a.index,
			b.index)
	})
	if elements[0].raw != nil {
		array := []byte{'['}
		for i, e := range elements {
			if i > 0 {
				array = append(array, ',')
			}
			array = append(array, e.raw...)
		}
		return value{raw: append(array, ']'), odd: v.odd}
	}
	v.texts, v.listed = slices.Clone(v.texts), true
	for _, e := range elements {
		v.texts = append(v.texts, e.text)
	}
	return v
}

// source is one set of parameters: members of a JSON object, or pairs.
type source struct {
	members []member
	pairs   pairs
}

// member is one of a JSON object. Both parts belong to the body.
type member struct{ name, raw []byte }

// get returns the value of a name. Of a member given twice the last one counts; a name with []
// counts where there is none without, and numbered ones where there is neither.
func (s *source) get(name string) (value, bool) {
	if v, ok := s.pairs[name]; ok {
		return v.whole(), true
	}
	var v value
	for i := len(s.members) - 1; i >= 0; i-- {
		m := &s.members[i]
		if !bytes.HasPrefix(m.name, []byte(name)) {
			continue
		}
		if len(m.name) == len(name) {
			return value{raw: m.raw}, true
		}
		switch base, sh, index := cutShape(string(m.name)); {
		case base != name:
		case sh == shapeElement && v.raw == nil:
			v.raw = m.raw
		case sh == shapeNumbered:
			v.numbered = append(v.numbered, numbered{index: index, raw: m.raw})
		default:
			v.odd = v.odd || sh == shapeOdd
		}
	}
	if v.raw != nil {
		return v, true
	}
	return v.whole(), v.odd || len(v.numbered) > 0
}

// Params are the parameters of one request. The body is asked first, then the query.
type Params struct{ body, query source }

// ParseParams reads both sources; what it returns refers to body. Errors are of the error table.
func ParseParams(contentType string, body []byte, query string) (Params, error) {
	var p Params
	var err error
	if p.body, err = parseBody(contentType, body); err != nil {
		return p, err
	}
	p.query, err = parsePairs(query)
	return p, err
}

// parseBody goes by the content type, but a JSON object is taken for one under any type except
// multipart: curl -d calls everything a form, and no form of ours begins with a brace. A missing,
// plain or unspecific type may be a form.
func parseBody(contentType string, body []byte) (source, error) {
	trimmed := trim(body)
	if len(trimmed) == 0 {
		return source{}, nil
	}
	if rest, ok := strings.CutPrefix(contentType, "application/json"); ok && (rest == "" ||
		rest[0] == ';') {
		// what nearly everybody sends
		return parseObject(trimmed)
	}
	media, attrs, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	switch {
	case media == "multipart/form-data":
		return parseMultipart(attrs["boundary"], body)
	case media == "application/json", strings.HasSuffix(media, "+json"), trimmed[0] == '{':
		return parseObject(trimmed)
	case media == "application/x-www-form-urlencoded", media == "", media == "text/plain",
		media == "application/octet-stream":
		return parsePairs(string(trimmed))
	default:
		return source{}, Refuse(CodeWrongFormat)
	}
}

// trim leaves out what may be around a body.
func trim(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(body, []byte(byteOrderMark)))
}

// TrimObject returns a body without what may be around it; false if it cannot be a JSON object, or
// nests too deep.
func TrimObject(body []byte) ([]byte, bool) {
	body = trim(body)
	return body, len(body) > 0 && body[0] == '{' && !tooDeep(body)
}

// parseObject reads a JSON object.
func parseObject(body []byte) (source, error) {
	if body[0] != '{' || tooDeep(body) || !json.Valid(body) {
		return source{}, Refuse(CodeWrongFormat)
	}
	members := cutMembers(body)
	if len(members) > maxParams && differentNames(members) > maxParams {
		return source{}, Refuse(CodeTooLarge)
	}
	return source{members: members}, nil
}

func differentNames(members []member) int {
	names := make(map[string]struct{}, len(members))
	for _, m := range members {
		names[string(m.name)] = struct{}{}
	}
	return len(names)
}

// cutMembers cuts a valid JSON object into its members.
func cutMembers(object []byte) []member {
	const usual = 8 // members of a request
	members := make([]member, 0, usual)
	for i := skipSpace(object, len("{")); object[i] == '"'; {
		end := skipValue(object, i)
		name := object[i+1 : end-1]
		if bytes.ContainsFunc(name, func(r rune) bool { return r == '\\' || r >= utf8.RuneSelf }) {
			var text string
			_ = json.Unmarshal(object[i:end], &text) // a valid string
			name = []byte(text)
		}
		i = skipSpace(object, skipSpace(object, end)+len(":"))
		end = skipValue(object, i)
		members = append(members, member{name, object[i:end]})
		if i = skipSpace(object, end); object[i] == ',' {
			i = skipSpace(object, i+1)
		}
	}
	return members
}

func skipSpace(json []byte, i int) int {
	for json[i] == ' ' || json[i] == '\t' || json[i] == '\n' || json[i] == '\r' {
		i++
	}
	return i
}

// skipValue returns the end of the value at i inside of a valid object.
func skipValue(json []byte, i int) int {
	for depth := 0; ; i++ {
		switch json[i] {
		case '"':
			for i++; json[i] != '"'; i++ {
				if json[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i // of the object around, after a number or a word
			}
			if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
}

// tooDeep reports whether arrays and objects nest deeper than maxDepth; of malformed JSON it may
// say anything.
func tooDeep(body []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch b := body[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

// parsePairs reads name=value pairs of a query or a form. Unlike url.ParseQuery it takes a
// semicolon for a character like any other, as browsers do.
func parsePairs(s string) (source, error) {
	if s == "" {
		return source{}, nil
	}
	if strings.Count(s, "&") >= maxParams {
		return source{}, Refuse(CodeTooLarge)
	}
	all := make(pairs)
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		rawName, rawText, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			return source{}, Refuse(CodeWrongFormat)
		}
		text, err := url.QueryUnescape(rawText)
		if err != nil {
			return source{}, Refuse(CodeWrongFormat)
		}
		all.add(name, text)
	}
	return source{pairs: all}, nil
}

// parseMultipart reads the parts of a form in memory; files are values like any other.
func parseMultipart(boundary string, body []byte) (source, error) {
	if boundary == "" {
		return source{}, Refuse(CodeWrongFormat)
	}
	all := make(pairs)
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if err == io.EOF { //nolint:errorlint // itself: a body that ends too early wraps it
			return source{pairs: all}, nil
		}
		if err != nil {
			return source{}, Refuse(CodeWrongFormat)
		}
		if n >= maxParams {
			return source{}, Refuse(CodeTooLarge)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return source{}, Refuse(CodeWrongFormat)
		}
		if name := part.FormName(); name != "" {
			all.add(name, string(text))
		}
	}
}

// pairs are names with their texts.
type pairs map[string]value

func (p pairs) add(given, text string) {
	name, sh, index := cutShape(given)
	v := p[name]
	switch sh {
	case shapePlain:
		v.texts = append(v.texts, text)
	case shapeElement:
		v.texts, v.listed = append(v.texts, text), true
	case shapeNumbered:
		v.numbered = append(v.numbered, numbered{index: index, text: text})
	default:
		v.odd = true
	}
	p[name] = v
}

// find returns the value of a parameter for which nothing, and the texts null and undefined, mean
// absent.
func (p *Params) find(name string) (value, bool) {
	return p.first(name, nullOrEmpty)
}

// findList is find for lists: an empty text is an empty one.
func (p *Params) findList(name string) (value, bool) { return p.first(name, nullOnly) }

// absence says which values of a parameter mean that it is not there.
type absence byte

const (
	nullOrEmpty absence = iota
	nullOnly
	never
)

func (p *Params) first(name string, a absence) (value, bool) {
	for _, s := range [...]*source{&p.body, &p.query} {
		v, ok := s.get(name)
		if !ok || a != never && v.absent() || a == nullOrEmpty && v.empty() {
			continue
		}
		return v, true
	}
	return value{}, false
}

// findText returns the value of a parameter for which every text means itself; only a JSON null is
// absent.
func (p *Params) findText(name string) (value, bool) {
	for _, s := range [...]*source{&p.body, &p.query} {
		if v, ok := s.get(name); ok && !v.null() {
			return v, true
		}
	}
	return value{}, false
}

// Hash looks for the caller's hash in the body, then the query, then the Authorization header.
func (p *Params) Hash(h http.Header) (string, bool) {
	for _, s := range [...]*source{&p.body, &p.query} {
		for _, name := range [...]string{"hash", "session_key"} {
			if v, ok := s.get(name); ok && !v.absent() && !v.empty() {
				return v.scalar()
			}
		}
	}
	return strings.CutPrefix(h.Get("Authorization"), "NVX ")
}

// Given reports whether a parameter is there at all, be it as null or an empty text.
func (p *Params) Given(name string) bool {
	_, given := p.first(name, never)
	return given
}

// names are the names of all parameters, each once, in order.
func (p *Params) names() []string {
	var list []string
	for _, s := range [...]*source{&p.body, &p.query} {
		for i := range s.members {
			name, _, _ := cutShape(string(s.members[i].name))
			list = append(list, name)
		}
		for name := range s.pairs {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Scalar returns the text of a parameter that may be absent; ok is false where what is given is no
// text.
func (p *Params) Scalar(name string) (text string, given, ok bool) {
	v, given := p.find(name)
	if !given {
		return "", false, true
	}
	text, ok = v.scalar()
	return text, true, ok
}
