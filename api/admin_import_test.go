package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/api/admin"
	"trackchat/api/navixy"
	"trackchat/queue"
)

type summary struct {
	Success bool
	Summary struct {
		Lines              int
		Accounts, Trackers struct{ Added, Updated, Unchanged int }
		Refused            []struct {
			Line   int
			Errors []struct{ Parameter, Error string }
		}
		Stopped string
	}
	progress int
}

// importAll posts lines and reads the answer.
func (w *adminWorld) importAll(body io.Reader) summary {
	w.tb.Helper()
	a := w.call(http.MethodPost, "/admin/import", body)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/x-ndjson" {
		w.tb.Fatalf("import: %d %s", a.status, a.body)
	}
	lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	var s summary
	for _, l := range lines[:len(lines)-1] {
		if !strings.HasPrefix(l, `{"progress":{"lines":`) {
			w.tb.Fatalf("line %s", l)
		}
		s.progress++
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || !s.Success {
		w.tb.Fatalf("summary: %v %s", err, lines[len(lines)-1])
	}
	return s
}

func TestAdminImport(t *testing.T) {
	w := newAdminWorld(t)
	lines := []string{
		`{"account":{"id":1,"login":"demo","password":"pass","keys":["` + berlinKey + `"]}}`,
		``,
		`{"tracker":{"id":101,"account":1,"protocol":"jt808","device_id":"1"}}`,
		`{"tracker":{"id":102,"account":1,"protocol":"jt808","device_id":"01"}}`,
		`{"tracker":{"id":103,"account":9,"protocol":"jt808","device_id":"3"}}`,
		`nonsense`,
		`{"trucker":{"id":103}}`,
		`{"tracker":{"id":0,"label":5}}`,
		`{"account":{"id":2},"tracker":{"id":3}}`,
		` {"account":{"id":2,"login":"demo"}}	`,
		`{"tracker":{"id":104,"account":1,"protocol":"morse","device_id":""}}`,
		`{"tracker":{"id":105,"account":1,"protocol":"jt808","device_id":"5","label":"last, without a newline"}}`,
	}
	s := w.importAll(strings.NewReader(strings.Join(lines, "\n")))
	if s.Summary.Lines != 12 || s.Summary.Accounts.Added != 1 || s.Summary.Trackers.Added != 2 ||
		s.Summary.Stopped != "" {
		t.Errorf("summary %+v", s.Summary)
	}
	got := ""
	for _, r := range s.Summary.Refused {
		got += fmt.Sprint(" ", r.Line)
		for _, e := range r.Errors {
			got += ":" + e.Parameter
			if e.Error == "" {
				t.Errorf("no text for line %d", r.Line)
			}
		}
	}
	if want := " 4:device_id 5:account 6:line 7:trucker 8:label 9:line 10:login 11:device_id:protocol"; !sameFields(got, want) {
		t.Errorf("refused%s, want%s", got, want)
	}
	w.json("tracker/read", `"tracker_id":105`).succeeds(t)
	w.auth("demo", "pass").succeeds(t)
	again := w.importAll(strings.NewReader(strings.Join([]string{
		lines[0], lines[2],
		strings.Replace(lines[11], "last", "first", 1),
	}, "\r\n")))
	if again.Summary.Accounts.Unchanged != 1 || again.Summary.Trackers.Unchanged != 1 ||
		again.Summary.Trackers.Updated != 1 || len(again.Summary.Refused) != 0 {
		t.Errorf("again %+v", again.Summary)
	}
	if s := w.importAll(strings.NewReader("")); s.Summary.Lines != 0 || s.Summary.Refused == nil {
		t.Errorf("nothing: %+v", s.Summary)
	}
	long := lines[2] + "\n" + `{"tracker":{"label":"` + strings.Repeat("x", 9<<20) + `"}}` + "\n" +
		lines[11]
	for range 20 {
		// the server leaves the rest of the input unread: no other request may come by such a
		// connection
		if s := w.importAll(strings.NewReader(long)); s.Summary.Trackers.Unchanged != 1 ||
			!strings.Contains(s.Summary.Stopped, "line 2") {
			t.Errorf("a long line: %+v", s.Summary)
		}
	}
	if s := w.importAll(strings.NewReader(strings.Repeat("{x\n", 20_000))); len(
		s.Summary.Refused) != 10_000 || s.Summary.Lines != 10_000 || s.Summary.Stopped == "" {
		t.Errorf("nothing but nonsense: %d lines, %d refused, %s", s.Summary.Lines,
			len(s.Summary.Refused), s.Summary.Stopped)
	}
}

