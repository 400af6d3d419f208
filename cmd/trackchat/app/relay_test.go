package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/standin"
	"trackchat/gateway/trackersim"
)

// relayFile writes a configuration whose only listener has a tracking server behind it.
func relayFile(t *testing.T, dir, upstream string) string {
	t.Helper()
	directory := filepath.Join(dir, "directory.yaml")
	apptest.ReplaceFile(t, directory, []byte(apptest.DirectoryYAML(4)))
	file := filepath.Join(dir, "trackchat.yaml")
	apptest.ReplaceFile(t, file, fmt.Appendf(nil, `
store: {path: %q}
directory: {file: %q}
api: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
gateway:
  listeners:
    - protocol: wialon
      listen: "127.0.0.1:0"
      upstream: %s
`, filepath.Join(dir, "data"), directory, upstream))
	return file
}

func startRelay(t *testing.T, file string) *service {
	t.Helper()
	cfg, err := config.Load(file, nil)
	apptest.Must(t, err)
	return startService(t, cfg, func(a *App) { a.ConfigFile = file })
}

// TestRelayByConfiguration sees a listener's upstream be dialled as its configuration says, with
// TLS and the device's address, and texts be delivered beside it.
func TestRelayByConfiguration(t *testing.T) {
	dir := t.TempDir()
	ca := apptest.NewIdentity(t, nil, 1, time.Hour)
	id := apptest.NewIdentity(t, ca, 2, time.Hour)
	authorities := filepath.Join(dir, "ca.pem")
	ca.Write(t, authorities, "")
	tracking := apptest.TrackingServer(t, "wialon", standin.Options{Proxy: true, TLS: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{id.Cert.Raw}, PrivateKey: id.Key}},
		MinVersion:   tls.VersionTLS12,
	}})
	s := startRelay(t, relayFile(t, dir, fmt.Sprintf(
		`{address: %q, tls: true, server_name: localhost, ca: %q, proxy_protocol: 2}`,
		tracking.Addr(), authorities)))
	s.Device(2, func(o *trackersim.Options) { o.PositionEvery = 20 * time.Millisecond })
	s.API.Delivered(2, s.API.Send(2, "beside the tracking server"))
	apptest.Eventually(t, "positions at the tracking server", func() bool {
		return tracking.Figures().Positions > 3
	})
	d := tracking.Device(apptest.DeviceOf(2))
	if f := tracking.Figures(); f.Strays != 0 || f.Logins != 1 ||
		!strings.HasPrefix(d.Proxy, "\r\n\r\n\x00\r\nQUIT\n\x21\x11") {
		t.Errorf("%+v, header %q", f, d.Proxy)
	}
	if n := s.Figure("trackchat_relay_sessions"); n != "1" {
		t.Errorf("%s sessions are counted", n)
	}
}

// TestRelayReload sees the upstreams of a changed configuration be taken over at SIGHUP, and by
// themselves, for connections that come from then on; and nothing where the file cannot be read.
func TestRelayReload(t *testing.T) {
	dir := t.TempDir()
	first, second := apptest.TrackingServer(t, "wialon", standin.Options{}), apptest.TrackingServer(t, "wialon", standin.Options{})
	file := relayFile(t, dir, fmt.Sprintf(`{address: %q}`, first.Addr()))
	s := startRelay(t, file)
	s.Device(2, nil)
	apptest.Eventually(t, "login at the first server", func() bool { return first.Figures().Logins == 1 })

	apptest.ReplaceFile(t, file, []byte("gateway: ["))
	if err := s.App.Reload(t.Context()); err == nil {
		t.Error("a broken file is taken")
	}
	text, err := os.ReadFile(relayFile(t, dir, fmt.Sprintf(`{address: %q}`, second.Addr())))
	apptest.Must(t, err)
	apptest.Must(t, s.App.Reload(t.Context()))
	s.Device(4, nil)
	apptest.Eventually(t, "login at the second server", func() bool { return second.Figures().Logins == 1 })
	s.API.Delivered(2, s.API.Send(2, "over the connection from before"))
	if f := first.Figures(); f.Connections != 1 || f.Open != 1 {
		t.Errorf("the first server: %+v", f)
	}

	other := strings.Replace(string(text), "protocol: wialon", "protocol: egts", 1)
	apptest.ReplaceFile(t, file, []byte(other))
	if err := s.App.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("another protocol: %v", err)
	}
	relayFile(t, dir, "null")
	apptest.Must(t, s.App.readUpstreams(false)) // as the service does now and then
	nc, err := net.Dial("tcp", s.Addrs["wialon"])
	apptest.Must(t, err)
	defer func() { _ = nc.Close() }()
	_, err = nc.Write([]byte("#P#\r\n#L#" + apptest.DeviceOf(4) + ";NA\r\n"))
	apptest.Must(t, err)
	apptest.Eventually(t, "the gateway is the server itself", func() bool {
		return second.Figures().Open == 0 // by the takeover
	})
}
