package admin_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trackchat/api/admin"
)

// TestRoutesAreDescribed compares openapi.json with the handlers of /admin/ in both directions.
func TestRoutesAreDescribed(t *testing.T) {
	raw, err := os.ReadFile("../openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for path, ops := range spec.Paths {
		for method := range ops {
			if strings.HasPrefix(path, "/admin/") {
				described[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	for _, route := range admin.Routes() {
		if !described[route] {
			t.Errorf("%s is not described", route)
		}
		delete(described, route)
	}
	for route := range described {
		t.Errorf("%s is described and not there", route)
	}
}

// TestDocsCallEveryRoute looks for a curl line of docs/api.md for each route; that they work is
// tested where they are executed, in api.
func TestDocsCallEveryRoute(t *testing.T) {
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var called []string
	target := regexp.MustCompile(`\$ADMIN(/[^"?]*)`)
	for line := range strings.Lines(string(doc)) {
		if m := target.FindStringSubmatch(line); m != nil && strings.HasPrefix(line, "curl ") {
			called = append(called, m[1])
		}
	}
	part := regexp.MustCompile(`\\\{[a-z]+\\\}`)
	for _, route := range admin.Routes() {
		_, path, _ := strings.Cut(route, " ")
		pattern := regexp.MustCompile("^" + part.ReplaceAllString(regexp.QuoteMeta(path), `[^/]+`) +
			"$")
		if !slices.ContainsFunc(called, pattern.MatchString) {
			t.Errorf("no curl line calls %s", route)
		}
	}
}
