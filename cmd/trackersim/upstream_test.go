package main

import (
	"context"
	"net"
	"regexp"
	"strings"
	"testing"
)

// upstreamRun is a stand-in that runs as a command.
type upstreamRun struct {
	addr      string
	out, errs buffer
	stop      context.CancelFunc
	code      chan int
}

// startUpstream runs it until the test stops it.
func startUpstream(t *testing.T, args ...string) *upstreamRun {
	t.Helper()
	u := &upstreamRun{code: make(chan int, 1)}
	var ctx context.Context
	ctx, u.stop = context.WithCancel(t.Context())
	t.Cleanup(u.stop)
	go func() {
		u.code <- run(ctx, append([]string{"upstream", "--listen", "127.0.0.1:0"}, args...),
			&u.out, &u.errs)
	}()
	awaitLine(t, &u.out, "\n")
	u.addr = regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(u.out.String())
	return u
}

// end stops it and returns its exit code and its output.
func (u *upstreamRun) end() (code int, out string) {
	u.stop()
	code = <-u.code
	return code, u.out.String()
}

// startFleet plays trackers against it.
func startFleet(t *testing.T, args ...string) (out *buffer, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out = new(buffer)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx, args, out, out)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return out, stop
}

func TestUpstream(t *testing.T) {
	u := startUpstream(t, "--protocol", "jt808", "--text-every", "50ms", "--text", "Call in",
		"--refuse", "013800000003,77", "--delay", "1ms", "--setting", "part_bytes=100")
	fleet, stop := startFleet(t, "--protocol", "jt808", "--devices", "3", "--gateway", u.addr,
		"--position-every", "20ms", "--reply", "Yes")
	awaitLine(t, &u.out, "connections 2  logins 2  positions ")
	awaitLine(t, fleet, "online 2/3")
	awaitLine(t, fleet, "said ")
	stop()
	if !strings.Contains(fleet.String(), "position out to its answer in    p50 ") {
		t.Errorf("no answer to a position in %s", fleet.String())
	}
	code, out := u.end()
	if code != exitOK || u.errs.String() != "" {
		t.Errorf("exit code %d, %s", code, u.errs.String())
	}
	for name, want := range map[string]int{
		"logins": 2, "connections over the limit": 0, "acks of texts of others": 0,
		"frames that could not be read": 0, "times away": 0, "texts that could not be sent": 0,
	} {
		if got := figure(t, out, name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	for _, name := range []string{
		"logins refused", "positions", "positions answered", "texts sent", "acknowledged",
		"delivered", "driver's texts",
	} {
		if figure(t, out, name) == 0 {
			t.Errorf("none: %s", name)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestUpstreamDies(t *testing.T) {
	for _, dying := range [][]string{{"--die-after", "10"}, {"--die-every", "20ms"}} {
		u := startUpstream(t, append(dying, "--protocol", "wialon", "--away", "1ms")...)
		fleet, stop := startFleet(t, "--protocol", "wialon", "--devices", "2", "--gateway", u.addr,
			"--position-every", "5ms")
		awaitLine(t, &u.out, "away ")
		awaitLine(t, fleet, "lost ")
		stop()
		code, out := u.end()
		if code != exitOK || u.errs.String() != "" || figure(t, out, "times away") == 0 ||
			figure(t, out, "logins") < 2 {
			t.Errorf("%v: exit code %d, %s, %s", dying, code, u.errs.String(), out)
		}
	}
}

func TestUpstreamAlone(t *testing.T) {
	var out, errs buffer
	if code := run(t.Context(), []string{
		"upstream", "--protocol", "egts", "--listen", "127.0.0.1:0", "--duration", "10ms",
	}, &out, &errs); code != exitNobody || figure(t, out.String(), "connections") != 0 ||
		!strings.Contains(errs.String(), "no device logged in") {
		t.Errorf("exit code %d, %s, %s", code, out.String(), errs.String())
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	defer func() { check(t, ln.Close()) }()
	var taken buffer
	if code := run(t.Context(), []string{
		"upstream", "--protocol", "egts", "--listen", ln.Addr().String(),
	}, &out, &taken); code != exitNobody || !strings.Contains(taken.String(), "address already") {
		t.Errorf("exit code %d, %s", code, taken.String())
	}
}

func TestUpstreamShowsProxyHeaders(t *testing.T) {
	u := startUpstream(t, "--protocol", "wialon", "--proxy", "--silent")
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.addr)
	check(t, err)
	defer func() { check(t, c.Close()) }()
	const header = "PROXY TCP4 192.0.2.7 127.0.0.1 40000 20332\r\n"
	_, err = c.Write([]byte(header + "#L#1;NA\r\n"))
	check(t, err)
	awaitLine(t, &u.out, "connections 1  logins 1")
	if code, out := u.end(); code != exitOK ||
		!strings.Contains(out, `last PROXY header: "PROXY TCP4 192.0.2.7 `) {
		t.Errorf("exit code %d, %s", code, out)
	}
}
