package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/cmd/trackersim/load"
	"trackchat/gateway"
)

// service is a whole service in this process: API, gateway and embedded store.
type service struct {
	api, gateway string
	key          string
}

// startService serves the devices of directory; change may alter the file first.
func startService(t *testing.T, protocolName string, devices int, change func(*directoryFile),
	ackTimeout ...time.Duration,
) service {
	t.Helper()
	_, file := directory(t, "--protocol", protocolName, "--devices", strconv.Itoa(devices))
	if change != nil {
		change(&file)
	}
	store, known, addr := startDevices(t, protocolName, file,
		gateway.Options{AckTimeout: ackTimeout})
	h := api.New(api.Options{
		Store: store, Sessions: store, Accounts: store, Feed: store, Directory: known,
		Now:     time.Now,
		Timeout: patience, MaxBody: 1 << 20,
	})
	t.Cleanup(h.Close)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return service{api: srv.URL, gateway: addr, key: file.Accounts[0].Keys[0]}
}

// load runs the subcommand against the service and returns its report, which is the last line of
// its output.
func (s service) load(t *testing.T, wantCode int, args ...string) (r load.Report, out string) {
	t.Helper()
	var stdout, stderr buffer
	code := run(t.Context(), append([]string{
		"load", "--api", s.api, "--gateway", s.gateway,
		"--drain", "30s", "--login-within", "30s", "--quiet",
	}, args...), &stdout, &stderr)
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if code != wantCode || json.Unmarshal([]byte(lines[len(lines)-1]), &r) != nil {
		t.Fatalf("exit code %d, want %d\n%s\n%s", code, wantCode, stdout.String(), stderr.String())
	}
	return r, stdout.String()
}

// counts are the figures of a report that a test compares.
type counts struct {
	Sent, Accepted, Written, Acked, Delivered, Pending, Lost, Unproven, Duplicated,
	OutOfOrder, Unanswered int64
}

func countsOf(r *load.Report) counts {
	return counts{
		r.Sent, r.Accepted, r.Written, r.Acked, r.Delivered, r.Pending, r.Lost,
		r.Unproven, r.Duplicated, r.OutOfOrder, r.Unanswered,
	}
}

func everything(n int64) counts {
	return counts{Sent: n, Accepted: n, Written: n, Acked: n, Delivered: n}
}

func TestLoadAccountsForEveryMessage(t *testing.T) {
	for name, c := range map[string]struct {
		protocol string
		args     []string
		want     int64
		storm    bool
	}{
		"single sends": {"jt808", []string{
			"--rate", "200", "--duration", "1s",
			"--heartbeat-every", "100ms",
		}, 200, false},
		"broadcasts": {"jt808", []string{
			"--rate", "300", "--duration", "1s", "--broadcast",
			"10",
		}, 300, false},
		"texts of parts": {"jt808", []string{
			"--rate", "40", "--duration", "1s", "--size",
			"4000",
		}, 40, false},
		"unnumbered acks": {"wialon", []string{"--rate", "100", "--duration", "1s"}, 100, false},
		"another protocol": {"teltonika", []string{
			"--rate", "100", "--duration", "1s", "--size",
			"600",
		}, 100, false},
		"a storm": {"jt808", []string{
			"--storm", "3", "--broadcast", "7", "--connect-rate",
			"10000",
		}, 56, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t, c.protocol, 20, nil)
			plot := filepath.Join(t.TempDir(), "out.svg")
			args := append([]string{
				"--protocol", c.protocol, "--trackers", "1-20", "--pid",
				strconv.Itoa(os.Getpid()), "--plot", plot, "--source", "127.0.0.1,127.0.0.2",
			},
				c.args...)
			r, out := s.load(t, exitOK, args...)
			want := everything(c.want)
			if c.storm {
				want = everything(63) // 3 for each of 20, filled up to whole broadcasts of 7
			}
			if got := countsOf(&r); got != want {
				t.Errorf("%+v, want %+v\n%s", got, want, out)
			}
			if r.LoggedIn != 20 || r.ToDevice.Count != r.Written || r.ToDevice.P50 <= 0 ||
				r.ToDevice.P99 < r.ToDevice.P50 || len(r.Processes) != 1 ||
				r.Processes[0].RSS < 1<<20 {
				t.Errorf("%+v", r)
			}
			if c.storm != (r.StormSeconds > 0) {
				t.Errorf("storm of %v s", r.StormSeconds)
			}
			if !strings.Contains(out, "DELIVERED as listed") {
				t.Errorf("no table in %s", out)
			}
			svg, err := os.ReadFile(plot)
			check(t, err)
			check(t, xml.Unmarshal(svg, new(struct{ XMLName xml.Name })))
		})
	}
}

