package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/queue"
	"trackchat/queue/queuetest"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Trackers of the console's tests, each with a conversation that one test alone looks at; odd ones
// speak JT/T 808, even ones Wialon IPS.
const (
	ticksTracker = 1 + iota
	incomingTracker
	hostileTracker
	longTracker
	onlineTracker
	offlineTracker
	outageTracker
	historyTracker
	failingTracker
	cancelTracker
	phoneTracker
	archiveTracker // with a conversation of archived messages
	otherTracker
	muteTracker // its device has no chat
	blockedTracker

	bigKey   = "0f1e2d3c4b5a69788796a5b4c3d2e1f0" // of the account with bigFleet trackers
	bigFirst = 100_000
	bigFleet = 10_000
	archived = 20_000
)

// consoleConfig is a service with a small account and a big one.
func consoleConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg := apptest.Config(t, otherTracker)
	cfg.Store.MaxPending = archived + 1000
	var b strings.Builder
	b.WriteString(strings.Replace(apptest.DirectoryYAML(otherTracker), "trackers:\n",
		"  - {id: 2, login: big, password: big, title: Big fleet, keys: ["+bigKey+"]}\ntrackers:\n",
		1))
	fmt.Fprintf(&b, "  - {id: %d, account: 1, label: Mute, protocol: jt808, device_id: %q, chat: false}\n", muteTracker, apptest.DeviceOf(muteTracker))
	fmt.Fprintf(&b, "  - {id: %d, account: 1, label: Blocked, protocol: jt808, device_id: %q, blocked: true}\n", blockedTracker, apptest.DeviceOf(blockedTracker))
	for id := bigFirst; id < bigFirst+bigFleet; id++ {
		fmt.Fprintf(&b, "  - {id: %d, account: 2, label: Lorry %d, protocol: jt808, device_id: %q}\n", id, id-bigFirst, apptest.DeviceOf(id))
	}
	apptest.Must(t, os.WriteFile(filepath.Clean(cfg.Directory.File), []byte(b.String()), 0o600))
	return cfg
}

// TestConsole does in a real browser, against a real service with simulated trackers, what
// dispatchers do.
func TestConsole(t *testing.T) {
	var store queue.Store
	s := startService(t, consoleConfig(t), func(a *app.App) {
		a.Seed = func(_ context.Context, opened queue.Store) error {
			store = opened
			return nil
		}
	})
	c := &consoleRig{service: s, browser: startBrowser(t), store: store}
	t.Run("signing in", c.testSigningIn)
	t.Run("one tick, then two", c.testTicks)
	t.Run("incoming", c.testIncoming)
	t.Run("hostile text", c.testHostileText)
	t.Run("long text", c.testLongText)
	t.Run("broadcast", c.testBroadcast)
	t.Run("outage", c.testOutage)
	t.Run("history", c.testHistory)
	t.Run("endings", c.testEndings)
	t.Run("phone", c.testPhone)
	t.Run("big fleet", c.testBigFleet)
	t.Run("slow line", c.testSlowLine)
	t.Run("archive", c.testArchive)
	t.Run("search at machine speed", c.testSearchAtOnce)
	t.Run("time zone", c.testZone)
	t.Run("links", c.testLinks)
	t.Run("languages", c.testLanguages)
	t.Run("keyboard", c.testKeyboard)
	t.Run("accessibility", c.testAccessibility)
	t.Run("axe", c.testAxe)
}

// consoleRig is what the console's tests share.
type consoleRig struct {
	*service
	browser *browser
	store   queue.Store
}

func (c *consoleRig) url() string { return "http://" + c.Addrs["api"] + "/" }

// console opens the console in a window of the usual size, signed in.
func (c *consoleRig) console(t *testing.T) *page {
	t.Helper()
	return c.signedIn(t, c.url(), apptest.Key, 1280, 800)
}

// signedIn opens the console at an address by an API key, which is quicker than a password, and
// waits for the list of trackers.
func (c *consoleRig) signedIn(t *testing.T, url, key string, width, height int64) *page {
	t.Helper()
	p := c.browser.open(t, url+"#key="+key, width, height)
	p.until(`document.querySelector('.row') !== null`)
	return p
}

