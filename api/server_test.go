package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/queue"
)

func TestServerLimits(t *testing.T) {
	s := api.NewServer(http.NotFoundHandler(), nil)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= s.ReadHeaderTimeout ||
		s.WriteTimeout <= api.DefaultTimeout || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("a client can hold a connection: %+v", s)
	}
}

// raw writes to a connection of its own and returns the answer.
func (w *world) raw(request string) answer {
	w.tb.Helper()
	c, err := new(net.Dialer).DialContext(w.tb.Context(), "tcp", strings.TrimPrefix(w.url,
		"http://"))
	if err != nil {
		w.tb.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		w.tb.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		w.tb.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func TestRawRequests(t *testing.T) {
	w := newWorld(t)
	w.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").is(t, `{"success":true}`)
	w.raw("GET /v2/tracker/chat/unread/count HTTP/1.1\r\nHost: x\r\nAuthorization: NVX  "+berlinKey+"\r\n\r\n").refused(t, 3)
	w.raw("GET /v2/tracker/chat/unread/count HTTP/1.1\r\nHost: x\r\nAuthorization: NVX "+berlinKey+"\r\nContent-Type: application/json\r\n\r\n").is(t, `{"success":true,"value":{}}`)
	// A client that waits to be told to go on is told first what its request came to.
	w.raw(fmt.Sprintf("POST /v2/tracker/no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", 1<<30)).refused(t, 112)
	// A body that ends before its length is no request.
	c := "POST /v2/tracker/list HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
	w.raw(c).refused(t, 5)
	// A text of the greatest length fits into a query.
	text := strings.Repeat("%F0%9F%98%80", queue.MaxText)
	w.raw("GET /v2/tracker/chat/send?tracker_id=101&hash=" + berlinKey + "&message=" + text +
		" HTTP/1.1\r\nHost: x\r\n\r\n").id(t)
}
