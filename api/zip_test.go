package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"trackchat/api"
)

func zip(tb testing.TB, text string) string {
	tb.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.String()
}

// TestZippedAnswers: long answers are compressed for who asks for it, short ones and others' are
// not.
func TestZippedAnswers(t *testing.T) {
	w := newWorld(t)
	fetch := func(target, accept string) (answer, int) {
		t.Helper()
		// set by hand: the client leaves the answer as it is.
		a := w.do(http.MethodGet, target, "", "Accept-Encoding", accept)
		sent := len(a.body)
		if a.header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(strings.NewReader(a.body))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			a.body = string(plain)
		}
		return a, sent
	}
	const list = "/v2/tracker/list?hash=" + berlinKey
	plain, size := fetch(list, "identity")
	if plain.header.Get("Content-Encoding") != "" || len(plain.body) < 64<<10 {
		t.Fatalf("%d bytes, %v", size, plain.header)
	}
	zipped, zippedSize := fetch(list, "br, gzip;q=0.5, zstd")
	if zipped.header.Get("Content-Encoding") != "gzip" || zipped.body != plain.body ||
		zippedSize*5 > size {
		t.Errorf("%d bytes of %d, %v", zippedSize, size, zipped.header)
	}
	for _, a := range []answer{plain, zipped} {
		if a.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("header %v", a.header)
		}
	}
	for target, accept := range map[string]string{
		list + "&labels=bulk": "gzip;q=0", "/v2/user/get_info?hash=" + berlinKey: "gzip",
		"/v2/nothing": "gzip",
	} {
		if a, _ := fetch(target, accept); a.header.Get("Content-Encoding") != "" ||
			!strings.HasPrefix(a.body, `{"success":`) {
			t.Errorf("%s: %v", target, a.header)
		}
	}
	// comes at once, so not compressed.
	s := w.stream(events(berlinKey), "Accept-Encoding", "gzip").hello()
	s.want("message", 101, w.send(101, strings.Repeat("x", 5000)))
}

// TestZippedRequests: a compressed body is one like any other, in every bound.
func TestZippedRequests(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.MaxBody = 64 << 10 })
	send := func(encoding, kind, body string) answer {
		return w.do(http.MethodPost, "/v2/tracker/chat/send", body, "Content-Encoding", encoding,
			"Content-Type", kind)
	}
	const form, object = "application/x-www-form-urlencoded", "application/json"
	send("gzip", form, zip(t, "hash="+berlinKey+"&tracker_id=101&message=form")).id(t)
	send("GZIP", object, zip(t, `{"hash":"`+berlinKey+`","tracker_id":101,"message":"object"}`)).id(
		t)
	send("identity", form, "hash="+berlinKey+"&tracker_id=101&message=plain").id(t)
	bomb := zip(t, "hash="+berlinKey+"&tracker_id=101&message="+strings.Repeat("x", 8<<20))
	if len(bomb) > 32<<10 {
		t.Fatalf("a bomb of %d bytes", len(bomb))
	}
	send("gzip", form, bomb).refused(t, 9)
	whole := zip(t, "hash="+berlinKey+"&tracker_id=101&message=never")
	for encoding, body := range map[string]string{
		"gzip":   "hash=" + berlinKey + "&tracker_id=101&message=never",
		"x-gzip": whole[:len(whole)-9], "br": whole, "gzip, gzip": whole,
	} {
		send(encoding, form, body).refused(t, 5)
	}
	if n := len(w.stored(101)); n != 3 {
		t.Errorf("%d messages stored", n)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		w.url+"/v2/tracker/chat/events",
		strings.NewReader(zip(t, "hash="+berlinKey)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("feed: %s", resp.Status)
	}
}
