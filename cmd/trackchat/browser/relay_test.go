package browser

import (
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/standin"
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
	tracking := apptest.TrackingServer(t, "wialon", standin.Options{})
	cfg := apptest.Config(t, 2)
	apptest.PutBehind(cfg, "wialon", tracking.Addr())
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
