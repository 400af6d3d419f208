package api

import (
	"net/http"
	"slices"
)

// maxAsked bounds, in bytes, the names of headers that a preflight asks for.
const maxAsked = 4096

// cors allows pages of other origins to call the API and to read its answers, refusals included.
type cors struct {
	any     bool
	origins []string
	star    []string
	methods []string
	headers []string
	exposed []string
	maxAge  []string
}

func newCORS(origins []string) *cors {
	return &cors{
		any:     origins == nil || slices.Contains(origins, "*"),
		origins: origins,
		star:    []string{"*"},
		methods: []string{"GET, POST, OPTIONS"},
		headers: []string{"Content-Type, Authorization, NVX-ISO-DateTime, Last-Event-ID, " +
			"Idempotency-Key, X-Requested-With"},
		exposed: []string{"Retry-After, X-Request-Id"},
		maxAge:  []string{"600"},
	}
}

// apply sets the headers. The slices are shared by all answers: nothing may append to them.
func (c *cors) apply(h http.Header, r *http.Request) {
	if c.any {
		h["Access-Control-Allow-Origin"] = c.star
	} else {
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(c.origins, origin) {
			return
		}
		h["Access-Control-Allow-Origin"] = []string{origin}
	}
	h["Access-Control-Allow-Methods"] = c.methods
	h["Access-Control-Allow-Headers"] = c.headers
	h["Access-Control-Expose-Headers"] = c.exposed
	if r.Method == http.MethodOptions {
		asked := r.Header.Get("Access-Control-Request-Headers")
		if asked != "" && len(asked) <= maxAsked {
			h["Access-Control-Allow-Headers"] = []string{c.headers[0] + ", " + asked}
		}
		h["Access-Control-Max-Age"] = c.maxAge
	}
}