// TestLoadCountsRepetitions has a gateway that repeats what is not acknowledged, as it must.
func TestLoadCountsRepetitions(t *testing.T) {
	s := startService(t, "jt808", 4, nil, 50*time.Millisecond, time.Minute)
	r, out := s.load(t, exitOK, "--protocol", "jt808", "--trackers", "1-4", "--rate", "4",
		"--duration", "2s", "--no-ack", "100%")
	if r.Written != 4 || r.Repeated == 0 || r.Duplicated+r.Acked+r.Delivered+r.Lost != 0 {
		t.Errorf("%+v\n%s", r, out)
	}
}

// TestLoadWithDevicesThatDoNotTakePart has devices that never acknowledge and such that read
// nothing.
func TestLoadWithDevicesThatDoNotTakePart(t *testing.T) {
	s := startService(t, "jt808", 16, nil)
	const each = 10 // texts for each device
	r, out := s.load(t, exitOK, "--protocol", "jt808", "--trackers", "1-16", "--rate",
		strconv.Itoa(16*each), "--duration", "1s", "--no-ack", "25%", "--no-read", "25%")
	idle := r.Pending / each
	if idle < 6 || idle > 10 || r.Pending%each != 0 || r.Accepted != 16*each {
		t.Errorf("%d pending of %d", r.Pending, r.Accepted)
	}
	if r.Acked != r.Accepted-r.Pending || r.Delivered != r.Acked ||
		r.Lost+r.Unproven+r.Duplicated != 0 {
		t.Errorf("%+v\n%s", r, out)
	}
	if r.Written <= r.Acked || r.ToDevice.Count != r.Acked {
		t.Errorf("%d written, %d acked, %d measured", r.Written, r.Acked, r.ToDevice.Count)
	}
}

// TestLoadCountsRefusals has queues that run full and a tracker without a chat.
func TestLoadCountsRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want map[string]int64
	}{
		"single sends": {nil, map[string]int64{"236": 60, "267": 7 * (60 - maxPending)}},
		"broadcasts": {
			[]string{"--broadcast", "8", "--trackers", "9-16"},
			map[string]int64{"not_sent_to": 8 * (60 - maxPending)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t, "jt808", 16, func(f *directoryFile) {
				f.Trackers[3].Features = nil
			})
			args := append([]string{
				"--protocol", "jt808", "--trackers", "1-8", "--rate", "480",
				"--duration", "1s", "--no-ack", "100%",
			}, c.args...)
			r, out := s.load(t, exitOK, args...)
			if !maps.Equal(r.Refused, c.want) {
				t.Errorf("refused %v, want %v\n%s", r.Refused, c.want, out)
			}
			var all int64
			for _, n := range r.Refused {
				all += n
			}
			if r.Sent != 480 || r.Accepted != 480-all || r.Pending != r.Accepted ||
				r.Delivered+r.Lost+r.Acked != 0 || r.Written == 0 {
				t.Errorf("%+v\n%s", r, out)
			}
		})
	}
}

