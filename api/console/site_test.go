package console_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"testing"

	"trackchat/api/console"
)

// get asks a site as a client would; header is a list of names and values.
func get(site *console.Site, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	site.ServeHTTP(rec, r)
	return rec
}

func TestSiteServesEveryFile(t *testing.T) {
	kinds := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".json": "application/json; charset=utf-8",
		".svg": "image/svg+xml",
	}
	for _, s := range []struct {
		site        *console.Site
		prefix, dir string
	}{{console.NewChat(), "/console/", "web"}, {console.NewOperations(), "/ui/", "ops"}} {
		for _, root := range []string{s.dir, "shared"} {
			err := fs.WalkDir(os.DirFS("."), root, func(name string, d fs.DirEntry,
				err error,
			) error {
				if err != nil || d.IsDir() {
					return err
				}
				want, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				target := s.prefix + strings.TrimPrefix(name, s.dir+"/")
				if !s.site.Serves(httptest.NewRequest(http.MethodGet, target, nil)) {
					t.Errorf("%s is not the site's", target)
				}
				r := get(s.site, http.MethodGet, target)
				h := r.Result().Header
				if r.Code != http.StatusOK || !bytes.Equal(r.Body.Bytes(), want) ||
					h.Get("Content-Type") != kinds[path.Ext(name)] ||
					h.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: %d %v", target, r.Code, h)
				}
				if r := get(s.site, http.MethodHead, target); r.Code != http.StatusOK ||
					r.Body.Len() != 0 ||
					r.Header().Get("Content-Length") != h.Get("Content-Length") {
					t.Errorf("HEAD %s: %d %v", target, r.Code, r.Header())
				}
				if r := get(s.site, http.MethodGet, target, "If-None-Match",
					`"x", W/`+h.Get("Etag")); r.Code != http.StatusNotModified ||
					r.Body.Len() != 0 {
					t.Errorf("%s again: %d", target, r.Code)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, target := range []string{"/", strings.TrimSuffix(s.prefix, "/"), s.prefix} {
			if r := get(s.site, http.MethodGet, target); r.Code != http.StatusOK ||
				!strings.HasPrefix(r.Body.String(), "<!doctype html>") {
				t.Errorf("%s: %d", target, r.Code)
			}
		}
		for _, target := range []string{s.prefix + "no.js", s.prefix + "js", s.prefix +
			"../console.go", s.prefix + "web/index.html"} {
			r := get(s.site, http.MethodGet, target)
			if r.Code != http.StatusNotFound || r.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", target, r.Code, r.Header())
			}
		}
		for target, method := range map[string]string{
			"/":      http.MethodPost,
			s.prefix: http.MethodDelete, "/v2/tracker/list": http.MethodGet,
			"/metrics": http.MethodGet,
		} {
			if s.site.Serves(httptest.NewRequest(method, target, nil)) {
				t.Errorf("%s %s is not the site's", method, target)
			}
		}
	}
}

func TestSiteAllowsNothingFromElsewhere(t *testing.T) {
	policy := get(console.NewChat(), http.MethodGet, "/").Header().Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "script-src 'self';", "style-src 'self';",
		"connect-src 'self';", "frame-ancestors 'none'", "base-uri 'none'",
		"require-trusted-types-for 'script'",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	for _, never := range []string{"unsafe", "http:", "https:", "data:", "*"} {
		if strings.Contains(policy, never) {
			t.Errorf("the policy has %s: %s", never, policy)
		}
	}
}

func TestSiteCompresses(t *testing.T) {
	site := console.NewChat()
	plain := get(site, http.MethodGet, "/console/shared/base.css")
	for accept, zipped := range map[string]bool{
		"gzip": true, "br, gzip;q=0.5": true, "GZIP": true,
		"gzip;q=0": false, "gzip; q=0.0": false, "br": false, "xgzip": false,
	} {
		r := get(site, http.MethodGet, "/console/shared/base.css", "Accept-Encoding", accept)
		if got := r.Header().Get("Content-Encoding") == "gzip"; got != zipped ||
			r.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", accept, r.Header())
		}
		if !zipped {
			continue
		}
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(body, plain.Body.Bytes()) ||
			r.Header().Get("Etag") == plain.Header().Get("Etag") {
			t.Errorf("%s: %v, %d bytes", accept, err, len(body))
		}
	}
}
