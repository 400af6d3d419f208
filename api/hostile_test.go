package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue/queuetest"
)

// impatient serves a world's API with the same limits, but less time.
func impatient(w *world) (addr string) {
	w.tb.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(w.api, nil)
	server.Config.ReadHeaderTimeout, server.Config.ReadTimeout = 300*time.Millisecond,
		600*time.Millisecond
	server.Start()
	w.tb.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func dial(tb testing.TB, addr string) net.Conn {
	tb.Helper()
	c, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	return c
}

// TestSlowClients keeps connections with half a header and half a body open, many of them. Others
// are answered meanwhile, and the slow ones are cut off.
func TestSlowClients(t *testing.T) {
	w := newWorld(t)
	addr := impatient(w)
	const each = 200
	slow := make([]net.Conn, 0, 2*each)
	for i := range each {
		for _, head := range []string{
			"POST /v2/tracker/chat/send HTTP/1.1\r\nHost: x\r\nX-Slow: ",
			fmt.Sprintf("POST /v2/tracker/chat/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"hash\":\"", 1000+i),
		} {
			c := dial(t, addr)
			if _, err := io.WriteString(c, head); err != nil {
				t.Fatal(err)
			}
			slow = append(slow, c)
		}
	}
	ask := func() string {
		c := dial(t, addr)
		if _, err := io.WriteString(c,
			"GET /v2/tracker/chat/unread/count?hash="+berlinKey+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for range 20 {
		if a := ask(); !strings.HasSuffix(a, `{"success":true,"value":{}}`) {
			t.Fatalf("meanwhile: %s", a)
		}
	}
	for i, c := range slow {
		b, err := io.ReadAll(c) // until the server closes
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("connection %d is still open", i)
		}
		if i%2 == 1 && !strings.Contains(string(b), `"code":5,`) {
			t.Errorf("half a body: %q", b)
		}
	}
	if n := len(w.stored(plain)); n != 0 {
		t.Errorf("%d messages of half a request", n)
	}
}

// TestHugeBodies sends bodies of 100 MiB, with and without a length: refused, without being kept.
func TestHugeBodies(t *testing.T) {
	w := newWorld(t)
	const size = 100 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, length := range []string{
		fmt.Sprintf("Content-Length: %d", size),
		"Transfer-Encoding: chunked",
	} {
		c := dial(t, strings.TrimPrefix(w.url, "http://"))
		if _, err := fmt.Fprintf(c,
			"POST /v2/tracker/chat/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n", length); err != nil {
			t.Fatal(err)
		}
		var sent int
		var wg sync.WaitGroup
		wg.Go(func() {
			piece := []byte(strings.Repeat("x", 64<<10))
			if strings.HasPrefix(length, "T") {
				piece = []byte(fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
			}
			for sent < size {
				n, err := c.Write(piece)
				if sent += n; err != nil {
					return // the server has closed
				}
			}
		})
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusPreconditionFailed ||
			!strings.Contains(string(b), `"code":9,`) {
			t.Errorf("%s: %d %s %v", length, resp.StatusCode, b, err)
		}
		_ = resp.Body.Close()
		_ = c.Close()
		wg.Wait()
		if sent >= size {
			t.Errorf("%s: all of it was read", length)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); grown > 32<<20 {
		t.Errorf("%d MiB allocated", grown>>20)
	}
	w.form("tracker/chat/unread/count").is(t, `{"success":true,"value":{}}`)
}

// manyVariable makes the test binary a client: its value is the address and the request. It is a
// process of its own, because the descriptors of both ends are more than one may have.
const manyVariable = "TRACKCHAT_TEST_CONNECTIONS"

func TestMain(m *testing.M) {
	if v, child := os.LookupEnv(manyVariable); child {
		addr, request, _ := strings.Cut(v, "\x1f")
		if err := keepAsking(addr, request); err != nil {
			_, _ = fmt.Fprintln(os.Stdout, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	manyConnections = 10_000
	perConnection   = 32 << 10 // bytes that an idle one may cost
)

// keepAsking opens the connections and asks once on each, says so, waits for its input to end, and
// asks on all of them again.
func keepAsking(addr, request string) error {
	conns := make([]net.Conn, manyConnections)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		conns[i] = c
		if err := askOnce(c, request); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(os.Stdout, "open"); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for _, c := range conns {
		if err := askOnce(c, request); err != nil {
			return err
		}
	}
	return nil
}

func askOnce(c net.Conn, request string) error {
	if _, err := io.WriteString(c, request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && !strings.HasPrefix(string(b), `{"success":true,`) {
		err = fmt.Errorf("answer %s", b)
	}
	return err
}

// TestManyConnections has a client keep 10,000 connections alive that have each asked once, answers
// another one meanwhile, and all of them again.
func TestManyConnections(t *testing.T) {
	w := newWorld(t)
	addr := strings.TrimPrefix(w.url, "http://")
	request := "GET /v2/user/get_info?hash=" + berlinKey + " HTTP/1.1\r\nHost: x\r\n\r\n"
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cmd := queuetest.DieWithParent(exec.CommandContext(t.Context(), os.Args[0]))
	cmd.Env = append(os.Environ(), manyVariable+"="+addr+"\x1f"+request)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("client says %q", lines.Text())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) /
		manyConnections
	t.Logf("%d bytes for each idle connection", each)
	if each > perConnection {
		t.Errorf("%d bytes for each idle connection", each)
	}
	w.form("tracker/chat/unread/count").is(t, `{"success":true,"value":{}}`)
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("client says %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

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
			"mark_read_all", "updated/list", "last/list",
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