// device plays a tracker until the test ends.
func (c *consoleRig) play(t *testing.T, id int,
	change func(*trackersim.Options),
) *trackersim.Tracker {
	t.Helper()
	return apptest.PlayDevice(t, c.Addrs[apptest.ProtocolOf(id)], id, change)
}

// choose opens a tracker's conversation.
func (p *page) choose(id int) {
	p.t.Helper()
	p.click(fmt.Sprintf("#tracker-%d", id))
	p.until(`document.querySelector('.conversation .note')?.textContent.includes('Loading') === false && location.hash === '#/t/` + strconv.Itoa(id) + `'`)
}

// bubble is an expression: the element of the message with that text.
func bubble(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('.bubble')].find(e => e.querySelector('.text').textContent === %q)`, text)
}

func (c *consoleRig) testSigningIn(t *testing.T) {
	p := c.browser.open(t, c.url(), 1280, 800)
	p.write(`input[name=login]`, "demo")
	p.write(`input[name=password]`, "wrong")
	p.click(`button[type=submit]`)
	p.until(shows(".notice", "Wrong login or password."))
	p.do(chromedp.SetValue(`input[name=password]`, "demo"))
	p.click(`button[type=submit]`)
	p.until(shows(".row .label", "Truck 1"))
	p.until(shows("h1", "Demo fleet"))
	p.do(chromedp.Reload())
	p.until(shows(".row .label", "Truck 1")) // the session outlives the page
	hash := eval[string](p, `JSON.parse(sessionStorage.getItem('trackchat.login')).hash`)
	if eval[int](p, `localStorage.length`) != 0 {
		t.Error("something is kept beyond the tab, unasked")
	}
	p.click(`[aria-label="Menu"]`)
	p.do(chromedp.Evaluate[chromedp.Void](
		`[...document.querySelectorAll('.choice')].find(e => e.textContent === 'Sign out').click()`))
	p.until(`document.querySelector('.login') !== null`)
	apptest.Eventually(t, "signed out", func() bool {
		return c.API.Call("list", "tracker_id", "1", "hash",
			hash).Status.Code == 4
	})

	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.login .link').click()`))
	p.write(`input[name=key]`, apptest.Key)
	p.click(`button[type=submit]`)
	p.until(shows(".row .label", "Truck 1"))

	// A key in the address signs in on this machine, and leaves the address.
	q := c.browser.open(t, c.url()+"#key="+apptest.Key, 1280, 800)
	q.until(shows(".row .label", "Truck 1"))
	if at := eval[string](q, `location.href`); strings.Contains(at, apptest.Key) {
		t.Errorf("the key stays in %s", at)
	}
}

func (c *consoleRig) testTicks(t *testing.T) {
	p := c.console(t)
	p.choose(ticksTracker)
	p.write(".composer textarea", "Hello driver, 好 🚚")
	p.enter()
	p.until(bubble("Hello driver, 好 🚚") + `?.dataset.state === 'QUEUED'`)
	if n := eval[int](p, bubble("Hello driver, 好 🚚")+`.querySelectorAll('.icon-tick').length`); n !=
		1 {
		t.Errorf("%d single ticks", n)
	}
	c.play(t, ticksTracker, nil)
	p.until(bubble("Hello driver, 好 🚚") + `?.querySelector('.icon-ticks') !== null`)
	ms := c.API.List(ticksTracker)
	if len(ms) != 1 || ms[0].Status != "DELIVERED" || ms[0].UpdateTime == nil {
		t.Fatalf("%+v", ms)
	}
	// in the account's zone, as the list answers.
	at := (*ms[0].UpdateTime)[len("2006-01-02 "):len("2006-01-02 15:04")]
	p.until(bubble("Hello driver, 好 🚚") + fmt.Sprintf(`?.textContent.includes('delivered %s')`, at))
	if title := eval[string](p,
		bubble("Hello driver, 好 🚚")+`.querySelector('.state').title`); !strings.Contains(title,
		(*ms[0].UpdateTime)[len("2006-01-02 "):]) {
		t.Errorf("the tick says %q, not %s", title, *ms[0].UpdateTime)
	}
	p.until(fmt.Sprintf(`document.querySelector('#tracker-%d .dot').dataset.presence === 'online'`,
		ticksTracker))
}

