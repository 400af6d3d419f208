package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// policy lets a page load its own files and speak to its own listener, and nothing else: no inline
// script or style, no other host, no frame around it, no text turned into markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// Site serves one page and its files. It is safe for concurrent use.
type Site struct {
	prefix string           // of the files' paths, with a slash at both ends
	cache  string           // Cache-Control of files
	files  map[string]*file // by path below prefix
}

var _ http.Handler = (*Site)(nil)

// Serves reports whether a request is the site's: reads of /, of the prefix and of what is below
// it.
func (s *Site) Serves(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	p := r.URL.Path
	return p == "/" || p+"/" == s.prefix || strings.HasPrefix(p, s.prefix)
}

// ServeHTTP answers with a file, or 404.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	name := strings.TrimPrefix(r.URL.Path, s.prefix)
	if r.URL.Path == "/" || name+"/" == s.prefix || name == "" {
		name = page
	}
	f, ok := s.files[name]
	if !ok {
		h.Set("Cache-Control", "no-store")
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	h.Set("Cache-Control", s.cache)
	f.serve(w, r)
}

// file is an embedded file as it is sent.
type file struct {
	kind string // MIME type
	body []byte
	etag string
	// body compressed, empty where that gains nothing; made when first asked for.
	zipped  func() []byte
	zipETag string
}

func newFile(ext string, body []byte) *file {
	sum := sha256.Sum256(body)
	tag := hex.EncodeToString(sum[:12])
	f := &file{kind: mimeType(ext), body: body, etag: `"` + tag + `"`, zipETag: `"` + tag +
		`-gzip"`}
	f.zipped = sync.OnceValue(func() []byte { return compress(body) })
	return f
}

// mimeType does not ask the system, whose tables differ.
func mimeType(ext string) string {
	switch ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".json":
		return "application/json; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "application/octet-stream"
	}
}

func compress(body []byte) []byte {
	var buf bytes.Buffer
	z, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression) // the level is valid
	_, _ = z.Write(body)                                    // a Buffer takes everything
	_ = z.Close()
	if buf.Len() >= len(body) {
		return nil
	}
	return buf.Bytes()
}

// serve sends the file, or 304 to who has it already.
func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	body, etag := f.body, f.etag
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		if zipped := f.zipped(); zipped != nil {
			body, etag = zipped, f.zipETag
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Etag", etag)
	if matches(r.Header.Get("If-None-Match"), f.etag, f.zipETag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the peer is gone, and there is nobody left to tell
	}
}

// acceptsGzip reads an Accept-Encoding header (RFC 9110 §12.5.3).
func acceptsGzip(accept string) bool {
	for item := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, given := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !given || err == nil && weight > 0
	}
	return false
}

// matches compares an If-None-Match header weakly (RFC 9110 §13.1.2): either form of a file is good
// enough, a proxy may have chosen the other one.
func matches(header string, tags ...string) bool {
	for item := range strings.SplitSeq(header, ",") {
		item = strings.TrimPrefix(strings.TrimSpace(item), "W/")
		for _, tag := range tags {
			if item == tag || item == "*" {
				return true
			}
		}
	}
	return false
}