// tampered puts a proxy in front of the API that answers requests itself or changes the lists,
// whose length it leaves open, so that they come in chunks.
func (s service) tampered(t *testing.T, own func(http.ResponseWriter, *http.Request) bool,
	list func([]map[string]any),
) service {
	t.Helper()
	target, err := url.Parse(s.api)
	check(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	proxy.ModifyResponse = func(resp *http.Response) error {
		if list == nil || !strings.HasSuffix(resp.Request.URL.Path, "/chat/list") {
			return nil
		}
		var a struct {
			Success bool             `json:"success"`
			List    []map[string]any `json:"list"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			return err
		}
		list(a.List)
		body, err := json.Marshal(a)
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
		resp.Header.Del("Content-Length")
		return err
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if own == nil || !own(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	s.api = srv.URL
	return s
}

// TestLoadSeesWhatIsWrong has services that break each promise.
func TestLoadSeesWhatIsWrong(t *testing.T) {
	args := []string{
		"--protocol", "jt808", "--trackers", "1-10", "--rate", "100", "--duration",
		"1s",
	}
	var n atomic.Int64
	for name, c := range map[string]struct {
		own  func(http.ResponseWriter, *http.Request) bool
		list func([]map[string]any)
		args []string
		seen func(*load.Report) int64
		want int64
	}{
		"accepted and not stored": {
			own: func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/send") || n.Add(1)%10 != 0 {
					return false
				}
				_, _ = io.WriteString(w, `{"success":true,"id":1}`)
				return true
			},
			seen: func(r *load.Report) int64 { return r.Lost }, want: 10,
		},
		"delivered without an ack": {
			list: func(list []map[string]any) {
				for _, m := range list {
					m["status"] = "DELIVERED"
				}
			},
			args: []string{"--no-ack", "100%"},
			seen: func(r *load.Report) int64 { return r.Unproven }, want: 100,
		},
		"acknowledged and not delivered": {
			list: func(list []map[string]any) {
				for _, m := range list {
					m["status"] = "PENDING"
				}
			},
			seen: func(r *load.Report) int64 { return r.Lost }, want: 100,
		},
		"out of order": {
			list: func(list []map[string]any) {
				list[0]["text"], list[1]["text"] = list[1]["text"],
					list[0]["text"]
			},
			seen: func(r *load.Report) int64 { return r.OutOfOrder }, want: 10,
		},
		"stored twice": {
			list: func(list []map[string]any) { list[1]["text"] = list[0]["text"] },
			seen: func(r *load.Report) int64 { return r.Duplicated }, want: 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t, "jt808", 10, nil).tampered(t, c.own, c.list)
			r, out := s.load(t, exitBroken, append(args, c.args...)...)
			if got := c.seen(&r); got != c.want || r.Sent != 100 {
				t.Errorf("%d seen, want %d\n%s", got, c.want, out)
			}
		})
	}
}

// TestLoadCountsDuplicates has a network between gateway and devices that delivers every text
// twice.
func TestLoadCountsDuplicates(t *testing.T) {
	s := startService(t, "jt808", 5, nil)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	echoes, target := make(chan struct{}), s.gateway
	go func() {
		defer close(echoes)
		for {
			device, err := ln.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				_ = device.Close()
				continue
			}
			go func() { _, _ = io.Copy(up, device); _ = up.Close() }()
			go func() { _, _ = io.Copy(twice{device}, up); _ = device.Close() }()
		}
	}()
	t.Cleanup(func() { check(t, ln.Close()); <-echoes })
	s.gateway = ln.Addr().String()
	r, out := s.load(t, exitBroken, "--protocol", "jt808", "--trackers", "1-5", "--rate", "50",
		"--duration", "1s")
	want := everything(50)
	if want.Duplicated = 50; countsOf(&r) != want {
		t.Errorf("%+v\n%s", countsOf(&r), out)
	}
}

// twice writes every text two times.
type twice struct{ w io.Writer }

func (t twice) Write(p []byte) (int, error) {
	out := bytes.Clone(p)
	if bytes.Contains(p, []byte("#")) {
		out = append(out, p...)
	}
	_, err := t.w.Write(out)
	return len(p), err
}

// TestLoadOutlivesLostAnswers has connections to the API that break when a request has come.
func TestLoadOutlivesLostAnswers(t *testing.T) {
	var n atomic.Int64
	s := startService(t, "jt808", 5, nil).tampered(t, func(_ http.ResponseWriter,
		r *http.Request,
	) bool {
		if strings.HasSuffix(r.URL.Path, "/send") && n.Add(1)%10 == 0 {
			panic(http.ErrAbortHandler)
		}
		return false
	}, nil)
	r, out := s.load(t, exitOK, "--protocol", "jt808", "--trackers", "1-5", "--rate", "100",
		"--duration", "1s", "--connections", "3")
	want := everything(100)
	want.Accepted, want.Written, want.Acked, want.Delivered, want.Unanswered = 90, 90, 90, 90, 10
	if countsOf(&r) != want {
		t.Errorf("%+v\n%s", countsOf(&r), out)
	}
}

// TestLoadUsesAllItsConnections asks over each of its connections in turn. One that is used too
// rarely is closed by the service, maybe in the moment that the next request is on its way.
func TestLoadUsesAllItsConnections(t *testing.T) {
	const connections = 8
	var mu sync.Mutex
	used := make(map[string]int)
	s := startService(t, "jt808", 5, nil).tampered(t, func(_ http.ResponseWriter,
		r *http.Request,
	) bool {
		if strings.HasSuffix(r.URL.Path, "/send") {
			mu.Lock()
			used[r.RemoteAddr]++
			mu.Unlock()
		}
		return false
	}, nil)
	s.load(t, exitOK, "--protocol", "jt808", "--trackers", "1-5", "--rate", "40", "--duration",
		"1s", "--connections", strconv.Itoa(connections))
	mu.Lock()
	defer mu.Unlock()
	// On a busy machine one may not come to its turn; the newest alone would be one or two.
	if len(used) <= connections/2 {
		t.Errorf("%d of %d connections are used: %v", len(used), connections, used)
	}
}

// TestLoadCutShort is interrupted in the middle, and still tells what became of what it had sent.
func TestLoadCutShort(t *testing.T) {
	s := startService(t, "jt808", 5, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout, stderr buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{
			"load", "--protocol", "jt808", "--api", s.api, "--gateway",
			s.gateway, "--trackers", "1-5", "--rate", "50", "--duration", "10m",
		}, &stdout, &stderr)
	}()
	awaitTrue(t, func() bool {
		return regexp.MustCompile(`acked [1-9]`).MatchString(
			stderr.String())
	}, &stderr)
	interrupt()
	var r load.Report
	if c := <-code; c != exitOK ||
		json.Unmarshal([]byte(stdout.String()[strings.LastIndex(strings.TrimSpace(stdout.String()),
			"\n")+1:]), &r) != nil {
		t.Fatalf("exit code %d\n%s", c, stdout.String())
	}
	if r.Sent == 0 || r.Sent >= 30_000 || r.Accepted != r.Sent || r.Delivered != r.Acked ||
		r.Lost+r.Unanswered != 0 {
		t.Errorf("%+v", r)
	}
}

func TestLoadRefusesWhatMakesNoRun(t *testing.T) {
	s := startService(t, "jt808", 5, nil)
	for args, c := range map[string]struct {
		code int
		want string
	}{
		"--trackers 1-5 --rate -1": {exitMisused, "rate -1"},
		"--rate 1": {
			exitMisused,
			"--trackers is missing",
		},
		"--trackers 5-1": {exitMisused, "not FROM-TO"},
		"--trackers 1-5 --broadcast 6": {
			exitMisused,
			"no more than there are",
		},
		"--trackers 1-5 --size 10": {exitMisused, "size 10"},
		"--trackers 1-5 --rate 5 --storm 2": {
			exitMisused,
			"--storm replaces --rate",
		},
		"--trackers 1-5 --no-ack 60% --no-read 60%": {
			exitMisused,
			"exceed the whole",
		},
		"--trackers 1-5 --api https://127.0.0.1:1": {exitMisused, "plain http"},
		"--trackers 1-5 --rate 1000000 --duration 1h": {
			exitMisused,
			"more than 20000000 messages",
		},
		"--trackers 1-900000": {
			exitMisused,
			"divide --trackers",
		},
		"--trackers 1-5 --pid 999999999": {
			exitNobody,
			"process 999999999",
		},
		"--trackers 1-5 --key 00000000000000000000000000000000": {exitNobody, "error 4 "},
		"--trackers 1-6": {exitNobody, "error 217 "},
		"--trackers 1-5 --api http://127.0.0.1:1": {exitNobody, "asking the API"},
		"--trackers 1-5 --rate 1 --first-id 13900000001 --key HASH": {
			exitNobody,
			"no device could log in",
		},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr buffer
			line := strings.Fields("load --protocol jt808 --duration 1s --quiet --api " + s.api +
				" --gateway " + s.gateway + " " + strings.Replace(args, "HASH", s.key, 1))
			if strings.Contains(args, "first-id") {
				line = append(line, "--login-within", "500ms")
			}
			if code := run(t.Context(), line, &stdout, &stderr); code != c.code ||
				!strings.Contains(stderr.String(), c.want) {
				t.Errorf("exit code %d, %s", code, stderr.String())
			}
		})
	}
}