func (c *consoleRig) testIncoming(t *testing.T) {
	if a := c.API.Call("mark_read_all"); !a.Success {
		// the title counts what other tests have left unread too
		t.Fatalf("%+v", a)
	}
	p := c.console(t)
	p.choose(otherTracker)
	d := c.play(t, incomingTracker, nil)
	apptest.Must(t, d.Say(t.Context(), "Where is the gate?"))
	apptest.Must(t, d.Say(t.Context(), "I am here"))
	row := fmt.Sprintf(`document.querySelector('#tracker-%d .badge')`, incomingTracker)
	p.until(row + `?.textContent === '2'`)
	p.until(`document.title.startsWith('(2) ')`)
	if unread := c.API.Call("unread/count"); unread.Value[strconv.Itoa(incomingTracker)] != 2.0 {
		t.Errorf("unread before anybody looked: %v", unread.Value)
	}
	p.choose(incomingTracker)
	p.until(bubble("Where is the gate?") + ` !== undefined && ` + bubble("I am here") +
		` !== undefined`)
	p.until(row + `.hidden && document.title === 'trackchat'`)
	apptest.Eventually(t, "read", func() bool {
		return c.API.Call("unread/count").Value[strconv.Itoa(
			incomingTracker)] == nil
	})
	apptest.Must(t, d.Say(t.Context(), "One more"))
	p.until(bubble("One more") + ` !== undefined`)
	apptest.Eventually(t, "read at sight", func() bool {
		ms := c.API.List(incomingTracker)
		return len(
			ms) == 3 && ms[2].Status == "DELIVERED"
	})
}

func (c *consoleRig) testHostileText(t *testing.T) {
	const text = `<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"> &amp; שלום`
	p := c.console(t)
	p.choose(hostileTracker)
	d := c.play(t, hostileTracker, func(o *trackersim.Options) { o.Reply = text })
	c.API.Send(hostileTracker, text)
	apptest.Must(t, d.Await(t.Context(),
		func(st trackersim.Stats) bool { return st.SaidAcked == 1 }))
	p.until(`[...document.querySelectorAll('.bubble .text')].filter(e => e.textContent === ` +
		strconv.Quote(text) + `).length === 2`)
	if eval[bool](p, `'hacked' in window || document.querySelector('.log script, .log img') !== null`) {
		t.Error("a text became markup")
	}
}

func (c *consoleRig) testLongText(t *testing.T) {
	p := c.console(t)
	p.choose(longTracker)
	long := strings.Repeat("абв好🚚 long text\n", 1428)
	long = string([]rune(long + "the end of it all")[:20_000-1]) + "!"
	p.do(chromedp.Evaluate[chromedp.Void](
		`{const f = document.querySelector('.composer textarea'); f.value = ` +
			strconv.Quote(long+"xx") + `; f.dispatchEvent(new Event('input'));}`))
	p.until(shows(".count.over", "20,002 / 20,000"))
	if !eval[bool](p, `document.querySelector('.send').disabled`) {
		t.Error("a text that is too long can be sent")
	}
	p.do(chromedp.Focus(".composer textarea"), chromedp.KeyEvent(kb.End),
		chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent(kb.Backspace))
	p.until(shows(".count:not(.over)", "20,000 / 20,000"))
	p.click(".send")
	p.until(bubble(long) + `?.dataset.state === 'QUEUED'`)
	c.play(t, longTracker, nil)
	p.until(bubble(long) + `?.dataset.state === 'DELIVERED'`)
	folded := eval[float64](p, bubble(long)+`.offsetHeight`)
	p.click(".more")
	if open := eval[float64](p, bubble(long)+`.offsetHeight`); folded > 500 || open < 10*folded {
		t.Errorf("folded %v px, open %v px", folded, open)
	}
}

