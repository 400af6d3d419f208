package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"trackchat/cmd/trackchat/apptest"
)

// TestOperationsViewShowsTheAudit newest first, goes on from what it has, and takes no text for
// markup.
func TestOperationsViewShowsTheAudit(t *testing.T) {
	t.Parallel()
	cfg := apptest.Config(t, 2)
	cfg.Admin.Token = "Canary-token"
	s := startService(t, cfg)
	p := startBrowser(t).open(t, "http://"+s.Addrs["admin"]+"/", 1280, 1400)
	const panel = `[aria-label="Audit"]`
	const rows = `document.querySelectorAll('` + panel + ` tbody tr')`
	p.until(shows(panel, "For administrators only."))
	p.write(`input[name=token]`, cfg.Admin.Token)
	p.click(`.token button`)
	p.until(shows(panel+" td", "directory/import"))
	p.until(rows + `.length === 1`) // that the page came without a token is no guess

	s.API.Call("cancel", "message_id", fmt.Sprint(s.API.Send(1, "never mind")))
	p.until(shows(panel+" tr:first-child td", "message/cancel"))
	const login = `<img src=x onerror=alert(1)>`
	guess := func() {
		t.Helper()
		res, err := http.PostForm("http://"+s.Addrs["api"]+"/v2/user/auth",
			url.Values{"login": {login}, "password": {"Canary-guess"}})
		apptest.Must(t, err)
		_ = res.Body.Close()
	}
	guess()
	p.until(shows(panel+" tr:first-child td", login))
	p.until(shows(panel+" tr:first-child td", "refused, 102"))
	for range 9 {
		guess()
	}
	s.Login()
	p.until(shows(panel+" tr:first-child td", "user/auth"))
	p.until(shows(panel+" tr:first-child td", "done"))
	if n := eval[int](p, rows+`.length`); n != 8 { // of ten guesses five
		t.Errorf("%d rows\n%s", n, p.text())
	}
	if n := eval[int](p, `document.querySelectorAll('`+panel+` img').length`); n != 0 {
		t.Error("a login is taken for markup")
	}
	if eval[bool](p, `document.body.innerText.includes('Canary')`) {
		t.Error("the page tells a secret")
	}
	for range 20 { // of what was never shown too
		s.API.Call("cancel", "message_id", fmt.Sprint(s.API.Send(1, "again")))
	}
	p.until(rows + `.length >= 28`)
	ordered := `[...` + rows + `].map((r) => r.cells[0].textContent).every((v, i, a) => i === 0 || a[i - 1] >= v)`
	if !eval[bool](p, ordered) {
		t.Error("not newest first")
	}
}
