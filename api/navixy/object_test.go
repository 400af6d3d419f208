package navixy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trackchat/api/navixy"
)

// FuzzObject compares the names and values of an object with what encoding/json makes of it.
func FuzzObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1,"b":[1,{"c":"}"}],"a":"\""}`,
		"{ \"a\\u0041\" : null\t,\"é\":-1e5}", `{"a[]":true,"a":{},"b[]":0}`, `{"a":"\\"}`,
		`{"a":1`, `[1]`, `{"0.[]":0}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if body == "" || body[0] != '{' || strings.Count(body, "{")+strings.Count(body, "[") > 60 {
			return
		}
		var want map[string]json.RawMessage
		err := json.Unmarshal([]byte(body), &want)
		for name, raw := range want {
			if bare, ok := strings.CutSuffix(name, "[]"); ok {
				if _, both := want[bare]; both || strings.ContainsAny(bare, "[.") {
					continue // nothing is called so
				}
				name = bare
			}
			got, ok := navixy.ObjectMember([]byte(body), name)
			if !ok || got != string(raw) {
				t.Fatalf("%q of %q: %q, want %q", name, body, got, raw)
			}
		}
		if _, ok := navixy.ObjectMember([]byte(body), "no such name"); ok && err != nil {
			t.Fatalf("%q is no object", body)
		}
	})
}
