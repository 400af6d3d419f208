package standin_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trackchat/gateway/standin"
	"trackchat/protocol"
	"trackchat/protocol/wialon"
)

type dialer struct{ net.Dialer }

func (d *dialer) dial(t *testing.T, addr string) (net.Conn, error) {
	t.Helper()
	return d.DialContext(t.Context(), "tcp", addr)
}

func TestOptions(t *testing.T) {
	p := wialon.New()
	for name, o := range map[string]standin.Options{
		"protocol": {Now: time.Now},
		"clock":    {Protocol: p},
		"record":   {Protocol: p, Now: time.Now, Record: -1},
		"delay":    {Protocol: p, Now: time.Now, Behaviour: standin.Behaviour{Delay: -1}},
		"address":  {Protocol: p, Now: time.Now, Listen: "127.0.0.1"},
	} {
		if s, err := standin.Start(t.Context(), o); err == nil {
			s.Close()
			t.Errorf("%s: it starts", name)
		}
	}
}

func TestBounds(t *testing.T) {
	s := start(t, standin.Options{MaxConns: 2, MaxDevices: 1, Record: 60})
	one, two := dial(t, s), dial(t, s)
	one.login("1")
	two.login("2")
	if _, err := dial(t, s).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a third connection: %v", err)
	}
	for range 2 {
		one.say(position)
		one.hear("#ASD#1\r\n")
	}
	for range 2 {
		one.say("#M#" + strings.Repeat("a", 40) + "\r\n")
		one.hear("#AM#1\r\n")
	}
	two.say(position)
	two.hear("#ASD#1\r\n")
	await(t, s, "the answers", func() bool { return s.Figures().Answered == 3 })
	f, d := s.Figures(), s.Device("1")
	if f.Closed != 1 || f.Positions != 3 || f.Texts != 2 || len(s.Connected()) != 1 {
		t.Errorf("figures %+v", f)
	}
	if len(d.Raw) != 60 || len(d.Packets) != 1 || len(d.Texts) != 1 || d.Positions != 2 {
		t.Errorf("recorded %+v", d)
	}
	if want := int(f.Bytes) - len("#L#2;NA\r\n"+position) - 60 + 2; d.Unrecorded != want {
		t.Errorf("%d unrecorded, want %d", d.Unrecorded, want)
	}
	for range 300 {
		one.say("#AM#1\r\n")
	}
	await(t, s, "acks", func() bool { return s.Figures().Strays == 300 })
	if n := len(s.Device("1").Acks); n != 256 {
		t.Errorf("%d acks are kept", n)
	}
}

// Answers that wait are bounded: then the server reads no more.
func TestManyAnswersWait(t *testing.T) {
	s := start(t, standin.Options{Behaviour: standin.Behaviour{Delay: time.Hour}})
	l := dial(t, s)
	l.say("#L#1;NA\r\n")
	more := []byte(strings.Repeat("#P#\r\n", 1<<12))
	waiting := func() int {
		return s.Figures().Kinds[protocol.KindHeartbeat] * len("#AP#\r\n")
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := l.Write(more); err != nil {
				ended <- err
				return
			}
		}
	}()
	const most = 1<<20 - len("#AL#1\r\n")
	await(t, s, "as many as there is room for", func() bool { return waiting() >= most })
	l.quiet()
	if n := waiting(); n > most+2*len(more) {
		t.Errorf("%d bytes of answers wait", n)
	}
	check(t, l.Close())
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the device could write to the end: %v", err)
	}
}

// What is no frame is recorded and not understood; connections that name nobody are one record.
func TestForeignBytes(t *testing.T) {
	s := start(t, standin.Options{Record: 1 << 21})
	l := dial(t, s)
	foreign := strings.Repeat("\x00\x01x", 1<<19)
	l.say(foreign + position)
	await(t, s, "the bytes", func() bool {
		return s.Figures().Bytes == int64(len(foreign)+len(position))
	})
	check(t, l.Close())
	await(t, s, "the end", func() bool { return s.Figures().Open == 0 })
	if d := s.Device(""); string(d.Raw) != foreign+position || s.Figures().Garbled == 0 {
		t.Errorf("%d bytes, figures %+v", len(d.Raw), s.Figures())
	}
}

func TestProxyHeaderAndTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	s := start(t, standin.Options{
		Proxy: true, TLS: &tls.Config{Certificates: web.TLS.Certificates}, Record: 1 << 10,
	})
	for _, header := range []string{
		"PROXY UNKNOWN\r\n",
		"PROXY TCP4 192.0.2.7 127.0.0.1 40000 6808\r\n",
		"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x9c\x40\x1a\x98",
	} {
		l := dial(t, s)
		l.say(header)
		secured := tls.Client(l.Conn, &tls.Config{RootCAs: roots, ServerName: "example.com"})
		l.Conn = secured
		l.login("1")
		s.Behave(standin.Behaviour{Deaf: true}) // which interrupts a read
		s.Behave(standin.Behaviour{})
		l.say(position)
		l.hear("#ASD#1\r\n")
		if d := s.Device("1"); d.Proxy != header || s.Figures().Proxy != header {
			t.Errorf("%q was recorded as %q", header, d.Proxy)
		}
		check(t, l.Close())
	}
	for _, wrong := range []string{
		"#L#1;NA\r\n#P#\r\n", "PROXY TCP4 " + strings.Repeat("1", 107),
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
	} {
		l := dial(t, s)
		l.say(wrong)
		if n, err := l.Read(make([]byte, 1)); err == nil {
			t.Errorf("%q: read %d bytes", wrong, n)
		}
	}
	if n := s.Figures().Logins; n != 4 {
		t.Errorf("%d logins", n)
	}
}
