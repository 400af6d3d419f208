package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// floodLimit is the memory of a service that strangers flood.
const floodLimit = 256 << 20

// TestStrangersTakeNeitherMemoryNorProcessors floods a small service from its own machine: with 400
// bodies of nearly a MiB that never end, then with 1,400 logins at once. Texts are accepted and
// delivered, and devices log in, all the while.
func TestStrangersTakeNeitherMemoryNorProcessors(t *testing.T) {
	t.Setenv("GOMEMLIMIT", strconv.Itoa(floodLimit))
	c := newChild(t, childOptions{trackers: 40})
	c.start()
	if n := c.metric("trackchat_memory_limit_bytes"); n != floodLimit {
		t.Fatalf("a limit of %v bytes", n)
	}
	playDevice(t, c.ports[protocolOf(1)], 1, nil)
	works := func(device int) {
		t.Helper()
		playDevice(t, c.ports[protocolOf(device)], device, nil)
		for _, id := range []int{1, device} {
			c.client().delivered(id, c.client().send(id, "through the flood"))
		}
	}
	works(2)
	peak := 0.0
	watch := func() { peak = max(peak, c.metric("trackchat_memory_used_bytes")) }

	var wg sync.WaitGroup
	defer wg.Wait()
	piece := []byte(`{"hash":"` + strings.Repeat("0", 32) + `","message":"` + strings.Repeat("x",
		1000<<10))
	conns := make([]net.Conn, 400)
	for i := range conns {
		conn, err := net.Dial("tcp", c.ports["api"])
		must(t, err)
		defer func() { _ = conn.Close() }()
		conns[i] = conn
		wg.Go(func() {
			_, _ = fmt.Fprintf(conn,
				"POST /v2/tracker/chat/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 1<<20)
			_, _ = conn.Write(piece) // until it is cut off
		})
	}
	for device := 3; device < 13; device++ {
		works(device)
		watch()
	}
	if n := c.metric("trackchat_http_refused_total", `reason="bodies"`); n == 0 {
		t.Error("no body was refused")
	}
	for _, conn := range conns {
		_ = conn.Close()
	}

	var answered, told atomic.Int64
	logins := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	for i := range 1400 {
		wg.Go(func() {
			res, err := logins.PostForm("http://"+c.ports["api"]+"/v2/user/auth",
				url.Values{"login": {fmt.Sprintf("login%d", i)}, "password": {"x"}})
			if err != nil {
				return
			}
			defer func() { _ = res.Body.Close() }()
			body, _ := io.ReadAll(res.Body)
			if answered.Add(1); strings.Contains(string(body), `"code":15,`) {
				told.Add(1)
			}
		})
	}
	eventually(t, "full of logins", func() bool { return told.Load() > 0 })
	begin := time.Now()
	for device := 13; device < 23; device++ {
		works(device)
		watch()
	}
	t.Logf("20 texts delivered in %s, %.0f MiB of memory at most; of %d logins that were answered %d were told to come again",
		time.Since(begin), peak/(1<<20), answered.Load(), told.Load())
	if n := c.metric("trackchat_memory_short"); n != 0 {
		t.Error("memory is short")
	}
}
