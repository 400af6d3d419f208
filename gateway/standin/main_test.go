package standin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"trackchat/gateway/standin"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/wialon"

	"go.uber.org/goleak"
)

// patience bounds every wait; it is long because it only passes when something is broken.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// start runs a server with the protocol's own settings, by default for Wialon IPS.
func start(t *testing.T, o standin.Options) *standin.Server {
	t.Helper()
	if o.Protocol == nil {
		o.Protocol = wialon.New()
	}
	var err error
	o.Settings, err = o.Protocol.NewSettings()
	check(t, err)
	o.Now = time.Now
	s, err := standin.Start(t.Context(), o)
	check(t, err)
	t.Cleanup(s.Close)
	return s
}

func await(t *testing.T, s *standin.Server, what string, ok func() bool) {
	t.Helper()
	if err := s.Await(patient(t), ok); err != nil {
		t.Fatalf("waiting for %s: %v; %+v", what, err, s.Figures())
	}
}

// line is a device that speaks Wialon IPS 1.1, line by line.
type line struct {
	t *testing.T
	net.Conn
}

func dial(t *testing.T, s *standin.Server) line {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr())
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	check(t, c.SetDeadline(time.Now().Add(patience)))
	return line{t, c}
}

func (l line) say(text string) {
	l.t.Helper()
	_, err := io.WriteString(l, text)
	check(l.t, err)
}

// hear reads exactly what is wanted.
func (l line) hear(want string) {
	l.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(l, got); err != nil || string(got) != want {
		l.t.Fatalf("heard %q (%v), want %q", got[:n], err, want)
	}
}

func (l line) login(id string) {
	l.t.Helper()
	l.say("#L#" + id + ";NA\r\n")
	l.hear("#AL#1\r\n")
}

// quiet finds that nothing comes for a moment: a server that speaks fails it, a slow one may not.
func (l line) quiet() {
	l.t.Helper()
	check(l.t, l.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if n, err := l.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Fatalf("read %d bytes, %v", n, err)
	}
	check(l.t, l.SetReadDeadline(time.Now().Add(patience)))
}

const position = "#SD#030226;040506;3352.0000;S;15112.0000;E;0;0;10;9\r\n"

// play runs a simulated tracker until the test ends.
func play(t *testing.T, o trackersim.Options) *trackersim.Tracker {
	t.Helper()
	var err error
	o.Now = time.Now
	o.Device.Settings, err = o.Protocol.NewSettings()
	check(t, err)
	tr := trackersim.New(o)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		check(t, <-ended)
	})
	return tr
}

// lines are so many positions, each told from the others by its altitude.
func lines(n int) (all []string) {
	for i := range n {
		all = append(all, strings.Replace(position, ";10;9", fmt.Sprintf(";%d;9", i), 1))
	}
	return all
}

func result(r protocol.Result) func(string, *protocol.Event) protocol.Result {
	return func(string, *protocol.Event) protocol.Result { return r }
}
