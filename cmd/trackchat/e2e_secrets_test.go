package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// records is a log to look into.
type records struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// TestSecretsAreNeverLogged runs everything that carries a key, a password or a text, at debug
// level: none of them is in the log or in the audit, and no answer repeats what was sent.
func TestSecretsAreNeverLogged(t *testing.T) {
	const devicePassword, userPassword, down, up, wrong, adminToken = "Canary-device",
		"Canary-user", "Canary-down", "Canary-up", "Canary-wrong", "Canary-token"
	cfg := apptest.Config(t, 2)
	cfg.Admin.Token = adminToken
	yaml := strings.ReplaceAll(apptest.DirectoryYAML(2), "password: demo", "password: "+userPassword)
	yaml = strings.Replace(yaml, "protocol: wialon,",
		"protocol: wialon, password: "+devicePassword+",", 1)
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(yaml), 0o600))
	var log records
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
		zapcore.AddSync(&log), zapcore.DebugLevel)
	app, err := app.New(cfg, zap.New(core))
	apptest.Must(t, err)
	apptest.Must(t, app.Start(t.Context()))
	stop := sync.OnceFunc(func() { apptest.Must(t, app.Stop(context.Background())) })
	t.Cleanup(stop)
	base := "http://" + app.Addrs()["api"].String() + "/v2/"
	var answers []string
	ask := func(method, target, body, contentType string, header ...string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
		apptest.Must(t, err)
		req.Header.Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := apptest.HTTP.Do(req)
		apptest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		apptest.Must(t, err)
		return string(b)
	}
	const form, json = "application/x-www-form-urlencoded", "application/json"
	device := func(login string) net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", app.Addrs()["wialon"].String())
		apptest.Must(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		apptest.Must(t, nc.SetDeadline(time.Now().Add(apptest.Patience)))
		_, err = io.WriteString(nc, login)
		apptest.Must(t, err)
		return nc
	}
	hears := func(nc net.Conn, want string) {
		t.Helper()
		var got []byte
		for chunk := make([]byte, 1024); !bytes.Contains(got, []byte(want)); {
			n, err := nc.Read(chunk)
			if err != nil {
				t.Fatalf("device: %q, %v, want %q", got, err, want)
			}
			got = append(got, chunk[:n]...)
		}
	}
	nc := device(fmt.Sprintf("#L#%s;%s\r\n", apptest.DeviceOf(2), devicePassword))
	hears(nc, "#AL#1")
	hears(device(fmt.Sprintf("#L#%s;%s\r\n", apptest.DeviceOf(2), wrong)), "#AL#")
	if got := ask("POST", base+"tracker/chat/send", url.Values{
		"hash":       {apptest.Key},
		"tracker_id": {"2"}, "message": {down},
	}.Encode(), form); !strings.Contains(got,
		`"success":true`) {
		t.Fatalf("send: %s", got)
	}
	hears(nc, down)
	_, err = io.WriteString(nc, "#AM#1\r\n#M#"+up+"\r\n#?"+wrong+"#x\r\n")
	apptest.Must(t, err)
	hears(nc, "#AM#1")
	login := ask("POST", base+"user/auth", url.Values{
		"login":    {"demo"},
		"password": {userPassword},
	}.Encode(), form)
	_, session, _ := strings.Cut(login, `"hash":"`)
	session, _, found := strings.Cut(session, `"`)
	if !found || len(session) < 16 {
		t.Fatalf("user/auth: %s", login)
	}
	ask("POST", base+"tracker/list", "hash="+session, form)
	for _, a := range []struct{ method, target, body, kind string }{
		{
			"POST", base + "user/auth",
			url.Values{"login": {"nobody"}, "password": {wrong}}.Encode(),
			form,
		},
		{"POST", base + "tracker/chat/send", url.Values{
			"hash": {wrong}, "tracker_id": {"2"},
			"message": {wrong},
		}.Encode(), form},
		{"POST", base + "tracker/chat/send", url.Values{
			"hash": {apptest.Key}, "tracker_id": {wrong},
			"message": {wrong},
		}.Encode(), form},
		{
			"POST", base + "tracker/chat/send", `{"hash":"` + apptest.Key + `","tracker_id":"` + wrong,
			json,
		},
		{"POST", base + "tracker/chat/list", url.Values{
			"hash": {apptest.Key}, "tracker_id": {"2"},
			"from": {wrong},
		}.Encode(), form},
		{"GET", base + "tracker/chat/" + wrong + "?hash=" + apptest.Key, "", form},
	} {
		answers = append(answers, ask(a.method, a.target, a.body, a.kind))
	}
	admin := "http://" + app.Addrs()["admin"].String()
	audit := ask("GET", admin+"/admin/audit", "", form, "Authorization", "Bearer "+adminToken)
	if !strings.Contains(audit, `"nobody"`) || strings.Contains(audit, session) ||
		strings.Contains(audit, "argon2") {
		t.Errorf("the audit is %s", audit)
	}
	answers = append(answers, audit, ask("GET", admin+"/admin/trackers", "", form, "Authorization",
		"Bearer "+wrong), ask("GET", admin+"/debug/pprof/", "", form))
	if got := ask("GET", admin+"/debug/pprof/cmdline", "", form, "Authorization",
		"Bearer "+adminToken); got == "" {
		t.Error("no profile for the token")
	}
	if got := ask("GET", strings.TrimSuffix(base, "v2/")+"debug/pprof/", "", form, "Authorization",
		"Bearer "+adminToken); strings.Contains(got, "goroutine") {
		t.Error("profiles on the API's listener")
	}
	for _, got := range answers {
		if strings.Contains(got, "Canary") {
			t.Errorf("an answer repeats what was sent: %s", got)
		}
	}
	stop()
	seen := log.String()
	for _, is := range []string{
		`"debug"`, "device refused", `"logger":"audit","msg":"user/auth"`, `"actor_name":"nobody"`,
		`"msg":"admin/auth"`, `"msg":"directory/import"`,
	} {
		if !strings.Contains(seen, is) {
			t.Fatalf("nothing of %s to look into: %d bytes", is, len(seen))
		}
	}
	for _, secret := range []string{"Canary", apptest.Key, session} {
		for line := range strings.Lines(seen) {
			if strings.Contains(line, secret) {
				t.Errorf("logged %s: %s", secret, line)
			}
		}
	}
}
