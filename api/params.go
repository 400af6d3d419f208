package api

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
)

// Bounds of a parameter set beyond the size of the body and the header.
const (
	maxParams = 10_000 // names and values together; every id of a repeated key counts
	maxDepth  = 64     // nested arrays and objects of a JSON body
)

// value is what one source gave for one name: raw JSON from a JSON body, else texts in the order given.
type value struct {
	raw   []byte
	texts []string
}

type source map[string]value

// params are the parameters of one request. The body is asked first, then the query.
type params struct{ body, query source }

// parseParams reads both sources; it keeps no reference to body. Errors are of the error table.
func parseParams(contentType string, body []byte, query string) (params, error) {
	var p params
	var err error
	if p.body, err = parseBody(contentType, body); err != nil {
		return p, err
	}
	p.query, err = parsePairs(query)
	return p, err
}

// parseBody goes by the content type, but a JSON object is taken for one under any type except multipart: curl -d calls everything a form, and no form of ours begins with a brace.
// A missing, plain or unspecific type may be a form.
func parseBody(contentType string, body []byte) (source, error) {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 {
		return nil, nil
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
	case media == "application/x-www-form-urlencoded", media == "", media == "text/plain", media == "application/octet-stream":
		return parsePairs(string(trimmed))
	default:
		return nil, refuse(codeWrongFormat)
	}
}

// parseObject reads a JSON object. Of a name given twice the last one counts.
func parseObject(body []byte) (source, error) {
	if body[0] != '{' || tooDeep(body) {
		return nil, refuse(codeWrongFormat)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, refuse(codeWrongFormat)
	}
	if len(members) > maxParams {
		return nil, refuse(codeTooLarge)
	}
	s := make(source, len(members))
	for name, raw := range members {
		bare, found := strings.CutSuffix(name, "[]")
		if _, both := members[bare]; found && both {
			continue
		}
		s[bare] = value{raw: raw}
	}
	return s, nil
}

// tooDeep reports whether arrays and objects nest deeper than maxDepth; of malformed JSON it may say anything.
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

// parsePairs reads name=value pairs of a query or a form. Unlike url.ParseQuery it takes a semicolon for a character like any other, as browsers do.
func parsePairs(s string) (source, error) {
	if s == "" {
		return nil, nil
	}
	if strings.Count(s, "&") >= maxParams {
		return nil, refuse(codeTooLarge)
	}
	pairs := make(source)
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		rawName, rawText, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			return nil, refuse(codeWrongFormat)
		}
		text, err := url.QueryUnescape(rawText)
		if err != nil {
			return nil, refuse(codeWrongFormat)
		}
		pairs.add(name, text)
	}
	return pairs, nil
}

// parseMultipart reads the parts of a form in memory; files are values like any other.
func parseMultipart(boundary string, body []byte) (source, error) {
	if boundary == "" {
		return nil, refuse(codeWrongFormat)
	}
	pairs := make(source)
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if err == io.EOF { //nolint:errorlint // itself: a body that ends too early wraps it
			return pairs, nil
		}
		if err != nil {
			return nil, refuse(codeWrongFormat)
		}
		if n >= maxParams {
			return nil, refuse(codeTooLarge)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return nil, refuse(codeWrongFormat)
		}
		if name := part.FormName(); name != "" {
			pairs.add(name, string(text))
		}
	}
}

func (s source) add(name, text string) {
	name = strings.TrimSuffix(name, "[]")
	v := s[name]
	v.texts = append(v.texts, text)
	s[name] = v
}

// find returns the value of a parameter for which the texts null and undefined mean absent.
func (p *params) find(name string) (value, bool) {
	for _, s := range [...]source{p.body, p.query} {
		if v, ok := s[name]; ok && !v.absent() {
			return v, true
		}
	}
	return value{}, false
}

// findText returns the value of a parameter for which every text means itself; only a JSON null is absent.
func (p *params) findText(name string) (value, bool) {
	for _, s := range [...]source{p.body, p.query} {
		if v, ok := s[name]; ok && !v.null() {
			return v, true
		}
	}
	return value{}, false
}