func (c *consoleRig) testBroadcast(t *testing.T) {
	c.play(t, onlineTracker, nil)
	p := c.console(t)
	p.until(fmt.Sprintf(`document.querySelector('#tracker-%d .dot')?.dataset.presence === 'online'`,
		onlineTracker))
	p.click(`[aria-label="Write to several trackers"]`)
	for _, id := range []int{onlineTracker, offlineTracker, muteTracker, blockedTracker} {
		p.do(chromedp.ScrollIntoView(fmt.Sprintf("#tracker-%d", id)))
		p.click(fmt.Sprintf("#tracker-%d", id))
	}
	p.until(shows(".selectbar", "3 selected") + ` && ` + shows(".toast", "blocked"))
	p.click(".selectbar .primary")
	p.until(shows("h1", "To 3 trackers"))
	p.write(".composer textarea", "Storm warning")
	p.enter()
	result := func(id int, words string) {
		t.Helper()
		p.until(fmt.Sprintf(
			`document.querySelector('.results [data-id="%d"] .state')?.textContent.includes(%q) === true`,
			id, words))
	}
	result(onlineTracker, "delivered")
	result(offlineTracker, "waiting, the tracker is offline")
	result(muteTracker, "not sent: the device has no chat")
	p.until(shows(".summary", "Sent to 2 trackers · 1 delivered · not sent to 1"))
	c.play(t, offlineTracker, nil)
	result(offlineTracker, "delivered")
	for _, id := range []int{onlineTracker, offlineTracker} {
		if ms := c.API.List(id); len(ms) != 1 || ms[0].Text != "Storm warning" {
			t.Errorf("tracker %d: %+v", id, ms)
		}
	}
	p.click(".broadcast .end")
	p.until(`document.querySelector('.selectbar').hidden && location.hash === '#/'`)
}

func (c *consoleRig) testOutage(t *testing.T) {
	proxy := queuetest.StartProxy(t, c.Addrs["api"])
	d := c.play(t, outageTracker, nil)
	p := c.signedIn(t, "http://"+proxy.Addr+"/", apptest.Key, 1280, 800)
	p.choose(outageTracker)
	p.until(`document.querySelector('.connection').dataset.state === 'live' && document.querySelector('.banner').hidden`)
	apptest.Must(t, d.Say(t.Context(), "before"))
	p.until(bubble("before") + ` !== undefined`)
	proxy.Refuse(true)
	proxy.Cut()
	p.until(`!document.querySelector('.banner').hidden && document.querySelector('.connection').dataset.state === 'down'`)
	p.write(".composer textarea", "written in the dark")
	p.enter()
	p.until(bubble("written in the dark") + `?.dataset.state === 'UNSENT'`)
	apptest.Must(t, d.Say(t.Context(), "first meanwhile"))
	apptest.Must(t, d.Say(t.Context(), "second meanwhile"))
	c.API.Delivered(outageTracker, c.API.Send(outageTracker, "from a colleague"))
	proxy.Refuse(false)
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.banner button').click()`))
	p.until(`document.querySelector('.banner').hidden && document.querySelector('.connection').dataset.state === 'live'`)
	for _, text := range []string{"first meanwhile", "second meanwhile", "from a colleague"} {
		p.until(bubble(text) + ` !== undefined`)
	}
	p.do(chromedp.Evaluate[chromedp.Void](`[...` + bubble("written in the dark") +
		`.querySelectorAll('button')].find(e => e.textContent === 'Try again').click()`))
	p.until(bubble("written in the dark") + `?.dataset.state === 'DELIVERED'`)
	apptest.Must(t, d.Say(t.Context(), "after"))
	p.until(bubble("after") + ` !== undefined`)
	if n := eval[int](p, `document.querySelectorAll('.bubble').length`); n != 6 {
		t.Errorf("%d messages are shown, not 6", n)
	}
}