// sameFields compares the lines, whatever their order: those that the store refuses come after
// those that cannot be read.
func sameFields(a, b string) bool {
	seen := map[string]int{}
	for f := range strings.FieldsSeq(a) {
		seen[f]++
	}
	for f := range strings.FieldsSeq(b) {
		seen[f]--
	}
	for _, n := range seen {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestAdminExportImports(t *testing.T) {
	w := newAdminWorld(t)
	w.put("/admin/accounts/7",
		`{"login":"demo","password":"pass","title":"ü","time_zone":"Asia/Tokyo","keys":["`+berlinKey+`"]}`).is(t, `{"success":true,"result":"added"}`)
	var b strings.Builder
	for i := 1; i <= 2500; i++ {
		fmt.Fprintf(&b, `{"tracker":{"id":%d,"account":7,"protocol":"jt808","device_id":"%d","settings":{"a":"%d"},"blocked":%v}}`+"\n", i, i, i, i%2 == 0)
	}
	if s := w.importAll(strings.NewReader(b.String())); s.Summary.Trackers.Added != 2500 {
		t.Fatalf("import %+v", s.Summary)
	}
	out := w.get("/admin/export")
	if n := strings.Count(out.body, "\n"); n != 2501 ||
		out.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("export of %d lines: %.200s", n, out.body)
	}
	if strings.Contains(out.body, berlinKey) || strings.Contains(out.body, `"pass"`) {
		t.Error("the export holds secrets in the clear")
	}
	if s := w.importAll(strings.NewReader(out.body)); s.Summary.Trackers.Unchanged != 2500 ||
		s.Summary.Accounts.Unchanged != 1 {
		t.Errorf("import of the export %+v", s.Summary)
	}
	other := newAdminWorld(t)
	if s := other.importAll(strings.NewReader(out.body)); s.Summary.Trackers.Added != 2500 ||
		s.Summary.Accounts.Added != 1 || len(s.Summary.Refused) != 0 {
		t.Errorf("import elsewhere %+v", s.Summary)
	}
	if again := other.get("/admin/export"); again.body != out.body {
		t.Error("the export of the import differs")
	}
	other.auth("demo", "pass").succeeds(t)
	other.json("tracker/read", `"tracker_id":2500`).succeeds(t)
}

// TestAdminImportTellsProgress feeds an import slowly and reads what it says meanwhile. Each
// tracker takes a millisecond of its clock.
func TestAdminImportTellsProgress(t *testing.T) {
	var took atomic.Int64
	w := newAdminWorld(t, func(o *admin.Options) {
		o.Devices = func(*queue.Tracker) []navixy.Problem {
			took.Add(
				int64(time.Millisecond))
			return nil
		}
		o.Now = func() time.Time { return time.Now().Add(time.Duration(took.Load())) }
	})
	w.put("/admin/accounts/1", `{}`).is(t, `{"success":true,"result":"added"}`)
	r, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.admin+"/admin/import", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	next := 1
	batch := func() {
		for range 1000 {
			if _, err := fmt.Fprintf(feed,
				`{"tracker":{"id":%d,"account":1,"protocol":"p","device_id":"%d"}}`+"\n", next,
				next); err != nil {
				t.Error(err)
				return
			}
			next++
		}
	}
	var feeding sync.WaitGroup
	feeding.Go(batch)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for n := 1; n <= 3; n++ {
		if !lines.Scan() || lines.Text() != fmt.Sprintf(`{"progress":{"lines":%d}}`, n*1000) {
			t.Fatalf("progress %d: %q %v", n, lines.Text(), lines.Err())
		}
		feeding.Wait()
		if n < 3 {
			feeding.Go(batch)
		}
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || !strings.HasPrefix(lines.Text(),
		`{"success":true,"summary":{"lines":3000,`) {
		t.Fatalf("summary %q %v", lines.Text(), lines.Err())
	}
}

// lineSource makes n trackers as they are read.
type lineSource struct {
	n, next int
	left    []byte
}

func (s *lineSource) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		if s.next == s.n {
			return 0, io.EOF
		}
		s.next++
		s.left = fmt.Appendf(s.left[:0],
			`{"tracker":{"id":%d,"account":1,"label":"Truck %d","protocol":"jt808","device_id":"%d","model":"jt808"}}`+"\n", s.next, s.next, 13_000_000_000+s.next)
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// BenchmarkAdminImport imports trackers and exports them again: one operation is one tracker both
// ways. heap-MB is what the service holds more at the end, the directory included.
func BenchmarkAdminImport(b *testing.B) {
	w := newWorld(b)
	w.dir.Replace(queue.NewSnapshot(nil, nil))
	o := admin.Options{
		Gatherer: w.reg, Store: w.store,
		Sync: func(context.Context) error { return nil }, Now: time.Now,
	}
	h := admin.New(o)
	w.edit(queue.Edit{Kind: queue.EditPutAccount, Account: queue.Account{ID: 1}})
	local := func(method, path string, body io.Reader) *countingWriter {
		r, err := http.NewRequestWithContext(b.Context(), method, path, body)
		if err != nil {
			b.Fatal(err)
		}
		r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
		out := &countingWriter{sink: sink{header: http.Header{}}}
		h.ServeHTTP(out, r)
		return out
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	local(http.MethodPost, "/admin/import", &lineSource{n: b.N})
	if got := local(http.MethodGet, "/admin/export", nil); got.lines != b.N+1 {
		b.Fatalf("%d lines", got.lines)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "heap-MB")
}

type countingWriter struct {
	sink
	lines int
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.lines += strings.Count(string(p), "\n")
	return len(p), nil
}
