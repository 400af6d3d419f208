package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/protocol/all"
	"trackchat/queue/queuetest"
)

// shippedBalancer is configs/haproxy.cfg with a certificate for localhost, which is returned too.
func shippedBalancer(t *testing.T) (conf string, authority *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	cert, key, both := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"),
		filepath.Join(dir, "tls.pem")
	apptest.Issue(t, cert, key, 1, time.Hour)
	apptest.Must(t, os.WriteFile(both, slices.Concat(readFile(t, cert), readFile(t, key)), 0o600))
	shippedPEM := mountOf(t, shippedCompose(t).Services["balancer"],
		"${TLS_PEM:?a file with certificate and key}")
	authority = x509.NewCertPool()
	authority.AppendCertsFromPEM(readFile(t, cert))
	return strings.ReplaceAll(string(readFile(t, apptest.Shipped("haproxy.cfg"))), shippedPEM, both),
		authority
}

// TestHAProxyTakesItsConfiguration as it is shipped.
func TestHAProxyTakesItsConfiguration(t *testing.T) {
	conf, _ := shippedBalancer(t)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	apptest.Must(t, os.WriteFile(file, []byte(conf), 0o600))
	if out, err := exec.Command("haproxy", "-c", "-f", file).CombinedOutput(); err != nil {
		t.Errorf("haproxy (Debian package haproxy): %v\n%s", err, out)
	}
}

// TestTLSEndsAtTheBalancer: the shipped configuration, moved to this machine's ports, takes clients
// and devices with TLS to a service that speaks none, and the service knows the device's own
// address.
func TestTLSEndsAtTheBalancer(t *testing.T) {
	t.Parallel()
	cfg := apptest.Config(t, 2)
	for i := range cfg.Gateway.Listeners {
		cfg.Gateway.Listeners[i].ProxyProtocol = []string{"127.0.0.0/8"}
	}
	s := startService(t, cfg)
	conf, authority := shippedBalancer(t)
	at := map[string]string{} // where a port of the file is found
	conf = regexp.MustCompile(`bind (:\d+)`).ReplaceAllStringFunc(conf,
		func(bind string) string {
			port := strings.TrimPrefix(bind, "bind ")
			at[port] = queuetest.FreeAddr(t)
			return "bind " + at[port]
		})
	for role, addr := range s.Addrs {
		port := ":8080"
		for _, l := range config.Default().Gateway.Listeners {
			if l.Protocol == role {
				port = l.Listen
			}
		}
		if role != "admin" {
			conf = regexp.MustCompile(`(server \w+) \w+`+port+`\b`).ReplaceAllString(conf,
				"$1 "+addr)
		}
	}
	_, adminPort, err := net.SplitHostPort(s.Addrs["admin"])
	apptest.Must(t, err)
	conf = strings.NewReplacer("check port 8081", "check port "+adminPort, "maxconn 400000",
		"maxconn 100").Replace(conf)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	apptest.Must(t, os.WriteFile(file, []byte(conf), 0o600))
	cmd := queuetest.DieWithParent(exec.Command("haproxy", "-f", file))
	cmd.Stderr = t.Output()
	apptest.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	secure := &tls.Config{RootCAs: authority, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	web := &http.Client{Timeout: apptest.Patience, Transport: &http.Transport{
		TLSClientConfig:   secure,
		DisableKeepAlives: true,
	}}
	apptest.Eventually(t, "answering with TLS", func() bool {
		res, err := web.Get("https://" + at[":8443"] + "/v2/tracker/chat/unread/count?hash=" +
			apptest.Key)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return err == nil && strings.Contains(string(body), `"success":true`)
	})
	device, err := tls.Dial("tcp", at[":30332"], secure)
	apptest.Must(t, err)
	t.Cleanup(func() { _ = device.Close() })
	_, err = io.WriteString(device, "#L#"+apptest.DeviceOf(2)+";NA\r\n")
	apptest.Must(t, err)
	if line, err := bufio.NewReader(device).ReadString('\n'); err != nil || line != "#AL#1\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	if _, body := s.Ask(http.MethodGet, "/admin/sessions"); !strings.Contains(body,
		`"remote":"`+device.LocalAddr().String()+`"`) {
		t.Errorf("the device is at %s, %s", device.LocalAddr(), body)
	}
}

// The image publishes the API and every protocol's port.
func TestImageExposesEveryPort(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	apptest.Must(t, err)
	_, after, _ := strings.Cut(string(data), "\nEXPOSE ")
	line, _, _ := strings.Cut(after, "\n")
	want := []string{"8080"}
	for _, p := range all.Protocols() {
		want = append(want, strconv.Itoa(p.Port))
	}
	if got := strings.Fields(line); !slices.Equal(got, want) {
		t.Errorf("the Dockerfile exposes %v, not %v", got, want)
	}
}

// The unit starts what the README installs, with what a gateway needs: descriptors, a place for its
// store, SIGHUP as reload.
func TestShippedUnit(t *testing.T) {
	data, err := os.ReadFile(apptest.Shipped("trackchat.service"))
	apptest.Must(t, err)
	lines := strings.Split(string(data), "\n")
	for _, want := range []string{
		"ExecStart=/usr/local/bin/trackchat serve --config /etc/trackchat/trackchat.yaml",
		"ExecReload=/bin/kill -HUP $MAINPID",
		"DynamicUser=yes", "StateDirectory=trackchat", "WorkingDirectory=%S/trackchat",
		"LimitNOFILE=1048576", "[Install]",
	} {
		found := false
		for _, line := range lines {
			found = found || line == want
		}
		if !found {
			t.Errorf("configs/trackchat.service has no line %q", want)
		}
	}
}
