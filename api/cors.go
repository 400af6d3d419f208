package api

import (
	"net/http"
	"slices"
)

// cors allows pages of other origins to call the API and to read its answers, refusals included.
type cors struct {
	any     bool
	origins []string
	star    []string
	methods []string
	headers []string
	exposed []string
	maxAge  []string
	vary    []string
}

func newCORS(origins []string) *cors {
	return &cors{
		any:     origins == nil || slices.Contains(origins, "*"),
		origins: origins,
		star:    []string{"*"},
		methods: []string{"GET, POST, OPTIONS"},
		headers: []string{"Content-Type, Authorization, NVX-ISO-DateTime, Last-Event-ID, Idempotency-Key"},
		exposed: []string{"Retry-After, X-Request-Id"},
		maxAge:  []string{"600"},
		vary:    []string{"Origin"},
	}
}

// apply sets the headers. The slices are shared by all answers: nothing may append to them.
func (c *cors) apply(h http.Header, r *http.Request) {
	if c.any {
		h["Access-Control-Allow-Origin"] = c.star
	} else {
		h["Vary"] = c.vary
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
		h["Access-Control-Max-Age"] = c.maxAge
	}
}
