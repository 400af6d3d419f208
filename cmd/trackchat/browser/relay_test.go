package browser

import (
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/standin"
	"trackchat/protocol/all"
)

// refuseErrors lets the page be refused /admin/errors from now on.
const refuseErrors = `(() => {
	const ask = window.fetch;
	window.fetch = (path, o) => path === '/admin/errors'
		? Promise.resolve(new Response('', { status: 403 })) : ask(path, o);
	return true;
})()`

// TestOperationsViewShowsUpstreams as they are, and when one cannot be reached any more.
func TestOperationsViewShowsUpstreams(t *testing.T) {
	t.Parallel()
	wialon, _ := all.Find("wialon")
	settings, err := wialon.NewSettings()
	apptest.Must(t, err)
	tracking, err := standin.Start(t.Context(), standin.Options{
		Protocol: wialon, Settings: settings, Now: time.Now,
	})
	apptest.Must(t, err)
	t.Cleanup(tracking.Close)
	cfg := apptest.Config(t, 2)
	for i := range cfg.Gateway.Listeners {
		if cfg.Gateway.Listeners[i].Protocol == "wialon" {
			u := config.DefaultUpstream()
			u.Address = tracking.Addr()
			cfg.Gateway.Listeners[i].Upstream = &u
		}
	}
	s := startService(t, cfg)
	p := startBrowser(t).open(t, "http://"+s.Addrs["admin"]+"/", 1280, 1400)
	const upstreams = `[aria-label="Upstreams"]`
	const state = upstreams + ` td:nth-child(3)`
	p.until(`document.querySelector('` + upstreams + `').closest('section').hidden`)
	s.Device(2, nil)
	s.API.Delivered(2, s.API.Send(2, "beside it"))
	p.until(shows(upstreams, tracking.Addr()))
	p.until(shows(state, "up"))
	tracking.Die(standin.RST)
	p.until(shows(state, "down for"))
	p.until(shows(state, "refused"))
	eval[bool](p, refuseErrors)
	p.until(shows(`[aria-label="Last refused"]`, "For administrators only."))
	p.until(shows(upstreams, "For administrators only."))
}
