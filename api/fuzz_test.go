package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"trackchat/api"
)

// FuzzParams gives any body, content type and query to an operation with parameters of every type.
// Whatever comes, the answer is JSON in the form of the contract, and never the fault of the
// server.
func FuzzParams(f *testing.F) {
	hash := `"hash":"` + berlinKey + `"`
	for _, s := range [][3]string{
		{"application/json", `{` + hash +
			`,"tracker_id":101,"limit":"5","from":"2016-02-29 11:00:00","ascending":1}`, ""},
		{
			"application/json", `{` + hash + `,"trackers":["101",102],"message":"\ud83d\ude00"}`,
			"iso_datetime=true",
		},
		{"application/json", `{` + hash +
			`,"trackers":"[101]","message":"\ud800","message_ids":"1,2"}`, "message_id=1"},
		{
			formType, "hash=" + berlinKey + "&trackers[]=101&trackers[]=102&message=a%20b",
			"from=2016-02-29T11:00:00+01:00",
		},
		{
			"multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=\"hash\"\r\n\r\n" + berlinKey +
				"\r\n--x--", "trackers=1,2",
		},
		{"", "", "hash=" + berlinKey + "&tracker_id=101&message=hi"},
		{"text/plain", "{", "%"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	w := newWorld(f, func(o *api.Options) { o.MaxBody = 1 << 16 })
	f.Fuzz(func(t *testing.T, contentType, body, query string) {
		for _, op := range []string{
			"list", "capabilities", "broadcast", "mark_read",
			"mark_read_all", "updated/list",
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/tracker/chat/"+op,
				strings.NewReader(body))
			r.URL = &url.URL{Path: "/tracker/chat/" + op, RawQuery: query}
			r.Header.Set("Content-Type", contentType)
			rec := httptest.NewRecorder()
			w.api.ServeHTTP(rec, r)
			var got struct {
				Success *bool
				Status  struct{ Code int }
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Success == nil {
				t.Fatalf("%s: %v %s", op, err, rec.Body)
			}
			if *got.Success != (rec.Code == http.StatusOK) ||
				rec.Code == http.StatusInternalServerError ||
				rec.Code == http.StatusServiceUnavailable {
				t.Fatalf("%s: %d %s", op, rec.Code, rec.Body)
			}
		}
	})
}
