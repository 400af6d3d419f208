package engine_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"trackchat/gateway/engine"
)

// for everything that must happen; nothing is expected to take that long.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kind is a kind of connection under test.
type kind struct {
	name string
	tls  bool
}

func kinds() []kind { return []kind{{"plain", false}, {"tls", true}} }

// make starts an engine.
func (kind) make(tb testing.TB, o engine.Options) engine.Engine {
	tb.Helper()
	e, err := engine.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// rig is an engine that serves one handler.
type rig struct {
	tb   testing.TB
	kind kind
	eng  engine.Engine
	addr string
	pool *x509.CertPool
}

func start(tb testing.TB, k kind, o engine.Options, h engine.Handler) *rig {
	tb.Helper()
	return startFront(tb, k, o, h, nil)
}

// startFront puts front, unless it is nil, before the handler's bytes. It returns when the engine
// accepts.
func startFront(tb testing.TB, k kind, o engine.Options, h engine.Handler,
	front *engine.Front,
) *rig {
	tb.Helper()
	accepting := &announced{
		Listener: listen(tb, "tcp", "127.0.0.1:0"),
		accepts:  make(chan struct{}),
	}
	var ln net.Listener = accepting
	if o.Loops == 0 {
		o.Loops = 2
	}
	r := &rig{tb: tb, kind: k, eng: k.make(tb, o), addr: ln.Addr().String()}
	var conf *tls.Config
	if k.tls {
		var cert tls.Certificate
		cert, r.pool = certificate(tb)
		conf = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	}
	switch {
	case front != nil:
		if front.TLS == nil {
			front.TLS = conf
		}
		front.Listener = ln
		ln = front
	case k.tls:
		ln = &engine.Front{Listener: ln, TLS: conf}
	}
	served := make(chan error, 1)
	go func() { served <- r.eng.Serve(ln, h) }()
	tb.Cleanup(func() {
		r.shutdown()
		if err := <-served; err != nil {
			tb.Errorf("Serve: %v", err)
		}
	})
	receive(tb, accepting.accepts, "Accept")
	return r
}

// announced is a listener that tells when it is first asked for a connection.
type announced struct {
	net.Listener
	once    sync.Once
	accepts chan struct{}
}

func (l *announced) Accept() (net.Conn, error) {
	l.once.Do(func() { close(l.accepts) })
	return l.Listener.Accept()
}

func listen(tb testing.TB, network, addr string) net.Listener {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

func (r *rig) shutdown() {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.eng.Shutdown(ctx); err != nil {
		r.tb.Errorf("Shutdown: %v", err)
	}
}

func (r *rig) dialTCP() net.Conn {
	r.tb.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		r.tb.Fatal(err)
	}
	return nc
}

// dial connects a peer; tcp gives access to the connection beneath TLS.
func (r *rig) dial() net.Conn {
	r.tb.Helper()
	return r.secure(r.dialTCP())
}

// secure performs the handshake where there is TLS.
func (r *rig) secure(nc net.Conn) net.Conn {
	r.tb.Helper()
	if !r.kind.tls {
		return nc
	}
	tc := tls.Client(nc, &tls.Config{
		RootCAs: r.pool, ServerName: "localhost",
		MinVersion: tls.VersionTLS13,
	})
	if err := tc.HandshakeContext(context.Background()); err != nil {
		r.tb.Fatal(err)
	}
	return tc
}

func tcp(nc net.Conn) *net.TCPConn {
	if u, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = u.NetConn()
	}
	return nc.(*net.TCPConn)
}

func certificate(tb testing.TB) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// script is a handler made of functions. It holds the engine to the order of calls.
type script struct {
	tb    testing.TB
	open  func(engine.Conn)
	data  func(engine.Conn, []byte) int
	close func(engine.Conn, error)
	admit func(netip.AddrPort) bool

	opened   chan engine.Conn
	ends     chan end
	refusals chan refusal
	lives    sync.Map // Conn → *life
}

type life struct{ busy, closes atomic.Int32 }

type end struct {
	c   engine.Conn
	err error
}

func newScript(tb testing.TB) *script {
	tb.Helper()
	return &script{
		tb: tb, opened: make(chan engine.Conn, 10_000), ends: make(chan end, 10_000),
		refusals: make(chan refusal, 10_000),
	}
}

type refusal struct {
	peer netip.AddrPort
	err  error
}

func (s *script) enter(c engine.Conn) *life {
	v, ok := s.lives.Load(c)
	if !ok {
		s.tb.Errorf("connection of %s: called before OnOpen", c.RemoteAddr())
		return &life{}
	}
	l, _ := v.(*life)
	if l.busy.Add(1) != 1 {
		s.tb.Errorf("connection of %s: overlapping calls", c.RemoteAddr())
	}
	if l.closes.Load() != 0 {
		s.tb.Errorf("connection of %s: called after OnClose", c.RemoteAddr())
	}
	return l
}

func (s *script) OnOpen(c engine.Conn) {
	if _, again := s.lives.LoadOrStore(c, &life{}); again {
		s.tb.Errorf("connection of %s: opened twice", c.RemoteAddr())
	}
	defer s.enter(c).busy.Add(-1)
	s.opened <- c
	if s.open != nil {
		s.open(c)
	}
}

func (s *script) OnData(c engine.Conn, buf []byte) int {
	defer s.enter(c).busy.Add(-1)
	if len(buf) == 0 {
		s.tb.Errorf("connection of %s: OnData without data", c.RemoteAddr())
	}
	if s.data == nil {
		return len(buf)
	}
	return s.data(c, buf)
}

func (s *script) OnClose(c engine.Conn, err error) {
	l := s.enter(c)
	defer l.busy.Add(-1)
	l.closes.Add(1)
	s.ends <- end{c, err}
	if s.close != nil {
		s.close(c, err)
	}
}

func (s *script) Refused(peer netip.AddrPort, cause error) { s.refusals <- refusal{peer, cause} }

func (s *script) Admit(peer netip.AddrPort) bool { return s.admit == nil || s.admit(peer) }

func receive[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		tb.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

// eventually waits for a condition that no channel announces.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("%s: did not come about", what)
		}
	}
}

func send(tb testing.TB, nc io.Writer, p []byte) {
	tb.Helper()
	if _, err := nc.Write(p); err != nil {
		tb.Fatal(err)
	}
}

func expect(tb testing.TB, nc io.Reader, want string) {
	tb.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(nc, got); err != nil || string(got) != want {
		tb.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// busy says whether a call is under way.
func (s *script) busy() bool {
	busy := false
	s.lives.Range(func(_, v any) bool {
		l, _ := v.(*life)
		busy = busy || l.busy.Load() != 0
		return true
	})
	return busy
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
